"""The page on a real server and a real engine, over a model that can be held still."""

import asyncio
import re
import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import gradio as gr
import pytest
import uvicorn
from fastapi import FastAPI

from emotion.access.gate import AccessGate
from emotion.access.keys import Keyring
from emotion.access.login import SignIn
from emotion.access.sessions import Sessions
from emotion.analysis import Analysis, AnalysisRequest
from emotion.audio import Clip, Source
from emotion.engine import Engine, EnginePlan
from emotion.engine.recognizer import ModelState, Recognizer
from emotion.model import FloatArray, Prediction
from emotion.monitor import StudioWatch
from emotion.settings import Settings
from emotion.texts import Words
from emotion.ui.file_links import FileLinks
from emotion.ui.page import mount_page
from emotion.ui.page_context import PageContext
from emotion.ui.runs import Runs
from emotion.ui.timeline_detail import TimelineDetails
from emotion.ui.workspace import PageVisitor, Workspaces
from tests.fakes import FakeModel


def text_of(html: str) -> str:
    """What a reader sees of a piece of HTML, with single spaces."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html)).strip()


# Gradio sums up its queue with pandas now and then, in ways that pandas 3 calls deprecated.
quiet_pandas = pytest.mark.filterwarnings(
    "ignore:'future.no_silent_downcasting' is deprecated", "ignore:The copy keyword is deprecated"
)


class HeldModel(FakeModel):
    """The fake model, which waits while `gate` is closed and says through `waiting` that it does.

    Each release of `passes` lets one batch through the closed gate.
    """

    def __init__(self, name: str = "fake") -> None:
        super().__init__(name)
        self.gate = threading.Event()
        self.gate.set()
        self.passes = threading.Semaphore(0)
        self.waiting = threading.Event()
        self.fault: Exception | None = None

    def predict(self, waveforms: Sequence[FloatArray]) -> list[Prediction]:
        if not self.gate.is_set() and not self.passes.acquire(blocking=False):
            self.waiting.set()
            self._wait()
        if self.fault is not None:
            raise self.fault
        return super().predict(waveforms)

    def _wait(self) -> None:
        """Until the gate opens, or one is let through, or far too long."""
        for _ in range(3000):
            if self.gate.wait(0.01) or self.passes.acquire(blocking=False):
                return


class FakeRecognizer(Recognizer):
    """A recognizer over a fake model that can be held still; `latest` is the future that was submitted last."""

    def __init__(self, settings: Settings, plan: EnginePlan | None = None) -> None:
        self.model = HeldModel()
        super().__init__(settings=settings, engine=Engine(self.model, plan))
        self.sample: Path | None = None
        self.latest: Future[Analysis] = Future()
        submit = self.engine.submit

        def watched(
            source: Source | Clip, request: AnalysisRequest | None = None, name: str | None = None
        ) -> Future[Analysis]:
            self.latest = submit(source, request, name)
            return self.latest

        self.engine.submit = watched  # type: ignore[method-assign]

    def example(self) -> Path | None:
        return self.sample

    @property
    def state(self) -> ModelState:
        return self._state

    @state.setter
    def state(self, state: ModelState) -> None:
        self._state = state

    def close(self, finish: bool = True) -> None:
        self.model.gate.set()
        super().close(finish)


async def page_app(recognizer: FakeRecognizer) -> FastAPI:
    # Inside a running loop: outside of one, Gradio opens a loop of its own and never closes it.
    app, keyring, sessions = FastAPI(), Keyring.of(recognizer.settings), Sessions()
    app.router.routes.extend(SignIn(keyring, sessions).routes())
    mount_page(app, recognizer, StudioWatch(recognizer.engine))  # type: ignore[arg-type]
    app.add_middleware(AccessGate, keyring, sessions)
    return app


@contextmanager
def serve_page(recognizer: FakeRecognizer) -> Iterator[str]:
    """The address of the page while it is served."""
    app = asyncio.run(page_app(recognizer))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # A client that listens without an end, as those of Gradio do, holds the end up for no longer than that.
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            server.should_exit = True
            recognizer.close()
            thread.join(10)


def visitor_of(recognizer: FakeRecognizer, session: str = "session", owner: str = "") -> PageVisitor:
    """Somebody who looks at the page, in English."""
    return PageVisitor(
        session, owner or "address:test", "-", Workspaces(recognizer.settings.outputs).of(owner), Words("en")
    )


def page_context(recognizer: FakeRecognizer) -> PageContext:
    """What a tab works with, without a page around it."""
    watch = StudioWatch(recognizer.engine)

    async def laid_out() -> PageContext:
        # Inside a running loop: outside of one, Gradio opens a loop of its own and never closes it.
        with gr.Blocks():
            tabs, open_clip = gr.Tabs(), gr.State("")
        runs, workspaces = Runs(recognizer), Workspaces(recognizer.settings.outputs)  # type: ignore[arg-type]
        return PageContext(recognizer, watch, runs, workspaces, FileLinks(), TimelineDetails(0.5), tabs, open_clip)  # type: ignore[arg-type]

    return asyncio.run(laid_out())
