"""Signing in and out on the page, with a name and a password or with a key."""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from emotion.access.clients import Client, address_of
from emotion.access.gate import LOGIN_PATH, LOGOUT_PATH
from emotion.access.keys import KEY_PREFIX, Keyring
from emotion.access.limits import SIGN_INS, RateLimiter
from emotion.access.login_page import login_headers, login_html
from emotion.access.problems import problem_of, retry_after_s
from emotion.access.sessions import Sessions, cookie_of, token_of
from emotion.errors import BodyTooLarge, TooManyRequests
from emotion.labels import LANGUAGES, Language
from emotion.texts import LANGUAGE_COOKIE, Words, language_of

_LARGEST_FORM_BYTES = 8 * 1024
# Each takes 16 MiB and a processor for 0.2 s, which recognition needs more.
_PASSWORDS_AT_ONCE = 2
_MINUTE_S = 60


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
        language = self._language_of(request)
        said = Words(language)("sign_in.ended") if "ended" in request.query_params else ""
        answer = _page(request, language, wanted=wanted, said=said)
        if request.query_params.get("language") in LANGUAGES:
            answer.set_cookie(LANGUAGE_COOKIE, language, max_age=365 * 24 * 3600, path=_root(request), samesite="lax")
        return answer

    async def sign_in(self, request: Request) -> Response:
        form = await _form_of(request)
        if form is None:
            return problem_of(BodyTooLarge(_LARGEST_FORM_BYTES)).response()
        address, language = f"address:{address_of(request.scope)}", self._language_of(request)
        try:
            client = await self._client_of(form, address)
        except TooManyRequests as error:
            return _refuse(request, language, form, error)
        if client is None:
            said = Words(language)("sign_in.wrong")
            answer = _page(request, language, wanted=form.wanted, typed=form.name, said=said, is_bad=True)
            answer.status_code = HTTPStatus.UNAUTHORIZED
            return answer
        token = self._sessions.begin(client)
        return _redirect(request, form.wanted, token)

    async def sign_out(self, request: Request) -> Response:
        token = token_of(request.scope)
        if token is not None:
            self._sessions.end(token)
        return _redirect(request, f"{LOGIN_PATH}?ended", "")

    async def _client_of(self, form: _Form, address: str) -> Client | None:
        """Raises TooManyRequests for an address from which too much was guessed, without looking at the guess."""
        self._failures.check(address)
        client = self._client_of_key(form)
        if client is None:
            async with self._slots:
                self._failures.check(address)  # others of the same address may have guessed meanwhile
                client = await asyncio.to_thread(self._keyring.client_of_login, form.name, form.password)
                if client is None:
                    self._failures.count(address)
        return client

    def _client_of_key(self, form: _Form) -> Client | None:
        key = form.password.strip()
        return self._keyring.client_of_key(key) if key.startswith(KEY_PREFIX) else None

    def _language_of(self, request: Request) -> Language:
        chosen = (request.query_params.get("language"), request.cookies.get(LANGUAGE_COOKIE), self._chosen)
        return language_of(request.headers.get("accept-language", ""), *chosen)


def own_path(wanted: str) -> str:
    """The path, if it is one of this server: a link must not lead a person who signs in to another web site."""
    is_own = wanted.startswith("/") and not wanted.startswith(("//", "/\\"))
    # Browsers drop line ends and tabs from addresses, and read a backslash as a slash.
    is_plain = wanted.isascii() and wanted.isprintable() and "\\" not in wanted
    is_door = wanted.partition("?")[0] in (LOGIN_PATH, LOGOUT_PATH)
    return wanted if is_own and is_plain and not is_door else "/"


async def _form_of(request: Request) -> _Form | None:
    """The form, None if it is larger than any such form."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _LARGEST_FORM_BYTES:
            return None
    fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=10) if body.count(b"&") < 10 else {}
    return _Form(_field(fields, "name").strip(), _field(fields, "password"), own_path(_field(fields, "next")))


def _field(fields: Mapping[str, list[str]], name: str) -> str:
    return fields.get(name, [""])[0]


def _refuse(request: Request, language: Language, form: _Form, error: TooManyRequests) -> Response:
    retry_s = retry_after_s(error) or 1
    said = Words(language)("sign_in.too_many", minutes=math.ceil(retry_s / _MINUTE_S))
    answer = _page(request, language, wanted=form.wanted, typed=form.name, said=said, is_bad=True)
    answer.status_code = HTTPStatus.TOO_MANY_REQUESTS
    answer.headers["Retry-After"] = str(retry_s)
    return answer


def _page(
    request: Request, language: Language, *, wanted: str, typed: str = "", said: str = "", is_bad: bool = False
) -> HTMLResponse:
    action = request.scope.get("root_path", "") + LOGIN_PATH
    html = login_html(language, action, wanted=wanted, typed=typed, said=said, is_bad=is_bad)
    return HTMLResponse(html, headers=login_headers())


def _redirect(request: Request, path: str, token: str) -> Response:
    answer = RedirectResponse(
        request.scope.get("root_path", "") + path, HTTPStatus.SEE_OTHER, {"Cache-Control": "no-store"}
    )
    is_secure = request.scope.get("scheme") == "https"
    answer.headers.append("Set-Cookie", cookie_of(token, is_secure, _root(request)))
    return answer


def _root(request: Request) -> str:
    return request.scope.get("root_path", "") or "/"
