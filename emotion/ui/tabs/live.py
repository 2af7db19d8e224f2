"""Live: the microphone, the emotion while somebody speaks, and the run that is made of it at the end."""

import asyncio
from typing import Any

import gradio as gr
from fastapi import FastAPI

from emotion.analysis import AnalysisRequest, ExportFormat, Granularity
from emotion.errors import EmotionError
from emotion.ui import clip_view, layout, render
from emotion.ui.gradio_adapter import event_text
from emotion.ui.layout import html, text
from emotion.ui.live_socket import add_live_route, live_value
from emotion.ui.page_context import OPENING, QUIET, PageContext
from emotion.ui.workspace import PageVisitor

# The run that this browser tab saved last, which live.js keeps.
_REMEMBERED = "() => [sessionStorage.getItem('live') || '']"
# The result of an earlier session stays hidden until that of this one is there.
_REVEAL = """() => {
  if (document.body.dataset.live !== "saving") return;
  document.body.dataset.live = "off";
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  document.getElementById("live-outcome").scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "nearest" });
}"""


def add_live(context: PageContext, app: FastAPI) -> None:
    """Lay out the tab and wire it; `app` listens to the microphones."""
    add_live_route(app, context.recognizer, context.recognizer.admission.limit)
    # The template never changes, so that Gradio leaves the canvas alone and the script alone draws the value.
    box = html(None, "live", template="live.html", script="live")
    with gr.Column(elem_id="live-wish", elem_classes="wish"):
        html(text("live_when"), "live-when")
        options = layout.option_parts(context.settings, "live")
        options.granularity.value = "frame"  # who watches an emotion change wants to see it again
        html(text("live_privacy"), "live-privacy")
    with gr.Column(elem_id="live-outcome", elem_classes="outcome"):
        outcome = [*clip_view.lay_out_clip("live"), clip_view.log_box("live-log")]

    def value(
        granularity: Granularity, embedding: bool, keep_audio: bool, exports: list[ExportFormat], request: gr.Request
    ) -> dict[str, Any]:
        """Words and options of the box, when the page is loaded and on every change of an option."""
        wanted = AnalysisRequest(granularity, embedding, exports=tuple(exports), keep_audio=keep_audio)
        return live_value(context.recognizer, context.words(request), wanted)

    async def show_saved(event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        run = event_text(event, "run")
        return await asyncio.to_thread(saved_values, run, context, context.visitor(request))

    async def come_back(run: str, request: gr.Request) -> tuple[Any, ...]:
        """What was shown before the page was loaded anew, be it for another language."""
        try:
            return await asyncio.to_thread(clip_view.stored_clip_values, run, context, context.visitor(request))
        except EmotionError:  # there is none, or it was deleted since
            return tuple(gr.skip() for _ in outcome)

    gr.on(None, value, options.inputs, box, **QUIET)
    box.submit(show_saved, None, [*outcome, context.open_clip], **OPENING).then(None, js=_REVEAL)
    gr.on(None, come_back, [gr.Textbox(visible=False)], outcome, js=_REMEMBERED, **QUIET)


def saved_values(run: str, context: PageContext, visitor: PageVisitor) -> tuple[Any, ...]:
    """Values of the clip's components, of the log and of the open clip for a run that was saved; or why not."""
    try:
        return *clip_view.stored_clip_values(run, context, visitor), run
    except EmotionError as error:
        return render.error_card(error, visitor.words), None, "", "", gr.skip()
