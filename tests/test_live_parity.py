"""The microphone of the page, a stream of the API and an upload of the same samples are one recording."""

import io
import json
import wave
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from emotion.settings import Settings
from emotion.ui.live_socket import add_live_route
from tests.api_server import WAV, ApiRecognizer, api_app
from tests.fakes import turning_clip

# What differs between two analyses of one recording, and what only the API says.
INCIDENTAL = {"timestamp", "timings_ms", "file", "files", "cached"}


@pytest.fixture
def recognizer(tmp_path):
    return ApiRecognizer(settings=Settings(outputs=tmp_path / "outputs"))


@pytest.fixture
def client(recognizer):
    app = api_app(recognizer)
    add_live_route(app, recognizer, recognizer.admission.limit)
    with TestClient(app) as client:
        yield client


def samples() -> bytes:
    """Four seconds of 16-bit samples at 16 kHz, of which no two windows are alike."""
    noise = np.random.default_rng(4).standard_normal(64_000) * 0.002
    return np.rint((turning_clip().samples + noise) * 32767).astype("<i2").tobytes()


def speak(socket, sound: bytes) -> None:
    for start in range(0, len(sound), 3_333):  # samples are split between pieces
        socket.send_bytes(sound[start : start + 3_333])
    socket.send_text('{"stop": true}')


def until(socket, key: str) -> dict[str, Any]:
    while key not in (message := socket.receive_json()):
        assert "error" not in message
        assert message.get("type") != "failed"
    return message


def by_microphone(client, recognizer, sound: bytes, granularity: str) -> dict[str, Any]:
    with client.websocket_connect("/live") as socket:
        socket.send_json({"rate_hz": 16_000, "granularity": granularity})
        speak(socket, sound)
        folder = recognizer.settings.outputs / until(socket, "run")["run"]
    return json.loads((folder / "result.json").read_text())


def by_stream(client, sound: bytes, granularity: str) -> dict[str, Any]:
    with client.websocket_connect(f"/v1/stream?granularity={granularity}") as socket:
        speak(socket, sound)
        return until(socket, "record")["record"]


def by_upload(client, sound: bytes, granularity: str) -> dict[str, Any]:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, 16_000, 0, "NONE", ""))
        writer.writeframes(sound)
    return client.post(f"/v1/analyses?granularity={granularity}", content=file.getvalue(), headers=WAV).json()


@pytest.mark.parametrize("granularity", ["utterance", "frame"])
def test_microphone_stream_and_upload_of_the_same_samples_give_the_same_record(client, recognizer, granularity):
    sound = samples()
    upload = by_upload(client, sound, granularity)
    records = [by_microphone(client, recognizer, sound, granularity), by_stream(client, sound, granularity), upload]
    microphone, stream, upload = [
        {key: value for key, value in record.items() if key not in INCIDENTAL} for record in records
    ]
    assert upload["scores"]
    assert ("frames" in upload) == (granularity == "frame")
    assert stream == upload
    assert microphone == upload
