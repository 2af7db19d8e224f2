"""What stands around the tabs, and the choices that several tabs offer."""

from collections.abc import Sequence
from dataclasses import dataclass

import gradio as gr

from emotion.analysis import GRANULARITIES, AnalysisRequest, Granularity
from emotion.labels import LANGUAGES
from emotion.outputs import EXPORT_FORMATS
from emotion.outputs.exports import known_formats
from emotion.settings import Settings
from emotion.texts import Words
from emotion.ui import templates
from emotion.ui.texts import html, text

MODEL_POLL_S = 2.0


@dataclass(frozen=True)
class HeaderParts:
    """Which model answers, what there is to say about it, and who is signed in."""

    model: gr.HTML
    client: gr.HTML
    notice: gr.HTML
    timer: gr.Timer


@dataclass(frozen=True)
class OptionParts:
    """What a visitor may want of a recording."""

    granularity: gr.Radio
    embedding: gr.Checkbox
    keep_audio: gr.Checkbox
    exports: gr.CheckboxGroup

    @property
    def inputs(self) -> list[gr.components.Component]:
        return [self.granularity, self.embedding, self.keep_audio, self.exports]


def header() -> HeaderParts:
    """Title, model, who is signed in, and the choice of language."""
    with gr.Row(elem_id="header"):
        html(text("header"), "title")
        model = html("", "model")
        client = html("", "client")
        # Two buttons, whose click page.js remembers; the page then comes again in that language.
        languages = [Words(language) for language in reversed(LANGUAGES)]
        html(templates.render("language_switch.html", Words("en"), languages=languages), "language")
    return HeaderParts(model, client, html("", "notice"), gr.Timer(MODEL_POLL_S))


def footer() -> None:
    html(text("footer"), "footer")


def option_parts(settings: Settings, name: str = "") -> OptionParts:
    """Granularity, embedding, the recording itself, and further formats; `name` stands before their ids."""
    before = f"{name}-" if name else ""
    granularity = gr.Radio(
        [(text(granularity), granularity) for granularity in GRANULARITIES], value=GRANULARITIES[0],
        label=text("granularity"), info=text("granularity_info"), elem_id=f"{before}granularity",
    )  # fmt: skip
    embedding = gr.Checkbox(label=text("embedding"), info=text("embedding_info"), elem_id=f"{before}embedding")
    keep_audio = gr.Checkbox(
        label=text("keep_audio"), info=text("keep_audio_info"), value=settings.keep_audio, elem_id=f"{before}keep-audio"
    )
    with gr.Accordion(text("more"), open=False, elem_id=f"{before}more"):
        exports = gr.CheckboxGroup(
            [(text(f"export_{name}"), name) for name in EXPORT_FORMATS],
            label=text("exports"), elem_id=f"{before}exports",
        )  # fmt: skip
    return OptionParts(granularity, embedding, keep_audio, exports)


def request_of(granularity: Granularity, embedding: bool, keep_audio: bool, exports: Sequence[str]) -> AnalysisRequest:
    """What the values of `OptionParts.inputs` ask for."""
    return AnalysisRequest(granularity, embedding, exports=known_formats(exports), keep_audio=keep_audio)
