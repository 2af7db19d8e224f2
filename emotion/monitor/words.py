"""Advice in the words that the page and the terminal say."""

import tomllib
from functools import cache
from pathlib import Path

from emotion.labels import Language
from emotion.monitor.advice import Advice

_GIGA = 10**9


def said_of(advice: Advice, language: Language) -> str:
    """What to do, in a sentence or two; advice of a newer server is told by its code."""
    by_language = _texts().get(advice.code)
    if by_language is None:
        return advice.code.replace("_", " ")
    return by_language[language].format(**_for_people(advice))


def amount(size_bytes: float) -> str:
    """Bytes as `200 MB` or `1.95 GB`, which are 10^6 and 10^9 of them."""
    if size_bytes >= _GIGA:
        return f"{size_bytes / _GIGA:.2f} GB"
    return f"{max(size_bytes / 1e6, 1):.0f} MB" if size_bytes else "0 MB"


def _for_people(advice: Advice) -> dict[str, object]:
    """The values, and `used` for `used_bytes`."""
    shown: dict[str, object] = dict(advice.values)
    for name, value in advice.values.items():
        if name.endswith("_bytes"):
            shown[name.removesuffix("_bytes")] = amount(value)
    return shown


@cache
def _texts() -> dict[str, dict[Language, str]]:
    texts: dict[str, dict[Language, str]] = tomllib.loads(
        Path(__file__).with_name("advice.toml").read_text(encoding="utf-8")
    )
    return texts
