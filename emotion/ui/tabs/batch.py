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
from emotion.ui import batch_render, layout, render, theme
from emotion.ui.batches import Batches, Followed, Look
from emotion.ui.gradio_adapter import event_text, take_only_uploads, take_paths
from emotion.ui.page_context import OPENING, QUIET, PageContext
from emotion.ui.runs import POLL_S, log
from emotion.ui.texts import text
from emotion.ui.uploads import Uploads
from emotion.ui.workspace import PageVisitor, Workspace

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
        """What differs when a reader looks at other recordings of the batch."""
        return [self.card, self.note, self.table]

    @property
    def outcome(self) -> list[gr.components.Component]:
        return [self.progress, self.start, self.cancel, *self.chosen]


def add_batch(desk: PageContext, uploads: Uploads) -> None:
    """Lay out the tab and wire it."""
    parts = _lay_out(desk)
    take_only_uploads(parts.files)
    take_paths(parts.files)
    answers = Answers(desk, uploads)
    parts.start.click(answers.start, [parts.files, *parts.options.inputs], parts.outcome, **OPENING)
    parts.cancel.click(answers.cancel, **QUIET)
    for part in (parts.card, parts.note):
        part.click(answers.choose, None, parts.chosen, **QUIET)
    parts.table.select(answers.open, None, [parts.note, desk.open_clip, desk.tabs], **OPENING)
    gr.on(None, answers.come_back, gr.Textbox(visible=False), parts.outcome, js=_REMEMBERED, **OPENING)


