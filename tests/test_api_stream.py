import json
import tempfile
import time
import wave
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from websockets.sync.client import connect

from emotion.audio import StreamRecorder, decode
from emotion.errors import EngineBusy
from emotion.live import socket as live_socket
from emotion.settings import Settings
from tests.api_server import ApiRecognizer, api_app, served
from tests.fakes import HeldModel, files_below, loud_clip, tone, turning_clip, wait_for

RATES_HZ = [8_000, 16_000, 44_100, 48_000]


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """Temporary files lie where a test can count them."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def recognizer():
    return ApiRecognizer()


@pytest.fixture
def client(recognizer):
    with TestClient(api_app(recognizer)) as client:
        yield client


def pcm(samples) -> bytes:
    return np.rint(np.asarray(samples) * 32767).astype("<i2").tobytes()


@contextmanager
def streaming(client: TestClient, query: str = "", headers: dict[str, str] | None = None):
    with client.websocket_connect(f"/v1/stream{query}", headers=headers or {}) as socket:
        assert socket.receive_json()["type"] == "ready"
        yield socket


def send(socket, sound: bytes, size_bytes: int = 3_200) -> None:
    for start in range(0, len(sound), size_bytes):
        socket.send_bytes(sound[start : start + size_bytes])


def last_word(socket):
    """The last message, after which the server closes, and the moments before it."""
    moments = []
    while True:
        message = socket.receive_json()
        if message["type"] == "moment":
            moments.append(message)
        if message["type"] in ("done", "failed"):
            with pytest.raises(WebSocketDisconnect) as closed:
                socket.receive_json()
            return message, moments, closed.value.code


def comparable(record):
    return {key: value for key, value in record.items() if key not in ("timestamp", "timings_ms", "file", "cached")}


def test_sound_in_moments_out_and_the_record_at_the_end(client):
    with streaming(client) as socket:
        send(socket, pcm(np.concatenate([tone(0.5), np.zeros(32_000)])))
        moment = socket.receive_json()
        assert (moment["type"], moment["emotion"], moment["is_silent"]) == ("moment", "angry", False)
        assert moment["scores"]["angry"] == moment["confidence"] > 0.5
        socket.send_text('{"stop": true}')
        message, _, code = last_word(socket)
    assert (message["type"], code) == ("done", 1000)
    assert message["record"]["duration_s"] == 2.5
    assert client.get(message["location"]).json() == message["record"]


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_a_stream_measures_to_the_last_digit_what_the_upload_of_the_same_sound_does(client, rate_hz, tmp_path):
    times_s = np.arange(3 * rate_hz) / rate_hz
    loudness = np.where(times_s < 1.5, 0.3, 0.01)
    sound = pcm(loudness * np.sin(2 * np.pi * 220 * times_s))
    with wave.open(str(tmp_path / "whole.wav"), "wb") as file:
        file.setparams((1, 2, rate_hz, 0, "NONE", ""))
        file.writeframes(sound)
    query = "?granularity=frame&embedding=base64"
    upload = client.post(
        f"/v1/analyses{query}", content=(tmp_path / "whole.wav").read_bytes(), headers={"Content-Type": "audio/wav"}
    )
    with streaming(client, f"{query}&rate_hz={rate_hz}&name=x.wav") as socket:
        send(socket, sound, size_bytes=1_999)  # samples are split between pieces
        socket.send_text('{"stop": true}')
        message, _, _ = last_word(socket)
    assert comparable(message["record"]) == comparable(upload.json())
    assert message["record"]["file"] == "x.wav"


def test_exports_of_a_stream_can_be_fetched(client):
    with streaming(client, "?exports=srt,csv&embedding=npy") as socket:
        send(socket, pcm(turning_clip().samples))
        socket.send_text('{"stop": true}')
        message, _, _ = last_word(socket)
    files = message["record"]["files"]
    assert {"emotion.srt", "segments.csv", "embedding.npy"} <= set(files)
    assert client.get(files["emotion.srt"]).text.startswith("1\n")


@pytest.mark.parametrize(
    "query", ["?rate_hz=7999", "?rate_hz=fast", "?granularity=word", "?exports=pdf", "?speed=2"], ids=str
)
def test_a_query_that_cannot_be_is_refused(client, query):
    with client.websocket_connect(f"/v1/stream{query}") as socket:
        message, _, code = last_word(socket)
    assert (message["type"], message["problem"]["code"], code) == ("failed", "request_invalid", 1008)


@pytest.mark.parametrize(
    "text", ["stop", "{}", '{"stop": 7, "x": 1}', "x" * 2_000], ids=["word", "empty", "more", "long"]
)
def test_a_text_that_is_not_stop_ends_the_stream(client, places, text):
    with streaming(client) as socket:
        socket.send_text(text)
        message, _, _ = last_word(socket)
    assert message["problem"]["code"] == "request_invalid"
    wait_for(lambda: not files_below(places))


def test_a_piece_that_is_too_large_ends_the_stream(client):
    with streaming(client) as socket:
        socket.send_bytes(bytes(live_socket.MAX_SOUND_BYTES + 2))
        message, _, _ = last_word(socket)
    assert message["problem"]["code"] == "request_invalid"


def test_next_to_no_sound_is_too_short(client):
    with streaming(client) as socket:
        socket.send_bytes(pcm(tone(0.01)))
        socket.send_text('{"stop": true}')
        message, _, _ = last_word(socket)
    assert message["problem"]["code"] == "clip_too_short"


def test_a_client_that_is_gone_leaves_nothing(client, recognizer, places):
    with streaming(client) as socket:
        send(socket, pcm(tone(2.0)))
        wait_for(lambda: bool(files_below(places)))
    wait_for(lambda: not files_below(places))
    wait_for(lambda: recognizer.engine.queue_length == 0)


def test_who_falls_silent_for_good_is_told_so(client, monkeypatch, places):
    monkeypatch.setattr(live_socket, "IDLE_S", 0.1)
    with streaming(client) as socket:
        message, _, code = last_word(socket)
    assert (message["problem"]["code"], message["problem"]["status"], code) == ("live_silent", 408, 1008)
    assert not files_below(places)


def test_who_sends_next_to_nothing_holds_no_place(client, monkeypatch):
    monkeypatch.setattr(live_socket, "IDLE_S", 0.3)
    with streaming(client) as socket:
        for _ in range(40):
            socket.send_bytes(b"\0\0")
            time.sleep(0.01)
        message, _, _ = last_word(socket)
    assert message["problem"]["code"] == "live_silent"


def test_who_sends_little_by_little_or_waits_for_the_server_is_not_silent(client, monkeypatch):
    monkeypatch.setattr(live_socket, "IDLE_S", 0.3)
    monkeypatch.setattr(live_socket, "MAX_LEAD_S", 0.0)
    with streaming(client) as socket:
        for _ in range(6):
            socket.send_bytes(pcm(tone(0.05)))
            time.sleep(0.1)
        send(socket, pcm(tone(1.2)))
        while socket.receive_json()["time_s"] < 1.5:  # the client says nothing until it is told of the end of its sound
            pass
        socket.send_text('{"stop": true}')
        message, _, _ = last_word(socket)
    assert message["record"]["duration_s"] == 1.5


@contextmanager
def on_a_server(recognizer, **pings):
    """A stream on a real web server, whose pings go as well as the client's."""
    with (
        served(api_app(recognizer), **{f"ws_{name}": value for name, value in pings.items()}) as address,
        connect(f"{address.replace('http', 'ws')}/v1/stream", proxy=None, **pings) as socket,
    ):
        yield socket


