"""Similar: the recordings of the history that sound most like the open one, and a map of all."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from emotion.errors import RunNotFound
from emotion.outputs.run import AUDIO_FILE
from emotion.outputs.similar import Neighborhood
from emotion.ui import similar_render, theme
from emotion.ui.gradio_adapter import event_text
from emotion.ui.page_context import OPENING, QUIET, PageContext
from emotion.ui.texts import text
from emotion.ui.workspace import Workspace

_MOST_NEIGHBORS = 10


@dataclass(frozen=True)
class Parts:
    """The components of this tab."""

    near: gr.HTML
    map: gr.HTML
    card: gr.HTML

    @property
    def outputs(self) -> list[gr.components.Component]:
        return [self.near, self.map, self.card]


def add_similar(desk: PageContext) -> None:
    """Lay out the tab and wire it."""
    with gr.Row(elem_id="similar", elem_classes="two-sides", equal_height=False):
        with gr.Column(scale=2, min_width=320):
            near = _part("similar-near", text("similar_waiting"))
        with gr.Column(scale=3, min_width=320):
            clip_map, card = _part("similar-map"), _part("similar-card")
    parts, answers = Parts(near, clip_map, card), Answers(desk)
    near.tick(answers.look, desk.open_clip, parts.outputs, **QUIET)
    clip_map.click(answers.show, None, card, **QUIET)
    for part in (near, card):
        part.click(answers.take, None, [*parts.outputs, desk.open_clip, desk.tabs], **OPENING)


class Answers:
    """What the tab answers to a reader: each method is one event, and gives the values of the components after it."""

    def __init__(self, desk: PageContext) -> None:
        self._desk = desk

    def look(self, open_clip: str, request: gr.Request) -> tuple[str, ...]:
        """List and map around the open clip."""
        words, place = self._desk.words(request), self._desk.place(request)
        around = _around(place, open_clip)
        return (
            similar_render.nearest(around, open_clip, self._address(place, around), words),
            similar_render.clip_map(around, open_clip, words),
            similar_render.no_card(words),
        )

    def show(self, event: gr.EventData, request: gr.Request) -> str:
        """The card of a mark on the map."""
        words, place, folder = self._desk.words(request), self._desk.place(request), event_text(event, "point")
        around = _around(place, "")
        known = around.clips.get(folder)
        if known is None:
            return similar_render.problem(words.error(RunNotFound()))
        return similar_render.card(folder, known, self._address(place, around), words)

    def take(self, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        """Another open clip: it is shown on the first tab, or stays here with what is like it."""
        near, folder = event_text(event, "near"), event_text(event, "open") or event_text(event, "near")
        words, around = self._desk.words(request), _around(self._desk.place(request), "")
        if folder not in around.clips:
            problem = similar_render.problem(words.error(RunNotFound()))
            return gr.skip(), gr.skip(), problem, gr.skip(), gr.skip()
        if near:
            return *self.look(folder, request), folder, gr.skip()
        return gr.skip(), gr.skip(), gr.skip(), folder, gr.Tabs(selected="recognise")

    def _address(self, place: Workspace, around: Neighborhood) -> similar_render.Address:
        def address(folder: str) -> str | None:
            if not around.clips[folder].entry.has_audio:
                return None
            return self._desk.shelf.address(place.outputs / folder / AUDIO_FILE, place.owner)

        return address


def _around(place: Workspace, folder: str) -> Neighborhood:
    return place.gallery.query_neighborhood(place.history, folder, _MOST_NEIGHBORS)


def _part(name: str, value: Any = None) -> gr.HTML:
    return gr.HTML(
        value,
        html_template=theme.asset("similar.html"),
        js_on_load=theme.asset("patched.js") + theme.asset("similar.js"),
        apply_default_css=False,
        elem_id=name,
    )