class Answers:
    """What the tab answers to a reader: each method is one event, and gives the values of the components after it."""

    def __init__(self, desk: PageContext, uploads: Uploads) -> None:
        self._desk, self._uploads = desk, uploads
        self._batches = Batches(desk.recognizer, uploads)

    async def start(
        self, request: gr.Request, files: list[str] | None, *options: Any
    ) -> AsyncIterator[tuple[Any, ...]]:
        """Each step of a new batch, until it is over."""
        reader = self._desk.reader(request)
        words = reader.words
        if not files:
            yield _without_batch(batch_render.no_files_card(words))
            return
        self._uploads.remember(reader.place.owner, reader.session, *files)
        beginning = asyncio.ensure_future(self._batches.begin(reader, files, layout.request_of(*options)))
        try:
            # What is so quick needs no step of its own.
            if not (await asyncio.wait({beginning}, timeout=POLL_S))[0]:
                yield _opening(words)
            followed = await beginning
        except GeneratorExit:
            _abandon(beginning)
            raise
        except Exception as error:  # the reader gets a sentence, whatever went wrong
            _note_unexpected(error)
            yield _without_batch(batch_render.problem_card(error, words))
            return
        async with aclosing(self._follow(followed, reader)) as steps:
            async for values in steps:
                yield values

    async def come_back(self, token: str, request: gr.Request) -> AsyncIterator[tuple[Any, ...]]:
        """What was shown before the page was loaded anew: the batch goes on, or its outcome stands."""
        reader = self._desk.reader(request)
        followed = self._batches.adopt(reader, token)
        if followed is None:
            yield _without_batch(batch_render.empty_card(reader.words))
            return
        async with aclosing(self._follow(followed, reader)) as steps:
            async for values in steps:
                yield values

    def cancel(self, request: gr.Request) -> None:
        """Stop the batch; what is done stays."""
        self._batches.cancel(request.session_hash or "")

    def choose(self, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        """Other recordings of the batch: those of one kind, or another part of the rows."""
        session = request.session_hash or ""
        followed = self._batches.of(session)
        if followed is None:
            return gr.skip(), gr.skip(), gr.skip()
        view = followed.batch.snapshot()
        look = batch_render.chosen(view, followed.looks[session], event_text(event, "kind"), event_text(event, "part"))
        followed.looks[session] = look
        return _chosen(followed, view, look, self._desk.words(request))

    async def open(self, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        """A recording of the batch becomes the open clip, and the first tab shows it."""
        folder, followed = event_text(event, "open"), self._batches.of(request.session_hash or "")
        try:
            if followed is None or all(row.folder != folder for row in followed.batch.snapshot().rows):
                raise RunNotFound
            await asyncio.to_thread(followed.place.history.open_clip, folder)
        except EmotionError as error:
            return batch_render.problem_note(error, self._desk.words(request)), gr.skip(), gr.skip()
        return gr.skip(), folder, gr.Tabs(selected="recognise")

    async def _follow(self, followed: Followed, reader: PageVisitor) -> AsyncGenerator[tuple[Any, ...]]:
        session, words = reader.session, reader.words
        async with aclosing(self._batches.views(followed)) as views:
            async for view in views:
                look = followed.looks[session]
                if not followed.is_over:
                    yield (*_running(followed, view, words), *_chosen(followed, view, look, words))
        _note_unexpected(followed.error)
        buttons = gr.update(interactive=True), gr.update(interactive=False)
        yield (
            self._downloads(view, followed.place, words),
            *buttons,
            *_chosen(followed, view, followed.looks[session], words),
        )

    def _downloads(self, view: BatchView, place: Workspace, words: Words) -> str:
        """Links to what was written, in the place of the progress."""
        if view.folder is None:
            return ""
        run, shelf = view.folder.name, self._desk.shelf
        zipped = shelf.stream(f"{run}.zip", partial(place.history.zip_chunks, run), place.owner)
        return batch_render.downloads(shelf.address(view.folder / SUMMARY_FILE, place.owner), zipped, run, words)


def _lay_out(desk: PageContext) -> Parts:
    with gr.Column(elem_id="batch"):
        with gr.Row(elem_classes="two-sides", equal_height=False):
            with gr.Column(scale=2, min_width=320, elem_classes="wish"):
                files = gr.File(
                    file_count="multiple", label=text("batch_files"), height=_FILES_HEIGHT,
                    elem_id="batch-files", elem_classes="takes-sound takes-zip",
                )  # fmt: skip
                with gr.Accordion(text("batch_options"), open=False, elem_id="batch-options"):
                    options = layout.option_parts(desk.settings, "batch")
                with gr.Row(elem_id="batch-buttons"):
                    start = gr.Button(
                        text("batch_start"), variant="primary", scale=2, min_width=120, elem_id="batch-start"
                    )
                    cancel = gr.Button(text("cancel"), scale=1, min_width=96, interactive=False, elem_id="batch-cancel")
                progress = _patched("batch-progress")
            with gr.Column(scale=3, min_width=320, elem_classes="outcome"):
                card = _patched("batch-card", "batch_choice.js")
        note = _patched("batch-note", "batch_choice.js")
        table = gr.HTML(
            None,
            html_template=theme.asset("batch.html"),
            js_on_load=theme.asset("batch.js"),
            apply_default_css=False,
            elem_id="batch-table",
        )
    return Parts(files, options, start, cancel, progress, card, note, table)


def _patched(name: str, *scripts: str) -> gr.HTML:
    """A part that is rendered again and again, and in which only what differs changes."""
    return gr.HTML(
        None,
        html_template=theme.asset("patched.html"),
        js_on_load="".join(theme.asset(script) for script in ("patched.js", *scripts)),
        apply_default_css=False,
        elem_id=name,
    )


def _without_batch(card: str) -> tuple[Any, ...]:
    """Values of the outcome while there is no batch."""
    buttons = gr.update(interactive=True), gr.update(interactive=False)
    return "", *buttons, card, "", None


def _opening(words: Words) -> tuple[Any, ...]:
    """Values of the outcome while the zips are looked into."""
    progress = render.progress_bar(words("batch.opening"), None, words)
    buttons = gr.update(interactive=False), gr.update(interactive=False)
    return progress, *buttons, batch_render.opening_card(words), "", None


def _running(followed: Followed, view: BatchView, words: Words) -> tuple[Any, ...]:
    """Values of progress and buttons while the batch is in work."""
    is_stopping = followed.batch.is_cancelled
    buttons = gr.update(interactive=False), gr.update(interactive=not is_stopping)
    return batch_render.progress(view, is_stopping, words), *buttons


def _chosen(followed: Followed, view: BatchView, look: Look, words: Words) -> tuple[Any, ...]:
    """Card, note and table for what a reader looks at."""
    if followed.is_over:
        card = batch_render.final_card(view, followed.error, look, words)
    else:
        card = batch_render.running_card(view, look, words)
    table = {
        "batch": followed.token,
        "look": f"{followed.token} {look.kind} {look.part}",
        "label": words("batch.table"),
        "columns": batch_render.columns(words),
        "pieces": batch_render.row_pieces(view, look, words),
    }
    return card, batch_render.note(view, look, words), table


def _abandon(beginning: "asyncio.Future[Followed]") -> None:
    """The page was closed before the batch could be followed, so it shall not go on."""
    if not beginning.cancel() and beginning.exception() is None:
        beginning.result().batch.cancel()


def _note_unexpected(error: BaseException | None) -> None:
    """Write an error that is not of the family to the log; the reader learns only that there was one."""
    if error is not None and not isinstance(error, EmotionError):
        log.error("a batch failed unexpectedly", exc_info=error)
