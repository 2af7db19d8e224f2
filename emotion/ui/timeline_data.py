"""What the timeline draws of an analysis: at most a few thousand points per lane, whatever the length.

Lanes travel as text, base64 of little-endian int16: Gradio walks through every number of a list that it sends, which
took 70 ms on two busy cores for a clip of 3 s, and the browser wraps each again.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion.analysis import Analysis, Segment, smooth
from emotion.audio import SAMPLE_RATE_HZ
from emotion.labels import emotion_of
from emotion.model import FRAME_RATE_HZ, FloatArray
from emotion.texts import Words

MAX_POINTS = 2_000


@dataclass(frozen=True)
class Source:
    """What the lanes are drawn from: samples [n] (none where the recording was not kept), smoothed scores [T, C]
    (None for an utterance), the loudest sample, and starts and ends of the stretches without sound.
    """

    duration_s: float
    samples: FloatArray
    scores: FloatArray | None
    loudest: float
    quiet: tuple[tuple[float, float], ...]


def source(analysis: Analysis, smoothing_s: float) -> Source:
    """The source of an analysis' lanes."""
    samples, scores = analysis.clip.samples, analysis.frame_scores
    loudest = max((max(float(part.max()), -float(part.min())) for part in _parts(samples)), default=0.0)
    smoothed = None if scores is None else smooth(scores, smoothing_s)
    quiet = tuple((part.start_s, part.end_s) for part in analysis.segments if part.is_silent)
    return Source(analysis.clip.duration_s, samples, smoothed, max(loudest, 1e-3), quiet)


def timeline(analysis: Analysis, drawn: Source, words: Words) -> dict[str, Any]:
    """Lanes and words of the timeline component, as plain JSON values; scores are in per mille."""
    segments = () if drawn.scores is None else analysis.segments
    return {
        "duration_s": drawn.duration_s,
        "labels": _labels(analysis, words),
        "segments": _segments(segments, analysis.model.labels),
        "segment_count": sum(not part.is_silent for part in segments),
        "quiet": _longest(drawn.quiet),
        "words": words.group("timeline"),
        **detail(drawn, 0.0, drawn.duration_s),
    }


def detail(drawn: Source, start_s: float, end_s: float) -> dict[str, Any]:
    """The lanes of a stretch in at most MAX_POINTS steps: `peaks` (lowest, highest) from `peaks_start_s` on, each
    `peak_s` long, and `points` (one lane per label) from `points_start_s` on, each `point_s` long.
    """
    start_s = min(max(start_s, 0.0), drawn.duration_s)
    end_s = min(max(end_s, start_s), drawn.duration_s)
    return _peaks(drawn, start_s, end_s) | _points(drawn, start_s, end_s)


def _peaks(drawn: Source, start_s: float, end_s: float) -> dict[str, Any]:
    first, last = int(start_s * SAMPLE_RATE_HZ), int(end_s * SAMPLE_RATE_HZ) + 1
    part = drawn.samples[first:last]
    if not len(part):
        return {"peaks": ["", ""], "peaks_start_s": 0.0, "peak_s": 1.0}
    sides = envelope(part, MAX_POINTS, drawn.loudest)
    return {
        "peaks": [pack(side) for side in sides],
        "peaks_start_s": first / SAMPLE_RATE_HZ,
        "peak_s": len(part) / len(sides[0]) / SAMPLE_RATE_HZ,
    }


def _points(drawn: Source, start_s: float, end_s: float) -> dict[str, Any]:
    if drawn.scores is None:
        return {"points": [], "points_start_s": 0.0, "point_s": 1.0}
    first = min(int(start_s * FRAME_RATE_HZ), len(drawn.scores) - 1)
    part = drawn.scores[first : max(int(end_s * FRAME_RATE_HZ) + 1, first + 1)]
    means, frames_per_point = thin(part, MAX_POINTS)
    return {
        "points": [pack(row) for row in np.round(means.T * 1000)],
        "points_start_s": first / FRAME_RATE_HZ,
        "point_s": frames_per_point / FRAME_RATE_HZ,
    }


def pack(numbers: FloatArray) -> str:
    """Whole numbers [n] between -32768 and 32767 as text."""
    return base64.b64encode(numbers.astype("<i2").tobytes()).decode()


def envelope(samples: FloatArray, max_points: int, loudest: float) -> list[FloatArray]:
    """Lowest and highest sample of each stretch, in per mille of the loudest, two arrays [P]."""
    edges = _edges(len(samples), max_points)
    low, high = np.minimum.reduceat(samples, edges), np.maximum.reduceat(samples, edges)
    return [np.round(side / loudest * 1000) for side in (low, high)]


def thin(scores: FloatArray, max_points: int) -> tuple[FloatArray, int]:
    """Means [P, C] of equally many frames each (the last may have fewer), P <= max_points, and how many frames."""
    frames_per_point = max(1, -(-len(scores) // max_points))
    edges = np.arange(0, len(scores), frames_per_point)
    counts = np.diff(edges, append=len(scores))
    means: FloatArray = (np.add.reduceat(scores, edges, axis=0, dtype=np.float64) / counts[:, None]).astype(np.float32)
    return means, frames_per_point


def _edges(total: int, max_points: int) -> NDArray[np.intp]:
    return np.linspace(0, total, min(total, max_points), endpoint=False).astype(np.intp)


def _parts(samples: FloatArray) -> list[FloatArray]:
    step = 10_000_000
    return [samples[start : start + step] for start in range(0, len(samples), step)]


def _labels(analysis: Analysis, words: Words) -> list[dict[str, str]]:
    emotions = [emotion_of(label) for label in analysis.model.labels]
    return [{"key": e.key, "name": e.name(words.language), "emoji": e.emoji, "colour": e.color} for e in emotions]


def _segments(segments: tuple[Segment, ...], labels: tuple[str, ...]) -> list[list[float]]:
    """Start and end in seconds, index of the label, score in per mille; beyond MAX_POINTS the longest ones."""
    spoken = [part for part in segments if not part.is_silent]
    return _longest([(s.start_s, s.end_s, labels.index(s.emotion), round(s.confidence * 1000)) for s in spoken])


def _longest(stretches: Sequence[tuple[float, ...]]) -> list[list[float]]:
    """At most MAX_POINTS stretches that begin with their start and end, in order."""
    longest = sorted(stretches, key=lambda stretch: stretch[0] - stretch[1])[:MAX_POINTS]
    return [list(stretch) for stretch in sorted(longest)]
