"""The parts of Gradio that it does not promise to keep: each is held against the Gradio that is installed."""

import asyncio
import inspect
import re
from importlib.metadata import version
from pathlib import Path

import gradio as gr
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from gradio import processing_utils
from gradio.data_classes import ListFiles
from gradio.helpers import EventData
from starlette.responses import PlainTextResponse
from starlette.routing import Mount
from starlette.testclient import TestClient

from emotion.access.middleware import _PAGE_WORK
from emotion.server.drain import _ENDLESS
from emotion.ui import gradio_adapter
from emotion.ui.gradio_adapter import API, event_text, mount_behind, take_only_uploads, take_paths, upload_folder
from emotion.ui.language import PageLanguage

HOUSE = Path(__file__).parent.parent
# What Gradio serves beside the page, and what the page does not use below its API: both closed, or harmless to anybody.
PAGES = {
    "", "assets", "config", "favicon.ico", "gradio_api", "login", "logout", "manifest.json", "monitoring",
    "openapi.json", "pwa_icon", "robots.txt", "static", "svelte", "theme.css",
}  # fmt: skip
CLOSED_ADDRESSES = {
    "component_server", "custom_component", "deep_link", "dev", "process_recording", "proxy=", "runs", "stream",
    "token", "undo-vibe-edit", "vibe-code", "vibe-edit", "vibe-starter-queries",
}  # fmt: skip
FILES = {"file", "file="}


async def refuse(scope, receive, send) -> None:
    await PlainTextResponse("refused", 403)(scope, receive, send)


async def _mounted(guard, middlewares=()) -> FastAPI:
    # Inside a running loop: outside of one, Gradio opens a loop of its own and never closes it.
    app = FastAPI()
    with gr.Blocks(analytics_enabled=False) as page:
        gr.Textbox()
    for middleware, words in middlewares:
        app.add_middleware(middleware, **words)
    mount_behind(guard, app, page, run_history=False, enable_monitoring=False, ssr_mode=False)
    return app


def mounted(guard, *middlewares) -> FastAPI:
    return asyncio.run(_mounted(guard, middlewares))


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return mounted(lambda gradio: gradio)


@pytest.fixture(scope="module")
def paths(app) -> set[str]:
    """Every address that Gradio serves."""
    mount = app.routes[-1]
    assert isinstance(mount, Mount)
    found = {getattr(context.original_route, "path", "") for context in iter_route_contexts(mount.routes)}
    assert len(found) > 20
    return found


def words_of(paths: set[str], prefix: str) -> set[str]:
    """The first words of the addresses below a prefix, `{...}` left out."""
    below = (path.removeprefix(prefix) for path in paths if path.startswith(prefix))
    return {re.sub(r"\{.*", "", path.split("/")[0]) for path in below}


def test_gradio_has_the_version_whose_private_parts_are_known():
    assert version("gradio") == gradio_adapter.GRADIO_VERSION, "look through gradio_adapter.py and .js again"
    assert f"gradio=={gradio_adapter.GRADIO_VERSION} " in (HOUSE / "requirements.txt").read_text(encoding="utf-8")


def test_every_address_of_gradio_is_known_as_used_or_as_closed(paths):
    assert words_of(paths, API) == gradio_adapter.USED_ADDRESSES | CLOSED_ADDRESSES | FILES
    assert words_of(paths, "/") == PAGES
    assert gradio_adapter.JSON_ADDRESSES < gradio_adapter.USED_ADDRESSES


def test_pages_that_are_closed_are_pages_of_gradio(paths):
    for page in gradio_adapter.UNUSED_PAGES:
        assert any(f"{path}/".startswith(page) or path.startswith(API + page[1:]) for path in paths), page


def test_what_rooms_without_gradio_know_of_its_addresses_is_so(paths):
    for work in ("upload", "queue/join", "call/{api_name}"):
        assert API + work in paths
        assert _PAGE_WORK.fullmatch(API + work)
    assert any(_ENDLESS in path for path in paths)


@pytest.mark.parametrize("name", gradio_adapter.NAMES_OF_SESSIONS)
def test_gradio_finds_what_is_of_one_page_by_names_in_the_query(app, name):
    asks = [
        context.original_route.endpoint
        for context in iter_route_contexts(app.routes[-1].routes)
        if getattr(context.original_route, "path", "") in (f"{API}queue/data", f"{API}upload_progress", f"{API}upload")
    ]
    assert any(name in inspect.signature(endpoint).parameters for endpoint in asks)


def test_a_guard_stands_before_everything_that_gradio_serves():
    client = TestClient(mounted(lambda _: refuse))
    assert [client.get(path).status_code for path in ("/", "/config", "/assets/x.js", f"{API}info")] == [403] * 4


def test_a_page_that_is_mounted_reads_uploads_only():
    assert "if blocks is None or not blocks.has_launched" in inspect.getsource(processing_utils._check_allowed)
    app = mounted(lambda gradio: gradio)
    assert app.routes[-1].app.get_blocks().has_launched


def test_the_language_is_put_into_the_document_that_gradio_sends():
    client = TestClient(mounted(lambda gradio: gradio, (PageLanguage, {"chosen": "zh"})))
    document = client.get("/").text
    assert re.search(r'<html\s+lang="zh-CN"', document)
    assert "<head><script>Object.defineProperty(navigator" in document
    assert document.index("<script>Object") < document.index("gradio_config")


def test_an_event_holds_what_the_browser_said():
    event = EventData(None, {"open": "a run", "count": 3})
    assert [event_text(event, name) for name in ("open", "count", "nothing")] == ["a run", "", ""]
    assert event_text(EventData(None, None), "open") == ""


def test_an_upload_lies_alone_in_a_folder_of_the_folder_of_uploads(tmp_path):
    (tmp_path / "call.wav").write_bytes(b"RIFF")
    kept = Path(processing_utils.save_file_to_cache(tmp_path / "call.wav", str(upload_folder())))
    assert kept.parent.parent == upload_folder()
    assert [path.name for path in kept.parent.iterdir()] == ["call.wav"]


@pytest.mark.parametrize("address", ["http://127.0.0.1/call.wav", "HTTPS://stranger.example/call.wav"])
def test_a_component_takes_no_address(address):
    async def take() -> object:
        file = gr.File()
        take_only_uploads(file)
        sent = {"path": address, "meta": {"_type": "gradio.FileData"}}
        return await processing_utils.async_move_files_to_cache(sent, file, check_in_upload_folder=True)

    with pytest.raises(gr.Error, match="holds no sound"):
        asyncio.run(take())


def test_a_component_of_many_files_gives_their_paths():
    files = gr.File(file_count="multiple")
    take_paths(files)
    assert files.data_model is ListFiles
    chosen = ListFiles(root=[gr.FileData(path="/a.wav"), gr.FileData(path="/b.wav")])
    assert files.preprocess(chosen) == ["/a.wav", "/b.wav"]
    assert files.preprocess(None) == []
