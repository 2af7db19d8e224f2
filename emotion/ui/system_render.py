"""The state of machine and recogniser, the same rows at every reading so that nothing jumps: values in, HTML out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from emotion.cache import CacheStats
from emotion.errors import command_line
from emotion.formatting import duration, percent, size
from emotion.hardware import Gpu, Usage
from emotion.labels import emotion_of
from emotion.model import BUILT_IN, ModelCard
from emotion.model.checkpoint.known import LICENSE, LICENSE_URL, known_model
from emotion.monitor import Advice, EngineStatus, StudioStatus, said_of
from emotion.texts import Words
from emotion.ui.render import accuracy, model_name
from emotion.ui.templates import render

TREND_S = 120.0
_TREND_WIDTH, _TREND_HEIGHT = 120, 30
STAGES = ("decode", "queue", "inference")
EVALUATE = command_line("evaluate labelled/")


@dataclass(frozen=True)
class Meter:
    """One row: what is measured, its value in words, its share from 0 to 1 where it has one, and the points of a line
    that shows how the share moved.
    """

    name: str
    text: str
    share: float | None = None
    points: str = ""
    is_part: bool = False
    is_full: bool = False


def status(
    readings: Sequence[StudioStatus], advice: Iterable[Advice], words: Words, cache: CacheStats | None = None
) -> str:
    """Advice, machine and recogniser as of the latest reading; the readings before it draw the lines.

    `cache` is what it did so far, None where it is off.
    """
    now = readings[-1]
    shares, median = now.engine.shares, now.engine.median
    times_ms = {stage: 0.0 if median is None else getattr(median, f"{stage}_ms") for stage in STAGES}
    hint = {0: "no_stages", 1: "last_one"}.get(len(now.engine.recent), "median")
    return render(
        "system/status.html",
        words,
        uptime_s=now.uptime_s,
        advice=[said_of(one, words.language) for one in advice],
        machine=_machine(readings, words),
        recognizer=_recognizer(now, cache, words),
        trend=(_TREND_WIDTH, _TREND_HEIGHT),
        hint=words(f"system.{hint}", count=len(now.engine.recent)),
        times_ms=times_ms,
        longest_ms=max(*times_ms.values(), 1.0),
        is_measured=median is not None,
        shares={"busy": shares.busy, "starved": shares.starved, "idle": shares.idle},
    )


def model_card(card: ModelCard, words: Words) -> str:
    """What the model is, what it can tell, its licence, and what it must not be used for."""
    limits = [words("system.limits_built_in")] if card.name == BUILT_IN else []
    return render(
        "system/model_card.html",
        words,
        card=card,
        name=model_name(card, words),
        about=_about(card, words),
        told=[emotion_of(label) for label in card.labels if label not in card.unsupported_labels],
        untold=[emotion_of(label) for label in card.unsupported_labels],
        license="built_in" if card.name == BUILT_IN else "known" if known_model(card.name) else "other",
        license_link=(LICENSE_URL, LICENSE),
        accuracy=accuracy(card, words),
        limits=words.joined([*limits, words("system.limits_all")]),
        evaluate=EVALUATE,
    )


def _machine(readings: Sequence[StudioStatus], words: Words) -> list[Meter]:
    machine = readings[-1].machine
    cpu = [reading.machine.cpu_percent / 100 for reading in readings]
    cores, memory = machine.process_cpu_percent / 100, machine.memory
    own_cores = words("system.of_cores", used=f"{cores:.1f}", cores=machine.cores)
    own_share = machine.process_bytes / memory.total_bytes if memory.total_bytes else None
    meters = [
        Meter(words("system.cpu"), percent(cpu[-1]), cpu[-1], _points(readings, cpu)),
        Meter(words("system.own"), own_cores, cores / machine.cores, is_part=True),
        _usage("memory", memory, words, _points(readings, [reading.machine.memory.share for reading in readings])),
        Meter(words("system.own"), size(machine.process_bytes), own_share, is_part=True),
    ]
    if machine.container is not None:
        meters.append(_usage("container", machine.container, words))
    meters.append(_usage("swap", machine.swap, words))
    if not machine.gpus:
        said = words("system.no_gpu" if readings[-1].model.device == "cpu" else "system.gpu_silent")
        return [*meters, Meter(words("system.gpu"), said)]
    return [*meters, *(meter for index in range(len(machine.gpus)) for meter in _graphics_card(index, readings, words))]


def _usage(name: str, usage: Usage, words: Words, points: str = "", is_part: bool = False) -> Meter:
    if not usage.total_bytes:
        return Meter(words(f"system.{name}"), words("system.none"), 0.0, points)
    text = words("system.of", used=size(usage.used_bytes), total=size(usage.total_bytes))
    if usage.is_nearly_full:
        text = words("system.nearly_full", text=text)
    return Meter(words(f"system.{name}"), text, usage.share, points, is_part, usage.is_nearly_full)


def _graphics_card(index: int, readings: Sequence[StudioStatus], words: Words) -> list[Meter]:
    """One or two rows: how much the card works, and its memory."""
    card = readings[-1].machine.gpus[index]
    name = f"{words('system.gpu')} {card.name}"
    heat = "" if card.temperature_c is None else f" · {card.temperature_c} °C"
    if card.utilization_percent is None:
        meters = [Meter(name, words("system.unknown") + heat)]
    else:
        before = [reading.machine.gpus[index : index + 1] for reading in readings]
        points = _points(readings, [_work(gpus[0]) if gpus else 0.0 for gpus in before])
        meters = [Meter(name, percent(_work(card)) + heat, _work(card), points)]
    if card.total_mb:
        meters.append(_usage("gpu_memory", card.memory, words, is_part=True))
    return meters


def _work(card: Gpu) -> float:
    return (card.utilization_percent or 0) / 100


def _recognizer(now: StudioStatus, cache: CacheStats | None, words: Words) -> list[Meter]:
    engine = now.engine
    places = words("system.places", used=engine.queue_length, total=engine.queue_size)
    uptime = duration(int(now.uptime_s), words.language)
    return [
        Meter(words("system.queue"), places, engine.queue_length / engine.queue_size),
        *_cache(cache, words),
        Meter(words("system.done"), f"{engine.clips_done:,}"),
        Meter(words("system.uptime"), uptime),
        Meter(words("system.threads"), _threads(engine, now.machine.process_threads, words)),
    ]


def _threads(engine: EngineStatus, total: int, words: Words) -> str:
    counts = {"decode": engine.decode_threads, "network": engine.inference_threads, "total": total}
    return words("system.threads_of", **counts)


def _cache(cache: CacheStats | None, words: Words) -> list[Meter]:
    """How many recordings were known already, and what is kept for the next ones."""
    if cache is None:
        return [Meter(words("system.cache"), words("system.cache_off"))]
    asked = cache.hits + cache.misses
    share = cache.hits / asked if asked else 0.0
    told = {"hits": f"{cache.hits:,}", "asked": f"{asked:,}", "share": f"{share:.0%}"}
    text = words("system.cache_of", **told) if asked else words("system.cache_unasked")
    kept = words("system.cache_entries", entries=f"{cache.entries:,}", size=size(cache.size_bytes))
    return [Meter(words("system.cache"), text, share), Meter(words("system.cache_kept"), kept, is_part=True)]


def _points(readings: Sequence[StudioStatus], shares: Sequence[float]) -> str:
    """The shares of the last two minutes as points of a line, the latest at the right end."""
    points, age_s = [], 0.0
    for reading, share in zip(reversed(readings), reversed(shares), strict=True):
        x, height = _TREND_WIDTH * (1 - age_s / TREND_S), 1 - min(max(share, 0.0), 1.0)
        points.append(f"{x:.1f},{1 + (_TREND_HEIGHT - 2) * height:.1f}")
        age_s += reading.period_s
        if age_s > TREND_S:
            break
    return " ".join(reversed(points))


def _about(card: ModelCard, words: Words) -> str:
    if card.name == BUILT_IN:
        return words("system.about_built_in", size=card.embedding_size)
    known = known_model(card.name)
    if known is None:
        return words("system.about_other", size=card.embedding_size)
    facts = {"parameters": known.parameters, "modelscope": known.modelscope_id, "hf": known.hf_id}
    return words("system.about_plus", size=card.embedding_size, **facts)
