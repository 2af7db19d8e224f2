"""Where everything stands on the page, and the texts that the browser chooses by its own language."""

from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from emotion.analysis import GRANULARITIES
from emotion.labels import LANGUAGES
from emotion.outputs import EXPORT_FORMATS
from emotion.settings import Settings
from emotion.ui import render, theme
from emotion.ui.words import Words, language_of

TITLE = "Emotion2Vec+ Studio"
SAMPLES = ("calm", "cheerful", "cross")
MODEL_POLL_S = 2.0


@dataclass(frozen=True)
class Parts:
    """The components that handlers read and write."""

    model: gr.HTML
    notice: gr.HTML
    recording: gr.Audio
    samples: dict[str, gr.Button]
    granularity: gr.Radio
    embedding: gr.Checkbox
    exports: gr.CheckboxGroup
    recognise: gr.Button
    cancel: gr.Button
    progress: gr.HTML
    result: gr.HTML
    timeline: gr.HTML
    downloads: gr.HTML
    log: gr.Textbox
    timer: gr.Timer


def lay_out() -> Parts:
    """All components, inside the Blocks that is open."""
    model, notice = _header()
    with gr.Row(elem_id="main", equal_height=False):
        with gr.Column(scale=2, min_width=320, elem_id="wish"):
            recording, samples = _recording()
            granularity, embedding, exports = _options()
            recognise, cancel, progress = _start()
        with gr.Column(scale=3, min_width=320, elem_id="outcome"):
            result = _html(_text("empty"), "result")
            timeline = _timeline()
            downloads = _html("", "downloads")
    with gr.Accordion(_text("log"), open=False, elem_id="log"):
        log = gr.Textbox(show_label=False, container=False, lines=9, interactive=False, buttons=["copy"])
    _html(_text("footer"), "footer")
    return Parts(
        model, notice, recording, samples, granularity, embedding, exports, recognise, cancel, progress,
        result, timeline, downloads, log, gr.Timer(MODEL_POLL_S),
    )  # fmt: skip


def translations(settings: Settings) -> gr.I18n:
    """Texts that the browser chooses from; one chosen language stands in for all."""
    by_language = {}
    for language in LANGUAGES:
        words = Words(language_of(language, settings.language))
        by_language[language] = {f"page_{name}": text for name, text in _browser_texts(words).items()}
    return gr.I18n(**by_language)


def _browser_texts(words: Words) -> dict[str, str]:
    return words.group("page") | {
        "header": f'<h1>{TITLE}</h1><p class="tagline">{words("intro.tagline")}</p>',
        "samples": f'<p class="samples-label">{words("page.samples")}</p>',
        "empty": render.empty_card(words),
        "footer": _footer(words),
    }


def _footer(words: Words) -> str:
    api = f'<a href="?view=api">{words("intro.api")}</a>'
    return f"<footer><p>{words('intro.privacy')}</p><p>{words('intro.licences')}</p><p>{api}</p></footer>"


def _header() -> tuple[gr.HTML, gr.HTML]:
    with gr.Row(elem_id="header"):
        _html(_text("header"), "title")
        model = _html("", "model")
    return model, _html("", "notice")


def _recording() -> tuple[gr.Audio, dict[str, gr.Button]]:
    recording = gr.Audio(
        label=_text("recording"), sources=["upload", "microphone"], type="filepath", format=None,
        buttons=["download"], elem_id="recording",
        waveform_options=gr.WaveformOptions(waveform_color="#9aa7b8", waveform_progress_color="#1f2a3a"),
    )  # fmt: skip
    _html(_text("samples"), "samples-label")
    with gr.Row(elem_id="samples"):
        samples = {name: gr.Button(_text(f"sample_{name}"), size="sm", min_width=72) for name in SAMPLES}
        samples["example"] = gr.Button(_text("sample_example"), size="sm", min_width=72, visible=False)
    return recording, samples


def _options() -> tuple[gr.Radio, gr.Checkbox, gr.CheckboxGroup]:
    granularity = gr.Radio(
        [(_text(name), name) for name in GRANULARITIES], value=GRANULARITIES[0],
        label=_text("granularity"), info=_text("granularity_info"), elem_id="granularity",
    )  # fmt: skip
    embedding = gr.Checkbox(label=_text("embedding"), elem_id="embedding")
    with gr.Accordion(_text("more"), open=False, elem_id="more"):
        exports = gr.CheckboxGroup(
            [(_text(f"export_{name}"), name) for name in EXPORT_FORMATS], label=_text("exports"), elem_id="exports"
        )
    return granularity, embedding, exports


def _start() -> tuple[gr.Button, gr.Button, gr.HTML]:
    with gr.Row(elem_id="start"):
        recognise = gr.Button(_text("recognise"), variant="primary", scale=2, min_width=120, elem_id="recognise")
        cancel = gr.Button(_text("cancel"), scale=1, min_width=96, interactive=False, elem_id="cancel")
    return recognise, cancel, _html(render.progress_done(""), "progress")


def _timeline() -> gr.HTML:
    # The template never changes, so that Gradio leaves the canvas alone and the script alone draws the value.
    return gr.HTML(
        None,
        html_template=theme.asset("timeline.html"),
        js_on_load=theme.asset("timeline_drawing.js") + theme.asset("timeline.js"),
        apply_default_css=False,
        elem_id="timeline",
    )


def sample_path(name: str) -> Path:
    """The synthetic voice of that name."""
    return Path(__file__).parent / "assets" / "samples" / f"{name}.flac"


def _html(value: str | gr.i18n.I18nData, name: str) -> gr.HTML:
    return gr.HTML(value, apply_default_css=False, elem_id=name)


def _text(name: str) -> gr.i18n.I18nData:
    # Without the prefix, a key that is also a name of Gradio's own texts shows "[object Object]".
    return gr.i18n.I18nData(f"page_{name}")
