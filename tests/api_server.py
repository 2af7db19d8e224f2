"""The API on a real server and a real engine, over a model that can be held still."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from starlette.middleware import Middleware

from emotion.access.limits import Turns
from emotion.access.middleware import Faults, RequestId
from emotion.analysis import Analysis, Granularity, Options
from emotion.api import add_api
from emotion.audio import Clip, Source, wav_bytes
from emotion.cache import PredictionCache
from emotion.engine import Engine, EnginePlan, Progress
from emotion.monitor import StudioWatch
from emotion.recognizer import ModelState
from emotion.settings import Settings
from tests.fakes import FakeModel, loud_clip

LOUD = wav_bytes(loud_clip())
WAV = {"Content-Type": "audio/wav"}


class ApiRecognizer:
    """What the API needs of a recogniser; `engine` is real."""

    ahead = 8

    def __init__(self, model: FakeModel, settings: Settings, cache: PredictionCache | None = None) -> None:
        self.settings, self.model = settings, model
        self.engine = Engine(model, EnginePlan(queue_size=settings.queue_size), cache)
        self.state = ModelState(model.card, "auto", "ready")

    def submit(
        self,
        source: Source | Clip,
        granularity: Granularity = "utterance",
        embedding: bool = False,
        name: str | None = None,
        *,
        cache: bool = True,
    ) -> Future[Analysis]:
        return self.engine.submit(source, Options(granularity, embedding, cache), name)

    def progress(self, future: Future[Analysis]) -> Progress:
        return self.engine.progress(future)


class ByHeader:
    """Stands for the gate: the client is the one that the header X-Client names."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from emotion.access import Client

        named = dict(scope.get("headers", [])).get(b"x-client")
        if named:
            scope.setdefault("state", {})["client"] = Client.named(named.decode())
        await self._app(scope, receive, send)


def make_app(recognizer: ApiRecognizer, **limits: Any) -> FastAPI:
    """The API between its doors, without a page."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> Any:
        yield
        recognizer.engine.close()

    app = FastAPI(lifespan=lifespan, middleware=[Middleware(RequestId), Middleware(Faults), Middleware(ByHeader)])
    app = FastAPI(
        lifespan=lifespan,
        middleware=[Middleware(RequestId), Middleware(Faults), Middleware(ByHeader)],
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    watch = StudioWatch(recognizer.engine)
    add_api(app, recognizer, watch, Turns(recognizer.settings.jobs_per_client), **limits)  # type: ignore[arg-type]
    return app


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The address of an application while it is served."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)


@contextmanager
def asking(app: FastAPI) -> Iterator[httpx.Client]:
    """A client of an application that is served."""
    with served(app) as address, httpx.Client(base_url=address, timeout=30) as client:
        yield client
        with contextlib.suppress(AttributeError):
            app.state.model.let_go()
