"""Builds the page around a recogniser and mounts it; everything that happens on the page is wired here."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any, get_args

import gradio as gr
from fastapi import FastAPI

from emotion.analysis import Granularity
from emotion.errors import EmotionError, NotSound
from emotion.outputs import ClipFiles
from emotion.recognizer import Recognizer
from emotion.ui import lanes, layout, render, theme
from emotion.ui.journal import journal
from emotion.ui.layout import Parts
from emotion.ui.runs import Runs, View, Wish, log
from emotion.ui.words import Words, language_of

# What the browser fetches is served from Gradio's cache; after a day it is only in the folder of outputs.
DELETE_CACHE_S = (3_600, 86_400)
ENDPOINT = (
    "The record of result.json: emotion, confidence, scores, model and timings; for frame also frames (up to ten "
    "minutes) and segments; with embedding also the embedding, as lists. Nothing is kept on the server."
)
SETTLED_PHASES = ("ready", "built_in")


def mount_page(app: FastAPI, recognizer: Recognizer) -> FastAPI:
    """The application with the page at `/`; nothing leaves this machine, and no fault shows its inside."""
    page = build_page(recognizer)
    # The engine queues and refuses; a second queue before it would only hide the place in the first.
    page.queue(api_open=False, default_concurrency_limit=None)
    # Gradio holds a client to its own uploads only after `launch`; a mounted page would read any path that is sent.
    page.has_launched = True
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        show_error=False,
        ssr_mode=False,
        max_file_size=recognizer.settings.max_file_bytes,
        i18n=layout.translations(recognizer.settings),
        theme=theme.theme(),
        css=theme.css(),
        head=theme.head(),
    )
    return app


def build_page(recognizer: Recognizer) -> gr.Blocks:
    """The page; it asks the recogniser for everything that it shows."""
    runs = Runs(recognizer)
    page = gr.Blocks(title=layout.TITLE, analytics_enabled=False, delete_cache=DELETE_CACHE_S)
    with page:
        parts = layout.lay_out()
        _take_only_uploads(parts.recording)
        _wire_model(page, parts, recognizer)
        _wire_samples(parts, recognizer)
        _wire_runs(parts, runs)
        _add_endpoint(runs)
    return page


def _wire_model(page: gr.Blocks, parts: Parts, recognizer: Recognizer) -> None:
    def show_model(request: gr.Request) -> tuple[Any, ...]:
        words, state = _words(request, recognizer), recognizer.state
        has_example = recognizer.example() is not None
        return (
            render.model_line(state, words),
            render.model_notice(state, words),
            gr.update(visible=has_example),
            gr.Timer(active=state.phase not in SETTLED_PHASES),
        )

    outputs = [parts.model, parts.notice, parts.samples["example"], parts.timer]
    quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    page.load(show_model, None, outputs, **quiet)
    parts.timer.tick(show_model, None, outputs, **quiet)


def _wire_samples(parts: Parts, recognizer: Recognizer) -> None:
    def take(find: Callable[[], Path | None]) -> Callable[[], str | None]:
        return lambda: _serve(find(), parts.recording)

    for name, button in parts.samples.items():
        find = partial(layout.sample_path, name) if name in layout.SAMPLES else recognizer.example
        button.click(take(find), None, parts.recording, queue=False, show_progress="hidden", api_visibility="private")


def _wire_runs(parts: Parts, runs: Runs) -> None:
    async def recognise(
        recording: str | None, granularity: Granularity, embedding: bool, exports: list[str], request: gr.Request
    ) -> AsyncIterator[tuple[Any, ...]]:
        words = _words(request, runs.recognizer)
        wish = Wish(recording, granularity, embedding, tuple(exports))
        async for view in runs.views(wish, request.session_hash or "", words):
            yield await _shown(view, parts, words, runs.recognizer)

    def cancel(request: gr.Request) -> None:
        runs.cancel(request.session_hash or "")

    wish = [parts.recording, parts.granularity, parts.embedding, parts.exports]
    outcome = [
        parts.progress, parts.result, parts.timeline, parts.downloads, parts.log, parts.recognise, parts.cancel,
    ]  # fmt: skip
    parts.recognise.click(recognise, wish, outcome, show_progress="hidden", api_visibility="private")
    parts.cancel.click(cancel, queue=False, show_progress="hidden", api_visibility="private")


def _add_endpoint(runs: Runs) -> None:
    """`/recognize` for programs: plain values in, the record of result.json out."""

    async def recognize(file: str, granularity: Granularity = "utterance", embedding: bool = False) -> dict[str, Any]:
        try:
            return await runs.record(Wish(file, granularity, embedding))
        except EmotionError as error:
            raise gr.Error(error.message, print_exception=False) from None
        except Exception as error:
            log.error("a recording failed unexpectedly", exc_info=error)
            raise gr.Error(Words("en")("error.unexpected"), print_exception=False) from None

    file = gr.File(label="file", visible=False)
    _take_only_uploads(file)
    inputs = [
        file,
        gr.Radio(list(get_args(Granularity)), value="utterance", label="granularity", visible=False),
        gr.Checkbox(label="embedding", visible=False),
    ]
    record = gr.JSON(label="record", visible=False)
    gr.Button(visible=False).click(
        recognize, inputs, record, api_name="recognize", api_description=ENDPOINT, show_progress="hidden"
    )


async def _shown(view: View, parts: Parts, words: Words, recognizer: Recognizer) -> tuple[Any, ...]:
    """The values of all outcome components for one step."""
    buttons = gr.update(interactive=not view.running), gr.update(interactive=view.running)
    if view.files is None:
        kept = (gr.skip(),) if view.running else ("",)
        return view.progress, view.result, None, "", *kept, *buttons
    smoothing_s = recognizer.settings.smoothing_s
    timeline, links = await asyncio.to_thread(_files_shown, view.files, parts, words, smoothing_s)
    text = journal(view.files.analysis, view.files.folder.name, words)
    return view.progress, view.result, timeline, links, text, *buttons


def _files_shown(files: ClipFiles, parts: Parts, words: Words, smoothing_s: float) -> tuple[dict[str, Any], str]:
    """The timeline with its sound, and the links to all files."""

    timeline = lanes.timeline(files.analysis, words, smoothing_s)
    offered = []
    for label, path in _labelled(files, words):
        served = str(_serve(path, parts.downloads))
        offered.append(render.Download(label, f"{Path(files.analysis.clip.name).stem}.{path.name}", served))
        if path == files.audio:
            timeline["audio"] = render.file_url(served)
    return timeline, render.downloads(offered, words)


def _labelled(files: ClipFiles, words: Words) -> list[tuple[str, Path]]:
    kept = {"json": files.result, "frames": files.frames, "embedding": files.embedding, "audio": files.audio}
    labelled = [(words(f"result.{name}"), path) for name, path in kept.items() if path is not None]
    for name, paths in files.exports.items():
        label = words(f"page.export_{name}")
        labelled += [(label if len(paths) == 1 else f"{label} ({path.stem})", path) for path in paths]
    return labelled


def _take_only_uploads(component: gr.components.Component) -> None:
    """Let the component take uploaded files only; by itself it would also fetch a URL that a program sends."""
    inherited = component.async_move_resource_to_block_cache

    async def only_local(url_or_file_path: str | Path | None) -> str | None:
        if str(url_or_file_path).lower().startswith(("http:", "https:")):
            raise gr.Error(NotSound("URL").message, print_exception=False)
        return await inherited(url_or_file_path)

    # Not a subclass: Gradio writes a .pyi file beside the source of every component class that it meets.
    component.async_move_resource_to_block_cache = only_local  # type: ignore[method-assign]


def _words(request: gr.Request, recognizer: Recognizer) -> Words:
    accepted = request.headers.get("accept-language", "")
    return Words(language_of(accepted, recognizer.settings.language))


def _serve(path: Path | None, component: gr.components.Component) -> str | None:
    """Where a copy of the file is served, under the hash of its content; its own folder stays closed to browsers."""
    return component.move_resource_to_block_cache(path)
