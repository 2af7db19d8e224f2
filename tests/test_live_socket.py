import json
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from websockets.sync.client import connect

from emotion.access.gate import AccessGate
from emotion.access.keys import Keyring, hash_key
from emotion.access.sessions import Sessions
from emotion.analysis import AnalysisRequest
from emotion.engine import ConcurrencyLimit, EnginePlan
from emotion.labels import EMOTIONS
from emotion.live import socket as wire
from emotion.live.socket import wait_s
from emotion.settings import Settings
from emotion.texts import Words, catalogue
from emotion.ui import live_socket
from emotion.ui.live_socket import add_live_route, live_value
from tests.api_server import served
from tests.fakes import tone, turning_clip, wait_for
from tests.page_server import FakeRecognizer

HELLO = {"rate_hz": 16_000, "language": "en"}


def pcm(samples) -> bytes:
    return np.rint(np.asarray(samples) * 32767).astype("<i2").tobytes()


@pytest.fixture
def recognizer(tmp_path):
    recognizer = FakeRecognizer(Settings(outputs=tmp_path / "outputs"), EnginePlan(queue_size=4))
    yield recognizer
    recognizer.close()


@pytest.fixture
def client(recognizer):
    app = FastAPI()
    add_live_route(app, recognizer, ConcurrencyLimit(0), max_sessions=2)
    with TestClient(app) as client:
        yield client


@contextmanager
def talking(client: TestClient, headers: dict[str, str] | None = None, **hello):
    """A web socket that has said hello and was let in."""
    with client.websocket_connect("/live", headers=headers or {}) as socket:
        socket.send_json(HELLO | hello)
        assert socket.receive_json()["ready"]
        yield socket


def send(socket, samples) -> None:
    sound = pcm(samples)
    for start in range(0, len(sound), 3_200):
        socket.send_bytes(sound[start : start + 3_200])


def converse(socket, samples) -> list[dict[str, Any]]:
    """Send half a second at a time, each when the moment of the one before has come."""
    moments = []
    for start in range(0, len(samples), 8_000):
        send(socket, samples[start : start + 8_000])
        moments.append(socket.receive_json())
    return moments


def last_word(socket) -> dict[str, Any]:
    """The run or the error at the end, after which the server closes."""
    while True:
        message = socket.receive_json()
        if "run" in message or "error" in message:
            with pytest.raises(WebSocketDisconnect):
                socket.receive_json()
            return message


def unsupported_labels(message: dict[str, Any]) -> list[str]:
    return [label["key"] for label in message["labels"] if label["untold"]]


def runs(recognizer) -> list[str]:
    outputs = recognizer.settings.outputs
    return sorted(path.name for path in outputs.glob("outputs_*")) if outputs.is_dir() else []


def test_sound_in_moments_out_and_a_run_at_the_end(client, recognizer):
    with talking(client) as socket:
        moment, *_, last = converse(socket, np.concatenate([tone(0.5), np.zeros(32_000)]))
        assert moment["emotion"] == "angry"
        assert moment["time_s"] == 0.5
        assert moment["scores"]["angry"] == moment["confidence"] > 0.5
        assert not moment["is_silent"]
        assert last["is_silent"]
        assert last["scores"] is None
        socket.send_json({"stop": True})
        said = last_word(socket)
    assert runs(recognizer) == [said["run"]]
    assert not said["is_full"]
    record = json.loads((recognizer.settings.outputs / said["run"] / "result.json").read_text())
    assert record["duration_s"] == 2.5
    assert record["file"].startswith("live_")


def test_the_options_of_the_first_message_hold_and_the_last_may_change_them(client, recognizer):
    with talking(client, granularity="frame", exports=["srt"]) as socket:
        send(socket, turning_clip().samples)
        socket.send_json({"stop": True, "embedding": True})
        folder = recognizer.settings.outputs / last_word(socket)["run"]
    names = {path.name for path in folder.iterdir()}
    assert names >= {"result.json", "processed_audio.wav", "embedding.npy", "emotion.srt"}
    record = json.loads((folder / "result.json").read_text())
    upload = recognizer.engine.submit(folder / "processed_audio.wav", AnalysisRequest("frame")).result(30)
    assert record["scores"] == pytest.approx(dict(zip(upload.model.labels, upload.scores.tolist(), strict=True)))
    assert len(record["frames"]) == len(upload.frame_scores)


def test_a_browser_that_is_gone_leaves_its_recording(client, recognizer):
    with talking(client) as socket:
        converse(socket, tone(2.0))
    wait_for(lambda: len(runs(recognizer)) == 1)


