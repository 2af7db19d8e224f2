"""One thing that was looked at."""

from dataclasses import asdict, dataclass
from typing import Literal, Self

Level = Literal["ok", "warning", "failure"]


@dataclass(frozen=True)
class Finding:
    """What it is, how it is, and what to do where it is not well: a command, or a setting with its value.

    A `failure` is what will not work; a `warning` works, but slower or less safely than it could.
    """

    subject: str
    text: str
    level: Level = "ok"
    remedy: str = ""

    @classmethod
    def judged(cls, subject: str, text: str, is_bad: bool, remedy: str) -> Self:
        """A warning with its remedy where it `is_bad`."""
        return cls(subject, text, "warning", remedy) if is_bad else cls(subject, text)

    def record(self) -> dict[str, str]:
        """The same as plain JSON values."""
        return asdict(self)
