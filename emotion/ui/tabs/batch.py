"""Batch: many recordings in one run, in a table that fills as results come."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from emotion.engine.batch_rows import BatchView
from emotion.errors import EmotionError, RunNotFound
from emotion.outputs.run import SUMMARY_FILE
from emotion.texts import Words
from emotion.ui import batch_render, layout, render
from emotion.ui.batches import Batches, BatchFilter, FollowedBatch
from emotion.ui.gradio_adapter import event_text, take_paths
from emotion.ui.layout import html, text
from emotion.ui.page_context import OPENING, QUIET, PageContext
from emotion.ui.runs import POLL_S, log
from emotion.ui.uploads import Uploads
from emotion.ui.workspace import PageVisitor

_FILES_HEIGHT = 190
# The batch that this browser tab showed before it was loaded anew, which the table keeps.
_REMEMBERED = "() => [sessionStorage.getItem('batch') || '']"


@dataclass(frozen=True)
class Parts:
    """The components of this tab."""

    files: gr.File
    options: layout.OptionParts
    start: gr.Button
    cancel: gr.Button
    progress: gr.HTML
    card: gr.HTML
    note: gr.HTML
    table: gr.HTML

    @property
    def chosen(self) -> list[gr.components.Component]:
        """What differs when a visitor looks at other recordings of the batch."""
        return [self.card, self.note, self.table]

    @property
    def outcome(self) -> list[gr.components.Component]:
        return [self.progress, self.start, self.cancel, *self.chosen]


def add_batch(context: PageContext, uploads: Uploads) -> None:
    """Lay out the tab and wire it."""
    parts = _lay_out(context)
    take_paths(parts.files)
    handlers = BatchHandlers(context, uploads)
    parts.start.click(handlers.start, [parts.files, *parts.options.inputs], parts.outcome, **OPENING)
    parts.cancel.click(handlers.cancel, **QUIET)
    for part in (parts.card, parts.note):
        part.click(handlers.choose, None, parts.chosen, **QUIET)
    parts.table.select(handlers.open, None, [parts.note, context.open_clip, context.tabs], **OPENING)
    gr.on(None, handlers.come_back, gr.Textbox(visible=False), parts.outcome, js=_REMEMBERED, **OPENING)


class BatchHandlers:
    """The events of the tab: each method is one, and gives the values of the components after it."""

    def __init__(self, context: PageContext, uploads: Uploads) -> None:
        self._context, self._uploads = context, uploads
        self._batches = Batches(context.recognizer, uploads)

    async def start(
        self, request: gr.Request, files: list[str] | None, *options: Any
    ) -> AsyncIterator[tuple[Any, ...]]:
        """Each step of a new batch, until it is over."""
        visitor = self._context.visitor(request)
        words = visitor.words
        if not files:
            yield _step("", batch_render.no_files_card(words))
            return
        self._uploads.add_user(visitor.workspace.owner, visitor.session, *files)
        beginning = asyncio.ensure_future(self._batches.start_batch(visitor, files, layout.request_of(*options)))
        try:
            # What is so quick needs no step of its own.
            if not (await asyncio.wait({beginning}, timeout=POLL_S))[0]:
                opening = render.progress_bar(words("batch.opening"), None, words)
                yield _step(opening, batch_render.opening_card(words), can_start=False)
            followed = await beginning
        except GeneratorExit:
            _abandon(beginning)
            raise
        except Exception as error:  # the visitor gets a sentence, whatever went wrong
            _note_unexpected(error)
            yield _step("", batch_render.problem_card(error, words))
            return
        async with aclosing(self._follow(followed, visitor)) as steps:
            async for values in steps:
                yield values

    async def come_back(self, token: str, request: gr.Request) -> AsyncIterator[tuple[Any, ...]]:
        """What was shown before the page was loaded anew: the batch goes on, or its outcome stands."""
        visitor = self._context.visitor(request)
        followed = self._batches.resume_batch(visitor, token)
        if followed is None:
            yield _step("", batch_render.empty_card(visitor.words))
            return
        async with aclosing(self._follow(followed, visitor)) as steps:
            async for values in steps:
                yield values

    def cancel(self, request: gr.Request) -> None:
        """Stop the batch; what is done stays."""
        self._batches.cancel_batch(request.session_hash or "")

    def choose(self, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        """Other recordings of the batch: those of one kind, or another part of the rows."""
        session = request.session_hash or ""
        followed = self._batches.batch_of(session)
        if followed is None:
            return gr.skip(), gr.skip(), gr.skip()
        view = followed.batch.snapshot()
        kind, part = event_text(event, "kind"), event_text(event, "part")
        followed.filters[session] = batch_render.filter_of(view, followed.filters[session], kind, part)
        return _shown(followed, view, followed.filters[session], self._context.words(request))

    async def open(self, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        """A recording of the batch becomes the open clip, and the first tab shows it."""
        folder, followed = event_text(event, "open"), self._batches.batch_of(request.session_hash or "")
        try:
            if followed is None or all(row.folder != folder for row in followed.batch.snapshot().rows):
                raise RunNotFound
            await asyncio.to_thread(followed.workspace.history.open_clip, folder)
        except EmotionError as error:
            words = self._context.words(request)
            return render.notice(words.error(error), words), gr.skip(), gr.skip()
        return gr.skip(), folder, gr.Tabs(selected="recognise")

    async def _follow(self, followed: FollowedBatch, visitor: PageVisitor) -> AsyncGenerator[tuple[Any, ...]]:
        session, words = visitor.session, visitor.words
        async with aclosing(self._batches.views(followed)) as views:
            async for view in views:
                if not followed.is_over:
                    is_stopping = followed.batch.is_cancelled
                    progress = batch_render.progress(view, is_stopping, words)
                    shown = _shown(followed, view, followed.filters[session], words)
                    yield _step(progress, *shown, can_start=False, can_cancel=not is_stopping)
        _note_unexpected(followed.error)
        yield _step(self._downloads(view, visitor), *_shown(followed, view, followed.filters[session], words))

    def _downloads(self, view: BatchView, visitor: PageVisitor) -> str:
        """Links to what was written, in the place of the progress."""
        if view.folder is None:
            return ""
        run, words, workspace, links = view.folder.name, visitor.words, visitor.workspace, self._context.file_links
        zipped = links.stream(f"{run}.zip", partial(workspace.history.zip_chunks, run), workspace.owner)
        summary = links.address(view.folder / SUMMARY_FILE, workspace.owner)
        files = [
            render.Download(words("batch.summary"), "summary.csv", summary),
            render.Download(words("batch.zip"), f"{run}.zip", zipped),
        ]
        return render.downloads(words("result.downloads"), files, words)


def _lay_out(context: PageContext) -> Parts:
    with gr.Column(elem_id="batch"):
        with gr.Row(elem_classes="two-sides", equal_height=False):
            with gr.Column(scale=2, min_width=320, elem_classes="wish"):
                files = gr.File(
                    file_count="multiple", label=text("batch_files"), height=_FILES_HEIGHT,
                    elem_id="batch-files", elem_classes="takes-sound takes-zip",
                )  # fmt: skip
                with gr.Accordion(text("batch_options"), open=False, elem_id="batch-options"):
                    options = layout.option_parts(context.settings, "batch")
                with gr.Row(elem_id="batch-buttons"):
                    start = gr.Button(
                        text("batch_start"), variant="primary", scale=2, min_width=120, elem_id="batch-start"
                    )
                    cancel = gr.Button(text("cancel"), scale=1, min_width=96, interactive=False, elem_id="batch-cancel")
                progress = _patched("batch-progress")
            with gr.Column(scale=3, min_width=320, elem_classes="outcome"):
                card = _patched("batch-card", "batch.mountChoice")
        note = _patched("batch-note", "batch.mountChoice")
        table = html(None, "batch-table", template="batch.html", script="batch.mountTable")
    return Parts(files, options, start, cancel, progress, card, note, table)


def _patched(name: str, script: str = "patched") -> gr.HTML:
    """A part that is rendered again and again, and in which only what differs changes."""
    return html(None, name, template="patched.html", script=script)


def _step(
    progress: str, card: str, note: str = "", table: Any = None, *, can_start: bool = True, can_cancel: bool = False
) -> tuple[Any, ...]:
    """Values of the outcome."""
    return progress, gr.update(interactive=can_start), gr.update(interactive=can_cancel), card, note, table


def _shown(
    followed: FollowedBatch, view: BatchView, chosen: BatchFilter, words: Words
) -> tuple[str, str, dict[str, Any]]:
    """Card, note and table for what a visitor looks at."""
    if followed.is_over:
        card = batch_render.final_card(view, followed.error, chosen, words)
    else:
        card = batch_render.running_card(view, chosen, words)
    table = {
        "batch": followed.token,
        "look": f"{followed.token} {chosen.kind} {chosen.part}",
        "label": words("batch.table"),
        "columns": batch_render.columns(words),
        "pieces": batch_render.row_pieces(view, chosen, words),
    }
    return card, batch_render.note(view, chosen, words), table


def _abandon(beginning: "asyncio.Future[FollowedBatch]") -> None:
    """The page was closed before the batch could be followed, so it shall not go on."""
    if not beginning.cancel() and beginning.exception() is None:
        beginning.result().batch.cancel()


def _note_unexpected(error: BaseException | None) -> None:
    """Write an error that is not of the family to the log; the visitor learns only that there was one."""
    if error is not None and not isinstance(error, EmotionError):
        log.error("a batch failed unexpectedly", exc_info=error)
