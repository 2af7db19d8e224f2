"""What rests on parts of Gradio that it does not promise to keep, as they are in GRADIO_VERSION.

`tests/test_gradio_adapter.py` holds each against the Gradio that is installed. `assets/gradio_adapter.js` has those of
the browser.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI
from gradio import route_utils, routes
from gradio.data_classes import ListFiles
from gradio.route_utils import GradioMultiPartParser
from gradio.utils import get_upload_folder
from starlette.datastructures import FormData, MutableHeaders
from starlette.routing import Mount
from starlette.types import ASGIApp, Message, Send

from emotion.errors import NotSound

GRADIO_VERSION = "6.31.0"
API = "/gradio_api/"
# What the audio component calls what it recorded (Index-*.js: `new File(..., "audio.wav")`).
MICROPHONE_FILE = "audio.wav"
# What page and clients use below API. The rest would fetch addresses, keep a session's values for anybody, or write
# into this program.
USED_ADDRESSES = frozenset({
    "api", "app_id", "call", "cancel", "heartbeat", "info", "login_check", "openapi.json", "queue", "reset", "run",
    "startup-events", "theme.css", "upload", "upload_progress", "user",
})  # fmt: skip
JSON_ADDRESSES = frozenset({"api", "call", "cancel", "queue", "reset", "run"})
"""Those that take a JSON object."""
UNUSED_PAGES = ("/monitoring", "/login/", "/token")
NAMES_OF_SESSIONS = ("session_hash", "upload_id")
"""By these, in the query, Gradio finds what belongs to one open page."""


def mount_behind(guard: Callable[[ASGIApp], ASGIApp], app: FastAPI, page: gr.Blocks, **options: Any) -> None:
    """Mount the page at `/`, with `guard` before everything that Gradio serves."""
    # Gradio holds a client to its own uploads only after `launch`; a mounted page would read any path that is sent.
    page.has_launched = True
    delete_broken_uploads()
    gr.mount_gradio_app(app, page, path="/", **options)
    mount = app.routes[-1]
    if not isinstance(mount, Mount):
        raise RuntimeError("Gradio did not mount the page last, so nothing would stand before it")
    mount.app = guard(mount.app)


def event_text(event: gr.EventData, name: str) -> str:
    """What the browser said with an event under this name, empty where it is no text."""
    said = event._data.get(name) if isinstance(event._data, dict) else None
    return said if isinstance(said, str) else ""


def upload_folder() -> Path:
    """Where Gradio keeps uploads, each alone in a folder that is named by its content."""
    return Path(get_upload_folder())


class _CleanParser(GradioMultiPartParser):
    """Deletes what it has written of an upload that breaks off; Gradio leaves it in the temporary folder for good."""

    async def parse(self) -> FormData:
        try:
            return await super().parse()
        except BaseException:
            for file in self._files_to_close_on_error:
                file.close()
                Path(file.name).unlink(missing_ok=True)
            raise


def delete_broken_uploads() -> None:
    """Let Gradio's route of uploads delete what came of one that breaks off, or finds the disk full."""
    for module in (routes, route_utils):
        vars(module)["GradioMultiPartParser"] = _CleanParser


def take_only_uploads(component: gr.components.Component) -> None:
    """Let the component take uploaded files only; by itself it would also fetch a URL that a program sends."""
    inherited = component.async_move_resource_to_block_cache

    async def only_local(url_or_file_path: str | Path | None) -> str | None:
        if str(url_or_file_path).lower().startswith(("http:", "https:")):
            raise gr.Error(NotSound("URL").message, print_exception=False)
        return await inherited(url_or_file_path)

    # Not a subclass: Gradio writes a .pyi file beside the source of every component class that it meets.
    component.async_move_resource_to_block_cache = only_local  # type: ignore[method-assign]


def take_paths(files: gr.File) -> None:
    """Give handlers the paths alone; by itself the component leaves an empty file behind for each."""

    def paths(chosen: ListFiles | None) -> list[str]:
        return [file.path for file in chosen or ()]

    files.preprocess = paths  # type: ignore[method-assign, assignment]


class ChangedAnswer:
    """Holds an answer of Gradio's back until it is whole, and sends what `change` makes of its body.

    Answers that `is_meant` denies, of which it sees the first message, pass as they are.
    """

    def __init__(
        self, send: Send, is_meant: Callable[[Message], bool], change: Callable[[bytes], bytes], vary: str = ""
    ) -> None:
        self._send, self._is_meant, self._change, self._vary = send, is_meant, change, vary
        self._start: Message | None = None
        self._body = b""

    async def take(self, message: Message) -> None:
        """To be called in the place of `send`."""
        if message["type"] == "http.response.start" and self._is_meant(message):
            self._start = message
        elif self._start is None:
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body"):
                await self._send_whole(self._start)

    async def _send_whole(self, start: Message) -> None:
        body = self._change(self._body)
        headers = MutableHeaders(scope=start)
        headers["content-length"] = str(len(body))
        if self._vary:
            headers.add_vary_header(self._vary)
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body})
