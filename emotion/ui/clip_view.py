"""One analysed clip as it is shown: result, timeline, downloads and log; the same on every tab."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from emotion.outputs import ClipFiles
from emotion.texts import Words
from emotion.ui import render, theme, timeline_data
from emotion.ui.page_context import PageContext
from emotion.ui.run_log import journal
from emotion.ui.texts import html, text
from emotion.ui.workspace import PageVisitor, Workspace


@dataclass(frozen=True)
class ClipView:
    """The components that show one clip."""

    result: gr.HTML
    timeline: gr.HTML
    downloads: gr.HTML

    @property
    def outputs(self) -> list[gr.components.Component]:
        return [self.result, self.timeline, self.downloads]


def lay_out_clip(name: str = "", empty: gr.i18n.I18nData | str = "") -> ClipView:
    """The components of a clip; `name` stands before their ids where the page has several of them."""
    before = f"{name}-" if name else ""
    result = html(empty, f"{before}result", "clip-result")
    # The template never changes, so that Gradio leaves the canvas alone and the script alone draws the value.
    timeline = gr.HTML(
        None,
        html_template=theme.asset("timeline.html"),
        js_on_load=theme.asset("timeline_drawing.js") + theme.asset("timeline.js"),
        apply_default_css=False,
        elem_id=f"{before}timeline",
        elem_classes="clip-timeline",
    )
    return ClipView(result, timeline, html("", f"{before}downloads", "clip-downloads"))


def shown(
    files: ClipFiles, context: PageContext, visitor: PageVisitor, lent: Path | None = None
) -> tuple[str, dict[str, Any] | None, str]:
    """Values of the three components for a clip; `lent` is what plays where the recording is not kept."""
    analysis, workspace, words = files.analysis, visitor.workspace, visitor.words
    clip = clip_key(files, workspace)
    source = timeline_data.source(analysis, context.settings.smoothing_s)
    drawn = timeline_data.timeline(analysis, source, words)
    analysis.clip.forget()
    drawn |= {"clip": clip, "details": context.details.address(workspace, clip, source)}
    audio = files.audio or lent
    if audio is not None:
        drawn["audio"] = context.file_links.address(audio, workspace.owner)
    stem = Path(analysis.clip.name).stem
    offered = [
        render.Download(label, f"{stem}.{path.name}", context.file_links.address(path, workspace.owner))
        for label, path in _labelled(files, words)
    ]
    has_lanes = len(source.samples) or source.scores is not None  # else there is an axis and nothing on it
    card = render.result_card(analysis, words, heard=not source.is_all_quiet)
    return card, drawn if has_lanes else None, render.downloads(words("result.downloads"), offered, words)


def clip_key(files: ClipFiles, workspace: Workspace) -> str:
    """The clip's folder below the visitor's outputs, by which it is opened again."""
    return files.folder.relative_to(workspace.outputs).as_posix()


def log_of(files: ClipFiles, words: Words) -> str:
    """The log of the run, as text."""
    return journal(files.analysis, files.folder.name, words)


def log_box(name: str) -> gr.Textbox:
    """A closed fold with the log, to be copied."""
    with gr.Accordion(text("log"), open=False, elem_id=name):
        return gr.Textbox(
            label=text("log"), show_label=False, container=False, lines=9, interactive=False, buttons=["copy"]
        )


def _labelled(files: ClipFiles, words: Words) -> list[tuple[str, Path]]:
    kept = {"json": files.result, "frames": files.frames, "embedding": files.embedding, "audio": files.audio}
    labelled = [(words(f"result.{name}"), path) for name, path in kept.items() if path is not None]
    for name, paths in files.exports.items():
        label = words(f"page.export_{name}")
        labelled += [(label if len(paths) == 1 else f"{label} ({path.stem})", path) for path in paths]
    return labelled
