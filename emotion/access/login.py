"""Signing in and out on the page, with a name and a password or with a key."""

import asyncio
import base64
import hashlib
import math
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from emotion.access.clients import Client, address_of
from emotion.access.gate import LOGIN_PATH, LOGOUT_PATH
from emotion.access.keys import KEY_PREFIX, Keyring
from emotion.access.limits import SIGN_INS, RateLimiter
from emotion.access.problems import problem_of, retry_after_s
from emotion.access.sessions import Sessions, cookie_of, token_of
from emotion.errors import BodyTooLarge, TooManyRequests
from emotion.labels import LANGUAGES
from emotion.texts import LANGUAGE_COOKIE, Words, language_of
from emotion.texts.templates import Templates

_LARGEST_FORM_BYTES = 8 * 1024
# Each takes 16 MiB and a processor for 0.2 s, which recognition needs more.
_PASSWORDS_AT_ONCE = 2
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class _Form:
    """What was typed, and where the person wants to go."""

    name: str
    password: str
    wanted: str


class SignIn:
    """The routes `/login` and `/logout`."""

    def __init__(self, keyring: Keyring, sessions: Sessions, language: str = "auto") -> None:
        """`language` is the setting of that name."""
        self._keyring, self._sessions, self._chosen = keyring, sessions, language
        self._failures = RateLimiter(SIGN_INS)
        self._slots = asyncio.Semaphore(_PASSWORDS_AT_ONCE)

    def routes(self) -> list[Route]:
        return [
            Route(LOGIN_PATH, self.show, methods=["GET"]),
            Route(LOGIN_PATH, self.sign_in, methods=["POST"]),
            Route(LOGOUT_PATH, self.sign_out, methods=["GET", "POST"]),
        ]

    async def show(self, request: Request) -> Response:
        wanted = own_path(request.query_params.get("next", ""))
        words = self._words(request)
        answer = _page(request, words, words("sign_in.ended") if "ended" in request.query_params else "", wanted)
        if request.query_params.get("language") in LANGUAGES:
            year_s = 365 * 24 * 3600
            answer.set_cookie(LANGUAGE_COOKIE, words.language, year_s, path=_root(request), samesite="lax")
        return answer

    async def sign_in(self, request: Request) -> Response:
        form = await _form_of(request)
        if form is None:
            return problem_of(BodyTooLarge(_LARGEST_FORM_BYTES)).response()
        words = self._words(request)
        try:
            client = await self._client_of(form, f"address:{address_of(request.scope)}")
        except TooManyRequests as error:
            retry_s = retry_after_s(error) or 1
            said = words("sign_in.too_many", minutes=math.ceil(retry_s / 60))
            answer = _page(request, words, said, form.wanted, form.name, HTTPStatus.TOO_MANY_REQUESTS)
            answer.headers["Retry-After"] = str(retry_s)
            return answer
        if client is None:
            said = words("sign_in.wrong")
            return _page(request, words, said, form.wanted, form.name, HTTPStatus.UNAUTHORIZED)
        return _redirect(request, form.wanted, self._sessions.open_session(client))

    async def sign_out(self, request: Request) -> Response:
        token = token_of(request.scope)
        if token is not None:
            self._sessions.end_session(token)
        return _redirect(request, f"{LOGIN_PATH}?ended", "")

    async def _client_of(self, form: _Form, address: str) -> Client | None:
        """Raises TooManyRequests for an address from which too much was guessed, without looking at the guess."""
        self._failures.check(address)
        key = form.password.strip()
        client = self._keyring.client_of_key(key) if key.startswith(KEY_PREFIX) else None
        if client is None:
            async with self._slots:
                self._failures.check(address)  # others of the same address may have guessed meanwhile
                client = await asyncio.to_thread(self._keyring.client_of_login, form.name, form.password)
                if client is None:
                    self._failures.count(address)
        return client

    def _words(self, request: Request) -> Words:
        chosen = (request.query_params.get("language"), request.cookies.get(LANGUAGE_COOKIE), self._chosen)
        return Words(language_of(request.headers.get("accept-language", ""), *chosen))


def own_path(wanted: str) -> str:
    """The path, if it is one of this server: a link must not lead a person who signs in to another web site."""
    is_own = wanted.startswith("/") and not wanted.startswith(("//", "/\\"))
    # Browsers drop line ends and tabs from addresses, and read a backslash as a slash.
    is_plain = wanted.isascii() and wanted.isprintable() and "\\" not in wanted
    is_door = wanted.partition("?")[0] in (LOGIN_PATH, LOGOUT_PATH)
    return wanted if is_own and is_plain and not is_door else "/"


async def _form_of(request: Request) -> _Form | None:
    """The form, None if it is larger than a form of sign-in can be."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _LARGEST_FORM_BYTES:
            return None
    fields = dict(parse_qsl(body.decode("utf-8", "replace"))) if body.count(b"&") < 10 else {}
    return _Form(fields.get("name", "").strip(), fields.get("password", ""), own_path(fields.get("next", "")))


def _page(
    request: Request, words: Words, said: str, wanted: str, typed: str = "", status: int = HTTPStatus.OK
) -> HTMLResponse:
    """The page of sign-in: one form, no script, nothing fetched. `typed` is the name that was typed already."""
    html = Templates(_TEMPLATES).render(
        "login.html",
        words,
        style=_style(),
        languages=[Words(other) for other in reversed(LANGUAGES)],
        action=request.scope.get("root_path", "") + LOGIN_PATH,
        wanted=wanted,
        typed=typed,
        said=said,
        is_bad=status != HTTPStatus.OK,
    )
    return HTMLResponse(html, status, _page_headers())


@cache
def _page_headers() -> dict[str, str]:
    """The page's own style applies, and nothing else is loaded, run, or framed."""
    style_hash = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; style-src 'sha256-{style_hash}'; img-src data:; form-action 'self'; "
            "base-uri 'none'; frame-ancestors 'none'"
        ),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        # Not `no-referrer`: a browser would then say that the form comes from nowhere.
        "Referrer-Policy": "same-origin",
        "Vary": "Cookie, Accept-Language",
    }


@cache
def _style() -> str:
    return (_TEMPLATES / "login.css").read_text(encoding="utf-8")


def _redirect(request: Request, path: str, token: str) -> Response:
    address = request.scope.get("root_path", "") + path
    answer = RedirectResponse(address, HTTPStatus.SEE_OTHER, {"Cache-Control": "no-store"})
    answer.headers.append("Set-Cookie", cookie_of(token, request.scope.get("scheme") == "https", _root(request)))
    return answer


def _root(request: Request) -> str:
    return request.scope.get("root_path", "") or "/"
