"""HTML from templates: whatever goes in is escaped, and every text comes in the reader's language."""

import re
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.ext import Extension
from jinja2.lexer import Token, TokenStream

from emotion.formatting import clock, duration, percent, size
from emotion.labels import Language, emotion_of
from emotion.texts.words import Words


class Templates:
    """The templates of a folder; they have filters for texts, emotions, bytes, times and shares."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def render(self, name: str, words: Words, /, **values: object) -> str:
        """The HTML of one template; a value that it needs and that is not given raises an `UndefinedError`."""
        return _environment(self._folder, words.language).get_template(name).render(values)


class _JoinedLines(Extension):
    """Joins the lines of a template, so that its layout adds no blanks to the page.

    A line break beside a tag or a value is nothing, and a space anywhere else.
    """

    def filter_stream(self, stream: TokenStream) -> Iterator[Token]:
        for token in stream:
            yield Token(token.lineno, "data", _joined(token.value)) if token.type == "data" else token


def _joined(html: str) -> str:
    return re.sub(r"\s*\n\s*", " ", re.sub(r"(^|>)\s*\n\s*|\s*\n\s*(?=<|$)", r"\1", html))


@cache
def _environment(folder: Path, language: Language) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        extensions=[_JoinedLines],
    )
    environment.globals["language"] = language
    words = Words(language)
    # Filters, since a text without values is then put into the template when it is compiled.
    environment.filters |= {
        "text": words,
        "error": words.error,
        "name": lambda emotion: emotion.name(language),
        "clock": clock,
        "duration": partial(duration, language=language),
        "emotion": emotion_of,
        "percent": percent,
        "size": size,
    }
    return environment
