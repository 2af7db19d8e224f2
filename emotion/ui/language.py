"""The reader's language: what was chosen on the page, else the browser's; the server decides it for both sides."""

import json
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emotion.labels import Language
from emotion.texts import LANGUAGE_COOKIE, Words, language_of


def reader_language(cookies: Mapping[str, str], headers: Mapping[str, str], chosen: str) -> Language:
    """What the reader chose on the page, else the setting, else what the browser asks for."""
    return language_of(headers.get("accept-language", ""), cookies.get(LANGUAGE_COOKIE), chosen)


class PageLanguage:
    """Tells the page its language before any of its scripts runs.

    Gradio takes the browser's language for its own texts and for ours, and has no switch; so the document says it in
    the attribute `lang`, for screen readers and for the choice of Chinese letters, and in `navigator.language`.
    """

    def __init__(self, app: ASGIApp, chosen: str) -> None:
        self._app, self._chosen = app, chosen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] != "http"
            or scope["method"] != "GET"
            or scope["path"].rstrip("/") != scope.get("root_path", "")
        ):
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        document = _Document(send, reader_language(request.cookies, request.headers, self._chosen))
        await self._app(scope, receive, document.take)


class _Document:
    """Holds an HTML answer back until it is whole, and sends it with the language in it."""

    def __init__(self, send: Send, language: Language) -> None:
        self._send, self._language = send, language
        self._start: Message | None = None
        self._body = b""

    async def take(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_html(message):
            self._start = message
        elif self._start is None:
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body"):
                await self._send_whole(self._start)

    async def _send_whole(self, start: Message) -> None:
        tag = Words(self._language)("language.tag")
        early = f'<script>Object.defineProperty(navigator,"language",{{get:()=>{json.dumps(tag)}}})</script>'
        body = self._body.replace(b'lang="en"', f'lang="{tag}"'.encode(), 1)
        body = body.replace(b"<head>", b"<head>" + early.encode(), 1)
        headers = MutableHeaders(scope=start)
        headers["content-length"] = str(len(body))
        headers.add_vary_header("Cookie, Accept-Language")
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body})


def _is_html(start: Message) -> bool:
    return Headers(raw=start["headers"]).get("content-type", "").startswith("text/html")
