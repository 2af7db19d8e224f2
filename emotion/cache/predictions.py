"""A near store in memory, and behind it a far one that may be slow, or away, without holding anybody up."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cachetools import LRUCache

from emotion.analysis.windows import ClipPrediction
from emotion.cache.packing import Shape, packed, unpacked, without_frames
from emotion.cache.stores import Store, StoreFailed, Tier

_LOG = logging.getLogger(__name__)
# A far store that failed is left alone for so long: asking again would cost each request its patience.
_RESTS_S = 5.0
_WRITES_WAITING = 64


@dataclass(frozen=True)
class Found:
    """A prediction that was kept, and where."""

    prediction: ClipPrediction
    tier: Literal["memory"] | Tier


@dataclass(frozen=True)
class CacheStats:
    """Lookups since the start that found something and that did not, and what is held in memory."""

    hits: int = 0
    misses: int = 0
    entries: int = 0
    size_bytes: int = 0


class PredictionCache:
    """Predictions by key, for all threads; `memory_bytes` bounds the near store, `far` is asked after it.

    A far store that fails costs a line in the log, never a request.
    """

    def __init__(self, memory_bytes: float, far: Store | None = None) -> None:
        self._near: LRUCache[str, ClipPrediction] = LRUCache(memory_bytes, getsizeof=lambda kept: kept.size_bytes)
        self._memory_bytes = memory_bytes
        self._lock = threading.Lock()
        self._hits = self._misses = self._writes_waiting = 0
        self._far, self._rests_until_s = far, float("-inf")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="cache") if far else None

    @property
    def stats(self) -> CacheStats:
        with self._lock:
            return CacheStats(self._hits, self._misses, len(self._near), int(self._near.currsize))

    def get(self, key: str, shape: Shape, needs_frames: bool = False) -> Found | None:
        """What was kept under the key; nothing when it has not the shape, or not the embeddings of all frames."""
        found = self._near_get(key) or self._far_get(key)
        if found is not None and (
            not shape.fits(found.prediction) or (needs_frames and found.prediction.frame_embeddings is None)
        ):
            found = None
        if found is not None and found.tier != "memory":
            self._near_put(key, found.prediction)
        with self._lock:
            self._hits += found is not None
            self._misses += found is None
        return found

    def put(self, key: str, prediction: ClipPrediction) -> None:
        """Keep a prediction; returns at once, a far store is written behind."""
        self._near_put(key, prediction)
        if self._far is None or self._writer is None or self._writes_waiting >= _WRITES_WAITING or self._far_rests:
            return
        self._writes_waiting += 1  # by a rough count: only the inference thread puts
        self._writer.submit(self._far_put, self._far, key, prediction)

    def close(self) -> None:
        """Finish what is being written."""
        if self._writer is not None and self._far is not None:
            self._writer.shutdown(wait=True)
            self._far.close()

    def _near_get(self, key: str) -> Found | None:
        with self._lock:
            kept = self._near.get(key)
        return None if kept is None else Found(kept, "memory")

    def _near_put(self, key: str, prediction: ClipPrediction) -> None:
        # One long recording with the embeddings of its frames would drive out thousands of others.
        kept = prediction if prediction.size_bytes <= self._memory_bytes / 4 else without_frames(prediction)
        with self._lock:
            before = self._near.get(key)
            if before is not None and before.frame_embeddings is not None and kept.frame_embeddings is None:
                return  # what is there says more
            if kept.size_bytes <= self._memory_bytes / 4:
                self._near[key] = kept

    @property
    def _far_rests(self) -> bool:
        return time.monotonic() < self._rests_until_s

    def _far_get(self, key: str) -> Found | None:
        far = self._far
        if far is None or self._far_rests:
            return None
        content = self._ask(lambda: far.get(key))
        if content is None:
            return None
        try:
            return Found(unpacked(content), far.tier)
        except (ValueError, TypeError, SyntaxError, EOFError, MemoryError):
            _LOG.warning("what the cache (%s) holds for a recording is damaged; it is computed anew", far.tier)
            return None

    def _far_put(self, far: Store, key: str, prediction: ClipPrediction) -> None:
        try:
            content = packed(prediction if prediction.size_bytes <= far.most_bytes else without_frames(prediction))
            if len(content) <= far.most_bytes and not self._far_rests:
                self._ask(lambda: far.put(key, content))
        finally:
            self._writes_waiting -= 1

    def _ask(self, question: Callable[[], bytes | None]) -> bytes | None:
        try:
            return question()
        except StoreFailed as error:
            tier = self._far.tier if self._far else "none"
            _LOG.warning("the cache (%s) does not work (%s); it is left alone for %.0f s", tier, error, _RESTS_S)
            self._rests_until_s = time.monotonic() + _RESTS_S
            return None


def open_cache(
    where: str, memory_bytes: float, folder: Path, disk_bytes: float, lifetime_s: float
) -> PredictionCache | None:
    """The cache that the setting `cache` names: off, memory, disk or redis://...; None when it is off.

    `folder` is where the disk keeps its files.
    """
    if where == "off":
        return None
    if where == "memory":
        return PredictionCache(memory_bytes)
    if where == "disk":
        from emotion.cache.disk import DiskStore

        return PredictionCache(memory_bytes, DiskStore(folder, disk_bytes, lifetime_s))
    from emotion.cache.redis_store import RedisStore

    return PredictionCache(memory_bytes, RedisStore(where, lifetime_s))
