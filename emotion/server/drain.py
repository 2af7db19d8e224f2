"""How a server ends: it takes nothing new, what it took is finished, and streams without an end are cut."""

import asyncio
from contextlib import suppress

from starlette.types import ASGIApp, Receive, Scope, Send

from emotion.access.middleware import WatchedSend
from emotion.access.problems import problem_of
from emotion.errors import EngineClosed

READY_PATH = "/readyz"
# Gradio tells by it that a page is still open; it lasts as long as the page.
_ENDLESS = "/heartbeat/"


class DrainState:
    """Whether the server is ending, and what it still has to answer; make one beside the application."""

    def __init__(self) -> None:
        self._begun = asyncio.Event()
        self.open_requests = 0
        """Requests whose answer is not out yet, without streams that have no end."""

    @property
    def has_begun(self) -> bool:
        return self._begun.is_set()

    def begin(self) -> None:
        """Take nothing new from now on; to be called on the loop of the server."""
        self._begun.set()

    async def wait(self) -> None:
        """Return when the server begins to end."""
        await self._begun.wait()


class DrainMiddleware:
    """Refuses new work while the server ends; what asks for results is still let in."""

    def __init__(self, app: ASGIApp, ending: DrainState) -> None:
        self._app, self._ending = app, ending

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
        elif self._ending.has_begun and _is_new_work(scope):
            await problem_of(EngineClosed())(scope, receive, send)
        elif scope["type"] == "websocket":
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


def _is_new_work(scope: Scope) -> bool:
    return bool(scope["type"] == "websocket" or scope["method"] == "POST" or scope["path"] == READY_PATH)
