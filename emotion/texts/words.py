"""The catalogue of texts, and the language that a person reads."""

import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from emotion.errors import EmotionError
from emotion.formatting import with_units
from emotion.labels import Language

Catalogue = dict[str, dict[str, dict[Language, str]]]
LANGUAGE_COOKIE = "emotion_language"
"""The cookie in which page and sign-in keep the language that was chosen."""


class Words:
    """The texts of one language: `words("result.clear")`, `words("progress.window", window=2, windows=9)`."""

    def __init__(self, language: Language) -> None:
        self.language = language

    def __call__(self, key: str, **values: object) -> str:
        group, name = key.split(".")
        return catalogue()[group][name][self.language].format(**values)

    def has(self, key: str) -> bool:
        """Whether there is such a text."""
        group, name = key.split(".")
        return name in catalogue()[group]

    def group(self, group: str) -> dict[str, str]:
        """All texts of a group, unfilled."""
        return {name: by_language[self.language] for name, by_language in catalogue()[group].items()}

    def counted(self, key: str, count: int) -> str:
        """A text that has another form, `..._one`, for a single one."""
        return self(f"{key}_one" if count == 1 else key, count=count)

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
        return self(key, **with_units(values))


@cache
def catalogue() -> Catalogue:
    """All texts: by group, by name, by language."""
    groups: Catalogue = {}
    for path in sorted(Path(__file__).parent.glob("*.toml")):
        groups |= tomllib.loads(path.read_text(encoding="utf-8"))
    return groups


def language_of(accept_language: str, *choices: str | None) -> Language:
    """The first of the choices that is a language; else the first that the browser names, if that is Chinese, else
    English.
    """
    for chosen in choices:
        if chosen in ("en", "zh"):
            return "zh" if chosen == "zh" else "en"
    return "zh" if accept_language.strip().lower().startswith("zh") else "en"
