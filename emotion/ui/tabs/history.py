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
from emotion.ui import clip_view, comparison_render, deletion_render, history_render, render, theme
from emotion.ui.clip_view import ClipView, lay_out_clip
from emotion.ui.gradio_adapter import event_text
from emotion.ui.history_render import MORE_CLIPS, MOST_TYPED, PAGE_RUNS, Look
from emotion.ui.page_context import OPENING, QUIET, PageContext
from emotion.ui.texts import html
from emotion.ui.workspace import Workspace

_ASKED = "(_, __, look) => [...['search', 'emotion'].map((name) => document.forms.history[name].value), look]"


@dataclass(frozen=True)
class BrowseParts:
    """The list, and beside it the clip that is open."""

    tools: gr.HTML
    summary: gr.HTML
    runs: gr.HTML
    question: gr.HTML
    packed: gr.HTML
    opened: gr.HTML
    clip: ClipView
    run: gr.HTML
    log: gr.Textbox

    @property
    def view(self) -> list[gr.components.Component]:
        return [self.opened, *self.clip.outputs, self.run, self.log]


@dataclass(frozen=True)
class SideParts:
    """One of two clips that are compared."""

    name: gr.HTML
    clip: ClipView

    @property
    def outputs(self) -> list[gr.components.Component]:
        return [self.name, *self.clip.outputs]


@dataclass(frozen=True)
class ComparisonParts:
    """Two clips beside each other."""

    head: gr.HTML
    one: SideParts
    other: SideParts
    table: gr.HTML

    @property
    def outputs(self) -> list[gr.components.Component]:
        return [self.head, *self.one.outputs, *self.other.outputs, self.table]


def add_history(desk: PageContext, tab: gr.Tab) -> None:
    """Lay out the tab and wire it."""
    look = gr.State(Look())
    with gr.Column(elem_id="history"):
        browse, comparison = _lay_out_browse(), _lay_out_comparison()
    _wire(desk, tab, look, browse, comparison)


