import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from emotion.audio import wav_bytes
from emotion.client import Client, Job, Progress, Refused, ServerAway, embedding_of
from emotion.errors import EmotionError
from emotion.settings import Settings, load_settings
from tests.api_server import LOUD, ApiRecognizer, api_app, served
from tests.fakes import HeldModel, loud_clip, turning_clip, wait_for

HOUSE = Path(__file__).parent.parent
NOTHING_YET = Progress(stage="waiting", position=0, windows_done=0, windows=0, wait_s=None, duration_s=None)
TURNING = wav_bytes(turning_clip())


@pytest.fixture
def recognizer():
    return ApiRecognizer(settings=Settings(async_above_s=5.0))


@pytest.fixture
def client(recognizer):
    with served(api_app(recognizer)) as address, Client(address) as client:
        yield client


def scripted(client: Client, *answers: httpx.Response) -> list[httpx.Request]:
    """Let the client get these answers one after the other; what it asked."""
    asked: list[httpx.Request] = []
    waiting = list(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        request.read()
        asked.append(request)
        return waiting.pop(0)

    client._http = httpx.Client(base_url="http://server", transport=httpx.MockTransport(answer))
    return asked


def test_a_file_in_a_record_out(client, tmp_path):
    path = tmp_path / "call.wav"
    path.write_bytes(LOUD)
    record = client.analyze(path)
    assert (record["emotion"], record["file"]) == ("angry", "call.wav")


def test_bytes_frames_and_embedding(client, recognizer):
    record = client.analyze(TURNING, granularity="frame", embedding="base64", name="turning.wav")
    expected = recognizer.submit(TURNING, "frame", embedding=True).result(10)
    assert record["file"] == "turning.wav"
    assert [segment["emotion"] for segment in record["segments"]] == ["angry", "sad"]
    np.testing.assert_array_equal(embedding_of(record), expected.embedding)


def test_exports_are_fetched_into_a_folder(client, tmp_path):
    record = client.analyze(TURNING, exports=["srt", "csv"])
    path = client.fetch(record, "emotion.srt", tmp_path)
    assert path == tmp_path / "emotion.srt"
    assert path.read_text(encoding="utf-8").startswith("1\n")
    with pytest.raises(Refused, match="no file"):
        client.fetch(record, "emotion.vtt", tmp_path)


def test_a_long_recording_is_waited_for_and_its_progress_told(client):
    told = []
    record = client.analyze(wav_bytes(loud_clip(20.0)), name="long.wav")
    assert record["duration_s"] == 20.0
    record = client.analyze(wav_bytes(loud_clip(20.5)), name="long.wav", on_progress=told.append)
    assert record["duration_s"] == 20.5
    assert all(job["name"] == "long.wav" for job in told)


def test_a_job_can_be_begun_waited_for_and_forgotten(client):
    job = client.submit(LOUD, name="call.wav")
    assert client.wait(job)["emotion"] == "angry"
    client.delete_job(job)
    with pytest.raises(Refused) as refused:
        client.wait(job)
    assert (refused.value.status, refused.value.code) == (404, "job_not_found")


def test_earlier_names_of_methods_still_work(client):
    assert client.analyse(LOUD, name="call.wav")["emotion"] == "angry"
    job = client.submit(LOUD)
    client.forget(job)
    with pytest.raises(Refused):
        client.wait(job)


def test_who_waits_for_a_job_waits_for_a_server_that_is_started_again(tmp_path):
    settings = Settings(outputs=tmp_path)
    with served(api_app(ApiRecognizer(HeldModel(), settings))) as address:
        client = Client(address)
        job = client.submit(LOUD)
    with Client(address, patience_s=0) as hasty, pytest.raises(ServerAway):
        hasty.wait(job)
    with client, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.wait, job)
        with served(api_app(ApiRecognizer(settings=settings)), int(address.rpartition(":")[2])):
            assert waiting.result(30)["emotion"] == "angry"


