"""The records of one reading: of the machine, of the engine, and of both with the model."""

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from emotion.engine import ClipTimes, StageTimes
from emotion.hardware import Gpu, card_of
from emotion.hardware.container import Usage
from emotion.model import ModelCard


@dataclass(frozen=True)
class MachineStatus:
    """The machine; the percents of processors are means since the reading before.

    `cores` are those that this process may use. `cpu_percent` is of the whole machine; of `process_cpu_percent`, 100
    is one core, as in `top`. Memory in use is what no other program could have. `container` is the memory that the
    container allows, None without a limit of its own.
    """

    cores: int
    cpu_percent: float
    process_cpu_percent: float
    process_bytes: int
    process_threads: int
    memory: Usage
    swap: Usage
    container: Usage | None = None
    gpus: tuple[Gpu, ...] = ()


@dataclass(frozen=True)
class StageShares:
    """Shares of a period, from 0 to 1: the inference thread at work, waiting for a decoder while recordings were
    accepted, and without any work; and the decode threads at work, all together.
    """

    busy: float = 0.0
    starved: float = 0.0
    idle: float = 0.0
    decode: float = 0.0

    @classmethod
    def between(cls, before: StageTimes, after: StageTimes, period_s: float, decode_threads: int) -> "StageShares":
        """What happened from one reading of an engine's times to the next."""

        def share(seconds: float, threads: int = 1) -> float:
            return round(min(max(seconds / (threads * period_s), 0.0), 1.0), 3) if period_s > 0 else 0.0

        return cls(
            busy=share(after.inference_s - before.inference_s),
            starved=share(after.starved_s - before.starved_s),
            idle=share(after.idle_s - before.idle_s),
            decode=share(after.decode_s - before.decode_s, decode_threads),
        )


@dataclass(frozen=True)
class EngineStatus:
    """The engine; `recent` are the stages of its last clips, and `shares` what its threads did since the reading
    before.
    """

    queue_length: int
    queue_size: int
    clips_done: int
    batch_frames: int
    decode_threads: int
    inference_threads: int
    recent: tuple[ClipTimes, ...] = ()
    shares: StageShares = StageShares()

    @property
    def median(self) -> ClipTimes | None:
        """The median of each stage over the last clips, None before the first one."""
        if not self.recent:
            return None
        return ClipTimes(
            decode_ms=round(statistics.median(times.decode_ms for times in self.recent), 1),
            queue_ms=round(statistics.median(times.queue_ms for times in self.recent), 1),
            inference_ms=round(statistics.median(times.inference_ms for times in self.recent), 1),
        )


@dataclass(frozen=True)
class StudioStatus:
    """Machine, engine and model at one moment; `period_s` is the time since the reading before."""

    machine: MachineStatus
    engine: EngineStatus
    model: ModelCard
    uptime_s: float
    period_s: float

    @property
    def card(self) -> Gpu | None:
        """The graphics card that the model is on, None on a CPU and where it is not known which one it is."""
        return card_of(self.model.device, self.machine.gpus)

    def record(self) -> dict[str, Any]:
        """The same as plain JSON values, with the median of each stage."""
        record: dict[str, Any] = _adapter().dump_python(self, mode="json")
        median = self.engine.median
        record["engine"]["median"] = None if median is None else asdict(median)
        times = {"uptime_s": round(self.uptime_s, 1), "period_s": round(self.period_s, 1)}
        return {**record, **times, "model": self.model.record()}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "StudioStatus":
        """A status from the record of a server, which may be a newer one, or leave out the times of single clips.

        Raises KeyError, TypeError or ValueError for anything else.
        """
        engine, median = record["engine"], record["engine"]["median"]
        # One clip that took the median in each stage has the same median.
        known = {
            "engine": {**engine, "recent": [median] if median else []},
            "model": {**record["model"], "labels": [], "embedding_size": 0},
        }
        return _adapter().validate_python({**record, **known})


@cache
def _adapter() -> TypeAdapter[StudioStatus]:
    return TypeAdapter(StudioStatus)