def test_a_browser_that_is_gone_leaves_nothing_if_the_sound_is_not_to_be_kept(client, recognizer):
    with talking(client, keep_audio=False) as socket:
        converse(socket, tone(2.0))
    # The same client again: it is let in when the one before is over.
    with talking(client) as socket:
        socket.send_json({"stop": True})
        assert "at least 25 ms are needed" in last_word(socket)["error"]
    assert runs(recognizer) == []


def test_an_option_that_changes_on_the_way_holds_for_a_browser_that_is_gone(client, recognizer):
    with talking(client) as socket:
        converse(socket, tone(1.5))
        socket.send_json({"keep_audio": False})
        converse(socket, tone(0.5))
    with talking(client) as socket:
        converse(socket, tone(1.5))
        socket.send_json({"granularity": "frame"})
        converse(socket, tone(0.5))
    wait_for(lambda: len(runs(recognizer)) == 1)
    record = json.loads((recognizer.settings.outputs / runs(recognizer)[0] / "result.json").read_text())
    assert record["granularity"] == "frame"


def test_the_browser_learns_what_a_model_that_takes_over_can_tell(client, recognizer):
    small = replace(recognizer.model.card, name="compact", unsupported_labels=("other",))
    large = recognizer.state
    recognizer.state = replace(large, card=small)
    with client.websocket_connect("/live") as socket:
        socket.send_json(HELLO)
        assert unsupported_labels(socket.receive_json()) == ["other"]
        send(socket, tone(0.5))
        assert "time_s" in socket.receive_json()
        recognizer.state = large
        send(socket, tone(0.5))
        assert unsupported_labels(socket.receive_json()) == []
        assert "time_s" in socket.receive_json()
        send(socket, tone(0.5))
        assert "time_s" in socket.receive_json()


def test_who_falls_silent_for_good_is_gone(client, recognizer, monkeypatch):
    with talking(client) as socket:
        send(socket, tone(2.0))
        monkeypatch.setattr(wire, "IDLE_S", 0.05)
        send(socket, tone(0.1))
        messages = iter(socket.receive_json, None)
        with pytest.raises(WebSocketDisconnect):
            list(messages)
    assert len(runs(recognizer)) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://testserver"},
        {"origin": "https://TESTSERVER"},
        {"origin": "https://voice.example:8443", "x-forwarded-host": "voice.example:8443, inner"},
    ],
)
def test_the_page_itself_is_let_in(client, headers):
    with talking(client, headers):
        pass


@pytest.mark.parametrize(
    "origin",
    ["http://evil.test", "http://testserver:81", "null", "file://", "http://testserver.evil.test", "http://["],
)
def test_a_page_of_another_origin_is_refused(client, origin):
    with pytest.raises(WebSocketDisconnect) as refusal, client.websocket_connect("/live", headers={"origin": origin}):
        pass
    assert refusal.value.code == 1008


@pytest.mark.parametrize(
    "first",
    [
        "no json",
        "[]",
        "{}",
        '{"rate_hz": "fast"}',
        '{"rate_hz": 16000, "granularity": "word"}',
        '{"rate_hz": 16000, "exports": ["../../etc/passwd"]}',
        '{"rate_hz": 16000, "path": "/etc"}',
        '{"rate_hz": 16000, "language": "' + 5_000 * "e" + '"}',
    ],
)
def test_a_first_message_that_is_none_is_a_sentence(client, first):
    with client.websocket_connect("/live") as socket:
        socket.send_text(first)
        assert last_word(socket) == {"error": catalogue()["error"]["live_refused"]["en"]}


def test_errors_come_in_the_language_of_the_reader(client):
    with client.websocket_connect("/live", headers={"accept-language": "zh-CN,zh"}) as socket:
        socket.send_bytes(b"sound before the first message")
        assert last_word(socket) == {"error": catalogue()["error"]["live_refused"]["zh"]}
    with client.websocket_connect("/live") as socket:
        socket.send_json({"rate_hz": 7, "language": "zh"})
        assert "采样率为 7 Hz" in last_word(socket)["error"]


def test_a_piece_that_is_too_large_ends_the_session_and_keeps_what_was_heard(client, recognizer):
    with talking(client) as socket:
        send(socket, tone(1.5))
        socket.send_bytes(bytes(wire.MAX_SOUND_BYTES + 1))
        assert last_word(socket) == {"error": catalogue()["error"]["live_refused"]["en"]}
    assert len(runs(recognizer)) == 1


def test_only_so_many_microphones_are_listened_to_at_once(client):
    with talking(client), talking(client), client.websocket_connect("/live") as third:
        assert third.receive_json() == {"error": Words("en")("error.live_full", limit=2)}
        with pytest.raises(WebSocketDisconnect):
            third.receive_json()
    with talking(client), talking(client):
        pass


