"""What Gradio's own addresses give, and to whom: one client's sessions and uploads are not there for another.

Gradio finds sessions and uploads by names that are hard to guess, and asks nobody whose they are. So the sessions of
each client get names that no other client can say, and uploads are remembered with their owner.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

import orjson
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emotion.ui.gradio_adapter import (
    API,
    JSON_ADDRESSES,
    NAMES_OF_SESSIONS,
    UNUSED_PAGES,
    USED_ADDRESSES,
    ChangedAnswer,
)
from emotion.ui.uploads import Uploads
from emotion.ui.workspace import owner_of

# A call names its files and holds none; a batch of a thousand takes 400 kB.
MAX_CALL_BYTES = 8_000_000


class ClientGuard:
    """Stands before Gradio; where nobody is asked who they are, it only closes what nothing uses."""

    def __init__(self, app: ASGIApp, uploads: Uploads) -> None:
        self._app, self._uploads = app, uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        word, rest = _parts(path)
        owner = owner_of(scope)
        if word == "file":
            allowed = self._may_read(owner, rest)
        else:
            allowed = word in USED_ADDRESSES if path.startswith(API) else not path.startswith(UNUSED_PAGES)
        if not allowed:
            await _refuse(404, scope, receive, send)
        elif owner and path.startswith(API):
            await self._pass_own(owner, word, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _may_read(self, owner: str, path: str) -> bool:
        # By itself Gradio would also fetch an address and hand it on.
        if path.lower().startswith(("http:", "https:")):
            return False
        return not owner or self._uploads.is_owner(owner, path)

    async def _pass_own(self, owner: str, word: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what one client asks, with names that only this client can say."""
        prefix = _prefix(owner)
        is_post = scope["method"] == "POST"
        if word == "call" and not is_post and not scope["path"].rpartition("/")[2].startswith(prefix):
            await _refuse(404, scope, receive, send)
            return
        scope = _renamed(scope, word, prefix)
        if not is_post:
            await self._app(scope, receive, send)
        elif word == "upload":
            await self._app(scope, receive, _changed(send, lambda paths: self._own_uploads(owner, paths)))
        elif word in JSON_ADDRESSES:
            call = await _read_call(receive)
            if call is None or any(not self._may_take(owner, path) for path in _paths(call)):
                await _refuse(400, scope, receive, send)
                return
            if isinstance(call.get("session_hash"), str):
                call["session_hash"] = prefix + call["session_hash"]
            passed, replay = _with_body(scope, receive, orjson.dumps(call))
            answer = _changed(send, lambda said: _event_renamed(said, prefix)) if word == "call" else send
            await self._app(passed, replay, answer)
        else:
            await _refuse(404, scope, receive, send)

    def _may_take(self, owner: str, path: str) -> bool:
        return path.lower().startswith(("http:", "https:")) or self._uploads.is_owner(owner, path)

    def _own_uploads(self, owner: str, paths: Any) -> Any:
        if isinstance(paths, list):
            self._uploads.add_owner(owner, [path for path in paths if isinstance(path, str)])
        return paths


def _changed(send: Send, change: Callable[[Any], Any]) -> Send:
    """A `send` that changes what a JSON answer says."""

    def rewrite(body: bytes) -> bytes:
        return orjson.dumps(change(orjson.loads(body)))

    return ChangedAnswer(send, lambda start: start["status"] == 200, rewrite).take


def _parts(path: str) -> tuple[str, str]:
    """The first word of an address of Gradio's, and what follows it; `file=x` and `file/x` mean the same."""
    if not path.startswith(API):
        return "", ""
    below = path.removeprefix(API)
    if below.startswith(("file=", "file/")):
        return "file", below[len("file=") :]
    word, _, rest = below.partition("/")
    return word, rest


def _prefix(owner: str) -> str:
    """What the names of this owner's sessions begin with; of one length, so that no two owners can mean one session."""
    return hashlib.sha256(owner.encode()).hexdigest()[:16]


def _renamed(scope: Scope, word: str, prefix: str) -> Scope:
    """The scope with the session in its path or query as this client's, and an event as Gradio knows it."""
    asked = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    query = urlencode([(name, prefix + value if name in NAMES_OF_SESSIONS else value) for name, value in asked])
    path = scope["path"]
    if word == "heartbeat":
        before, _, session = path.rpartition("/")
        path = f"{before}/{prefix}{session}"
    elif word == "call" and scope["method"] == "GET":
        before, _, event = path.rpartition("/")
        path = f"{before}/{event.removeprefix(prefix)}"
    return {**scope, "path": path, "raw_path": None, "query_string": query.encode("latin-1")}


async def _read_call(receive: Receive) -> dict[str, Any] | None:
    """The body of a call, None for one that is too large, or no JSON object."""
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if len(body) > MAX_CALL_BYTES:
            return None
        more = message.get("more_body", False)
    try:
        call = orjson.loads(bytes(body))
    except orjson.JSONDecodeError:
        return None
    return call if isinstance(call, dict) else None


def _paths(call: Mapping[str, Any]) -> list[str]:
    """Every path of a file that a call names, however deep."""
    found, left = [], [*call.values()]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            path = value.get("path")
            found += [path] if isinstance(path, str) else []
            left += value.values()
        elif isinstance(value, list):
            left += value
    return found


def _with_body(scope: Scope, receive: Receive, body: bytes) -> tuple[Scope, Receive]:
    """Scope and receive of the same request with another body."""
    headers = [
        (name, value) for name, value in scope["headers"] if name not in (b"content-length", b"transfer-encoding")
    ]
    headers.append((b"content-length", str(len(body)).encode()))
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return {**scope, "headers": headers}, replay


def _event_renamed(said: Any, prefix: str) -> Any:
    if isinstance(said, dict) and isinstance(said.get("event_id"), str):
        return {**said, "event_id": prefix + said["event_id"]}
    return said


async def _refuse(status: int, scope: Scope, receive: Receive, send: Send) -> None:
    await Response(status_code=status)(scope, receive, send)
