"""What everybody needs of an engine, whether it works in this process or on many machines."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from emotion.analysis import Analysis, AnalysisRequest
from emotion.audio import Clip, Source
from emotion.cache import CacheStats
from emotion.engine.events import Listener
from emotion.engine.job import Progress
from emotion.engine.times import ClipTimes, StageTimes
from emotion.model import ModelCard


class SpeechEngine(Protocol):
    """Sources in, futures of analyses out; each member means what `Engine` says of it.

    To put another model into a running engine is no part of it: a model is an object of one process.
    """

    @property
    def card(self) -> ModelCard: ...

    @property
    def queue_length(self) -> int: ...

    @property
    def queue_size(self) -> int: ...

    @property
    def max_in_flight(self) -> int: ...

    @property
    def decode_threads(self) -> int: ...

    @property
    def clips_done(self) -> int: ...

    @property
    def recent(self) -> tuple[ClipTimes, ...]: ...

    @property
    def batch_frames(self) -> int: ...

    @property
    def stage_times(self) -> StageTimes: ...

    @property
    def cache_stats(self) -> CacheStats | None: ...

    @property
    def is_alive(self) -> bool: ...

    @property
    def uptime_s(self) -> float: ...

    def submit(
        self, source: Source | Clip, request: AnalysisRequest | None = None, name: str | None = None
    ) -> "Future[Analysis]": ...

    def progress(self, future: "Future[Analysis]") -> Progress: ...

    def listen(self, listener: Listener) -> None: ...

    def on_departure(self, callback: Callable[[], None]) -> None: ...

    def warm_up(self) -> "Future[None]": ...

    def free_memory(self) -> "Future[None]": ...

    def close(self, finish: bool = True) -> None: ...
