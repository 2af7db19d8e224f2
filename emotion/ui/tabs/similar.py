"""Similar: the recordings of the history that sound most like the open one, and a map of all."""

from typing import Any

import gradio as gr

from emotion.errors import RunNotFound
from emotion.outputs.run import AUDIO_FILE
from emotion.outputs.similar import Neighborhood
from emotion.ui import similar_render
from emotion.ui.gradio_adapter import event_text
from emotion.ui.layout import html, text
from emotion.ui.page_context import OPENING, QUIET, PageContext
from emotion.ui.workspace import PageVisitor, Workspace

_MOST_NEIGHBORS = 10


def add_similar(context: PageContext) -> None:
    """Lay out the tab and wire it."""
    with gr.Row(elem_id="similar", elem_classes="two-sides", equal_height=False):
        with gr.Column(scale=2, min_width=320):
            near = _part("similar-near", text("similar_waiting"))
        with gr.Column(scale=3, min_width=320):
            clip_map, card = _part("similar-map"), _part("similar-card")
    handlers, parts = SimilarHandlers(context), [near, clip_map, card]
    near.tick(handlers.show_neighborhood, context.open_clip, parts, **QUIET)
    clip_map.click(handlers.show_card, None, card, **QUIET)
    for part in (near, card):
        part.click(handlers.open_clip, None, [*parts, context.open_clip, context.tabs], **OPENING)


class SimilarHandlers:
    """The events of the tab: each method is one, and gives the values of the components after it."""

    def __init__(self, context: PageContext) -> None:
        self._context = context

    def show_neighborhood(self, open_clip: str, request: gr.Request) -> tuple[str, ...]:
        """List and map around the open clip."""
        visitor = self._context.visitor(request)
        around, words = _around(visitor.workspace, open_clip), visitor.words
        return (
            similar_render.nearest(around, open_clip, self._address(visitor, around), words),
            similar_render.clip_map(around, open_clip, words),
            similar_render.no_card(words),
        )

    def show_card(self, event: gr.EventData, request: gr.Request) -> str:
        """The card of a mark on the map."""
        visitor, folder = self._context.visitor(request), event_text(event, "point")
        around = _around(visitor.workspace, "")
        known = around.clips.get(folder)
        if known is None:
            return similar_render.problem(RunNotFound(), visitor.words)
        return similar_render.card(folder, known, self._address(visitor, around), visitor.words)

    def open_clip(self, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        """Another open clip: it is shown on the first tab, or stays here with what is like it."""
        near, folder = event_text(event, "near"), event_text(event, "open") or event_text(event, "near")
        visitor = self._context.visitor(request)
        if folder not in _around(visitor.workspace, "").clips:
            problem = similar_render.problem(RunNotFound(), visitor.words)
            return gr.skip(), gr.skip(), problem, gr.skip(), gr.skip()
        if near:
            return *self.show_neighborhood(folder, request), folder, gr.skip()
        return gr.skip(), gr.skip(), gr.skip(), folder, gr.Tabs(selected="recognise")

    def _address(self, visitor: PageVisitor, around: Neighborhood) -> similar_render.Address:
        workspace = visitor.workspace

        def address(folder: str) -> str | None:
            if not around.clips[folder].entry.has_audio:
                return None
            return self._context.file_links.address(workspace.outputs / folder / AUDIO_FILE, workspace.owner)

        return address


def _around(workspace: Workspace, folder: str) -> Neighborhood:
    return workspace.embeddings.query_neighborhood(workspace.history, folder, _MOST_NEIGHBORS)


def _part(name: str, value: Any = None) -> gr.HTML:
    return html(value, name, template="similar.html", script="similar")
