"""History: the runs that are kept, to be found, opened again, compared and deleted."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

import gradio as gr

from emotion.errors import EmotionError
from emotion.outputs import RunEntry
from emotion.outputs.history import Deletion
from emotion.outputs.names import run_time
from emotion.texts import Words
from emotion.ui import clip_view, comparison_render, history_render, render, templates
from emotion.ui.clip_view import lay_out_clip
from emotion.ui.gradio_adapter import event_text
from emotion.ui.history_render import MORE_CLIPS, MOST_TYPED, PAGE_RUNS, HistoryQuery
from emotion.ui.layout import html
from emotion.ui.page_context import OPENING, QUIET, PageContext
from emotion.ui.workspace import PageVisitor, Workspace

_ASKED = "(_, __, query) => [...['search', 'emotion'].map((name) => document.forms.history[name].value), query]"


# No value changes of the side with the open clip, and no comparison.
_UNCHANGED_VIEW = (gr.skip(),) * 6
_NO_COMPARISON = ("", *("", "", None, "") * 2, "")


@dataclass(frozen=True)
class _BrowseParts:
    """The list, what is said around it, and beside it all that shows the open clip."""

    tools: gr.HTML
    summary: gr.HTML
    runs: gr.HTML
    question: gr.HTML
    zip_link: gr.HTML
    opened: gr.HTML
    view: Sequence[gr.components.Component]


def add_history(context: PageContext, tab: gr.Tab) -> None:
    """Lay out the tab and wire it."""
    query, handlers = gr.State(HistoryQuery()), HistoryHandlers(context)
    with gr.Column(elem_id="history"):
        parts = _lay_out_browse()
        comparison, pair = _lay_out_comparison()
    _wire(context, tab, query, parts, handlers)
    parts.runs.click(handlers.compare_clips, query, [*pair, parts.summary], **QUIET)
    comparison.clear(lambda: _NO_COMPARISON, None, pair, **QUIET)


class HistoryHandlers:
    """The events of the tab: each method is one, and gives the values of the components after it."""

    def __init__(self, context: PageContext) -> None:
        self._context = context

    def refresh(self, query: HistoryQuery, open_clip: str, request: gr.Request) -> tuple[Any, ...]:
        """What can be searched, the list as it is now, and the clip that was opened elsewhere meanwhile."""
        visitor = self._context.visitor(request)
        view: tuple[Any, ...] = _UNCHANGED_VIEW
        if open_clip not in ("", query.seen):
            query = replace(query, open_clip=open_clip, seen=open_clip)
            try:
                view = self._view(open_clip, visitor)
            except EmotionError:  # it was deleted since
                query = replace(query, open_clip="")
        if not visitor.workspace.history.has_clip(query.open_clip):
            query, view = replace(query, open_clip=""), _no_view(visitor.words)
        return history_render.tools(query, visitor.words), *self._listed(query, visitor), *view

    def search(
        self, search: str | None, emotion: str | None, query: HistoryQuery, request: gr.Request
    ) -> tuple[Any, ...]:
        """The runs that go with what was typed and chosen, which may be nothing."""
        query = HistoryQuery((search or "")[:MOST_TYPED], emotion or "", open_clip=query.open_clip, seen=query.seen)
        return self._listed(query, self._context.visitor(request))

    def show_more(self, query: HistoryQuery, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        """More runs, or more recordings of a batch."""
        run = event_text(event, "unfold")
        if run:
            unfolded = dict(query.unfolded)
            unfolded[run] = unfolded.get(run, 0) + MORE_CLIPS
            query = replace(query, unfolded=tuple(unfolded.items()))
        else:
            query = replace(query, limit=query.limit + PAGE_RUNS)
        return self._listed(query, self._context.visitor(request))

    def open_clip(self, query: HistoryQuery, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        """A clip with everything that was kept of it."""
        visitor, folder = self._context.visitor(request), event_text(event, "open")
        try:
            view = self._view(folder, visitor)
        except EmotionError as error:
            query = replace(query, open_clip="")
            return *self._listed(query, visitor), *_no_view(visitor.words, error), gr.skip()
        query = replace(query, open_clip=folder, seen=folder)
        return *self._listed(query, visitor), *view, folder

    def close_clip(self, query: HistoryQuery, request: gr.Request) -> tuple[Any, ...]:
        """No clip."""
        visitor = self._context.visitor(request)
        return *self._listed(replace(query, open_clip=""), visitor), *_no_view(visitor.words)

    def ask_to_delete(self, query: HistoryQuery, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        """The question whether some runs shall be deleted, or why none of them can be."""
        visitor, names = self._context.visitor(request), _run_names(event, "delete")
        runs, words = visitor.workspace.history.chosen(names), visitor.words
        if not runs:
            return gr.skip(), *self._nothing_there(names, query, visitor)
        closed = [run for run in runs if not run.is_open]
        unchanged = (gr.skip(),) * 2
        if not closed:
            return gr.skip(), render.notice(history_render.all_open(runs, words), words), *unchanged
        return history_render.question(closed, len(runs) - len(closed), words), gr.skip(), *unchanged

    def delete_runs(
        self, query: HistoryQuery, open_clip: str, event: gr.EventData, request: gr.Request
    ) -> tuple[Any, ...]:
        """The list without some runs, and no clip of them open."""
        visitor = self._context.visitor(request)
        deletion = visitor.workspace.history.delete_all(_run_names(event, "delete"))
        went = {*(run.name for run in deletion.deleted), *deletion.gone}
        view: tuple[Any, ...] = _UNCHANGED_VIEW
        if _run_of(query.open_clip) in went:
            query, view = replace(query, open_clip=""), _no_view(visitor.words)
        said = history_render.deletion_text(deletion, visitor.words)
        summary, *listed = self._listed(query, visitor, said)
        summary = summary if went else render.notice(said, visitor.words)
        return "", summary, *listed, *view, "" if _run_of(open_clip) in went else gr.skip()

    def zip_runs(self, query: HistoryQuery, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        """A link to one zip of some runs, and the list."""
        visitor, names = self._context.visitor(request), _run_names(event, "pack")
        runs, words = visitor.workspace.history.chosen(names), visitor.words
        if not runs:
            return "", *self._nothing_there(names, query, visitor)
        said = [words("history.packed", count=len(runs), files=history_render.files_of(runs, words))]
        if len(runs) < len(names):
            said.append(words("history.gone", count=len(names) - len(runs)))
        name, address = self._zip(runs, visitor.workspace)
        link = templates.render("history/zip_link.html", words, name=name, address=address)
        return link, *self._listed(query, visitor, words.joined(said))

    def compare_clips(self, query: HistoryQuery, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        """The open clip and a second one."""
        visitor = self._context.visitor(request)
        try:
            pair = [
                visitor.workspace.history.open_clip(folder)
                for folder in (query.open_clip, event_text(event, "compare"))
            ]
        except EmotionError as error:
            return *_NO_COMPARISON, render.notice(visitor.words.error(error), visitor.words)
        one, other = (files.analysis for files in pair)
        sides: list[Any] = []
        for letter, files in zip(comparison_render.SIDES, pair, strict=True):
            moment = history_render.moment_name(files.analysis.timestamp, visitor.words)
            sides.append(templates.render("history/side.html", visitor.words, letter=letter, moment=moment))
            sides += clip_view.clip_values(files, self._context, visitor)[:-1]
        head, table = (make(one, other, visitor.words) for make in (comparison_render.head, comparison_render.table))
        return head, *sides, table, gr.skip()

    def _listed(self, query: HistoryQuery, visitor: PageVisitor, said: str = "") -> tuple[Any, ...]:
        """Values of the summary, the list and the query."""
        page, words = visitor.workspace.history.runs(query.search, query.emotion, query.limit), visitor.words
        summary = history_render.summary(page, query, self._context.settings, words, said)
        # In the time of the server, as the runs themselves.
        return summary, history_render.run_list(page, query, words, datetime.now().date()), query

    def _nothing_there(self, names: Sequence[str], query: HistoryQuery, visitor: PageVisitor) -> tuple[Any, ...]:
        """The list where none of some runs is there any more; or none was named at all, which only a fault does."""
        said = history_render.deletion_text(Deletion(gone=tuple(names)), visitor.words)
        summary, *listed = self._listed(query, visitor, said)
        return summary if names else render.notice(said, visitor.words), *listed

    def _zip(self, runs: Sequence[RunEntry], workspace: Workspace) -> tuple[str, str]:
        """Name and address of one zip of some runs."""
        names = [run.name for run in runs]
        name = f"{names[0]}.zip" if len(names) == 1 else f"outputs_{len(names)}_runs.zip"
        chunks = partial(workspace.history.zip_chunks, *names)
        return name, self._context.file_links.stream(name, chunks, workspace.owner)

    def _view(self, folder: str, visitor: PageVisitor) -> tuple[Any, ...]:
        """Values of the side with the open clip; raises an EmotionError that says why not."""
        workspace, words = visitor.workspace, visitor.words
        files, run = workspace.history.open_clip(folder), workspace.history.run(_run_of(folder))
        label = words("history.zip", files=history_render.files_of([run], words))
        *clip, log = clip_view.clip_values(files, self._context, visitor)
        zipped = [render.Download(label, *self._zip([run], workspace))]
        whole_run = render.downloads(words("history.whole_run"), zipped, words)
        return history_render.opened(files, run, words), *clip, whole_run, log


def _no_view(words: Words, error: EmotionError | None = None) -> tuple[Any, ...]:
    """Values of the side with the open clip while there is none, and why, if it should be there."""
    card = render.error_card(error, words) if error else templates.render("history/nothing_open.html", words)
    return "", card, None, "", "", ""


def _run_names(event: gr.EventData, name: str) -> list[str]:
    """The runs that the browser named, each once; what no run can be called is passed over."""
    return [run for run in dict.fromkeys(event_text(event, name).split(" ")) if run_time(run) is not None]


def _run_of(folder: str) -> str:
    return folder.partition("/")[0]


def _lay_out_browse() -> _BrowseParts:
    with gr.Row(elem_classes="two-sides", elem_id="history-browse", equal_height=False):
        with gr.Column(scale=2, min_width=320, elem_classes="wish"):
            tools = html("", "history-tools", script="history.mountTools")
            summary = html("", "history-summary")
            runs = html("", "history-list", script="history.mountList")
            question = html("", "history-question", script="history.mountQuestion")
            zip_link = html("", "history-packed", script="history.mountZip")
        with gr.Column(scale=3, min_width=320, elem_classes="outcome"):
            opened = html("", "history-opened", script="history_view.mountOpened")
            view = [opened, *lay_out_clip("history"), html("", "history-run"), clip_view.log_box("history-log")]
    return _BrowseParts(tools, summary, runs, question, zip_link, opened, view)


def _lay_out_comparison() -> tuple[gr.HTML, list[gr.components.Component]]:
    """What stands above two clips that are compared, and all components of the comparison."""
    with gr.Column(elem_id="history-comparison"):
        head = html("", "comparison-head", script="history_view.mountComparison")
        parts: list[gr.components.Component] = [head]
        with gr.Row(elem_classes="two-sides", equal_height=False):
            for name in ("comparison-one", "comparison-other"):
                with gr.Column(min_width=320, elem_classes="outcome"):
                    parts += [html("", f"{name}-name"), *lay_out_clip(name)]
        parts.append(html("", "comparison-table"))
    return head, parts


def _wire(context: PageContext, tab: gr.Tab, query: gr.State, parts: _BrowseParts, handlers: HistoryHandlers) -> None:
    listed, open_clip = [parts.summary, parts.runs, query], context.open_clip
    tab.select(handlers.refresh, [query, open_clip], [parts.tools, *listed, *parts.view], **QUIET)
    # Components that only carry what is in the form; of all that is typed while one answer is on its way, only the
    # last is asked.
    search, emotion = gr.Textbox(visible=False), gr.Textbox(visible=False)
    parts.tools.input(handlers.search, [search, emotion, query], listed, js=_ASKED, trigger_mode="always_last", **QUIET)
    parts.runs.expand(handlers.show_more, query, listed, **QUIET)
    parts.runs.select(handlers.open_clip, query, [*listed, *parts.view, open_clip], **OPENING)
    parts.opened.clear(handlers.close_clip, query, [*listed, *parts.view], **QUIET)
    parts.runs.delete(handlers.ask_to_delete, query, [parts.question, *listed], **QUIET)
    parts.runs.download(handlers.zip_runs, query, [parts.zip_link, *listed], **QUIET)
    deleted = [parts.question, *listed, *parts.view, open_clip]
    parts.question.delete(handlers.delete_runs, [query, open_clip], deleted, **OPENING)
    parts.runs.upload(lambda: gr.Tabs(selected="recognise"), None, context.tabs, **QUIET)
