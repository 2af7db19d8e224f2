"""Lets in who has a key or is signed in, and everybody where neither is asked for."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from http import HTTPStatus
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emotion.access.clients import Client, address_of
from emotion.access.keys import Keyring
from emotion.access.middleware import PROBES
from emotion.access.origins import ANY_ORIGIN
from emotion.access.problems import VIOLATION, ForeignOrigin, problem_of
from emotion.access.sessions import Sessions, token_of
from emotion.errors import EmotionError, NotAllowed

LOGIN_PATH, LOGOUT_PATH = "/login", "/logout"
_OPEN = (LOGIN_PATH, LOGOUT_PATH)


class AccessGate:
    """Puts the client into `scope["state"]["client"]`, or refuses.

    Programs get a 401 as problem+json, browsers that ask for a document are sent to the page of sign-in, web sockets
    are closed; a web socket that a session opened is closed when that session ends. A request without a key from a
    page of another web site is refused: a browser would send the cookie of the person along, and where nobody is asked
    for a key nothing else protects the server.
    """

    def __init__(
        self, app: ASGIApp, keyring: Keyring, sessions: Sessions, origins: frozenset[str] = frozenset()
    ) -> None:
        """`origins` are web sites whose scripts may use the API."""
        self._app, self._keyring, self._sessions, self._origins = app, keyring, sessions, origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            client = self._client_of(scope)
        except NotAllowed as error:
            await self._send_to_login(scope, receive, send, error)
        except EmotionError as error:
            await problem_of(error)(scope, receive, send)
        else:
            scope.setdefault("state", {})["client"] = client
            is_by_cookie = self._keyring.asks and key_of(Headers(scope=scope)) is None
            token = token_of(scope) if scope["type"] == "websocket" and is_by_cookie else None
            if token is None:
                await self._app(scope, receive, send)
            else:
                await _until_over(self._sessions.wait_until_over(token), self._app, scope, receive, send)

    def _client_of(self, scope: Scope) -> Client:
        """Raises NotAllowed or ForeignOrigin."""
        headers, anybody = Headers(scope=scope), Client(f"address:{address_of(scope)}")
        if scope["path"] in PROBES:
            return anybody
        if not self._keyring.asks:
            if is_foreign(headers) and not self._origins & {ANY_ORIGIN, headers.get("origin", "")}:
                raise ForeignOrigin
            return anybody
        key, client = key_of(headers), None
        if key is not None:
            client = self._keyring.client_of_key(key)
        elif is_foreign(headers):
            raise ForeignOrigin
        elif (token := token_of(scope)) is not None:
            client = self._sessions.client_of(token)
        if client is None and key is None and scope["path"] in _OPEN:
            return anybody
        if client is None:
            raise NotAllowed
        return client

    async def _send_to_login(self, scope: Scope, receive: Receive, send: Send, error: NotAllowed) -> None:
        headers = Headers(scope=scope)
        wants_page = scope["type"] == "http" and scope["method"] == "GET" and "text/html" in headers.get("accept", "")
        if not wants_page or key_of(headers) is not None:
            await problem_of(error)(scope, receive, send)
            return
        query = scope.get("query_string", b"").decode("latin-1")
        wanted = scope["path"] + (f"?{query}" if query else "")
        address = f"{scope.get('root_path', '')}{LOGIN_PATH}"
        if wanted != "/":
            address += f"?next={quote(wanted, safe='')}"
        answer = RedirectResponse(address, HTTPStatus.SEE_OTHER, {"Cache-Control": "no-store"})
        await answer(scope, receive, send)


def key_of(headers: Headers) -> str | None:
    """The key of a request, in `Authorization: Bearer` or in `X-API-Key`."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return key.strip()
    return headers.get("x-api-key")


def is_foreign(headers: Headers) -> bool:
    """Whether a browser sends this for a page of another web site; programs name no origin.

    What browsers do not let a page do is to lie in Origin, or to set X-Forwarded-Host, by which a proxy says how the
    reader calls this server.
    """
    origin = headers.get("origin")
    if origin is None:
        return False
    with suppress(ValueError):  # of an address that is none
        host = urlsplit(origin).netloc.lower()
        hosts = [headers.get("host", ""), *headers.get("x-forwarded-host", "").split(",")]
        return not host or host not in {name.strip().lower() for name in hosts}
    return True


async def _until_over(over: Awaitable[None], app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Have the application answer a web socket that is closed in the moment in which the session behind it is over.

    The application then hears that nobody is there any more, as if the browser had gone.
    """
    gone: Message = {"type": "websocket.disconnect", "code": VIOLATION, "reason": ""}
    has_begun = is_over = is_closed = False

    async def close_when_over() -> None:
        nonlocal is_over
        await over
        is_over = True
        if not is_closed:
            with suppress(OSError, RuntimeError):  # the browser may be gone already
                await send({"type": "websocket.close", "code": VIOLATION, "reason": ""})

    async def hear() -> Message:
        nonlocal has_begun
        if not has_begun:  # the first message only says that there is a socket
            has_begun = True
            return await receive()
        heard = asyncio.ensure_future(receive())
        try:
            await asyncio.wait((heard, closing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            heard.cancel()  # does nothing to what is heard already
        return gone if is_over else heard.result()

    async def tell(message: Message) -> None:
        nonlocal is_closed
        if not is_over:
            is_closed = is_closed or message["type"] == "websocket.close"
            await send(message)

    closing = asyncio.ensure_future(close_when_over())
    try:
        await app(scope, hear, tell)
    finally:
        if not is_over:
            closing.cancel()
        await asyncio.wait({closing})
