"""Recognise: one recording, its emotion, and how it moves through time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from emotion.errors import EmotionError
from emotion.settings import Settings
from emotion.texts import Words
from emotion.ui import clip_view, layout, render
from emotion.ui.clip_view import ClipView, lay_out_clip
from emotion.ui.gradio_adapter import take_only_uploads
from emotion.ui.page_context import QUIET, PageContext
from emotion.ui.runs import View
from emotion.ui.texts import html, text
from emotion.ui.uploads import Uploads
from emotion.ui.workspace import PageVisitor

SAMPLES = ("calm", "cheerful", "cross")


@dataclass(frozen=True)
class Parts:
    """The components of this tab."""

    recording: gr.Audio
    samples: dict[str, gr.Button]
    options: layout.OptionParts
    recognize: gr.Button
    cancel: gr.Button
    progress: gr.HTML
    clip: ClipView
    log: gr.Textbox
    shown: gr.State

    @property
    def outcome(self) -> list[gr.components.Component]:
        return [self.progress, *self.clip.outputs, self.log, self.recognize, self.cancel]


def add_recognize(context: PageContext, uploads: Uploads) -> Parts:
    """Lay out the tab and wire it."""
    parts = _lay_out(context.settings)
    take_only_uploads(parts.recording)
    _wire_samples(parts, context, uploads)
    _wire_runs(parts, context, uploads)
    _wire_open_clip(parts, context)
    return parts


def sample_path(name: str) -> Path:
    """The synthetic voice of that name."""
    return Path(__file__).parent.parent / "assets" / "samples" / f"{name}.flac"


def show_clip(folder: str, context: PageContext, visitor: PageVisitor) -> tuple[Any, ...]:
    """Values of the clip's components and the log for a stored clip; raises an EmotionError that says why not."""
    files = visitor.workspace.history.open_clip(folder)
    return *clip_view.shown(files, context, visitor), clip_view.log_of(files, visitor.words)


def _lay_out(settings: Settings) -> Parts:
    with gr.Row(elem_classes="two-sides", equal_height=False):
        with gr.Column(scale=2, min_width=320, elem_classes="wish"):
            recording, samples = _recording()
            options = layout.option_parts(settings)
            with gr.Row(elem_id="start"):
                recognize = gr.Button(text("recognise"), variant="primary", scale=2, min_width=120, elem_id="recognise")
                cancel = gr.Button(text("cancel"), scale=1, min_width=96, interactive=False, elem_id="cancel")
            progress = html(render.progress_done("", Words("en")), "progress")
        with gr.Column(scale=3, min_width=320, elem_classes="outcome"):
            clip = lay_out_clip(empty=text("empty"))
    log = clip_view.log_box("log")
    return Parts(recording, samples, options, recognize, cancel, progress, clip, log, gr.State(""))


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


def _wire_samples(parts: Parts, context: PageContext, uploads: Uploads) -> None:
    def take(find: Callable[[], Path | None]) -> Callable[[gr.Request], str | None]:
        def taken(request: gr.Request) -> str | None:
            path = parts.recording.move_resource_to_block_cache(find())
            uploads.belong(context.workspace(request).owner, [path] if path else [])
            return path

        return taken

    for name, button in parts.samples.items():
        find = partial(sample_path, name) if name in SAMPLES else context.recognizer.example
        button.click(take(find), None, parts.recording, **QUIET)


def _wire_runs(parts: Parts, context: PageContext, uploads: Uploads) -> None:
    async def on_recognize(request: gr.Request, recording: str | None, *options: Any) -> AsyncIterator[tuple[Any, ...]]:
        visitor = context.visitor(request)
        uploads.remember(visitor.workspace.owner, visitor.session, *([recording] if recording else []))
        async for view in context.runs.views(recording, layout.request_of(*options), visitor):
            lent = None
            if view.files is not None and view.files.audio is None:
                lent = await asyncio.to_thread(
                    uploads.lend, visitor.workspace.owner, visitor.session, view.files.analysis.clip
                )
            yield await _values(view, context, visitor, lent)

    def cancel(request: gr.Request) -> None:
        context.runs.cancel(request.session_hash or "")

    parts.recognize.click(
        on_recognize, [parts.recording, *parts.options.inputs], [*parts.outcome, parts.shown, context.open_clip],
        show_progress="hidden", api_visibility="private",
    )  # fmt: skip
    parts.cancel.click(cancel, **QUIET)


def _wire_open_clip(parts: Parts, context: PageContext) -> None:
    """Show the clip that another tab opened, and no longer the one that it deleted."""
    outputs = [*parts.clip.outputs, parts.log, parts.shown]

    def follow(folder: str, shown: str, request: gr.Request) -> tuple[Any, ...]:
        visitor = context.visitor(request)
        if not folder and shown and not visitor.workspace.history.has_clip(shown):
            return render.empty_card(visitor.words), None, "", "", ""
        if folder in ("", shown):
            return tuple(gr.skip() for _ in outputs)
        try:
            return *show_clip(folder, context, visitor), folder
        except EmotionError:  # deleted since: what is shown stays
            return tuple(gr.skip() for _ in outputs)

    context.open_clip.change(follow, [context.open_clip, parts.shown], outputs, **QUIET)


async def _values(view: View, context: PageContext, visitor: PageVisitor, lent: Path | None) -> tuple[Any, ...]:
    """The values of all outcome components, and of the open clip, for one step; `lent` is sound that is not kept."""
    buttons = gr.update(interactive=not view.running), gr.update(interactive=view.running)
    if view.files is None:
        log = gr.skip() if view.running else ""
        return view.progress, view.card, None, "", log, *buttons, "", gr.skip()
    clip = await asyncio.to_thread(clip_view.shown, view.files, context, visitor, lent)
    log = clip_view.log_of(view.files, visitor.words)
    key = clip_view.clip_key(view.files, visitor.workspace)
    return view.progress, *clip, log, *buttons, key, key
