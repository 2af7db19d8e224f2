"""Builds the page around a recogniser and mounts it."""

from functools import partial
from typing import Any, get_args

import gradio as gr
from fastapi import FastAPI

from emotion.analysis import AnalysisRequest, Granularity
from emotion.engine.recognizer import Recognizer
from emotion.errors import EmotionError
from emotion.monitor import StudioWatch
from emotion.texts import Words
from emotion.ui import layout, render, scripts, templates, theme
from emotion.ui.file_links import FileLinks
from emotion.ui.gradio_adapter import mount_behind, take_only_uploads
from emotion.ui.guard import ClientGuard
from emotion.ui.language import PageLanguage
from emotion.ui.layout import TITLE, text, translations
from emotion.ui.page_context import OPENING, QUIET, PageContext
from emotion.ui.runs import Runs, log
from emotion.ui.tabs import batch, history, live, recognize, similar, system
from emotion.ui.timeline_detail import TimelineDetails
from emotion.ui.uploads import Uploads
from emotion.ui.workspace import Workspaces

# A page that is closed takes its uploads with it; this is for those that were only chosen, and for crashes.
DELETE_CACHE_S = (3_600, 86_400)
ENDPOINT = (
    "The record of result.json: emotion, confidence, scores, model and timings; for frame also frames (up to ten "
    "minutes) and segments; with embedding also the embedding, as lists. Nothing is kept on the server."
)
SETTLED_PHASES = ("ready", "built_in")
# What this browser tab showed before it was loaded anew, which page.js keeps: the open clip and the tab of the page.
_REMEMBERED = "() => [sessionStorage.getItem('clip') || '', sessionStorage.getItem('tab') || '']"


def mount_page(app: FastAPI, recognizer: Recognizer, watch: StudioWatch) -> FastAPI:
    """The application with the page at `/`; nothing leaves this machine, and no fault shows its inside.

    `watch` reads machine and engine for everybody who looks.
    """
    uploads = Uploads()
    page = build_page(app, recognizer, watch, uploads)
    # The engine queues and refuses; a second queue before it would only hide the place in the first.
    page.queue(api_open=False, default_concurrency_limit=None)
    settings = recognizer.settings
    app.add_middleware(PageLanguage, chosen=settings.language, head=scripts.head(settings))
    scripts.serve_scripts(app)
    mount_behind(
        partial(ClientGuard, uploads=uploads),
        app,
        page,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        show_error=False,
        ssr_mode=False,
        max_file_size=settings.max_file_bytes,
        i18n=translations(settings),
        theme=theme.theme(),
        css=theme.css(),
    )
    return app


def build_page(app: FastAPI, recognizer: Recognizer, watch: StudioWatch, uploads: Uploads) -> gr.Blocks:
    """The page; it asks the recogniser for everything that it shows. Its files are served by `app`."""
    file_links, workspaces = FileLinks(), Workspaces(recognizer.settings.outputs)
    details = TimelineDetails(recognizer.settings.smoothing_s)
    file_links.mount(app)
    details.mount(app)
    page = gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=DELETE_CACHE_S)
    with page:
        header = layout.header()
        open_clip = gr.State("")  # not inside the tabs, which would take it for one
        with gr.Tabs(selected="recognise", elem_id="tabs") as tabs:
            context = PageContext(recognizer, watch, Runs(recognizer), workspaces, file_links, details, tabs, open_clip)
            with gr.Tab(text("tab_recognise"), id="recognise"):
                example = recognize.add_recognize(context, uploads)
            with gr.Tab(text("tab_batch"), id="batch"):
                batch.add_batch(context, uploads)
            with gr.Tab(text("tab_live"), id="live"):
                live.add_live(context, app)
            with gr.Tab(text("tab_history"), id="history") as history_tab:
                history.add_history(context, history_tab)
            with gr.Tab(text("tab_similar"), id="similar"):
                similar.add_similar(context)
            with gr.Tab(text("tab_system"), id="system"):
                system.add_system(context)
        layout.footer()
        _wire_model(page, header, example, context)
        _wire_return(page, context)
        _add_endpoint(context)

        def leave(request: gr.Request) -> None:
            uploads.release(context.workspace(request).owner, request.session_hash or "")

        page.unload(leave)
        for block in page.blocks.values():
            if isinstance(block, gr.components.Component):
                take_only_uploads(block)
    return page


def _wire_model(page: gr.Blocks, header: layout.HeaderParts, example: gr.Button, context: PageContext) -> None:
    recognizer = context.recognizer

    def show_model(request: gr.Request) -> tuple[Any, ...]:
        words, client, state = context.words(request), context.client(request), recognizer.state
        return (
            render.model_line(state, words),
            templates.render("client.html", words, name=client.name) if client.folder else "",
            render.model_notice(state, words),
            gr.update(visible=recognizer.example() is not None),
            gr.Timer(active=state.phase not in SETTLED_PHASES),
        )

    outputs = [header.model, header.client, header.notice, example, header.timer]
    page.load(show_model, None, outputs, **QUIET)
    header.timer.tick(show_model, None, outputs, **QUIET)


def _wire_return(page: gr.Blocks, context: PageContext) -> None:
    """Show again what this visitor saw before the page was loaded anew, be it for another language."""

    def come_back(clip: str, tab: str) -> tuple[Any, ...]:
        return clip, gr.Tabs(selected=tab) if tab else gr.skip()

    remembered = [gr.Textbox(visible=False), gr.Textbox(visible=False)]
    page.load(come_back, remembered, [context.open_clip, context.tabs], js=_REMEMBERED, **OPENING)


def _add_endpoint(context: PageContext) -> None:
    """`/recognize` for programs: plain values in, the record of result.json out."""

    async def recognize(
        request: gr.Request, file: str, granularity: Granularity = "utterance", embedding: bool = False
    ) -> dict[str, Any]:
        try:
            return await context.runs.record(file, AnalysisRequest(granularity, embedding), context.visitor(request))
        except EmotionError as error:
            raise gr.Error(error.message, print_exception=False) from None
        except Exception as error:
            log.error("a recording failed unexpectedly", exc_info=error)
            raise gr.Error(Words("en")("error.unexpected"), print_exception=False) from None

    file = gr.File(label="file", visible=False)
    inputs = [
        file,
        gr.Radio(list(get_args(Granularity)), value="utterance", label="granularity", visible=False),
        gr.Checkbox(label="embedding", visible=False),
    ]
    record = gr.JSON(label="record", visible=False)
    gr.Button(visible=False).click(
        recognize, inputs, record, api_name="recognize", api_description=ENDPOINT, show_progress="hidden"
    )
