"""A web socket that was opened by who is signed in: it ends with the session, as if the browser had gone."""

import asyncio
from contextlib import suppress
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emotion.access.middleware import POLICY_VIOLATION
from emotion.access.sessions import Sessions

_GONE: Message = {"type": "websocket.disconnect", "code": POLICY_VIOLATION, "reason": ""}


class SessionSocket:
    """One web socket, closed in the moment in which its session is over; the application hears that it is gone."""

    def __init__(self, receive: Receive, send: Send, sessions: Sessions, token: str) -> None:
        self._receive, self._send, self._sessions, self._token = receive, send, sessions, token
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._has_begun = self._is_closed = False

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Have the application answer the socket, until it is done or hears that nobody is there any more."""
        closing = asyncio.ensure_future(self._close_when_over())
        try:
            await app(scope, self._hear, self._tell)
        finally:
            if not self._over.done():
                closing.cancel()
            await asyncio.wait({closing})

    async def _close_when_over(self) -> None:
        await self._sessions.wait_until_over(self._token)
        is_open, self._is_closed = not self._is_closed, True
        self._over.set_result(None)
        if is_open:
            with suppress(OSError, RuntimeError):  # the browser may be gone already
                await self._send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": ""})

    async def _hear(self) -> Message:
        if not self._has_begun:  # the first message only says that there is a socket
            self._has_begun = True
            return await self._receive()
        if self._over.done():
            return _GONE
        heard = asyncio.ensure_future(self._receive())
        either: set[asyncio.Future[Any]] = {heard, self._over}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            heard.cancel()  # does nothing to what is heard already
        return _GONE if self._over.done() else heard.result()

    async def _tell(self, message: Message) -> None:
        if self._over.done():
            return
        self._is_closed = self._is_closed or message["type"] == "websocket.close"
        await self._send(message)