def test_a_file_that_is_sent_at_once_is_heard_at_the_pace_of_speech_and_pings_are_answered(monkeypatch):
    monkeypatch.setattr(live_socket, "MAX_LEAD_S", 0.5)
    began_s = time.monotonic()
    with on_a_server(ApiRecognizer(), ping_interval=0.5, ping_timeout=0.5) as socket:
        for start in range(0, 3 * 32_000, 3_200):
            socket.send(pcm(tone(0.1)) if start < 64_000 else bytes(3_200))
        socket.send('{"stop": true}')
        messages = [json.loads(text) for text in socket]
    assert messages[-1]["record"]["duration_s"] == 3.0
    assert [message["time_s"] for message in messages if message["type"] == "moment"][-1] >= 2.5
    assert time.monotonic() - began_s > 2.4


def test_sound_that_waits_when_its_client_goes_is_not_waited_for(recognizer, monkeypatch, places):
    monkeypatch.setattr(live_socket, "MAX_LEAD_S", 0.0)
    with on_a_server(recognizer) as socket:
        assert "ready" in socket.recv()
        for _ in range(100):
            socket.send(bytes(320_000))
        socket.close()
        wait_for(lambda: not files_below(places))


def test_who_said_stop_and_went_is_not_waited_for_either(recognizer, monkeypatch):
    monkeypatch.setattr(live_socket, "MAX_LEAD_S", 0.0)
    with on_a_server(recognizer) as socket:
        for _ in range(20):
            socket.send(bytes(320_000))  # of silence only the whole is given to the model
        socket.send('{"stop": true}')
        socket.close()
        wait_for(lambda: bool(recognizer.model.lengths))


def test_only_so_many_stream_at_a_time(recognizer):
    with TestClient(api_app(recognizer, max_streams=1)) as client:
        with streaming(client), client.websocket_connect("/v1/stream") as second:
            message, _, code = last_word(second)
        assert (message["problem"]["code"], code) == ("live_full", 1013)

        def is_free() -> bool:
            with client.websocket_connect("/v1/stream") as third:
                return third.receive_json()["type"] == "ready"

        wait_for(is_free)


