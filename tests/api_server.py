"""The API on a real server and a real engine, over a model that can be held still."""

import socket
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from starlette.middleware import Middleware

from emotion.access import Client
from emotion.access.middleware import ErrorMiddleware, RequestId
from emotion.api import add_api
from emotion.audio import wav_bytes
from emotion.cache import PredictionCache
from emotion.engine import Engine
from emotion.engine.recognizer import ModelState, Recognizer, engine_plan
from emotion.monitor import StudioWatch
from emotion.settings import Settings
from tests.fakes import FakeModel, HeldModel, loud_clip

LOUD = wav_bytes(loud_clip())
WAV = {"Content-Type": "audio/wav"}
_REAL_TEMPORARY = tempfile.gettempdir()  # before a test moves it
LATER = {"Prefer": "respond-async", **WAV}


class ApiRecognizer(Recognizer):
    """A recognizer over a fake model, with a folder of outputs of its own."""

    def __init__(
        self, model: FakeModel | None = None, settings: Settings | None = None, cache: PredictionCache | None = None
    ) -> None:
        self._outputs = tempfile.TemporaryDirectory(dir=_REAL_TEMPORARY)
        settings, self.model = settings or Settings(), model or FakeModel()
        if "outputs" not in settings.model_fields_set:
            settings = settings.model_copy(update={"outputs": Path(self._outputs.name)})
        super().__init__(settings=settings, engine=Engine(self.model, engine_plan(settings), cache))

    @property
    def state(self) -> ModelState:
        return self._state

    @state.setter
    def state(self, state: ModelState) -> None:
        self._state = state

    def close(self, finish: bool = False) -> None:
        """To be called when nobody waits for an answer any more."""
        if isinstance(self.model, HeldModel):
            self.model.let_go()
        super().close(finish)
        self._outputs.cleanup()


class ByHeader:
    """Stands for the gate: the client is the one that the header X-Client names."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        name = dict(scope.get("headers", [])).get(b"x-client")
        if name:
            scope.setdefault("state", {})["client"] = Client.named(name.decode())
        await self._app(scope, receive, send)


def api_app(recognizer: ApiRecognizer, **limits: Any) -> FastAPI:
    """The API between its doors, without a page; the engine ends with it."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        recognizer.close()

    doors = [Middleware(RequestId), Middleware(ErrorMiddleware), Middleware(ByHeader)]
    app = FastAPI(lifespan=lifespan, middleware=doors, docs_url=None, redoc_url=None, openapi_url=None)
    watch, turns = StudioWatch(recognizer.engine), recognizer.admission.limit
    add_api(app, recognizer, watch, turns, **limits)  # type: ignore[arg-type]
    return app


@contextmanager
def served(app: FastAPI, port: int = 0, **config: Any) -> Iterator[str]:
    """The address of an application while it is served; `config` is for uvicorn."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on", **config))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)


@contextmanager
def asking(recognizer: ApiRecognizer, **limits: Any) -> Iterator[httpx.Client]:
    """A client of the API of a recogniser."""
    with served(api_app(recognizer, **limits)) as address, httpx.Client(base_url=address, timeout=30) as client:
        yield client