@pytest.mark.parametrize("status", [502, 504])
def test_a_proxy_without_its_server_is_waited_for_but_not_for_ever(status):
    with Client(patience_s=1.0) as client:
        job = Job(id="0" * 32, name="", status="queued", created="", progress=NOTHING_YET, links={})
        asked = scripted(client, httpx.Response(status), httpx.Response(200, json={"emotion": "sad"}))
        assert client.wait(job)["emotion"] == "sad"
        assert len(asked) == 2
        scripted(client, *[httpx.Response(status)] * 9)
        with pytest.raises(Refused):
            client.wait(job)


def test_progress_is_told_as_often_as_the_server_says():
    recognizer = ApiRecognizer(HeldModel())
    told = []

    def tell(job) -> None:
        told.append(job["status"])
        recognizer.model.let_go()

    with served(api_app(recognizer)) as address, Client(address) as client:
        client.analyze(LOUD, on_progress=tell)
    assert told
    assert set(told) <= {"queued", "decoding", "recognising"}


def test_what_the_server_refuses_is_an_error_of_ours_with_its_words(client):
    with pytest.raises(EmotionError, match="holds no sound") as refused:
        client.analyze(b"nothing", name="notes.txt")
    assert isinstance(refused.value, Refused)
    assert (refused.value.status, refused.value.code) == (415, "not_sound")
    assert refused.value.problem["request_id"]


def test_a_server_that_is_busy_is_asked_again_when_it_says(monkeypatch):
    pauses = []
    monkeypatch.setattr("emotion.client.time.sleep", pauses.append)
    client = Client("http://server", patience_s=60)
    busy = httpx.Response(503, headers={"Retry-After": "7"}, json={"detail": "full", "code": "engine_busy"})
    asked = scripted(
        client, busy, httpx.Response(429, headers={"Retry-After": "2"}), httpx.Response(200, json={"a": 1})
    )
    assert client.status() == {"a": 1}
    assert len(asked) == 3
    assert pauses == [7.0, 2.0]
    client.close()


def test_patience_ends(monkeypatch):
    monkeypatch.setattr("emotion.client.time.sleep", lambda _: pytest.fail("it waited"))
    client = Client("http://server", patience_s=5)
    scripted(client, httpx.Response(503, headers={"Retry-After": "7"}, text="<html>a proxy</html>"))
    with pytest.raises(Refused, match="status 503") as refused:
        client.labels()
    assert refused.value.retry_s == 7.0
    client.close()


def test_a_file_is_sent_whole_when_it_is_sent_again(monkeypatch, tmp_path):
    monkeypatch.setattr("emotion.client.time.sleep", lambda _: None)
    path = tmp_path / "call.wav"
    path.write_bytes(LOUD)
    client = Client("http://server")
    asked = scripted(client, httpx.Response(503, headers={"Retry-After": "1"}), httpx.Response(200, json={}))
    client.analyze(path)
    assert [request.content for request in asked] == [LOUD, LOUD]
    client.close()


def test_the_key_goes_with_every_request():
    client = Client("http://server", key="secret")
    assert client._http.headers["authorization"] == "Bearer secret"
    client.close()


def test_nobody_there_and_no_file_are_said(tmp_path):
    with Client("http://127.0.0.1:9") as client:
        with pytest.raises(ServerAway, match="does not answer"):
            client.models()
        with pytest.raises(EmotionError, match=r"no file called 'missing\.wav'"):
            client.analyze(tmp_path / "missing.wav")


def test_labels_models_and_status(client):
    assert client.labels()[0]["key"] == "angry"
    assert client.models()["answering"]["name"] == "fake"
    assert client.status()["engine"]["queue_size"] == load_settings().queue_size


def test_the_client_needs_neither_torch_nor_gradio_nor_numpy():
    heavy = {"torch", "gradio", "numpy", "fastapi", "pydantic"}
    code = f"import emotion.client, sys; print(sorted({heavy} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=HOUSE)
    assert told.stdout.strip() == "[]"


def test_a_record_without_numbers_has_no_embedding(client):
    record = client.analyze(LOUD)
    with pytest.raises(EmotionError, match="holds no embedding"):
        embedding_of(record)
    assert json.dumps(record)
    wait_for(lambda: client.status()["engine"]["clips_done"] == 1)
