"""Who is signed in on the page: random tokens in memory, so that all are signed out when the program ends."""

import asyncio
import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.cookies import SimpleCookie
from typing import Any

from starlette.requests import HTTPConnection

from emotion.access.clients import Client

COOKIE = "emotion_session"
IDLE_S = 12 * 3600.0
LIFETIME_S = 7 * 24 * 3600.0
_MOST = 10_000
_TOKEN_BYTES = 32


@dataclass(frozen=True)
class _Session:
    client: Client
    used_s: float
    ends_s: float
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def due_s(self) -> float:
        """When it is over, if it is not used again."""
        return min(self.ends_s, self.used_s + IDLE_S)


class Sessions:
    """Sign-ins that last 7 days at most, and 12 hours after they were last used; used on one thread and one loop."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic, most: int = _MOST) -> None:
        self._now_s, self._most = now_s, most
        # By the hash of the token, so that neither the memory nor the time of a look-up gives a token away.
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def open_session(self, client: Client) -> str:
        """The token of a new session; the least recently used session ends when there are too many."""
        token, now_s = secrets.token_urlsafe(_TOKEN_BYTES), self._now_s()
        self._sessions[_digest(token)] = _Session(client, now_s, now_s + LIFETIME_S)
        self._drop_old(now_s)
        return token

    def client_of(self, token: str) -> Client | None:
        """The client who signed in with this token, None when the session is over."""
        key, now_s = _digest(token), self._now_s()
        session = self._sessions.get(key)
        if session is None:
            return None
        if now_s >= session.due_s:
            self._drop(key)
            return None
        self._sessions[key] = replace(session, used_s=now_s)
        self._sessions.move_to_end(key)
        return session.client

    def end_session(self, token: str) -> None:
        """Sign out."""
        self._drop(_digest(token))

    async def wait_until_over(self, token: str) -> None:
        """Return when nobody is signed in with this token any more, for whatever reason."""
        key = _digest(token)
        while session := self._sessions.get(key):
            left_s = session.due_s - self._now_s()
            if left_s <= 0:
                self._drop(key)
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(session.over.wait(), left_s)

    def _drop(self, key: bytes) -> None:
        session = self._sessions.pop(key, None)
        if session is not None:
            session.over.set()

    def _drop_old(self, now_s: float) -> None:
        # The first was used the longest ago.
        while self._sessions:
            key, first = next(iter(self._sessions.items()))
            if len(self._sessions) <= self._most and now_s < first.used_s + IDLE_S:
                return
            self._drop(key)


def token_of(scope: Mapping[str, Any]) -> str | None:
    """The token in the cookie of a request or a web socket."""
    return HTTPConnection(dict(scope)).cookies.get(COOKIE)


def cookie_of(token: str, is_secure: bool, path: str) -> str:
    """The header that gives a browser its token; it goes when the browser is closed. No token: it goes at once."""
    cookie: SimpleCookie = SimpleCookie({COOKIE: token})
    morsel = cookie[COOKIE]
    morsel["path"], morsel["httponly"], morsel["samesite"], morsel["secure"] = path, True, "Lax", is_secure
    if not token:
        morsel["max-age"] = "0"
    return morsel.OutputString()


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
