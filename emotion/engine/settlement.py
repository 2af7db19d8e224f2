"""How jobs end: from the model, from the cache, beside an equal recording, with an error, or given up."""

import logging
import threading
from dataclasses import replace
from datetime import datetime
from functools import partial

from emotion.analysis import analyze
from emotion.analysis.windows import ClipPrediction, Plan
from emotion.cache import CacheStats, PredictionCache, prediction_key
from emotion.cache.packing import Shape
from emotion.engine.events import BatchPredicted, ClipSettled, Listener, Origin
from emotion.engine.job import Job
from emotion.engine.single_flight import SingleFlight
from emotion.engine.times import ClipTimes
from emotion.errors import EmotionError
from emotion.logs.request_context import request
from emotion.model import SpeechModel, num_frames

_LOG = logging.getLogger("emotion.engine")
_RECENT_CLIPS = 20


class Settler:
    """Settles the futures of jobs, once each, and tells the listeners; `lock` is the engine's.

    Without a cache every job is computed by itself.
    """

    def __init__(self, plan: Plan, cache: PredictionCache | None, lock: threading.Condition) -> None:
        self._plan, self._cache, self._lock = plan, cache, lock
        self._sharing = SingleFlight()
        self._listeners: tuple[Listener, ...] = ()
        # A new tuple each time, so that other threads read it without a lock.
        self.recent: tuple[ClipTimes, ...] = ()
        self.clips_done = 0

    @property
    def cache_stats(self) -> CacheStats | None:
        return None if self._cache is None else self._cache.stats

    def listen(self, listener: Listener) -> None:
        """Tell one more listener, from now on."""
        self._listeners = (*self._listeners, listener)

    def are_known(self, job: Job, model: SpeechModel) -> bool:
        """Answer a decoded job from the cache, or let it follow an equal one; False when it has to be computed."""
        if self._cache is None or not job.options.cache or job.clip is None:
            return False
        job.model, card = model, model.card
        key = prediction_key(job.clip, card, self._plan, job.options.owner)
        with self._lock:
            if job.is_over:
                return True
            if not self._sharing.leads(job, key):
                job.follow()
                return True
        # Only now: what an equal one was given is in the cache before it stops leading.
        shape = Shape(num_frames(len(job.clip.samples)), len(card.labels), card.embedding_size)
        found = self._cache.get(key, shape, job.options.keeps_frames)
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
            followers = self._sharing.end(job)
        code = error.code if isinstance(error, EmotionError) else "unexpected"
        for failing in (job, *followers):
            if failing.resolve(partial(failing.future.set_exception, error), "failed"):
                log_stage(failing, "inference" if failing.clip else "decode", f"failed: {code}")
                self._tell(failing, ClipSettled("failed", failing.times, failing.duration_s, error=code))

    def pass_on(self, leader: Job) -> Job | None:
        """The one that has to be computed in place of a job that is over; those of equal sound now follow it.

        To be called under the lock.
        """
        chosen = None
        for job in self._sharing.end(leader):
            if self._sharing.leads(job, leader.key or ""):
                job.lead_after_all(self._plan)
                chosen = job
        return chosen

    def given_up(self, job: Job) -> None:
        """Note that somebody cancelled a job."""
        self._tell(job, ClipSettled("cancelled", job.times, job.duration_s))

    def predicted(self, batch: BatchPredicted) -> None:
        """Note that the model worked on a batch."""
        for listener in self._listeners:
            listener.batch_predicted(batch)

    def close(self) -> None:
        if self._cache is not None:
            self._cache.close()

    def _give_all(self, leader: Job, prediction: ClipPrediction, origin: Origin) -> None:
        with self._lock:
            followers = self._sharing.end(leader)
        self._give(leader, prediction, origin)
        for job in followers:
            self._give(job, prediction, "shared" if origin == "computed" else origin)

    def _give(self, job: Job, prediction: ClipPrediction, origin: Origin) -> None:
        if job.clip is None or job.model is None:
            raise RuntimeError("a job was answered without its clip or its model")
        try:
            analysis = analyze(job.clip, job.model.card, job.options, self._plan, prediction, datetime.now())
        except Exception as error:
            self.fail(job, error)
            return
        job.end()
        timings_ms = {stage: round(elapsed_ms, 1) for stage, elapsed_ms in job.timings_ms.items()}
        analysis = replace(analysis, cached=origin != "computed", timings_ms=timings_ms)
        with self._lock:
            self.clips_done += 1
            if origin == "computed":  # the others took no time, and say nothing of how long the next one takes
                self.recent = (*self.recent, job.times)[-_RECENT_CLIPS:]
        if job.resolve(lambda: job.future.set_result(analysis), "done"):
            log_stage(job, "inference", "recognised" if origin == "computed" else f"known already ({origin})")
            self._tell(job, ClipSettled("done", job.times, job.duration_s, origin))

    def _tell(self, job: Job, settled: ClipSettled) -> None:
        with request(job.request_id):
            for listener in self._listeners:
                listener.clip_settled(settled)


def log_stage(job: Job, stage: str, said: str) -> None:
    """One line on a stage that ended; the name of the recording is nobody's business but the person's."""
    with request(job.request_id):
        _LOG.info(said, extra={"stage": stage, "elapsed_ms": round(job.timings_ms[stage], 1)})
