"""Two clients on one page: nothing of one is there for the other, whatever it knows or guesses."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from emotion.access.keys import hash_key
from emotion.audio import write_wav
from emotion.engine import EnginePlan
from emotion.settings import Settings
from tests.fakes import loud_clip, wait_for
from tests.page_server import FakeRecognizer, quiet_pandas, serve_page, text_of
from tests.page_wire import SESSION, call, component, endpoint, file_at, heard, join, messages, on_click, upload

pytestmark = quiet_pandas
KEYS = ",".join(f"{name}:{hash_key(f'emo_{name}')}" for name in ("ann", "bo"))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FakeRecognizer, str]]:
    settings = Settings(outputs=tmp_path_factory.mktemp("outputs"), api_keys=KEYS, jobs_per_client=2)
    recognizer = FakeRecognizer(settings, EnginePlan(queue_size=8))
    with serve_page(recognizer) as url:
        yield recognizer, url


@pytest.fixture
def recognizer(served: tuple[FakeRecognizer, str]) -> Iterator[FakeRecognizer]:
    yield served[0]
    served[0].model.gate.set()


def client_of(name: str, url: str) -> httpx.Client:
    return httpx.Client(base_url=url, timeout=15, trust_env=False, headers={"authorization": f"Bearer emo_{name}"})


@pytest.fixture
def ann(served: tuple[FakeRecognizer, str]) -> Iterator[httpx.Client]:
    with client_of("ann", served[1]) as client:
        yield client


@pytest.fixture
def bo(served: tuple[FakeRecognizer, str]) -> Iterator[httpx.Client]:
    with client_of("bo", served[1]) as client:
        yield client


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "secret call.wav"
    write_wav(loud_clip(), path)
    return path


def recognized(client: httpx.Client, recording: Path, granularity: str = "utterance") -> str:
    """Everything that the page is told of a recording."""
    said = messages(client, on_click(client, "recognise"), [upload(client, recording), granularity, False, True, []])
    assert said[-1]["success"], said[-1]
    return json.dumps(said, ensure_ascii=False)


def history(client: httpx.Client) -> str:
    """What the tab History shows."""
    config = client.get("config").json()
    tools = component(config, "history-tools")
    index = next(d["id"] for d in config["dependencies"] if tools in d["outputs"])
    return text_of(json.dumps(call(client, index, None, None)["data"], ensure_ascii=False))


def runs(recognizer: FakeRecognizer, place: str) -> list[str]:
    return sorted(path.parent.name for path in (recognizer.settings.outputs / place).glob("outputs_*/result.json"))


def test_each_client_sees_its_own_runs_and_no_others(
    recognizer: FakeRecognizer, ann: httpx.Client, bo: httpx.Client, recording: Path
) -> None:
    recognized(ann, recording)
    assert runs(recognizer, "clients/ann")
    assert runs(recognizer, "clients/bo") == runs(recognizer, "") == []
    assert "secret call.wav" in history(ann)
    assert "secret call.wav" not in history(bo)
    assert "No runs yet" in history(bo)


def test_an_address_that_was_made_for_one_client_is_not_found_by_another(
    ann: httpx.Client, bo: httpx.Client, recording: Path
) -> None:
    said = recognized(ann, recording, "frame")
    links = set(re.findall(r"(files/[\w-]{20,}/[\w.%]+)", said))
    details = set(re.findall(r"(details/[\w-]{20,})", said))
    assert len(links) == 2
    assert len(details) == 1
    for address in [*links, *(f"{address}?start_s=0&end_s=1" for address in details)]:
        assert ann.get(address).status_code == 200
        assert bo.get(address).status_code == 404


def test_a_stranger_who_knows_a_session_hears_nothing_of_it_and_ends_nothing(
    recognizer: FakeRecognizer, ann: httpx.Client, bo: httpx.Client, recording: Path
) -> None:
    recognizer.model.gate.clear()
    join(ann, on_click(ann, "recognise"), [upload(ann, recording), "utterance", False, True, []]).raise_for_status()
    assert recognizer.model.waiting.wait(10)
    assert heard(bo)[-1]["session_not_found"]
    call(bo, on_click(bo, "cancel"))
    leave(bo)
    recognizer.model.gate.set()
    assert "Angry" in json.dumps(heard(ann))


def leave(client: httpx.Client) -> None:
    """Close the page of the session, which forgets its uploads."""
    with client.stream("GET", f"gradio_api/heartbeat/{SESSION}") as stream:
        next(stream.iter_lines())


def test_a_page_that_is_closed_takes_its_own_uploads_with_it_and_no_others(
    ann: httpx.Client, bo: httpx.Client, tmp_path: Path
) -> None:
    for name, client, seconds in (("a.wav", ann, 1.1), ("b.wav", bo, 1.2)):
        write_wav(loud_clip(seconds), tmp_path / name)
        recognized(client, tmp_path / name)
    kept, gone = (Path(upload(client, tmp_path / name)["path"]) for client, name in ((ann, "a.wav"), (bo, "b.wav")))
    leave(bo)
    wait_for(lambda: not gone.exists())
    assert kept.exists()


def test_an_upload_is_there_for_its_owner_alone(ann: httpx.Client, bo: httpx.Client, recording: Path) -> None:
    file = upload(ann, recording)
    assert ann.get(f"gradio_api/file={file['path']}").status_code == 200
    for path in (file["path"], file["path"].replace("/secret", "/./secret"), "//" + file["path"]):
        assert bo.get(f"gradio_api/file={path}").status_code == 404
        assert bo.get(f"gradio_api/file/{path}").status_code == 404
        assert join(bo, on_click(bo, "recognise"), [file_at(path), "utterance", False, True, []]).status_code == 400
        assert join(bo, endpoint(bo), [file_at(path), "utterance", False]).status_code == 400
        assert join(bo, on_click(bo, "batch-start"), [[file_at(path)], "utterance", False, True, []]).status_code == 400


def test_who_uploads_the_same_sound_keeps_it_though_the_other_leaves(
    ann: httpx.Client, bo: httpx.Client, recording: Path
) -> None:
    chosen = upload(ann, recording)
    recognized(bo, recording)
    leave(bo)
    wait_for(lambda: bo.get(f"gradio_api/file={chosen['path']}").status_code == 404)
    assert messages(ann, on_click(ann, "recognise"), [chosen, "utterance", False, True, []])[-1]["success"]
    assert ann.get(f"gradio_api/file={chosen['path']}").status_code == 200


def test_the_synthetic_voices_are_there_for_everybody(ann: httpx.Client, bo: httpx.Client) -> None:
    for client in (ann, bo):
        config = client.get("config").json()
        sample = next(d["id"] for d in config["dependencies"] if d["outputs"] == [component(config, "recording")])
        path = call(client, sample)["data"][0]["path"]
        assert client.get(f"gradio_api/file={path}").status_code == 200
        assert messages(client, endpoint(client), [file_at(path), "utterance", False])[-1]["success"]


def test_a_call_by_hand_is_answered_to_whom_it_was_made_by(
    ann: httpx.Client, bo: httpx.Client, recording: Path
) -> None:
    asked = ann.post("gradio_api/call/recognize", json={"data": [upload(ann, recording), "utterance", False]})
    event = asked.json()["event_id"]
    for guess in (event, event[16:]):
        assert bo.get(f"gradio_api/call/recognize/{guess}").status_code == 404
    assert '"emotion": "angry"' in ann.get(f"gradio_api/call/recognize/{event}").text


@pytest.mark.parametrize(
    ("method", "address"),
    [
        ("GET", f"gradio_api/deep_link?session_hash={SESSION}"),
        ("GET", "gradio_api/file=https://example.org/"),
        ("GET", "gradio_api/proxy=https://example.org/"),
        ("GET", f"gradio_api/stream/{SESSION}/0/1/playlist.m3u8"),
        ("POST", "gradio_api/component_server"),
        ("POST", "gradio_api/process_recording"),
        ("POST", "gradio_api/stream/x"),
        ("GET", "gradio_api/dev/reload"),
        ("GET", "gradio_api/token"),
        ("GET", "monitoring/summary"),
    ],
)
def test_what_the_page_does_not_use_is_not_there(ann: httpx.Client, method: str, address: str) -> None:
    answer = ann.request(method, address, json={} if method == "POST" else None)
    assert answer.status_code == 404


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"null", b'{"data": NaN}'])
def test_a_call_that_is_none_is_refused(ann: httpx.Client, body: bytes) -> None:
    assert ann.post("gradio_api/queue/join", content=body).status_code == 400


def test_a_client_has_so_many_recordings_in_work_and_others_are_not_held_up(
    recognizer: FakeRecognizer, ann: httpx.Client, bo: httpx.Client, recording: Path
) -> None:
    recognizer.model.gate.clear()
    click = [upload(ann, recording), "utterance", False]
    for _ in range(2):
        ann.post("gradio_api/call/recognize", json={"data": click}).raise_for_status()
    wait_for(lambda: recognizer.engine.queue_length == 2)
    shown = json.dumps(messages(ann, on_click(ann, "recognise"), [*click, True, []]))
    assert "more than one person may ask for at a time" in shown
    bo.post("gradio_api/call/recognize", json={"data": [upload(bo, recording), "utterance", False]}).raise_for_status()
    wait_for(lambda: recognizer.engine.queue_length == 3)
    recognizer.model.gate.set()
    wait_for(lambda: recognizer.engine.queue_length == 0)
    assert "Angry" in recognized(ann, recording)


def test_the_head_of_the_page_names_who_is_signed_in(ann: httpx.Client) -> None:
    dependencies: list[dict[str, Any]] = ann.get("config").json()["dependencies"]
    load = next(d["id"] for d in dependencies if d["targets"] and d["targets"][0][1] == "load")
    shown = json.dumps(call(ann, load)["data"])
    assert "Signed in as ann" in shown
    assert 'href=\\"logout\\"' in shown


def chosen(client: httpx.Client, part: str, event: str, run: str, inputs: int) -> str:
    """What the tab History answers to an event of one of its parts that names a run, forged or not."""
    config = client.get("config").json()
    target = [component(config, part), event]
    index = next(d["id"] for d in config["dependencies"] if target in d["targets"])
    said = {
        "data": [None] * inputs,
        "fn_index": index,
        "session_hash": SESSION,
        "event_data": {event: run, "pack": run},
    }
    client.post("gradio_api/queue/join", json=said).raise_for_status()
    return json.dumps(heard(client)[-1], ensure_ascii=False)


def test_who_names_the_runs_of_another_client_neither_deletes_nor_packs_them(
    recognizer: FakeRecognizer, ann: httpx.Client, bo: httpx.Client, recording: Path
) -> None:
    recognized(ann, recording)
    run = runs(recognizer, "clients/ann")[-1]
    for forged in (run, f"../ann/{run}", f"clients/ann/{run}"):
        assert "Delete this run?" not in chosen(bo, "history-list", "delete", forged, 1)
        assert "streams/" not in chosen(bo, "history-list", "download", forged, 1)
        chosen(bo, "history-question", "delete", forged, 2)
    assert run in runs(recognizer, "clients/ann")
    (zipped,) = re.findall(r"streams/[\w-]{20,}/outputs_\w+\.zip", chosen(ann, "history-list", "download", run, 1))
    assert ann.get(zipped).content.startswith(b"PK")
    assert bo.get(zipped).status_code == 404
    assert "Delete this run?" in chosen(ann, "history-list", "delete", run, 1)
    assert "Deleted: secret call.wav." in chosen(ann, "history-question", "delete", run, 2)
    assert run not in runs(recognizer, "clients/ann")
