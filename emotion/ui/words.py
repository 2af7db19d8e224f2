"""Every text that the page shows, in the reader's language."""

import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from emotion.errors import EmotionError
from emotion.formatting import clock, size
from emotion.labels import LANGUAGES, Language

Texts = dict[str, dict[str, dict[Language, str]]]


class Words:
    """The texts of one language: `words("result.clear")`, `words("progress.window", window=2, windows=9)`."""

    def __init__(self, language: Language) -> None:
        self.language = language

    def __call__(self, key: str, **values: object) -> str:
        group, name = key.split(".")
        return texts()[group][name][self.language].format(**values)

    def has(self, key: str) -> bool:
        group, name = key.split(".")
        return name in texts()[group]

    def group(self, group: str) -> dict[str, str]:
        """All texts of a group, unfilled."""
        return {name: by_language[self.language] for name, by_language in texts()[group].items()}

    def joined(self, sentences: Iterable[str]) -> str:
        """Sentences one after the other; Chinese has no spaces between them."""
        return ("" if self.language == "zh" else " ").join(sentences)

    def error(self, error: BaseException) -> str:
        """What happened and what to do; an error that is not of the family says nothing of itself."""
        if not isinstance(error, EmotionError):
            return self("error.unexpected")
        key = f"error.{error.code}"
        return self.filled(key, error.details) if self.has(key) else error.message

    def filled(self, key: str, values: Mapping[str, object]) -> str:
        """A text with values whose names say the unit, and with the same for people: `limit_bytes` is also `limit`."""
        return self(key, **_shown(values))


@cache
def texts() -> Texts:
    """The groups of words.toml."""
    source = (Path(__file__).parent / "assets" / "words.toml").read_text(encoding="utf-8")
    groups: Texts = tomllib.loads(source)
    return groups


def language_of(accept_language: str, chosen: str = "auto") -> Language:
    """The chosen language; for `auto`, the first one that the browser names: Chinese if it is Chinese, else English."""
    if chosen in LANGUAGES:
        return "zh" if chosen == "zh" else "en"
    return "zh" if accept_language.strip().lower().startswith("zh") else "en"


def _shown(details: Mapping[str, object]) -> dict[str, object]:
    """Values, and the same numbers in the units that people read."""
    shown = dict(details)
    for name, value in details.items():
        if not isinstance(value, int | float):
            continue
        if name.endswith("_bytes"):
            shown[name.removesuffix("_bytes")] = size(value)
        elif name.endswith("_s"):
            shown[name.replace("_s", "_ms")] = f"{value * 1000:.0f}"
            shown[name.removesuffix("_s")] = clock(value)
    return shown
