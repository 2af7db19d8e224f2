"""How a server ends: it takes nothing new, what it took is finished, and streams without an end are cut."""

import asyncio
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from emotion.access.middleware import WatchedSend
from emotion.access.problems import problem_of
from emotion.engine.recognizer import Recognizer
from emotion.errors import EngineClosed

READY_PATH = "/readyz"
# Gradio tells by it that a page is still open; it lasts as long as the page.
_ENDLESS = "/heartbeat/"
_LOOK_AT_WORK_S = 0.05
# What is written and sent when the last recording is done.
_LAST_WORDS_S = 2.0
# A window that the model works on cannot be cancelled; after so long the program ends all the same.
_GRACE_S = 10.0


class DrainState:
    """Whether the server is ending, and what it still has to answer; make one beside the application."""

    def __init__(self) -> None:
        self._begun = asyncio.Event()
        self.open_requests = 0
        """Requests whose answer is not out yet, without streams that have no end."""

    @property
    def has_begun(self) -> bool:
        return self._begun.is_set()

    def begin_drain(self) -> None:
        """Take nothing new from now on; to be called on the loop of the server."""
        self._begun.set()

    async def wait(self) -> None:
        """Return when the server begins to end."""
        await self._begun.wait()


class DrainMiddleware:
    """Refuses new work while the server ends; requests for results are still answered."""

    def __init__(self, app: ASGIApp, ending: DrainState) -> None:
        self._app, self._ending = app, ending

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_socket, is_request = scope["type"] == "websocket", scope["type"] == "http"
        is_new_work = is_socket or (is_request and (scope["method"] == "POST" or scope["path"] == READY_PATH))
        if self._ending.has_begun and is_new_work:
            await problem_of(EngineClosed())(scope, receive, send)
        elif not is_request:
            await self._app(scope, receive, send)
        elif _ENDLESS in scope["path"]:
            await self._run_until_the_end(scope, receive, send)
        else:
            self._ending.open_requests += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._ending.open_requests -= 1

    async def _run_until_the_end(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = WatchedSend(send)
        stream = asyncio.ensure_future(self._app(scope, receive, answer))
        end = asyncio.ensure_future(self._ending.wait())
        try:
            await asyncio.wait({stream, end}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            end.cancel()
            if not stream.done():
                stream.cancel()
                with suppress(asyncio.CancelledError):
                    await stream
        if not stream.cancelled():
            stream.result()
        elif not answer.has_begun:
            await problem_of(EngineClosed())(scope, receive, send)
        elif not answer.is_whole:
            await send({"type": "http.response.body", "body": b""})


class StudioServer(uvicorn.Server):
    """Ends in order: takes nothing new, finishes what it took for `shutdown_s` at most, and cancels the rest."""

    def __init__(
        self, config: uvicorn.Config, recognizer: Recognizer, ending: DrainState, say: Callable[[str], None]
    ) -> None:
        super().__init__(config)
        self._recognizer, self._ending, self._say = recognizer, ending, say
        self._is_hurried = False
        self._draining: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal ends in order, the second at once; neither counts as a failure of the program."""
        del sig, frame
        if not self.started:
            self.should_exit = True
        elif self._ending.has_begun:
            self._is_hurried = True
            self._give_up_after(_LAST_WORDS_S)
        else:
            self._loop.call_soon_threadsafe(self.begin_drain)

    def begin_drain(self) -> None:
        """Begin to end; to be called on the loop of the server."""
        if self._draining is None:
            self._ending.begin_drain()
            self._draining = self._loop.create_task(self._drain())

    @property
    def _unfinished(self) -> int:
        return max(self._recognizer.engine.queue_length, self._ending.open_requests)

    async def _drain(self) -> None:
        limit_s = self._recognizer.settings.shutdown_s
        until_s = self._loop.time() + limit_s
        self._give_up_after(limit_s + _GRACE_S)
        if self._unfinished:
            self._say(f"finishing {_recordings(self._unfinished)}, at most {limit_s:.0f} s; again to stop at once")
        while self._unfinished and self._loop.time() < until_s and not self._is_hurried:
            await asyncio.sleep(_LOOK_AT_WORK_S)
        if self._unfinished:
            self._say(f"{_recordings(self._unfinished)} could not be finished")
            threading.Thread(target=self._recognizer.close, args=(False,), name="closing", daemon=True).start()
        # What is left are last bytes and microphones, whose sound is kept now.
        left_s = 0.0 if self._is_hurried else until_s - self._loop.time()
        self.config.timeout_graceful_shutdown = max(round(left_s), round(_LAST_WORDS_S))
        self.should_exit = True

    def _give_up_after(self, patience_s: float) -> None:
        watchdog = threading.Timer(patience_s, os._exit, (1,))
        watchdog.daemon = True
        watchdog.start()


def _recordings(count: int) -> str:
    return "1 recording" if count == 1 else f"{count} recordings"
