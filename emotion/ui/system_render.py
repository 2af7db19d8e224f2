"""The state of machine and recogniser as HTML, the same rows at every reading so that nothing jumps."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from emotion.cache import CacheStats
from emotion.errors import command_line
from emotion.formatting import duration, percent, size
from emotion.hardware import Gpu, Usage
from emotion.labels import emotion_of
from emotion.model import BUILT_IN, ModelCard
from emotion.model.checkpoint.known import LICENSE, LICENSE_URL, known_model
from emotion.monitor import Advice, EngineStatus, MachineStatus, StudioStatus, said_of
from emotion.texts import Words

TREND_S = 120.0
_TREND_WIDTH, _TREND_HEIGHT = 120.0, 30.0
STAGES = ("decode", "queue", "inference")
SHARES = ("busy", "starved", "idle")
EVALUATE = command_line("evaluate labelled/")

Trend = Sequence[tuple[float, float]]
"""Points of a line: seconds ago, and a share from 0 to 1."""


@dataclass(frozen=True)
class Meter:
    """One row: what is measured, its value in words, and its share from 0 to 1 where it has one."""

    name: str
    text: str
    share: float | None = None
    trend: Trend = ()
    is_part: bool = False
    is_full: bool = False


def status(
    readings: Sequence[StudioStatus], advice: Iterable[Advice], words: Words, cache: CacheStats | None = None
) -> str:
    """Advice, machine and recogniser as of the latest reading; the readings before it draw the lines.

    `cache` is what it did so far, None where it is off.
    """
    now = readings[-1]
    # The moment changes with every reading, so that the browser sees that one has come.
    return (
        f'<div class="system" data-read="{now.uptime_s:.1f}">{_advice(advice, words)}'
        f'<section class="panel machine"><h2>{words("system.machine")}'
        f"<small>{words('system.trend')}</small></h2>{_machine(readings, words)}</section>"
        f'<section class="panel"><h2>{words("system.recogniser")}</h2>{_recognizer(now, cache, words)}</section></div>'
    )


def model_card(card: ModelCard, words: Words) -> str:
    """What the model is, what it can tell, its licence, and what it must not be used for."""
    rows = {"about": _about(card, words), "emotions": _emotions(card, words), "licence": _license(card, words)}
    if card.accuracy is not None:
        low, high = (f"{share:.0%}" for share in card.accuracy.new_speakers)
        far_low, far_high = (f"{share:.0%}" for share in card.accuracy.new_corpora)
        rows["accuracy"] = escape(words("model.accuracy", low=low, high=high, far_low=far_low, far_high=far_high))
    rows["limits"] = _limits(card, words)
    rows["runs_with"] = escape(f"{card.runtime} · {card.device} · {card.precision}")
    rows["fingerprint"] = f"<code>{escape(card.fingerprint)}</code>"
    facts = "".join(f"<div><dt>{words(f'system.{name}')}</dt><dd>{text}</dd></div>" for name, text in rows.items())
    title = words("system.model", name=model_name(card, words))
    return f'<section class="panel model-card"><h2>{title}</h2><dl>{facts}</dl></section>'


def model_name(card: ModelCard, words: Words) -> str:
    """The name as people say it, safe in HTML."""
    return escape(words("model.built_in") if card.name == BUILT_IN else card.name.replace("_plus_", "+ "))


def note(text: str) -> str:
    """What a button did, or what it is for."""
    return f'<p class="system-note" role="status">{escape(text)}</p>'


# Advice


def _advice(advice: Iterable[Advice], words: Words) -> str:
    said = [f"<li>{escape(said_of(one, words.language))}</li>" for one in advice]
    title = words("system.advice")
    if not said:
        return f'<section class="advice calm" aria-label="{title}"><p>{words("system.no_advice")}</p></section>'
    return f'<section class="advice" role="status" aria-label="{title}"><ul>{"".join(said)}</ul></section>'


# The machine


def _machine(readings: Sequence[StudioStatus], words: Words) -> str:
    machine = readings[-1].machine
    meters = [
        Meter(
            words("system.cpu"),
            percent(machine.cpu_percent / 100),
            machine.cpu_percent / 100,
            _trend(readings, [reading.machine.cpu_percent / 100 for reading in readings]),
        ),
        _own_cores(machine, words),
        _usage("memory", machine.memory, words, _trend(readings, [r.machine.memory.share for r in readings])),
        _own_memory(machine, words),
    ]
    if machine.container is not None:
        meters.append(_usage("container", machine.container, words))
    meters.append(_usage("swap", machine.swap, words))
    return f'<ul class="meters">{"".join(map(_meter, meters))}{_cards(readings, words)}</ul>'


def _own_cores(machine: MachineStatus, words: Words) -> Meter:
    cores = machine.process_cpu_percent / 100
    text = words("system.of_cores", used=f"{cores:.1f}", cores=machine.cores)
    return Meter(words("system.own"), text, cores / machine.cores, is_part=True)


def _own_memory(machine: MachineStatus, words: Words) -> Meter:
    share = machine.process_bytes / machine.memory.total_bytes if machine.memory.total_bytes else None
    return Meter(words("system.own"), size(machine.process_bytes), share, is_part=True)


def _usage(name: str, usage: Usage, words: Words, trend: Trend = ()) -> Meter:
    if not usage.total_bytes:
        return Meter(words(f"system.{name}"), words("system.none"), 0.0, trend)
    text = words("system.of", used=size(usage.used_bytes), total=size(usage.total_bytes))
    if usage.is_nearly_full:
        text = words("system.nearly_full", text=text)
    return Meter(words(f"system.{name}"), text, usage.share, trend, is_full=usage.is_nearly_full)


def _cards(readings: Sequence[StudioStatus], words: Words) -> str:
    now = readings[-1]
    if not now.machine.gpus:
        said = words("system.no_gpu" if now.model.device == "cpu" else "system.gpu_silent")
        return _meter(Meter(words("system.gpu"), said))
    return "".join(_meter(meter) for place in range(len(now.machine.gpus)) for meter in _card(place, readings, words))


def _card(place: int, readings: Sequence[StudioStatus], words: Words) -> list[Meter]:
    """Two rows for one graphics card: how much it works, and its memory."""
    card = readings[-1].machine.gpus[place]
    name = f"{words('system.gpu')} {escape(card.name)}"
    heat = "" if card.temperature_c is None else f" · {card.temperature_c} °C"
    if card.utilization_percent is None:
        meters = [Meter(name, words("system.unknown") + heat)]
    else:
        before = [reading.machine.gpus[place : place + 1] for reading in readings]
        at_work = [_work(gpus[0]) if gpus else 0.0 for gpus in before]
        meters = [Meter(name, percent(_work(card)) + heat, _work(card), _trend(readings, at_work))]
    if card.total_mb:
        memory = _usage("gpu_memory", card.memory, words)
        meters.append(Meter(memory.name, memory.text, memory.share, is_part=True, is_full=memory.is_full))
    return meters


def _work(card: Gpu) -> float:
    return (card.utilization_percent or 0) / 100


# The recogniser


def _recognizer(now: StudioStatus, cache: CacheStats | None, words: Words) -> str:
    engine = now.engine
    text = words("system.places", used=engine.queue_length, total=engine.queue_size)
    meters = [Meter(words("system.queue"), text, engine.queue_length / engine.queue_size)]
    facts = {
        "done": f"{engine.clips_done:,}",
        "uptime": duration(int(now.uptime_s), words.language),
        "threads": words(
            "system.threads_of",
            decode=engine.decode_threads,
            network=engine.inference_threads,
            total=now.machine.process_threads,
        ),
    }
    meters += _cache(cache, words)
    meters += [Meter(words(f"system.{name}"), value) for name, value in facts.items()]
    rows = "".join(map(_meter, meters))
    return f'<ul class="meters">{rows}</ul>{_stages(engine, words)}{_shares(engine, words)}'


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


def _stages(engine: EngineStatus, words: Words) -> str:
    """Medians as bars, the longest one full."""
    median = engine.median
    times_ms = dict.fromkeys(STAGES, 0.0)
    if median is not None:
        times_ms = {"decode": median.decode_ms, "queue": median.queue_ms, "inference": median.inference_ms}
    longest_ms = max(*times_ms.values(), 1.0)
    bars = "".join(
        f"<li><span>{words(f'log.{stage}')}</span>{_track(ms / longest_ms)}"
        f"<b>{'–' if median is None else escape(words('log.ms', ms=f'{ms:.1f}'))}</b></li>"
        for stage, ms in times_ms.items()
    )
    hints = {0: "no_stages", 1: "last_one"}
    hint = words(f"system.{hints.get(len(engine.recent), 'median')}", count=len(engine.recent))
    return f'<h3>{words("system.stages")} <small>{hint}</small></h3><ul class="stage-bars">{bars}</ul>'


def _shares(engine: EngineStatus, words: Words) -> str:
    """What the inference thread did since the reading before: one bar of three parts, and the same in numbers."""
    shares = {"busy": engine.shares.busy, "starved": engine.shares.starved, "idle": engine.shares.idle}
    parts = "".join(f'<i class="{name}" style="width:{share:.1%}"></i>' for name, share in shares.items())
    legend = "".join(
        f'<li><i class="{name}" aria-hidden="true"></i>{words(f"system.{name}")} <b>{share:.0%}</b></li>'
        for name, share in shares.items()
    )
    return (
        f'<h3>{words("system.thread")}</h3><div class="shares" aria-hidden="true">{parts}</div>'
        f'<ul class="shares-legend">{legend}</ul>'
    )


# Rows, bars and lines


def _meter(meter: Meter) -> str:
    """Name, value, bar and line; the name is a text of the page or escaped."""
    kind = " ".join(name for name, is_so in (("part", meter.is_part), ("full", meter.is_full)) if is_so)
    bar = "" if meter.share is None else _track(meter.share)
    line = _line(meter.trend) if meter.trend else ""
    return (
        f'<li class="meter {kind}"><span class="meter-name">{meter.name}</span>'
        f'<b class="meter-text">{escape(meter.text)}</b>{bar}{line}</li>'
    )


def _track(share: float) -> str:
    width = min(max(share, 0.0), 1.0)
    return f'<span class="meter-track" aria-hidden="true"><i style="width:{width:.1%}"></i></span>'


def _trend(readings: Sequence[StudioStatus], shares: Sequence[float]) -> Trend:
    """Shares with their age; those before the last two minutes are left out."""
    points, age_s = [], 0.0
    for reading, share in zip(reversed(readings), reversed(shares), strict=True):
        points.append((age_s, min(max(share, 0.0), 1.0)))
        age_s += reading.period_s
        if age_s > TREND_S:
            break
    return points[::-1]


def _line(trend: Trend) -> str:
    """The last two minutes from left to right, an empty line before anything was read."""
    points = " ".join(
        f"{_TREND_WIDTH * (1 - age_s / TREND_S):.1f},{1 + (_TREND_HEIGHT - 2) * (1 - share):.1f}"
        for age_s, share in trend
    )
    return (
        f'<svg class="trend" viewBox="0 0 {_TREND_WIDTH:.0f} {_TREND_HEIGHT:.0f}" preserveAspectRatio="none" '
        f'aria-hidden="true"><polyline points="{points}"/></svg>'
    )


# The model


def _about(card: ModelCard, words: Words) -> str:
    if card.name == BUILT_IN:
        return escape(words("system.about_built_in", size=card.embedding_size))
    known = known_model(card.name)
    if known is None:
        return escape(words("system.about_other", size=card.embedding_size))
    facts = {"parameters": known.parameters, "modelscope": known.modelscope_id, "hf": known.hf_id}
    return escape(words("system.about_plus", size=card.embedding_size, **facts))


def _emotions(card: ModelCard, words: Words) -> str:
    def names(labels: Iterable[str]) -> str:
        emotions = [emotion_of(label) for label in labels]
        return " · ".join(
            f'<span class="nobreak"><i class="emoji" aria-hidden="true">{escape(e.emoji)}</i> '
            f"{escape(e.name(words.language))}</span>"
            for e in emotions
        )

    told = names(label for label in card.labels if label not in card.unsupported_labels)
    return (
        told if not card.unsupported_labels else f"{told}<br>{words('system.untold')} {names(card.unsupported_labels)}"
    )


def _license(card: ModelCard, words: Words) -> str:
    if card.name == BUILT_IN:
        return escape(words("system.licence_built_in"))
    if known_model(card.name) is None:
        return escape(words("system.licence_other"))
    return f'<a href="{LICENSE_URL}" target="_blank" rel="noopener noreferrer">{LICENSE}</a>'


def _limits(card: ModelCard, words: Words) -> str:
    said = [words("system.limits_built_in")] if card.name == BUILT_IN else []
    measure = f"{escape(words('system.evaluate'))} <code>{escape(EVALUATE)}</code>"
    return f"{escape(words.joined([*said, words('system.limits_all')]))}<br>{measure}"
