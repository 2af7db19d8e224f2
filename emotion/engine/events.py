"""What the engine tells those who count: of every clip that is settled, and of every batch."""

from dataclasses import dataclass
from typing import Literal, Protocol

from emotion.engine.times import ClipTimes

Outcome = Literal["done", "failed", "cancelled"]
Origin = Literal["computed", "shared", "memory", "disk", "redis"]


@dataclass(frozen=True)
class ClipSettled:
    """One recording whose future is settled.

    `origin` says where its prediction came from: `computed` by the model, `shared` with an equal recording that was in
    work at the same time, or a tier of the cache. `duration_s` is 0 where it could not be decoded; `error` is the code
    of an EmotionError, or `unexpected`.
    """

    outcome: Outcome
    times: ClipTimes
    duration_s: float = 0.0
    origin: Origin = "computed"
    error: str | None = None


@dataclass(frozen=True)
class BatchPredicted:
    """One batch that the model worked on: `windows` in it, their `frames`, and how long it took."""

    windows: int
    frames: int
    elapsed_ms: float


class Listener(Protocol):
    """Is told on the threads of the engine, so it must return at once."""

    def clip_settled(self, clip: ClipSettled) -> None: ...

    def batch_predicted(self, batch: BatchPredicted) -> None: ...
