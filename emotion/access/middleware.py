"""What every request passes on its way in: its id, the name it asks by, its size, who asks, and how often."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emotion.access.clients import client_of
from emotion.access.limits import RateLimiter
from emotion.access.problems import problem_of, problem_of_status
from emotion.errors import BodyTooLarge, EngineClosed, TooManyRequests
from emotion.logs import request_context

log = logging.getLogger(__name__)
REQUEST_ID_HEADER = "X-Request-ID"
# Ids of others end up in our logs and headers, so only plain ones are taken over.
_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# Probes of an orchestrator ask by address, and learn nothing but whether the server is up.
PROBES = ("/healthz", "/readyz")
# What makes work: uploads and what is put into the queue. Not what the page asks by itself every other second.
_PAGE_WORK = re.compile(r"/gradio_api/(upload|queue/join|call/.+)/?")
_GAVE_UP = "Nothing came of this request for a while, so it was given up. Send it again."
_API = "/v1/"
_PAGE_SOCKET = "/live"


class WatchedSend:
    """Passes an answer on and knows how far it came: its status, 0 before it began, and whether all of it is out."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0
        self.is_whole = False

    @property
    def has_begun(self) -> bool:
        return self.status > 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        self.is_whole = message["type"] == "http.response.body" and not message.get("more_body", False)
        await self._send(message)


class RequestId:
    """Gives every request an id: in `scope["state"]`, in the logs, and in the header of the answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        wished = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
        identity = wished if _SANE_ID.fullmatch(wished) else request_context.new_request_id()
        scope.setdefault("state", {})["request_id"] = identity

        async def send_with_id(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.accept"):
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = identity
            await send(message)

        with request_context.request_scope(identity):
            await self._app(scope, receive, send_with_id)


class ErrorMiddleware:
    """Answers unexpected errors with a 500 that tells nothing of the inside; the log has them in full."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = WatchedSend(send)
        try:
            await self._app(scope, receive, answer)
        except asyncio.CancelledError:
            # The recording was cancelled and not the request: the engine ended before it was done.
            task = asyncio.current_task()
            if answer.has_begun or (task is not None and task.cancelling()):
                raise
            await problem_of(EngineClosed())(scope, receive, send)
        except ClientDisconnect:
            if not answer.has_begun:  # heard by those only who fell silent in the middle of a request
                await problem_of_status(HTTPStatus.REQUEST_TIMEOUT, _GAVE_UP, "body_stalled")(scope, receive, send)
        except Exception as error:
            log.error("a request failed unexpectedly", exc_info=error)
            if answer.has_begun:
                raise
            await problem_of(error)(scope, receive, send)


class KnownHosts:
    """Refuses requests whose Host header names another server.

    A page of a stranger can point a name of its own at this machine, and would then read the results in a browser of
    ours (DNS rebinding); the name in its requests gives it away.
    """

    def __init__(self, app: ASGIApp, names: frozenset[str]) -> None:
        self._app, self._names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or scope["path"] in PROBES or self._knows(scope):
            await self._app(scope, receive, send)
        else:
            detail = "This server is not known by the name in this address. Put the name into allowed_hosts."
            await problem_of_status(HTTPStatus.BAD_REQUEST, detail, "unknown_host")(scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        name = host_name(Headers(scope=scope).get("host", ""))
        return name in self._names or any(name.endswith(known[1:]) for known in self._names if known[:2] == "*.")


class BodyLimit:
    """Counts the bytes of a request while they are read; headers are not believed, but a large one is refused early.

    A body of which nothing comes for `stall_s` counts as given up.
    """

    def __init__(self, app: ASGIApp, limit_bytes: int, stall_s: float = 60.0) -> None:
        self._app, self._limit_bytes, self._stall_s = app, limit_bytes, stall_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body, answer = _CountedBody(receive, self._limit_bytes, self._stall_s), WatchedSend(send)
        body.is_over = _content_length(scope) > self._limit_bytes

        async def send_unless_over(message: Message) -> None:
            # What the application makes of a body that was cut short is not the reason to tell.
            if not body.is_over or answer.has_begun:
                await answer(message)

        try:
            if not body.is_over:
                await self._app(scope, body.receive, send_unless_over)
        except Exception:
            if not body.is_over or answer.has_begun:
                raise
        if body.is_over and not answer.has_begun:
            await problem_of(BodyTooLarge(self._limit_bytes))(scope, receive, send)


class RateLimit:
    """Limits the requests of each client that make work: those of the API, and the uploads and submits of the page."""

    def __init__(self, app: ASGIApp, limiter: RateLimiter) -> None:
        self._app, self._limiter = app, limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _is_work(scope):
            await self._app(scope, receive, send)
            return
        try:
            self._limiter.count(client_of(scope).name)
        except TooManyRequests as error:
            await problem_of(error)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def host_name(host: str) -> str:
    """The name in a Host header, without the port, in small letters: `localhost`, `[::1]`."""
    host = host.strip().lower()
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def _is_work(scope: Scope) -> bool:
    if scope["type"] == "websocket":
        return bool(scope["path"].startswith(_API) or scope["path"] == _PAGE_SOCKET)
    if scope["type"] != "http":
        return False
    is_submit = scope["method"] == "POST" and _PAGE_WORK.fullmatch(scope["path"]) is not None
    return is_submit or bool(scope["path"].startswith(_API))


def _content_length(scope: Scope) -> int:
    length = Headers(scope=scope).get("content-length", "")
    # A length of more digits than this is either nonsense or too much.
    return int(length) if length.isascii() and length.isdecimal() and len(length) < 20 else 0


class _TooMuch(Exception):
    """Ends the reading of a body."""


class _CountedBody:
    """Counts the body of a request up to a limit, and gives it up when it stalls."""

    def __init__(self, receive: Callable[[], Awaitable[Message]], limit_bytes: int, stall_s: float) -> None:
        self._receive, self._limit_bytes, self._stall_s = receive, limit_bytes, stall_s
        self._read_bytes = 0
        self._has_more = True
        self.is_over = False

    async def receive(self) -> Message:
        if self.is_over:
            raise _TooMuch
        if not self._has_more:  # what is waited for now is that the client leaves
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), self._stall_s)
        except TimeoutError:
            self._has_more = False
            return {"type": "http.disconnect"}
        if message["type"] == "http.request":
            self._read_bytes += len(message.get("body", b""))
            self._has_more = message.get("more_body", False)
        if self._read_bytes > self._limit_bytes:
            self.is_over = True
            raise _TooMuch
        return message
