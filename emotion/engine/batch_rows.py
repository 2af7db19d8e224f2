"""What a table shows of a batch: a row for each recording, and how far the whole is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from emotion.analysis import Analysis
from emotion.engine.job import Progress
from emotion.errors import EmotionError
from emotion.labels import EMOTIONS, Emotion

FAILED = "failed"
# How long is left is said after so many recordings and so long; before, it would be a wild guess.
_ENOUGH_DONE, _ENOUGH_S = 3, 2.0

State = Literal["waiting", "decoding", "recognising", "done", "failed", "cancelled"]


@dataclass(frozen=True)
class Row:
    """What a table shows of one recording; `folder` is that of the history, once it is written.

    `elapsed_ms` is what reading, recognising and writing took; waiting behind others does not count.
    """

    name: str
    state: State = "waiting"
    emotion: Emotion | None = None
    confidence: float | None = None
    uncertain: bool = False
    duration_s: float | None = None
    elapsed_ms: float | None = None
    error: EmotionError | None = None
    folder: str | None = None

    @property
    def is_settled(self) -> bool:
        """Whether nothing more will become of it."""
        return self.state in ("done", "failed", "cancelled")


@dataclass(frozen=True)
class Outcome:
    """The row of a recording that is settled; its analysis and folder if it was done, and written."""

    row: Row
    analysis: Analysis | None = None
    folder: Path | None = None


@dataclass(frozen=True)
class BatchView:
    """A batch at one moment: the rows in order, and how far the first unsettled recording is in the engine.

    `skipped` files of the archives are no sound by their names. `folder` is the run, once there is one. `elapsed_s`
    grows from the start to the end.
    """

    rows: tuple[Row, ...]
    skipped: int
    working: Progress | None
    folder: Path | None
    elapsed_s: float = 0.0

    @property
    def total(self) -> int:
        return len(self.rows)

    @property
    def done(self) -> int:
        """How many recordings are settled, whatever became of them."""
        return sum(row.is_settled for row in self.rows)

    @property
    def counts(self) -> dict[str, int]:
        """The `distribution` so far."""
        return distribution(self.rows)

    @property
    def in_work(self) -> Row | None:
        """The first recording that is not settled, which `working` is about."""
        return next((row for row in self.rows if not row.is_settled), None)

    @property
    def left_s(self) -> float | None:
        """About how long the rest takes, if its recordings are like those so far; None while that is unknown."""
        if self.done < _ENOUGH_DONE or self.elapsed_s < _ENOUGH_S:
            return None
        return self.elapsed_s / self.done * (self.total - self.done)


def distribution(rows: Sequence[Row]) -> dict[str, int]:
    """How often each emotion was the first, all nine in their order, then other labels, then `failed`."""
    counts = dict.fromkeys((emotion.key for emotion in EMOTIONS), 0)
    for row in rows:
        if row.emotion is not None:
            counts[row.emotion.key] = counts.get(row.emotion.key, 0) + 1
    return {**counts, FAILED: sum(row.state == FAILED for row in rows)}


def rows_of(rows: Sequence[Row], kind: str) -> Sequence[Row]:
    """The rows that the `distribution` counts under a key; all for an empty one, none for one that it does not have."""
    if not kind:
        return rows
    if kind == FAILED:
        return [row for row in rows if row.state == FAILED]
    return [row for row in rows if row.emotion is not None and row.emotion.key == kind]