@pytest.fixture
def known(recognizer):
    """Microphones of clients with keys, who may have one recording in work each."""
    app, keyring = FastAPI(), Keyring(",".join(f"{name}:{hash_key(name)}" for name in ("ann", "bo")))
    add_live_route(app, recognizer, ConcurrencyLimit(1))
    app.add_middleware(AccessGate, keyring, Sessions())
    with TestClient(app) as client:
        yield client


def test_what_a_client_speaks_is_kept_in_its_own_place(known, recognizer):
    with talking(known, {"x-api-key": "ann"}) as socket:
        send(socket, tone(1.5))
        socket.send_json({"stop": True})
        run = last_word(socket)["run"]
    assert runs(recognizer) == []
    assert (recognizer.settings.outputs / "clients" / "ann" / run / "result.json").is_file()
    with pytest.raises(WebSocketDisconnect), known.websocket_connect("/live") as stranger:
        stranger.receive_json()


def test_a_microphone_is_a_recording_in_work_of_its_client(known):
    with talking(known, {"x-api-key": "ann"}):
        with known.websocket_connect("/live", headers={"x-api-key": "ann"}) as second:
            assert "more than one person may ask for" in second.receive_json()["error"]
        with talking(known, {"x-api-key": "bo"}):
            pass
    with talking(known, {"x-api-key": "ann"}):
        pass


def test_the_longest_recording_ends_by_itself_and_is_kept(tmp_path):
    recognizer = FakeRecognizer(Settings(outputs=tmp_path, max_clip_s=1.0))
    app = FastAPI()
    add_live_route(app, recognizer, ConcurrencyLimit(0))
    with TestClient(app) as client, talking(client) as socket:
        send(socket, tone(1.0))
        said = last_word(socket)
    assert said["is_full"]
    assert runs(recognizer) == [said["run"]]
    recognizer.close()


def test_who_sends_faster_than_anybody_speaks_has_to_wait(client, monkeypatch):
    assert wait_s(heard_s=30.0, elapsed_s=1.0) == 0
    assert wait_s(heard_s=130.0, elapsed_s=10.0) == 90
    monkeypatch.setattr(wire, "MAX_LEAD_S", 0.2)
    with talking(client) as socket:
        send(socket, tone(0.6))
        socket.send_json({"stop": True})
        said = last_word(socket)
    assert "run" in said


def test_sound_that_waits_when_the_browser_goes_is_kept_too(recognizer, monkeypatch):
    monkeypatch.setattr(wire, "MAX_LEAD_S", 0.0)
    app = FastAPI()
    add_live_route(app, recognizer, ConcurrencyLimit(0))
    with served(app) as address, connect(f"{address.replace('http', 'ws')}/live", proxy=None) as socket:
        socket.send(json.dumps(HELLO))
        for _ in range(200):
            socket.send(pcm(tone(0.1)))
        socket.close()
        wait_for(lambda: len(runs(recognizer)) == 1)
    record = json.loads((recognizer.settings.outputs / runs(recognizer)[0] / "result.json").read_text())
    assert record["duration_s"] == 20.0


def test_who_falls_silent_is_told_so_and_what_was_heard_is_kept(client, recognizer, monkeypatch):
    with talking(client) as socket:
        converse(socket, tone(2.0))
        monkeypatch.setattr(wire, "IDLE_S", 0.05)
        send(socket, tone(0.1))
        assert last_word(socket) == {"error": catalogue()["error"]["live_silent"]["en"]}
    assert len(runs(recognizer)) == 1


def test_a_fault_inside_is_logged_and_not_told(client, recognizer, monkeypatch, caplog):
    def broken(*_, **__):
        raise ValueError("inside /secret/path")

    monkeypatch.setattr(recognizer, "submit", broken)
    with talking(client) as socket:
        send(socket, tone(0.6))
        assert last_word(socket) == {"error": catalogue()["error"]["unexpected"]["en"]}
    assert "inside /secret/path" in caplog.text


def test_the_share_of_a_long_recording_is_told_while_it_is_analysed(client, recognizer, monkeypatch):
    monkeypatch.setattr(live_socket, "_PROGRESS_S", 0.01)
    with talking(client) as socket:
        send(socket, tone(0.4))
        recognizer.model.gate.clear()
        socket.send_json({"stop": True})
        assert socket.receive_json() == {"finishing": 0.0}
        recognizer.model.gate.set()
        assert "run" in last_word(socket)


def test_the_component_gets_words_labels_and_the_options(recognizer):
    value = live_value(recognizer, Words("zh"), AnalysisRequest("frame", exports=("srt",)))
    assert [label["key"] for label in value["labels"]] == [emotion.key for emotion in EMOTIONS]
    assert value["labels"][3]["headline"] == "😊 快乐 (Happy)"
    assert value["words"]["start"] == "开始聆听"
    assert value["wish"] == {"granularity": "frame", "embedding": False, "exports": ["srt"], "keep_audio": True}
    json.dumps(value)
