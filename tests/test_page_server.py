import asyncio
import json
import re
from contextlib import aclosing
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from emotion.analysis import AnalysisRequest
from emotion.analysis.windows import Plan
from emotion.audio import DecodeLimits, write_wav
from emotion.engine import EnginePlan
from emotion.labels import EMOTIONS
from emotion.settings import Settings
from emotion.texts import Words
from emotion.ui import render
from emotion.ui.runs import Runs, RunStep
from tests.fakes import loud_clip
from tests.page_server import FakeRecognizer, quiet_pandas, serve_page, text_of, visitor_of
from tests.page_wire import call, component, endpoint, messages, on_click, upload

pytestmark = quiet_pandas


@pytest.fixture
def recognizer(tmp_path):
    recognizer = FakeRecognizer(Settings(outputs=tmp_path / "outputs"))
    yield recognizer
    recognizer.close()


@pytest.fixture
def recording(tmp_path) -> Path:
    path = tmp_path / "call.wav"
    write_wav(loud_clip(), path)
    return path


# Runs, without a browser


PLAIN = AnalysisRequest()


async def collect(runs: Runs, recording: Path | None, request: AnalysisRequest = PLAIN) -> list[RunStep]:
    return [view async for view in runs.steps(recording and str(recording), request, visitor_of(runs.recognizer))]


def test_a_recording_goes_from_waiting_to_its_result(recognizer, recording):
    views = asyncio.run(collect(Runs(recognizer), recording, AnalysisRequest("frame", True, exports=("srt",))))
    last = views[-1]
    assert all(view.running for view in views[:-1])
    assert not last.running
    assert "Angry" in text_of(render.result_card(last.files.analysis, Words("en")))
    assert {path.name for path in last.files.all} >= {"result.json", "processed_audio.wav", "embedding.npy"}
    assert json.loads(last.files.result.read_text())["emotion"] == "angry"


def test_no_recording_is_a_hint_and_no_error(recognizer):
    (view,) = asyncio.run(collect(Runs(recognizer), None))
    assert "No recording yet" in text_of(view.card)


def test_a_bad_recording_is_a_sentence(recognizer, tmp_path):
    broken = tmp_path / "broken.mp3"
    broken.write_bytes(b"no sound at all" * 100)
    last = asyncio.run(collect(Runs(recognizer), broken))[-1]
    assert "holds no sound that can be read" in text_of(last.card)
    assert str(tmp_path) not in last.card


def test_an_unexpected_fault_is_logged_and_not_shown(recognizer, recording, caplog):
    recognizer.model.fault = ValueError("inside /secret/path")
    last = asyncio.run(collect(Runs(recognizer), recording))[-1]
    assert "Something went wrong" in text_of(last.card)
    assert "secret" not in last.card
    assert "inside /secret/path" in caplog.text


def test_a_full_queue_is_said_at_once(tmp_path, recording):
    recognizer = FakeRecognizer(Settings(outputs=tmp_path), EnginePlan(queue_size=1))
    recognizer.model.gate.clear()
    waiting = recognizer.submit(recording)
    (view,) = asyncio.run(collect(Runs(recognizer), recording))
    assert "1 recordings are waiting already" in text_of(view.card)
    waiting.cancel()
    recognizer.close()


def test_cancelling_a_session_ends_its_recording_and_no_other(recognizer, recording):
    async def cancel_one() -> tuple[list[RunStep], list[RunStep]]:
        runs = Runs(recognizer)
        recognizer.model.gate.clear()
        mine = asyncio.ensure_future(collect(runs, recording))
        others = asyncio.ensure_future(anext_result(runs))
        await asyncio.to_thread(recognizer.model.waiting.wait, 10)
        runs.cancel_run("session")
        runs.cancel_run("a session that waits for nothing")
        cancelled = await mine
        recognizer.model.gate.set()
        return cancelled, await others

    async def anext_result(runs: Runs) -> list[RunStep]:
        return [view async for view in runs.steps(str(recording), PLAIN, visitor_of(recognizer, "another session"))]

    cancelled, others = asyncio.run(cancel_one())
    assert "Cancelled" in text_of(cancelled[-1].card)
    assert cancelled[-1].files is None
    assert others[-1].files is not None


def test_closing_the_iterator_cancels_the_work(recognizer, recording):
    async def close_early() -> None:
        recognizer.model.gate.clear()
        async with aclosing(Runs(recognizer).steps(str(recording), PLAIN, visitor_of(recognizer))) as views:
            await anext(views)

    asyncio.run(close_early())
    assert recognizer.engine.queue_length == 0


def test_a_long_recording_counts_its_windows(tmp_path):
    recognizer = FakeRecognizer(
        Settings(outputs=tmp_path), EnginePlan(analysis=Plan(exact_limit_s=2, window_s=2, context_s=0.5))
    )
    recognizer.model.gate.clear()
    write_wav(loud_clip(6.0), tmp_path / "long.wav")

    async def first_window() -> str:
        async with aclosing(Runs(recognizer).steps(str(tmp_path / "long.wav"), PLAIN, visitor_of(recognizer))) as views:
            return await anext(text_of(v.progress) async for v in views if "window" in v.progress)

    assert asyncio.run(first_window()) == "Recognising window 1 of 6"
    recognizer.close()


# The endpoint for programs, over a real server


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    recognizer = FakeRecognizer(
        Settings(outputs=tmp_path_factory.mktemp("outputs")),
        EnginePlan(queue_size=8, limits=DecodeLimits(max_clip_s=30)),
    )
    with serve_page(recognizer) as url:
        yield recognizer, url, Client(url, verbose=False)


