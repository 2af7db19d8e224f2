"""Advice in the words that the page and the terminal say."""

import tomllib
from functools import cache
from pathlib import Path

from emotion.formatting import size
from emotion.labels import Language
from emotion.monitor.advice import Advice


def said_of(advice: Advice, language: Language) -> str:
    """What to do, in a sentence or two; advice of a newer server is told by its code."""
    by_language = _texts().get(advice.code)
    if by_language is None:
        return advice.code.replace("_", " ")
    return by_language[language].format(**_for_people(advice))


def _for_people(advice: Advice) -> dict[str, object]:
    """The values, and `used` for `used_bytes`."""
    shown: dict[str, object] = dict(advice.values)
    for name, value in advice.values.items():
        if name.endswith("_bytes"):
            shown[name.removesuffix("_bytes")] = size(value)
    return shown


@cache
def _texts() -> dict[str, dict[Language, str]]:
    texts: dict[str, dict[Language, str]] = tomllib.loads(
        Path(__file__).with_name("advice.toml").read_text(encoding="utf-8")
    )
    return texts
