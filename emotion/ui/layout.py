"""What stands around the tabs, what they are made of, and the texts that the browser chooses by its language."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from emotion.analysis import GRANULARITIES, AnalysisRequest, Granularity
from emotion.labels import LANGUAGES
from emotion.outputs import EXPORT_FORMATS
from emotion.outputs.exports import known_formats
from emotion.settings import Settings
from emotion.texts import Words
from emotion.ui import render, scripts, templates, theme

TITLE = "Emotion2Vec+ Studio"
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


def text(name: str) -> gr.i18n.I18nData:
    """A text of the group `page`."""
    # Without the prefix, a key that is also a name of Gradio's own texts shows "[object Object]".
    return gr.i18n.I18nData(f"page_{name}")


def html(value: Any, name: str, *classes: str, template: str | None = None, script: str = "") -> gr.HTML:
    """A component that shows HTML as it is, or what a script makes of the value in a template that never changes.

    The script is named as for `scripts.on_load`.
    """
    options: dict[str, Any] = {"html_template": theme.asset(template)} if template else {}
    if script:
        options["js_on_load"] = scripts.on_load(script)
    return gr.HTML(value, apply_default_css=False, elem_id=name, elem_classes=list(classes), **options)


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


def _kept_for(settings: Settings, words: Words) -> str:
    """How long runs stay in outputs/."""
    days, size = settings.keep_days, settings.keep_gb
    rule = "days_and_size" if days and size else "days" if days else "size" if size else "always"
    return words(f"kept.{rule}", days=f"{days:g}", gigabytes=f"{size:g}")


def translations(settings: Settings) -> gr.I18n:
    """All texts of the browser in both languages."""
    by_language = {}
    for language in LANGUAGES:
        words = Words(language)
        by_language[language] = {f"page_{name}": value for name, value in _browser_texts(words, settings).items()}
    return gr.I18n(**by_language)


def _browser_texts(words: Words, settings: Settings) -> dict[str, str]:
    return words.group("page") | {
        "header": templates.render("header.html", words, title=TITLE),
        "samples": templates.render("samples.html", words),
        "empty": render.empty_card(words),
        "footer": templates.render("footer.html", words, kept=_kept_for(settings, words)),
    }
