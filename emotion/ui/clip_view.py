"""One analysed clip as it is shown: result, timeline, downloads and log; the same on every tab."""

from pathlib import Path
from typing import Any

import gradio as gr

from emotion.analysis import Analysis
from emotion.formatting import clock, percent
from emotion.outputs import ClipFiles
from emotion.outputs.names import download_name
from emotion.texts import Words
from emotion.ui import render, timeline_data
from emotion.ui.layout import html, text
from emotion.ui.page_context import PageContext
from emotion.ui.workspace import PageVisitor, Workspace

STAGES = ("decode", "queue", "inference", "write")


def lay_out_clip(name: str = "", empty: gr.i18n.I18nData | str = "") -> list[gr.components.Component]:
    """The components of a clip; `name` stands before their ids where the page has several of them."""
    before = f"{name}-" if name else ""
    # The template of the timeline never changes, so that Gradio leaves the canvas to its script.
    return [
        html(empty, f"{before}result", "clip-result"),
        html(None, f"{before}timeline", "clip-timeline", template="timeline.html", script="timeline"),
        html("", f"{before}downloads", "clip-downloads"),
    ]


def log_box(name: str) -> gr.Textbox:
    """A closed fold with the log, to be copied."""
    with gr.Accordion(text("log"), open=False, elem_id=name):
        return gr.Textbox(
            label=text("log"), show_label=False, container=False, lines=9, interactive=False, buttons=["copy"]
        )


def stored_clip_values(folder: str, context: PageContext, visitor: PageVisitor) -> tuple[Any, ...]:
    """The `clip_values` of a clip of the history; raises an EmotionError that says why not."""
    return clip_values(visitor.workspace.history.open_clip(folder), context, visitor)


def clip_values(
    files: ClipFiles, context: PageContext, visitor: PageVisitor, copy: Path | None = None
) -> tuple[str, dict[str, Any] | None, str, str]:
    """Values of the components of a clip and of its log; `copy` is what plays where the recording is not kept."""
    analysis, workspace, words = files.analysis, visitor.workspace, visitor.words
    clip = clip_key(files, workspace)
    source = timeline_data.source(analysis, context.settings.smoothing_s)
    drawn = timeline_data.timeline(analysis, source, words)
    analysis.clip.forget()
    drawn |= {"clip": clip, "details": context.details.address(workspace, clip, source)}
    audio = files.audio or copy
    if audio is not None:
        drawn["audio"] = context.file_links.address(audio, workspace.owner)
    named = [(label, path, download_name(analysis.clip.name, path.name)) for label, path in _labelled(files, words)]
    offered = [
        render.Download(label, name, context.file_links.address(path, workspace.owner, save_as=name))
        for label, path, name in named
    ]
    has_lanes = len(source.samples) or source.scores is not None  # else there is an axis and nothing on it
    card = render.result_card(analysis, words)
    downloads = render.downloads(words("result.downloads"), offered, words)
    return card, drawn if has_lanes else None, downloads, log_text(analysis, files.folder.name, words)


def clip_key(files: ClipFiles, workspace: Workspace) -> str:
    """The clip's folder below the visitor's outputs, by which it is opened again."""
    return files.folder.relative_to(workspace.outputs).as_posix()


def log_text(analysis: Analysis, run_name: str, words: Words) -> str:
    """What was done, with which model, and how long each stage took, as text that can be copied."""
    card = analysis.model
    windows = f" ({words('log.windows')})" if analysis.overall_from == "windows" else ""
    facts = {
        "recording": f"{analysis.clip.name} · {clock(analysis.clip.duration_s)}",
        "result": f"{analysis.emotion.name(words.language)} {percent(analysis.confidence)}"
        f" · {words(f'page.{analysis.request.granularity}')}{windows}",
        "model": f"{card.name} · {card.runtime} · {card.device} · {card.precision} · {card.fingerprint}",
        "run": run_name,
    }
    lines = [analysis.timestamp.strftime("%Y-%m-%d %H:%M:%S")]
    lines += [f"{words(f'log.{name}')}: {value}" for name, value in facts.items()]
    timings_ms = {stage: analysis.timings_ms[stage] for stage in STAGES if stage in analysis.timings_ms}
    timings_ms["total"] = sum(timings_ms.values())
    for stage, time_ms in timings_ms.items():
        why = f" · {words('log.cached')}" if analysis.cached and stage == "inference" else ""
        lines.append(f"{words(f'log.{stage}')}: {words('log.ms', ms=f'{time_ms:.1f}')}{why}")
    return "\n".join(lines)


def _labelled(files: ClipFiles, words: Words) -> list[tuple[str, Path]]:
    kept = {"json": files.result, "frames": files.frames, "embedding": files.embedding, "audio": files.audio}
    labelled = [(words(f"result.{name}"), path) for name, path in kept.items() if path is not None]
    for name, paths in files.exports.items():
        label = words(f"page.export_{name}")
        labelled += [(label if len(paths) == 1 else f"{label} ({path.stem})", path) for path in paths]
    return labelled
