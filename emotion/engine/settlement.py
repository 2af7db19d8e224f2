"""How jobs end: from the model, from the cache, beside an equal recording, with an error, or given up."""

import logging
import threading
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Protocol

from emotion.analysis import analyze
from emotion.analysis.windows import ClipPrediction, Plan
from emotion.cache import CacheStats, PredictionCache, prediction_key
from emotion.cache.packing import Shape
from emotion.engine.events import ClipSettled, Origin
from emotion.engine.job import Job
from emotion.engine.single_flight import SingleFlight
from emotion.engine.times import ClipTimes
from emotion.errors import EmotionError
from emotion.logs.request_context import request_scope
from emotion.model import SpeechModel, num_frames

_LOG = logging.getLogger("emotion.engine")


class JobBook(Protocol):
    """What the settler tells the engine of: jobs that were done, and how each ended."""

    def count_done(self, times: ClipTimes, computed: bool) -> None: ...

    def tell(self, job: Job, settled: ClipSettled) -> None: ...


class Settler:
    """Settles the futures of jobs, once each, and tells the engine; `lock` is the engine's.

    Without a cache every job is computed by itself; one that is not `cache_shared` answers only the owner of the sound.
    """

    def __init__(
        self,
        plan: Plan,
        cache: PredictionCache | None,
        lock: threading.Condition,
        book: JobBook,
        cache_shared: bool = False,
    ) -> None:
        self._plan, self._cache, self._lock, self._book = plan, cache, lock, book
        self._cache_shared = cache_shared
        self._flights = SingleFlight()

    @property
    def cache_stats(self) -> CacheStats | None:
        return None if self._cache is None else self._cache.stats

    def settle_from_cache(self, job: Job, model: SpeechModel) -> bool:
        """Settle a decoded job from the cache, or let it join an equal one; False when it has to be computed."""
        if self._cache is None or not job.request.cache or job.clip is None:
            return False
        job.model, card = model, model.card
        key = prediction_key(job.clip, card, self._plan, "" if self._cache_shared else job.request.owner)
        with self._lock:
            if job.is_over:
                return True
            if not self._flights.join(job, key):
                job.wait_for_equal()
                return True
        # Only now: what an equal one was given is in the cache before it stops leading.
        shape = Shape(num_frames(len(job.clip.samples)), len(card.labels), card.embedding_size)
        found = self._cache.get(key, shape, job.request.keeps_frames)
        if found is not None:
            self._give_all(job, found.prediction, found.tier)
        return found is not None

    def give(self, job: Job, prediction: ClipPrediction) -> None:
        """Answer a job with what the model said, and those of equal sound that waited for it."""
        if self._cache is not None and job.key is not None:
            self._cache.put(job.key, prediction)
        self._give_all(job, prediction, "computed")

    def fail(self, job: Job, error: Exception) -> None:
        """Fail a job, and those of equal sound, which would fail in the same way."""
        with self._lock:
            followers = self._flights.end(job)
        code = error.code if isinstance(error, EmotionError) else "unexpected"
        for failing in (job, *followers):
            if failing.resolve(partial(failing.future.set_exception, error), "failed"):
                log_stage(failing, "inference" if failing.clip else "decode", f"failed: {code}")
                self._book.tell(failing, ClipSettled("failed", failing.times, failing.duration_s, error=code))

    def pass_on(self, leader: Job) -> Job | None:
        """The one that has to be computed in place of a job that is over; those of equal sound now follow it.

        To be called under the lock.
        """
        chosen = None
        for job in self._flights.end(leader):
            if self._flights.join(job, leader.key or ""):
                job.lead_after_all(self._plan)
                chosen = job
        return chosen

    def close(self) -> None:
        if self._cache is not None:
            self._cache.close()

    def _give_all(self, leader: Job, prediction: ClipPrediction, origin: Origin) -> None:
        with self._lock:
            followers = self._flights.end(leader)
        self._give(leader, prediction, origin)
        for job in followers:
            self._give(job, prediction, "shared" if origin == "computed" else origin)

    def _give(self, job: Job, prediction: ClipPrediction, origin: Origin) -> None:
        if job.clip is None or job.model is None:
            raise RuntimeError("a job was answered without its clip or its model")
        try:
            analysis = analyze(job.clip, job.model.card, job.request, self._plan, prediction, datetime.now())
        except Exception as error:
            self.fail(job, error)
            return
        job.end()
        timings_ms = {stage: round(elapsed_ms, 1) for stage, elapsed_ms in job.timings_ms.items()}
        analysis = replace(analysis, cached=origin != "computed", timings_ms=timings_ms)
        self._book.count_done(job.times, origin == "computed")
        if job.resolve(lambda: job.future.set_result(analysis), "done"):
            log_stage(job, "inference", "recognised" if origin == "computed" else f"known already ({origin})")
            self._book.tell(job, ClipSettled("done", job.times, job.duration_s, origin))


def log_stage(job: Job, stage: str, said: str) -> None:
    """One line on a stage that ended; the name of the recording is nobody's business but the person's."""
    with request_scope(job.request_id):
        _LOG.info(said, extra={"stage": stage, "elapsed_ms": round(job.timings_ms[stage], 1)})
