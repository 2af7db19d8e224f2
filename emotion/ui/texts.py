"""Texts that the browser chooses by its language, and plain pieces of HTML that hold them."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from emotion.labels import LANGUAGES
from emotion.settings import Settings
from emotion.texts import Words
from emotion.ui import render, templates, theme

TITLE = "Emotion2Vec+ Studio"


def text(name: str) -> gr.i18n.I18nData:
    """A text of the group `page`."""
    # Without the prefix, a key that is also a name of Gradio's own texts shows "[object Object]".
    return gr.i18n.I18nData(f"page_{name}")


def html(value: Any, name: str, *classes: str, template: str | None = None, scripts: Sequence[str] = ()) -> gr.HTML:
    """A component that shows HTML as it is, or what the scripts make of the value in a template that never changes."""
    options: dict[str, Any] = {"html_template": theme.asset(template)} if template else {}
    if scripts:
        options["js_on_load"] = "".join(theme.asset(script) for script in scripts)
    return gr.HTML(value, apply_default_css=False, elem_id=name, elem_classes=list(classes), **options)


def kept_for(settings: Settings, words: Words) -> str:
    """How long runs stay in outputs/."""
    if settings.keep_days and settings.keep_gb:
        return words("kept.days_and_size", days=f"{settings.keep_days:g}", gigabytes=f"{settings.keep_gb:g}")
    if settings.keep_days:
        return words("kept.days", days=f"{settings.keep_days:g}")
    if settings.keep_gb:
        return words("kept.size", gigabytes=f"{settings.keep_gb:g}")
    return words("kept.always")


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
        "footer": templates.render("footer.html", words, kept=kept_for(settings, words)),
    }