def test_no_client_takes_all_places(recognizer):
    mine, others = {"X-Client": "one"}, {"X-Client": "two"}
    with TestClient(api_app(recognizer, max_streams=4)) as client, ExitStack() as open_streams:
        for _ in range(3):
            open_streams.enter_context(streaming(client, headers=mine))
        with client.websocket_connect("/v1/stream", headers=mine) as fourth:
            message, _, code = last_word(fourth)
        assert (message["problem"]["code"], code) == ("too_many_requests", 1013)
        with streaming(client, headers=others):
            pass


def test_a_stream_is_a_recording_in_work_of_its_client():
    recognizer = ApiRecognizer(settings=Settings(jobs_per_client=1))
    with TestClient(api_app(recognizer)) as client:
        mine, others = {"X-Client": "one"}, {"X-Client": "two"}
        with streaming(client, headers=mine) as socket:
            send(socket, pcm(tone(1.0)))
            with client.websocket_connect("/v1/stream", headers=mine) as second:
                assert last_word(second)[0]["problem"]["code"] == "too_many_requests"
            with streaming(client, headers=others):
                pass
            socket.send_text('{"stop": true}')
            message, _, _ = last_word(socket)
        assert message["type"] == "done"
        assert client.get(message["location"], headers=mine).status_code == 200
        assert client.get(message["location"], headers=others).status_code == 404


def test_the_sound_waits_for_its_place_in_a_full_queue(monkeypatch):
    recognizer = ApiRecognizer(HeldModel(), Settings(queue_size=1))
    refused, submit = [], recognizer.engine.submit

    def counted(source, request, name=None):
        try:
            return submit(source, request, name)
        except EngineBusy:
            if request.cache:  # moments, which may be left out, are not kept
                refused.append(source)
            raise

    monkeypatch.setattr(recognizer.engine, "submit", counted)
    with TestClient(api_app(recognizer)) as client:
        submit(loud_clip())
        with streaming(client) as socket:
            send(socket, pcm(tone(1.0)))
            socket.send_text('{"stop": true}')
            wait_for(lambda: len(refused) > 0)
            recognizer.model.let_go()
            message, _, _ = last_word(socket)
    assert message["type"] == "done"


def test_a_stream_ends_by_itself_when_it_is_as_long_as_may_be():
    recognizer = ApiRecognizer(settings=Settings(max_file_bytes=32_044))
    with TestClient(api_app(recognizer)) as client, streaming(client) as socket:
        send(socket, pcm(tone(2.0))[:32_000])
        message, _, _ = last_word(socket)
    assert message["record"]["duration_s"] == 1.0


def test_a_file_of_samples_holds_what_was_written_up_to_its_limit(tmp_path):
    sound = StreamRecorder(16_000, 60, 1, tmp_path / "sound.wav", 44 + 1_000)
    sound.feed(pcm(tone(1.0))[:3])
    sound.feed(pcm(tone(1.0))[3:])
    assert sound.is_full
    clip = decode(sound.wav())
    np.testing.assert_array_equal((clip.samples * 32_768).astype("<i2"), np.frombuffer(pcm(tone(1.0))[:1_000], "<i2"))
    sound.close()
    assert (tmp_path / "sound.wav").stat().st_size == 1_044


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_a_file_of_samples_is_what_the_standard_library_writes(tmp_path, rate_hz):
    sound = StreamRecorder(rate_hz, 60, 1, tmp_path / "sound.wav", 10**9)
    sound.feed(pcm(tone(1.0)))
    with wave.open(str(tmp_path / "other.wav"), "wb") as file:
        file.setparams((1, 2, rate_hz, 0, "NONE", ""))
        file.writeframes(pcm(tone(1.0)))
    assert sound.wav().read_bytes() == (tmp_path / "other.wav").read_bytes()


def test_a_stream_of_the_longest_recording_is_cut_there_and_not_refused():
    recognizer = ApiRecognizer(settings=Settings(max_clip_s=1.0))
    with TestClient(api_app(recognizer)) as client, streaming(client) as socket:
        send(socket, pcm(tone(1.4)), size_bytes=2 * 11_200)
        message, _, _ = last_word(socket)
    assert message["record"]["duration_s"] == 1.0


def test_messages_are_what_the_description_says(client):
    described = client.get("/openapi.json").json()["components"]["schemas"]["StreamMoment"]
    with streaming(client) as socket:
        send(socket, pcm(tone(0.5)))
        moment = socket.receive_json()
    assert set(moment) == set(described["properties"]) == set(described["required"])
    assert json.dumps(moment)