def test_a_program_gets_the_record(served, recording):
    _, _, client = served
    record = client.predict(handle_file(recording), api_name="/recognize")
    assert record["emotion"] == "angry"
    assert record["file"] == "call.wav"
    assert set(record["scores"]) == {emotion.key for emotion in EMOTIONS}
    assert "frames" not in record


def test_a_program_gets_frames_and_embedding_when_it_asks(served, recording):
    _, _, client = served
    record = client.predict(handle_file(recording), granularity="frame", embedding=True, api_name="/recognize")
    assert len(record["frames"]) == len(record["embedding"]) == record["num_frames"] == 49


def test_programs_see_one_endpoint_with_names_and_types(served):
    _, _, client = served
    described = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert list(described) == ["/recognize"]
    parameters = {p["parameter_name"]: p["python_type"]["type"] for p in described["/recognize"]["parameters"]}
    assert parameters == {
        "file": "filepath",
        "granularity": "Literal['utterance', 'frame']",
        "embedding": "bool",
    }


def test_a_program_gets_an_error_as_a_sentence(served, tmp_path):
    _, _, client = served
    (tmp_path / "broken.wav").write_bytes(b"RIFF" + b"x" * 100)
    with pytest.raises(AppError, match="holds no sound that can be read"):
        client.predict(handle_file(tmp_path / "broken.wav"), api_name="/recognize")


def test_a_program_learns_nothing_of_an_unexpected_fault(served, recording):
    recognizer, _, client = served
    recognizer.model.fault = ValueError("inside /secret/path")
    try:
        with pytest.raises(AppError, match="Something went wrong") as caught:
            client.predict(handle_file(recording), api_name="/recognize")
    finally:
        recognizer.model.fault = None
    assert "secret" not in str(caught.value)


def test_many_programs_wait_side_by_side_and_one_too_many_is_refused(served, recording):
    recognizer, _, client = served
    recognizer.model.gate.clear()
    jobs = [client.submit(handle_file(recording), api_name="/recognize") for _ in range(9)]
    try:
        refused = next(job for job in as_they_end(jobs))
        with pytest.raises(AppError, match="Try again in"):
            refused.result(timeout=10)
    finally:
        recognizer.model.gate.set()
    done = [job.result(timeout=10)["emotion"] for job in jobs if job is not refused]
    assert done == ["angry"] * 8


def as_they_end(jobs):
    from concurrent.futures import as_completed

    by_future = {job.future: job for job in jobs}
    return (by_future[future] for future in as_completed(by_future, timeout=10))


@pytest.mark.parametrize("path", ["/etc/passwd", "http://127.0.0.1:9/x.wav", "https://example.org/x.wav"])
@pytest.mark.parametrize("wire", [False, True], ids=["program", "page"])
def test_a_path_of_the_server_and_a_url_are_refused(served, path, wire):
    _, url, _ = served
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    with httpx.Client(base_url=url, timeout=10, trust_env=False) as client:
        if wire:
            (*_, answer) = messages(client, on_click(client, "recognise"), [file, "utterance", False, True, []])
        else:
            (*_, answer) = messages(client, endpoint(client), [file, "utterance", False])
    assert answer["success"] is False
    assert "passwd" not in json.dumps(answer["output"])


def test_the_page_shows_the_result_its_timeline_its_files_and_its_log(served, recording):
    _, url, _ = served
    with httpx.Client(base_url=url, timeout=10, trust_env=False, headers={"accept-language": "zh-CN"}) as client:
        file = upload(client, recording)
        steps = messages(client, on_click(client, "recognise"), [file, "frame", True, True, ["srt"]])
        shown = json.dumps(steps, ensure_ascii=False)
        for words in ("愤怒 (Angry)", "特征向量 (.npy)", "SRT 字幕", "推理", "duration_s"):
            assert words in shown
        links = set(re.findall(r'href=\\"(files/[^\\]+)', shown))
        assert len(links) == 4
        assert all(client.get(link).status_code == 200 for link in links)


def test_the_card_of_a_result_is_rendered_once(served, recording, monkeypatch):
    _, url, _ = served
    made, result_card = [], render.result_card
    monkeypatch.setattr(render, "result_card", lambda *said, **more: made.append(said) or result_card(*said, **more))
    with httpx.Client(base_url=url, timeout=10, trust_env=False) as client:
        values = [upload(client, recording), "utterance", False, True, []]
        assert "Angry" in json.dumps(messages(client, on_click(client, "recognise"), values))
    assert len(made) == 1


def test_the_page_asks_which_model_answers_and_offers_samples(served):
    _, url, _ = served
    with httpx.Client(base_url=url, timeout=10, trust_env=False) as client:
        config = client.get("config").json()
        load = next(d["id"] for d in config["dependencies"] if d["targets"] and d["targets"][0][1] == "load")
        assert "fake · cpu · fp32 · ready" in call(client, load)["data"][0]
        sample = next(d["id"] for d in config["dependencies"] if d["outputs"] == [component(config, "recording")])
        answer = call(client, sample)["data"][0]
        assert answer["orig_name"] == "calm.flac"
        assert client.get(f"gradio_api/file={answer['path']}").status_code == 200
        assert call(client, on_click(client, "cancel"))["data"] == []


def test_the_page_asks_no_other_host_for_anything(served):
    _, url, _ = served
    page = httpx.get(url, trust_env=False).text
    fetched = re.findall(r"""(?:src|href)=["'](?:https?:)?//([^/"']+)""", page)
    assert fetched == []


def test_the_folder_of_outputs_stays_closed_to_browsers(served, recording):
    recognizer, url, _ = served
    asyncio.run(collect(Runs(recognizer), recording))
    result = next(recognizer.settings.outputs.glob("*/result.json"))
    assert httpx.get(f"{url}gradio_api/file={result}", trust_env=False).status_code == 403
