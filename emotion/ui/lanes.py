"""What the timeline draws of an analysis: at most a few thousand points per lane, whatever the length."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion.analysis import Analysis, Segment, smooth
from emotion.labels import emotion_of
from emotion.model import FRAME_RATE_HZ, FloatArray
from emotion.ui.words import Words

MAX_POINTS = 2_000
_PER_MILLE = 1_000


def timeline(analysis: Analysis, words: Words, smoothing_s: float) -> dict[str, Any]:
    """Lanes and words of the timeline component, as plain JSON values; scores are in per mille."""
    lanes: dict[str, Any] = {
        "duration_s": analysis.clip.duration_s,
        "peaks": envelope(analysis.clip.samples, MAX_POINTS),
        "labels": _labels(analysis, words),
        "points": [],
        "point_s": 0.0,
        "segments": [],
        "segment_count": len(analysis.segments),
        "words": words.group("timeline"),
    }
    if analysis.frame_scores is None:
        return lanes
    scores, frames_per_point = thin(smooth(analysis.frame_scores, smoothing_s), MAX_POINTS)
    lanes["points"] = np.round(scores.T * _PER_MILLE).astype(int).tolist()
    lanes["point_s"] = frames_per_point / FRAME_RATE_HZ
    lanes["segments"] = _segments(analysis.segments, analysis.model.labels)
    return lanes


def envelope(samples: FloatArray, max_points: int) -> list[list[int]]:
    """Lowest and highest sample of each stretch, in per mille of the loudest, as two lists."""
    edges = _edges(len(samples), max_points)
    low, high = np.minimum.reduceat(samples, edges), np.maximum.reduceat(samples, edges)
    loudest = max(float(high.max()), -float(low.min()), 1e-3)
    return [np.round(side / loudest * _PER_MILLE).astype(int).tolist() for side in (low, high)]


def thin(scores: FloatArray, max_points: int) -> tuple[FloatArray, int]:
    """Means [P, C] of equally many frames each (the last may have fewer), P <= max_points, and how many frames."""
    frames_per_point = max(1, -(-len(scores) // max_points))
    edges = np.arange(0, len(scores), frames_per_point)
    counts = np.diff(edges, append=len(scores))
    means: FloatArray = (np.add.reduceat(scores, edges, axis=0, dtype=np.float64) / counts[:, None]).astype(np.float32)
    return means, frames_per_point


def _edges(total: int, max_points: int) -> NDArray[np.intp]:
    return np.linspace(0, total, min(total, max_points), endpoint=False).astype(np.intp)


def _labels(analysis: Analysis, words: Words) -> list[dict[str, str]]:
    emotions = [emotion_of(label) for label in analysis.model.labels]
    return [{"key": e.key, "name": e.name(words.language), "emoji": e.emoji, "colour": e.colour} for e in emotions]


def _segments(segments: tuple[Segment, ...], labels: tuple[str, ...]) -> list[list[float]]:
    """Start and end in seconds, index of the label, score in per mille; beyond MAX_POINTS the longest ones."""
    longest = sorted(segments, key=lambda segment: segment.start_s - segment.end_s)[:MAX_POINTS]
    return [
        [s.start_s, s.end_s, labels.index(s.emotion), round(s.confidence * _PER_MILLE)]
        for s in sorted(longest, key=lambda segment: segment.start_s)
    ]
