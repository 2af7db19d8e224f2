"""Readings of machine and engine that all who look share."""

import threading
import time
from collections import deque

from emotion.engine import SpeechEngine, StageTimes
from emotion.hardware.cores import plan_threads, usable_cores
from emotion.model import BUILT_IN
from emotion.monitor.advice import Advice, advise
from emotion.monitor.machine import MachineWatch
from emotion.monitor.status import EngineStatus, StageShares, StudioStatus

# Of two people who look at the same moment, the second would see a period too short to say anything.
_LEAST_PERIOD_S = 1.0
# What was before a pause is no pattern with what comes after it.
_PAUSE_S = 120.0
# Two minutes for one who looks every two seconds.
_KEPT_READINGS = 61


class StudioWatch:
    """Reads machine and engine for everybody who looks, from any thread; make it once, beside the engine.

    `inference_threads` is the setting of that name, 0 by the machine.
    """

    def __init__(self, engine: SpeechEngine, inference_threads: int = 0, machine: MachineWatch | None = None) -> None:
        self._engine = engine
        self._wanted_threads = inference_threads
        self._cores = usable_cores()
        self._machine = machine or MachineWatch()
        self._lock = threading.Lock()
        self._readings: deque[StudioStatus] = deque(maxlen=_KEPT_READINGS)
        self._times, self._read_s = engine.stage_times, time.perf_counter()
        self._renewing: threading.Thread | None = None

    def read(self) -> StudioStatus:
        """How everything is now, or was up to a second ago."""
        with self._lock:
            if not self._readings or time.perf_counter() - self._read_s >= _LEAST_PERIOD_S:
                self._look()
            return self._readings[-1]

    def glance(self) -> StudioStatus | None:
        """The last reading, at once, None before the first; one that is older than a second is renewed beside."""
        is_old = time.perf_counter() - self._read_s >= _LEAST_PERIOD_S or not self._readings
        if is_old and (self._renewing is None or not self._renewing.is_alive()):
            self._renewing = threading.Thread(target=self.read, name="reading", daemon=True)
            self._renewing.start()
        try:
            return self._readings[-1]
        except IndexError:
            return None

    @property
    def readings(self) -> tuple[StudioStatus, ...]:
        """The last readings since nobody looked for a while, the latest at the end; asks for no new one."""
        with self._lock:
            return tuple(self._readings)

    def advice(self) -> tuple[Advice, ...]:
        """What the last readings suggest; asks for no new one."""
        readings = self.readings
        return advise(readings[-1], readings[:-1]) if readings else ()

    def _look(self) -> None:
        times, now_s = self._engine.stage_times, time.perf_counter()
        period_s = now_s - self._read_s
        if period_s > _PAUSE_S:
            self._readings.clear()
        card = self._engine.card
        self._readings.append(
            StudioStatus(
                self._machine.read(), self._engine_status(times, period_s), card, self._engine.uptime_s, period_s
            )
        )
        self._times, self._read_s = times, now_s

    def _engine_status(self, times: StageTimes, period_s: float) -> EngineStatus:
        engine = self._engine
        on_gpu, is_small = engine.card.device != "cpu", engine.card.name == BUILT_IN
        threads = plan_threads(self._cores, on_gpu, inference=self._wanted_threads, is_small=is_small)
        return EngineStatus(
            queue_length=engine.queue_length,
            queue_size=engine.queue_size,
            clips_done=engine.clips_done,
            batch_frames=engine.batch_frames,
            decode_threads=engine.decode_threads,
            inference_threads=threads.inference,
            recent=engine.recent,
            shares=StageShares.between(self._times, times, period_s, engine.decode_threads),
        )
