"""Advice that follows from the numbers of the last readings, and its words."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emotion.hardware import Gpu
from emotion.hardware.container import NEARLY_FULL
from emotion.labels import Language
from emotion.monitor.status import StudioStatus
from emotion.texts import Words

READINGS = 5
# So many of them must show a pattern before anything is said: one long clip is no pattern.
_SHOWN_BY = 3
_ROOM = 0.8
_IDLE_GPU_PERCENT = 30
_STARVED = 0.3
_DECODERS_BUSY = 0.7
_MODEL_BUSY = 0.5
# Of the memory in use: with less, other programs are the ones to look at.
_OWN_PART = 1 / 3
_NOTABLE_SWAP = 0.1
_NOTABLE_GROWTH_BYTES = 64 * 2**20
# 400 s of sound in one batch; more gains nothing on any card.
_MOST_BATCH_FRAMES = 20_000


@dataclass(frozen=True)
class Advice:
    """A code that the faces have words for, and the numbers in them; names say the unit, as in `gpu_percent`."""

    code: str
    values: Mapping[str, int]

    def record(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {"code": self.code, "values": dict(self.values)}


def said_of(advice: Advice, language: Language) -> str:
    """What to do, in a sentence or two; advice of a newer server is told by its code."""
    words, key = Words(language), f"advice.{advice.code}"
    return words.filled(key, advice.values) if words.has(key) else advice.code.replace("_", " ")


def advise(status: StudioStatus, history: Sequence[StudioStatus]) -> tuple[Advice, ...]:
    """What to do, the most urgent first; nothing unless three of the last five readings show the same pattern.

    `history` are the readings before `status`, the latest at the end. The numbers are those of the latest reading
    that shows the pattern.
    """
    readings = [*history, status][-READINGS - 1 :]
    pairs = list(zip([None, *readings], readings, strict=False))[-READINGS:]
    advice = []
    for pattern in _PATTERNS:
        shown = [found for before, reading in pairs if (found := pattern(reading, before)) is not None]
        if len(shown) >= _SHOWN_BY:
            advice.append(shown[-1])
    return tuple(advice)


def _container(status: StudioStatus, _: StudioStatus | None) -> Advice | None:
    """The system ends the program at the limit, so this is said even where the machine has memory left."""
    limit = status.machine.container
    if limit is None or not limit.is_nearly_full:
        return None
    own_bytes = status.machine.process_bytes
    return Advice(
        "container_full",
        {"used_bytes": limit.used_bytes, "limit_bytes": limit.total_bytes, "process_bytes": own_bytes},
    )


def _memory(status: StudioStatus, _: StudioStatus | None) -> Advice | None:
    """Half precision is no remedy: on a CPU its weights are no longer mapped from the file, and take more. Offload is
    none either, since it moves blocks into this very memory.
    """
    machine, engine = status.machine, status.engine
    if not machine.memory.is_nearly_full:
        return None
    values = {
        "used_percent": round(100 * machine.memory.share),
        "used_bytes": machine.memory.used_bytes,
        "total_bytes": machine.memory.total_bytes,
        "process_bytes": machine.process_bytes,
    }
    if machine.process_bytes < _OWN_PART * machine.memory.used_bytes:
        return Advice("memory_full_others", values)
    if status.model.device == "cpu" and engine.batch_frames > 1:
        return Advice("memory_full_batch", {**values, "batch_frames": engine.batch_frames})
    if status.model.runtime == "openvino" and status.model.precision != "int8":
        return Advice("memory_full_int8", values)
    return Advice("memory_full", values)


def _swap(status: StudioStatus, before: StudioStatus | None) -> Advice | None:
    """Much swap, or swap that grows; a little that was swapped out long ago does no harm."""
    swap_bytes = status.machine.swap.used_bytes
    growth_bytes = 0 if before is None else swap_bytes - before.machine.swap.used_bytes
    notable = swap_bytes > _NOTABLE_SWAP * status.machine.memory.total_bytes
    if not notable and growth_bytes < _NOTABLE_GROWTH_BYTES:
        return None
    return Advice("swap_in_use", {"swap_bytes": swap_bytes, "process_bytes": status.machine.process_bytes})


def _gpu_memory(status: StudioStatus, _: StudioStatus | None) -> Advice | None:
    card, engine, model = status.card, status.engine, status.model
    if card is None or not card.total_mb or card.used_mb <= NEARLY_FULL * card.total_mb:
        return None
    values = {"gpu_memory_percent": round(100 * card.used_mb / card.total_mb), "used_mb": card.used_mb}
    if model.precision == "fp32" and model.runtime == "torch" and not _is_built_in(status):
        return Advice("gpu_memory_full_precision", values)
    if engine.batch_frames > 1:
        return Advice("gpu_memory_full_batch", {**values, "batch_frames": engine.batch_frames})
    if model.runtime == "torch" and not _is_built_in(status) and _has_room(status):
        return Advice("gpu_memory_full_offload", values)
    return Advice("gpu_memory_full", values)


def _queue(status: StudioStatus, _: StudioStatus | None) -> Advice | None:
    engine = status.engine
    if engine.queue_length < NEARLY_FULL * engine.queue_size:
        return None
    return Advice("queue_nearly_full", {"queue_length": engine.queue_length, "queue_size": engine.queue_size})


def _decoding(status: StudioStatus, _: StudioStatus | None) -> Advice | None:
    """The model waits although every decoder works and more recordings wait for one."""
    engine, machine, card = status.engine, status.machine, status.card
    if not _queue_waits(status) or engine.shares.starved < _STARVED or engine.shares.decode < _DECODERS_BUSY:
        return None
    if status.model.device != "cpu" and not _is_idle(card):
        return None
    values = {"starved_percent": round(100 * engine.shares.starved), "decode_threads": engine.decode_threads}
    more_threads = min(2 * engine.decode_threads, machine.cores)
    if more_threads <= engine.decode_threads or _cpu_share(status) > NEARLY_FULL:
        return Advice("decode_fills_cpu", {**values, "cores": machine.cores})
    if not _has_room(status):
        return None
    values["more_threads"] = more_threads
    if card is not None and card.utilization_percent is not None:
        return Advice("decode_bound", {**values, "gpu_percent": card.utilization_percent})
    return Advice("starved", values)


def _batches(status: StudioStatus, _: StudioStatus | None) -> Advice | None:
    """The inference thread is busy, and yet the card is mostly idle: batches are too small."""
    engine, card = status.engine, status.card
    if card is None or card.utilization_percent is None or not _is_idle(card) or not _queue_waits(status):
        return None
    if engine.shares.starved >= _STARVED or engine.shares.busy < _MODEL_BUSY:
        return None
    has_room = card.used_mb < _ROOM * card.total_mb
    if not has_room or not 0 < 2 * engine.batch_frames <= _MOST_BATCH_FRAMES:
        return None
    more_frames = max(2 * engine.batch_frames, 1_000)
    return Advice(
        "small_batches",
        {"gpu_percent": card.utilization_percent, "batch_frames": engine.batch_frames, "more_frames": more_frames},
    )


_PATTERNS: tuple[Callable[[StudioStatus, StudioStatus | None], Advice | None], ...] = (
    _container,
    _memory,
    _swap,
    _gpu_memory,
    _queue,
    _decoding,
    _batches,
)


def _is_idle(card: Gpu | None) -> bool:
    percent = None if card is None else card.utilization_percent
    return percent is not None and percent < _IDLE_GPU_PERCENT


def _queue_waits(status: StudioStatus) -> bool:
    """Whether more is accepted than the decoders can have in hand."""
    return status.engine.queue_length > status.engine.decode_threads


def _cpu_share(status: StudioStatus) -> float:
    """Of the machine, or of the cores that this process may use, where a container allows only some."""
    machine = status.machine
    return max(machine.cpu_percent, machine.process_cpu_percent / machine.cores) / 100


def _has_room(status: StudioStatus) -> bool:
    """Whether what costs memory may be suggested."""
    container = status.machine.container
    return status.machine.memory.share < _ROOM and (container is None or container.share < _ROOM)


def _is_built_in(status: StudioStatus) -> bool:
    """The compact model is a few megabytes in the one precision that it has."""
    return status.model.name == "compact"