class Answers:
    """What the tab answers to a reader: each method is one event, and gives the values of the components after it."""

    def __init__(self, desk: PageContext) -> None:
        self._desk = desk

    def refresh(self, look: Look, open_clip: str, request: gr.Request) -> tuple[Any, ...]:
        """What can be searched, the list as it is now, and the clip that was opened elsewhere meanwhile."""
        words, place = self._desk.words(request), self._desk.place(request)
        view: tuple[Any, ...] = (gr.skip(),) * len(_no_view(words))
        if open_clip not in ("", look.seen):
            look = replace(look, open_clip=open_clip, seen=open_clip)
            try:
                view = self._view(open_clip, place, words)
            except EmotionError:  # it was deleted since
                look = replace(look, open_clip="")
        if not place.history.has_clip(look.open_clip):
            look, view = replace(look, open_clip=""), _no_view(words)
        return history_render.tools(look, words), *self._listed(look, place, words), *view

    def find(self, search: str | None, emotion: str | None, look: Look, request: gr.Request) -> tuple[Any, ...]:
        """The runs that go with what was typed and chosen, which may be nothing."""
        look = Look((search or "")[:MOST_TYPED], emotion or "", open_clip=look.open_clip, seen=look.seen)
        return self._listed(look, self._desk.place(request), self._desk.words(request))

    def more(self, look: Look, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        """More runs, or more recordings of a batch."""
        run = event_text(event, "unfold")
        if run:
            unfolded = dict(look.unfolded)
            unfolded[run] = unfolded.get(run, 0) + MORE_CLIPS
            look = replace(look, unfolded=tuple(unfolded.items()))
        else:
            look = replace(look, limit=look.limit + PAGE_RUNS)
        return self._listed(look, self._desk.place(request), self._desk.words(request))

    def open(self, look: Look, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        """A clip with everything that was kept of it."""
        words, place, folder = self._desk.words(request), self._desk.place(request), event_text(event, "open")
        try:
            view = self._view(folder, place, words)
        except EmotionError as error:
            look = replace(look, open_clip="")
            return *self._listed(look, place, words), *_no_view(words, error), gr.skip()
        look = replace(look, open_clip=folder, seen=folder)
        return *self._listed(look, place, words), *view, folder

    def close(self, look: Look, request: gr.Request) -> tuple[Any, ...]:
        """No clip."""
        words, place = self._desk.words(request), self._desk.place(request)
        return *self._listed(replace(look, open_clip=""), place, words), *_no_view(words)

    def ask(self, look: Look, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        """The question whether some runs shall be deleted, or why none of them can be."""
        words, place, names = self._desk.words(request), self._desk.place(request), _runs_said(event, "delete")
        runs = place.history.chosen(names)
        if not runs:
            return gr.skip(), *self._nothing_there(names, look, place, words)
        closed = [run for run in runs if not run.is_open]
        unchanged = (gr.skip(),) * 2
        if not closed:
            return gr.skip(), history_render.notice(deletion_render.all_open(runs, words)), *unchanged
        return deletion_render.question(closed, len(runs) - len(closed), words), gr.skip(), *unchanged

    def delete(self, look: Look, open_clip: str, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        """The list without some runs, and no clip of them open."""
        words, place = self._desk.words(request), self._desk.place(request)
        deletion = place.history.delete_all(_runs_said(event, "delete"))
        went = {*(run.name for run in deletion.deleted), *deletion.gone}
        view: tuple[Any, ...] = (gr.skip(),) * len(_no_view(words))
        if _run_of(look.open_clip) in went:
            look, view = replace(look, open_clip=""), _no_view(words)
        said = deletion_render.outcome(deletion, words)
        summary, *listed = self._listed(look, place, words, said)
        summary = summary if went else history_render.notice(said)
        return "", summary, *listed, *view, "" if _run_of(open_clip) in went else gr.skip()

    def pack(self, look: Look, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        """A link to one zip of some runs, and the list."""
        words, place, names = self._desk.words(request), self._desk.place(request), _runs_said(event, "pack")
        runs = place.history.chosen(names)
        if not runs:
            return "", *self._nothing_there(names, look, place, words)
        said = [words("history.packed", count=len(runs), files=history_render.files_of(runs, words))]
        if len(runs) < len(names):
            said.append(words("history.gone", count=len(names) - len(runs)))
        name, address = self._zip(runs, place)
        return history_render.packed(name, address), *self._listed(look, place, words, words.joined(said))

    def compare(self, look: Look, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        """The open clip and a second one."""
        words, place = self._desk.words(request), self._desk.place(request)
        try:
            pair = [place.history.open_clip(folder) for folder in (look.open_clip, event_text(event, "compare"))]
        except EmotionError as error:
            return *_no_comparison(), history_render.problem(error, words)
        one, other = (files.analysis for files in pair)
        head, table = (make(one, other, words) for make in (comparison_render.head, comparison_render.table))
        sides = [
            value
            for letter, files in zip(comparison_render.SIDES, pair, strict=True)
            for value in (
                comparison_render.side(letter, files, words),
                *clip_view.shown(files, self._desk, place, words),
            )
        ]
        return head, *sides, table, gr.skip()

    def _listed(self, look: Look, place: Workspace, words: Words, said: str = "") -> tuple[Any, ...]:
        """Values of the summary, the list and the look."""
        page = place.history.runs(look.search, look.emotion, look.limit)
        summary = history_render.summary(page, look, self._desk.settings, words, said)
        # In the time of the server, as the runs themselves.
        return summary, history_render.run_list(page, look, words, datetime.now().date()), look

    def _nothing_there(self, names: Sequence[str], look: Look, place: Workspace, words: Words) -> tuple[Any, ...]:
        """The list where none of some runs is there any more; or none was named at all, which only a fault does."""
        said = deletion_render.outcome(Deletion(gone=tuple(names)), words)
        summary, *listed = self._listed(look, place, words, said)
        return summary if names else history_render.notice(said), *listed

    def _zip(self, runs: Sequence[RunEntry], place: Workspace) -> tuple[str, str]:
        """Name and address of one zip of some runs."""
        names = [run.name for run in runs]
        name = f"{names[0]}.zip" if len(names) == 1 else f"outputs_{len(names)}_runs.zip"
        return name, self._desk.shelf.stream(name, partial(place.history.zip_chunks, *names), place.owner)

    def _view(self, folder: str, place: Workspace, words: Words) -> tuple[Any, ...]:
        """Values of the side with the open clip; raises an EmotionError that says why not."""
        desk, files = self._desk, place.history.open_clip(folder)
        run = place.history.run(_run_of(folder))
        return (
            history_render.opened(files, run, words),
            *clip_view.shown(files, desk, place, words),
            history_render.whole_run(run, *self._zip([run], place), words),
            clip_view.log_of(files, words),
        )


def _no_view(words: Words, error: EmotionError | None = None) -> tuple[Any, ...]:
    """Values of the side with the open clip while there is none, and why, if it should be there."""
    card = render.error_card(error, words) if error else history_render.nothing_open(words)
    return "", card, None, "", "", ""


def _no_comparison() -> tuple[Any, ...]:
    side = "", "", None, ""
    return "", *side, *side, ""


def _runs_said(event: gr.EventData, name: str) -> list[str]:
    """The runs that the browser named, each once; what no run can be called is passed over."""
    return [run for run in dict.fromkeys(event_text(event, name).split(" ")) if run_time(run) is not None]


def _run_of(folder: str) -> str:
    return folder.partition("/")[0]


def _lay_out_browse() -> BrowseParts:
    with gr.Row(elem_classes="two-sides", elem_id="history-browse", equal_height=False):
        with gr.Column(scale=2, min_width=320, elem_classes="wish"):
            tools = _speaking("history-tools", "history_tools.js")
            summary = html("", "history-summary")
            runs = _speaking("history-list", "history.js", "history_choice.js")
            question = _speaking("history-question", "history_question.js")
            packed = _speaking("history-packed", "history_packed.js")
        with gr.Column(scale=3, min_width=320, elem_classes="outcome"):
            opened = _speaking("history-opened", "history_view.js")
            clip = lay_out_clip("history")
            run = html("", "history-run")
            log = clip_view.log_box("history-log")
    return BrowseParts(tools, summary, runs, question, packed, opened, clip, run, log)


def _lay_out_comparison() -> ComparisonParts:
    with gr.Column(elem_id="history-comparison"):
        head = _speaking("comparison-head", "history_view.js")
        with gr.Row(elem_classes="two-sides", equal_height=False):
            one, other = _lay_out_side("comparison-one"), _lay_out_side("comparison-other")
        table = html("", "comparison-table")
    return ComparisonParts(head, one, other, table)


def _lay_out_side(name: str) -> SideParts:
    with gr.Column(min_width=320, elem_classes="outcome"):
        return SideParts(html("", f"{name}-name"), lay_out_clip(name))


def _speaking(name: str, *scripts: str) -> gr.HTML:
    """A piece of HTML whose buttons say what was clicked."""
    script = "".join(theme.asset(script) for script in scripts)
    return gr.HTML("", js_on_load=script, apply_default_css=False, elem_id=name)


def _wire(desk: PageContext, tab: gr.Tab, look: gr.State, browse: BrowseParts, comparison: ComparisonParts) -> None:
    answers, listed = Answers(desk), [browse.summary, browse.runs, look]
    tab.select(answers.refresh, [look, desk.open_clip], [browse.tools, *listed, *browse.view], **QUIET)
    # Components that only carry what is in the form; of all that is typed while one answer is on its way, only the
    # last is asked.
    search, emotion = gr.Textbox(visible=False), gr.Textbox(visible=False)
    browse.tools.input(answers.find, [search, emotion, look], listed, js=_ASKED, trigger_mode="always_last", **QUIET)
    browse.runs.expand(answers.more, look, listed, **QUIET)
    browse.runs.select(answers.open, look, [*listed, *browse.view, desk.open_clip], **OPENING)
    browse.opened.clear(answers.close, look, [*listed, *browse.view], **QUIET)
    browse.runs.delete(answers.ask, look, [browse.question, *listed], **QUIET)
    browse.runs.download(answers.pack, look, [browse.packed, *listed], **QUIET)
    browse.question.delete(
        answers.delete, [look, desk.open_clip], [browse.question, *listed, *browse.view, desk.open_clip], **OPENING
    )
    browse.runs.click(answers.compare, look, [*comparison.outputs, browse.summary], **QUIET)
    browse.runs.upload(lambda: gr.Tabs(selected="recognise"), None, desk.tabs, **QUIET)
    comparison.head.clear(_no_comparison, None, comparison.outputs, **QUIET)
