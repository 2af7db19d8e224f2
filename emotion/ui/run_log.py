"""The log of one run as text that can be copied, in the visitor's language."""

from emotion.analysis import Analysis
from emotion.formatting import clock, percent
from emotion.texts import Words

STAGES = ("decode", "queue", "inference", "write")


def journal(analysis: Analysis, run_name: str, words: Words) -> str:
    """What was done, with which model, and how long each stage took."""
    card = analysis.model
    windows = f" ({words('log.windows')})" if analysis.overall_from == "windows" else ""
    facts = {
        "recording": f"{analysis.clip.name} · {clock(analysis.clip.duration_s)}",
        "result": f"{analysis.emotion.name(words.language)} {percent(analysis.confidence)}"
        f" · {words(f'page.{analysis.request.granularity}')}{windows}",
        "model": f"{card.name} · {card.runtime} · {card.device} · {card.precision} · {card.fingerprint}",
        "run": run_name,
    }
    lines = [analysis.timestamp.strftime("%Y-%m-%d %H:%M:%S")]
    lines += [f"{words(f'log.{name}')}: {value}" for name, value in facts.items()]
    timings_ms = {stage: analysis.timings_ms[stage] for stage in STAGES if stage in analysis.timings_ms}
    timings_ms["total"] = sum(timings_ms.values())
    lines += [_timing(stage, ms, analysis.cached, words) for stage, ms in timings_ms.items()]
    return "\n".join(lines)


def _timing(stage: str, time_ms: float, is_cached: bool, words: Words) -> str:
    why = f" · {words('log.cached')}" if is_cached and stage == "inference" else ""
    return f"{words(f'log.{stage}')}: {words('log.ms', ms=f'{time_ms:.1f}')}{why}"
