"""Recognise: one recording, its emotion, and how it moves through time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from emotion.errors import EmotionError
from emotion.texts import Words
from emotion.ui import clip_view, layout, render
from emotion.ui.layout import html, text
from emotion.ui.page_context import OPENING, QUIET, PageContext
from emotion.ui.uploads import Uploads

SAMPLES = ("calm", "cheerful", "cross")


def add_recognize(context: PageContext, uploads: Uploads) -> gr.Button:
    """Lay out the tab and wire it; the button of the example that comes with some models."""
    with gr.Row(elem_classes="two-sides", equal_height=False):
        with gr.Column(scale=2, min_width=320, elem_classes="wish"):
            recording, samples = _recording()
            options = layout.option_parts(context.settings)
            with gr.Row(elem_id="start"):
                start = gr.Button(text("recognise"), variant="primary", scale=2, min_width=120, elem_id="recognise")
                cancel = gr.Button(text("cancel"), scale=1, min_width=96, interactive=False, elem_id="cancel")
            progress = html(render.progress_done("", Words("en")), "progress")
        with gr.Column(scale=3, min_width=320, elem_classes="outcome"):
            clip = clip_view.lay_out_clip(empty=text("empty"))
    clip.append(clip_view.log_box("log"))
    handlers, shown = RecognizeHandlers(context, uploads), gr.State("")
    for name, button in samples.items():
        find = partial(sample_path, name) if name in SAMPLES else context.recognizer.example
        button.click(handlers.take_sample(recording, find), None, recording, **QUIET)
    outcome = [progress, *clip, start, cancel, shown, context.open_clip]
    start.click(handlers.start, [recording, *options.inputs], outcome, **OPENING)
    cancel.click(handlers.cancel, **QUIET)
    context.open_clip.change(handlers.show_open_clip, [context.open_clip, shown], [*clip, shown], **QUIET)
    return samples["example"]


def _recording() -> tuple[gr.Audio, dict[str, gr.Button]]:
    recording = gr.Audio(
        label=text("recording"), sources=["upload", "microphone"], type="filepath", format=None,
        buttons=["download"], elem_id="recording", elem_classes="takes-sound",
        waveform_options=gr.WaveformOptions(waveform_color="#9aa7b8", waveform_progress_color="#1f2a3a"),
    )  # fmt: skip
    html(text("samples"), "samples-label")
    with gr.Row(elem_id="samples"):
        samples = {name: gr.Button(text(f"sample_{name}"), size="sm", min_width=72) for name in SAMPLES}
        samples["example"] = gr.Button(text("sample_example"), size="sm", min_width=72, visible=False)
    return recording, samples


def sample_path(name: str) -> Path:
    """The synthetic voice of that name."""
    return Path(__file__).parent.parent / "assets" / "samples" / f"{name}.flac"


class RecognizeHandlers:
    """The events of the tab: each method is one, or makes one, and gives the values of the components after it."""

    def __init__(self, context: PageContext, uploads: Uploads) -> None:
        self._context, self._uploads = context, uploads

    def take_sample(self, recording: gr.Audio, find: Callable[[], Path | None]) -> Callable[[gr.Request], str | None]:
        """The event that puts a sample into the recording."""

        def take(request: gr.Request) -> str | None:
            path = recording.move_resource_to_block_cache(find())
            self._uploads.add_owner(self._context.workspace(request).owner, [path] if path else [])
            return path

        return take

    async def start(self, request: gr.Request, recording: str | None, *options: Any) -> AsyncIterator[tuple[Any, ...]]:
        """Each step of one recording: the outcome, what is shown now, and the open clip."""
        visitor = self._context.visitor(request)
        owner, session = visitor.workspace.owner, visitor.session
        self._uploads.add_user(owner, session, *([recording] if recording else []))
        async for step in self._context.runs.steps(recording, layout.request_of(*options), visitor):
            buttons = gr.update(interactive=not step.running), gr.update(interactive=step.running)
            if step.files is None:
                log = gr.skip() if step.running else ""
                yield step.progress, step.card, None, "", log, *buttons, "", gr.skip()
                continue
            copy = None
            if step.files.audio is None:
                copy = await asyncio.to_thread(self._uploads.write_copy, owner, session, step.files.analysis.clip)
            clip = await asyncio.to_thread(clip_view.clip_values, step.files, self._context, visitor, copy)
            key = clip_view.clip_key(step.files, visitor.workspace)
            yield step.progress, *clip, *buttons, key, key

    def cancel(self, request: gr.Request) -> None:
        """Stop the recording in work."""
        self._context.runs.cancel_run(request.session_hash or "")

    def show_open_clip(self, folder: str, shown: str, request: gr.Request) -> tuple[Any, ...]:
        """The clip that another tab opened, and no longer the one that it deleted."""
        visitor, unchanged = self._context.visitor(request), (gr.skip(),) * 5
        if not folder and shown and not visitor.workspace.history.has_clip(shown):
            return render.empty_card(visitor.words), None, "", "", ""
        if folder in ("", shown):
            return unchanged
        try:
            return *clip_view.stored_clip_values(folder, self._context, visitor), folder
        except EmotionError:  # deleted since: what is shown stays
            return unchanged
