"""One replica: a process of the cluster with a model and an engine of its own."""

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Any

import numpy as np

from emotion.audio import SAMPLE_RATE_HZ, Clip, clip_from_samples
from emotion.cluster.messages import (
    AnalyzeRequest,
    Message,
    ProgressMessage,
    Refused,
    ReplicaUnavailable,
    Report,
    packed,
)
from emotion.cluster.ray_private import bind_replica_port_to_loopback
from emotion.engine import BatchPredicted, ClipSettled, SpeechEngine
from emotion.engine.following import follow_async
from emotion.engine.recognizer import Recognizer
from emotion.errors import EmotionError, EngineBusy, EngineClosed, Unexpected
from emotion.logs import set_up_logs
from emotion.logs.request_context import request_scope
from emotion.settings import Settings

_LOG = logging.getLogger(__name__)
_POLL_S = 0.1
_BATCHES_KEPT = 1000
# With recordings in work, no model is without a batch for so long; a decoder that reads three hours takes seconds.
_STUCK_S = 300.0


class Replica:
    """Answers the front with what its recogniser says."""

    def __init__(self, recognizer: Recognizer) -> None:
        self._recognizer = recognizer
        self._identity = secrets.token_hex(8)
        self._pulse = _Pulse()
        self.engine.listen(self._pulse)

    @property
    def engine(self) -> SpeechEngine:
        return self._recognizer.engine

    async def analyze(self, request: AnalyzeRequest) -> AsyncIterator[Message]:
        """Progress, and at last the analysis or what is wrong; closing the iterator cancels the work."""
        try:
            with request_scope(request.request_id):
                future = self.engine.submit(request.source, request.request, request.name)
        except (EngineBusy, EngineClosed):
            yield ReplicaUnavailable()
            return
        try:
            async for progress in follow_async(self.engine, future, _POLL_S, only_changes=True):
                yield ProgressMessage(progress)
            try:
                analysis = future.result()
            except EmotionError as error:
                yield Refused(error)
            except Exception:
                _LOG.exception("a recording failed unexpectedly")
                yield Refused(Unexpected())
            else:
                for message in packed(analysis, with_samples=not isinstance(request.source, Clip)):
                    yield message
        finally:
            future.cancel()

    def report(self) -> Report:
        """How the replica is; each batch is in one report."""
        engine = self.engine
        return Report(
            self._identity,
            engine.queue_length,
            engine.card,
            engine.decode_threads,
            engine.batch_frames,
            engine.stage_times,
            engine.cache_stats,
            self._pulse.take(),
        )

    def warm_up(self) -> None:
        """What `Engine.warm_up` says."""
        self.engine.warm_up()

    def free_memory(self) -> None:
        """What `Engine.free_memory` says."""
        self.engine.free_memory()

    def check_health(self) -> None:
        """Asked by Ray Serve every few seconds; an error has the replica replaced."""
        if not self.engine.is_alive:
            raise RuntimeError("the thread of the model has ended")
        if self.engine.queue_length and self._pulse.silent_s > _STUCK_S:
            raise RuntimeError("recordings are in work, and the model has not answered for minutes")

    def __del__(self) -> None:
        # Ray Serve calls it when the replica ends, after the last recording.
        if hasattr(self, "_recognizer"):
            self._recognizer.close(finish=False)


class ModelReplica(Replica):
    """What Ray Serve starts; it takes recordings when its model has run once.

    `values` are the settings, as `replica_settings` makes them; `stays_here` says that only this machine may reach it.
    """

    def __init__(self, values: Mapping[str, Any], stays_here: bool = False) -> None:
        if stays_here:
            bind_replica_port_to_loopback()
        settings = Settings(**values)
        set_up_logs(settings.log_level, settings.log_format)
        super().__init__(Recognizer(settings=settings))
        # A model that cannot work ends the replica before anybody waits for it.
        noise = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE_HZ).astype(np.float32)
        self.engine.submit(clip_from_samples(noise, SAMPLE_RATE_HZ, "warm up")).result()
        self.engine.warm_up()


class _Pulse:
    """Hears of the batches of an engine."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._batches: deque[BatchPredicted] = deque(maxlen=_BATCHES_KEPT)
        self._heard_s = time.monotonic()

    @property
    def silent_s(self) -> float:
        """Seconds since anything was heard."""
        return time.monotonic() - self._heard_s

    def take(self) -> tuple[BatchPredicted, ...]:
        """The batches since the last time."""
        with self._lock:
            taken = tuple(self._batches)
            self._batches.clear()
        return taken

    def clip_settled(self, clip: ClipSettled) -> None:  # noqa: ARG002 - the name is that of the listener
        self._heard_s = time.monotonic()

    def batch_predicted(self, batch: BatchPredicted) -> None:
        self._heard_s = time.monotonic()
        with self._lock:
            self._batches.append(batch)
