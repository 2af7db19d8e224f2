"""The visitor's language: what was chosen on the page, else the browser's; the server decides it for both sides."""

import json
from collections.abc import Mapping
from functools import partial

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emotion.labels import Language
from emotion.texts import LANGUAGE_COOKIE, Words, language_of
from emotion.ui.gradio_adapter import ChangedAnswer


def visitor_language(cookies: Mapping[str, str], headers: Mapping[str, str], chosen: str) -> Language:
    """What the visitor chose on the page, else the setting, else what the browser asks for."""
    return language_of(headers.get("accept-language", ""), cookies.get(LANGUAGE_COOKIE), chosen)


class PageLanguage:
    """Tells the page its language before any of its scripts runs.

    Gradio takes the browser's language for its own texts and for ours, and has no switch; so the document says it in
    the attribute `lang`, for screen readers and for the choice of Chinese letters, and in `navigator.language`.
    """

    def __init__(self, app: ASGIApp, chosen: str, head: str = "") -> None:
        """`head` comes first in the head of the document, after the language."""
        self._app, self._chosen, self._head = app, chosen, head

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] != "http"
            or scope["method"] != "GET"
            or scope["path"].rstrip("/") != scope.get("root_path", "")
        ):
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        language = visitor_language(request.cookies, request.headers, self._chosen)
        change = partial(_with_head, language=language, head=self._head)
        document = ChangedAnswer(send, _is_html, change, "Cookie, Accept-Language")
        await self._app(scope, receive, document.take)


def _with_head(document: bytes, language: Language, head: str) -> bytes:
    tag = Words(language)("language.tag")
    early = f'<script>Object.defineProperty(navigator,"language",{{get:()=>{json.dumps(tag)}}})</script>'
    document = document.replace(b'lang="en"', f'lang="{tag}"'.encode(), 1)
    return document.replace(b"<head>", f"<head>{early}{head}".encode(), 1)


def _is_html(start: Message) -> bool:
    return Headers(raw=start["headers"]).get("content-type", "").startswith("text/html")
