"""Sizes, times and shares as people read them: the one formatter of the page, the command line, errors and exports."""

import math
from collections.abc import Mapping

from emotion.labels import Language

_UNITS: dict[Language, tuple[str, str, str, str]] = {
    "en": (" d", " h", " min", " s"),
    "zh": (" 天", " 小时", " 分钟", " 秒"),
}


def size(size_bytes: float) -> str:
    """Bytes as `1.95 GB`, `200 MB` or `67 KB`, which are 10^9, 10^6 and 10^3 of them; kilobytes are rounded up."""
    if size_bytes >= 1e9:
        return f"{size_bytes / 1e9:.2f} GB"
    return f"{size_bytes / 1e6:.0f} MB" if size_bytes >= 1e6 else f"{math.ceil(size_bytes / 1e3)} KB"


def percent(share: float) -> str:
    """A share from 0 to 1 with one decimal: `85.3%`."""
    return f"{share * 100:.1f}%"


def duration(time_s: float, language: Language = "en") -> str:
    """A time by its two largest units: `42 s`, `3 min`, `1 h 20 min`, `2 d 4 h`; below ten seconds with a tenth."""
    days, hours, minutes, seconds = _UNITS[language]
    if round(time_s, 1) < 10:
        return f"{time_s:.1f}".removesuffix(".0") + seconds
    if round(time_s) < 60:
        return f"{time_s:.0f}{seconds}"
    whole_minutes = round(time_s / 60)
    if whole_minutes < 60:
        return f"{whole_minutes}{minutes}"
    if whole_minutes < 24 * 60:
        return f"{whole_minutes // 60}{hours} {whole_minutes % 60}{minutes}"
    whole_hours = round(time_s / 3600)
    return f"{whole_hours // 24}{days} {whole_hours % 24}{hours}"


def clock(time_s: float) -> str:
    """A place in a recording as `0:12.8`, or `1:02:03.4` from an hour on."""
    tenths = round(time_s * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest // 10:02d}.{rest % 10}"
    return f"{hours}:{minutes:02d}:{seconds}" if hours else f"{minutes}:{seconds}"


def timestamp(time_s: float, mark: str) -> str:
    """A place in a recording as subtitles have it: `HH:MM:SS` and milliseconds behind the mark."""
    minutes, milliseconds = divmod(round(time_s * 1000), 60_000)
    seconds, milliseconds = divmod(milliseconds, 1000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}{mark}{milliseconds:03}"


def with_units(values: Mapping[str, object]) -> dict[str, object]:
    """Values whose names say the unit, and the same for people: `limit_bytes` is also `limit`, `limit_s` as a clock."""
    shown = dict(values)
    for name, value in values.items():
        if not isinstance(value, int | float):
            continue
        if name.endswith("_bytes"):
            shown[name.removesuffix("_bytes")] = size(value)
        elif name.endswith("_s"):
            shown[name.removesuffix("_s") + "_ms"] = f"{value * 1000:.0f}"
            shown[name.removesuffix("_s")] = clock(value)
    return shown
