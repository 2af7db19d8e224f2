import pytest
import uvicorn
from fastapi import FastAPI

from emotion.live.socket import MAX_SOUND_BYTES, MAX_TEXT_BYTES
from emotion.server import serve
from emotion.settings import Settings


@pytest.fixture
def config(monkeypatch, tmp_path):
    """What the program starts its server with; nothing is served."""
    started = []

    def run(self, sockets):
        started.append(self.config)
        for listener in sockets:
            listener.close()

    monkeypatch.setattr(uvicorn.Server, "run", run)
    monkeypatch.setattr("emotion.server.serving.make_app", lambda *_: FastAPI())
    serve(Settings(port=0, model="compact", outputs=tmp_path), lambda _: None)
    return started[0]


def test_a_message_that_no_microphone_sends_is_refused_before_it_is_in_memory(config):
    assert MAX_TEXT_BYTES < MAX_SOUND_BYTES == config.ws_max_size
    assert not config.ws_per_message_deflate
