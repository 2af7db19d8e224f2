"""The analysis room, pure: windows of a clip, stitched predictions, segments, and the one JSON record."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from emotion.audio import SAMPLE_RATE_HZ, Clip, forget_rows
from emotion.errors import ClipTooShort
from emotion.labels import Emotion, emotion_of
from emotion.model import (
    FRAME_RATE_HZ,
    FRAME_SPAN_SAMPLES,
    FRAME_STEP_SAMPLES,
    FloatArray,
    ModelCard,
    Prediction,
    num_frames,
)

Granularity = Literal["utterance", "frame"]
GRANULARITIES: tuple[Granularity, ...] = ("utterance", "frame")
SCHEMA = 1
# More frames than these (10 minutes) would make a JSON of over 10 MB: they go to FRAMES_FILE.
MAX_FRAMES_IN_JSON = 30_000
FRAMES_FILE = "frames.npz"
TIMESTAMP_FORMAT = "%Y-%m-%d %H:%M:%S"
# -80 dBFS: below it 16-bit sound has three steps left, and any score would speak of the converter's noise.
SILENCE_PEAK = 1e-4
_BLOCK_SAMPLES = 1_000_000
# 128 MB: ten minutes of the large model's embeddings.
_HELD_NUMBERS = 32_000_000


@dataclass(frozen=True)
class Options:
    """What one person wants of one clip."""

    granularity: Granularity = "utterance"
    embedding: bool = False


@dataclass(frozen=True)
class Plan:
    """How clips are cut and read; each value is the setting of the same name."""

    exact_limit_s: float = 60.0
    window_s: float = 30.0
    context_s: float = 3.0
    smoothing_s: float = 0.5
    min_segment_s: float = 0.4
    uncertain_margin: float = 0.15


@dataclass(frozen=True)
class Window:
    """A slice of a clip: samples [n] normalised with the clip's statistics, and which of its frames count."""

    start_s: float
    samples: FloatArray
    skip_frames: int
    keep_frames: int


@dataclass(frozen=True)
class Segment:
    """A stretch of one emotion; confidence is the mean of that emotion's score over its frames."""

    start_s: float
    end_s: float
    emotion: str
    confidence: float


@dataclass(frozen=True)
class Analysis:
    """Everything known of one clip.

    `scores` [C] in the order of `model.labels`; `frame_scores` [T, C] for frame granularity, else None;
    `embedding` [D] or [T, D], None unless asked for; `overall_from` is `clip` or `windows`; a `silent` clip is always
    `uncertain`.
    """

    clip: Clip
    model: ModelCard
    options: Options
    timestamp: datetime
    scores: FloatArray
    frame_scores: FloatArray | None
    embedding: FloatArray | None
    segments: tuple[Segment, ...]
    overall_from: Literal["clip", "windows"]
    uncertain: bool
    silent: bool = False
    timings_ms: dict[str, float] = field(default_factory=dict)

    @property
    def emotion(self) -> Emotion:
        return emotion_of(self.model.labels[int(self.scores.argmax())])

    @property
    def confidence(self) -> float:
        return float(self.scores.max())

    @property
    def runner_up(self) -> Emotion:
        """The second candidate."""
        return emotion_of(self.model.labels[int(np.argsort(self.scores)[-2])])

    @property
    def margin(self) -> float:
        """How far the first emotion's score leads the second's."""
        second, first = np.sort(self.scores)[-2:]
        return float(first - second)

    def with_timing(self, stage: str, elapsed_ms: float) -> "Analysis":
        return replace(self, timings_ms={**self.timings_ms, stage: round(elapsed_ms, 1)})

    def record(self, all_frames: bool = False) -> dict[str, Any]:
        """The content of result.json; more than MAX_FRAMES_IN_JSON frames are left to FRAMES_FILE, but `all_frames`."""
        overall = {
            "schema": SCHEMA,
            "emotion": self.emotion.key,
            "confidence": self.confidence,
            "scores": _named_scores(self.model.labels, self.scores),
            "granularity": self.options.granularity,
            "timestamp": self.timestamp.strftime(TIMESTAMP_FORMAT),
            "file": self.clip.name,
            "duration_s": round(self.clip.duration_s, 3),
            "margin": self.margin,
            "uncertain": self.uncertain,
            "silent": self.silent,
            "overall_from": self.overall_from,
            "model": self.model.record(),
            "frame_rate_hz": FRAME_RATE_HZ,
            "num_frames": num_frames(self.clip.num_samples),
        }
        return {**overall, **self._frames_record(all_frames), "timings_ms": self.timings_ms}

    def _frames_record(self, all_frames: bool) -> dict[str, Any]:
        if self.frame_scores is None:
            return {}
        segments = [
            {"start": s.start_s, "end": s.end_s, "emotion": s.emotion, "confidence": s.confidence}
            for s in self.segments
        ]
        if len(self.frame_scores) > MAX_FRAMES_IN_JSON and not all_frames:
            return {"frames_file": FRAMES_FILE, "segments": segments}
        return {"frames": list(_frame_records(self.model.labels, self.frame_scores)), "segments": segments}


def cut_windows(clip: Clip, plan: Plan) -> Iterator[Window]:
    """The clip as one window up to `exact_limit_s`; beyond it, windows of about equal length with context around.

    The kept frames of all windows, one after the other, are the frames of the clip. Windows are made one at a time,
    so memory does not grow with the length. Raises ClipTooShort below 400 samples.
    """
    total = num_frames(len(clip.samples))
    if total == 0:
        raise ClipTooShort(clip.duration_s, FRAME_SPAN_SAMPLES / SAMPLE_RATE_HZ)
    mean, scale = _waveform_statistics(clip)
    if clip.duration_s <= plan.exact_limit_s:
        yield Window(0.0, _normalise(clip.samples, mean, scale), 0, total)
        return
    context = round(plan.context_s * FRAME_RATE_HZ)
    edges = _block_edges(total, plan)
    for first, last in pairwise(edges):
        from_frame, to_frame = max(first - context, 0), min(last + context, total)
        start = from_frame * FRAME_STEP_SAMPLES
        end = (to_frame - 1) * FRAME_STEP_SAMPLES + FRAME_SPAN_SAMPLES
        samples = _normalise(clip.samples[start:end], mean, scale)
        clip.forget(start, end)
        yield Window(start / SAMPLE_RATE_HZ, samples, first - from_frame, last - first)


def count_windows(clip: Clip, plan: Plan) -> int:
    """How many windows `cut_windows` will make."""
    if clip.duration_s <= plan.exact_limit_s:
        return 1
    return len(_block_edges(num_frames(len(clip.samples)), plan)) - 1


class Stitcher:
    """Gathers the predictions of a clip's windows, in order, into one analysis."""

    def __init__(self, clip: Clip, card: ModelCard, options: Options, plan: Plan) -> None:
        self._clip, self._card, self._options, self._plan = clip, card, options, plan
        total = num_frames(len(clip.samples))
        self._logits = np.empty((total, len(card.labels)), np.float32)
        self._embedding_sum = np.zeros(card.embedding_size)
        keep_all = options.embedding and options.granularity == "frame"
        self._embeddings = _room_for((total, card.embedding_size)) if keep_all else None
        self._done = 0
        self._windows = 0

    def add(self, window: Window, prediction: Prediction) -> None:
        kept = slice(window.skip_frames, window.skip_frames + window.keep_frames)
        here = slice(self._done, self._done + window.keep_frames)
        self._logits[here] = prediction.logits[kept]
        self._embedding_sum += prediction.embeddings[kept].sum(axis=0, dtype=np.float64)
        if self._embeddings is not None:
            self._embeddings[here] = prediction.embeddings[kept]
            forget_rows(self._embeddings, here.start, here.stop)
        self._done = here.stop
        self._windows += 1

    def finish(self, timestamp: datetime) -> Analysis:
        """The analysis of the whole clip: overall scores are the softmax of the mean of the frames' logits."""
        scores = softmax(self._logits.mean(axis=0, dtype=np.float64)).astype(np.float32)
        by_frame = self._options.granularity == "frame"
        frame_scores = softmax(self._logits) if by_frame else None
        second, first = np.sort(scores)[-2:]
        silent = is_silent(self._clip)
        return Analysis(
            clip=self._clip,
            model=self._card,
            options=self._options,
            timestamp=timestamp,
            scores=scores,
            frame_scores=frame_scores,
            embedding=self._embedding(),
            segments=() if frame_scores is None else self._segments(frame_scores),
            overall_from="clip" if self._windows == 1 else "windows",
            uncertain=silent or bool(first - second < self._plan.uncertain_margin),
            silent=silent,
        )

    def _embedding(self) -> FloatArray | None:
        if not self._options.embedding:
            return None
        if self._embeddings is not None:
            return self._embeddings
        return (self._embedding_sum / self._done).astype(np.float32)

    def _segments(self, frame_scores: FloatArray) -> tuple[Segment, ...]:
        return find_segments(frame_scores, self._card.labels, self._plan, self._clip.duration_s)


def find_segments(
    frame_scores: FloatArray, labels: tuple[str, ...], plan: Plan, duration_s: float
) -> tuple[Segment, ...]:
    """Stretches of one emotion: smoothed scores [T, C], the best label of each frame, short stretches joined."""
    winners = smooth(frame_scores, plan.smoothing_s).argmax(axis=1)
    runs = _join_short(_runs(winners), round(plan.min_segment_s * FRAME_RATE_HZ))
    segments = []
    for first, last, winner in runs:
        end_s = duration_s if last == len(winners) else last / FRAME_RATE_HZ
        confidence = float(frame_scores[first:last, winner].mean(dtype=np.float64))
        segments.append(Segment(first / FRAME_RATE_HZ, round(end_s, 3), labels[winner], confidence))
    return tuple(segments)


def smooth(frame_scores: FloatArray, smoothing_s: float) -> FloatArray:
    """Centred moving average of scores [T, C] over so many seconds, shorter at both ends."""
    half = round(smoothing_s * FRAME_RATE_HZ) // 2
    if half < 1:
        return frame_scores
    sums = np.concatenate([np.zeros((1, frame_scores.shape[1])), frame_scores.cumsum(axis=0, dtype=np.float64)])
    centre = np.arange(len(frame_scores))
    low, high = np.maximum(centre - half, 0), np.minimum(centre + half + 1, len(frame_scores))
    averages: FloatArray = ((sums[high] - sums[low]) / (high - low)[:, None]).astype(np.float32)
    return averages


def softmax(logits: np.ndarray[Any, Any]) -> FloatArray:
    """Scores over the last axis; a logit of minus infinity gives a score of exactly 0."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: FloatArray = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return shares


def is_silent(clip: Clip) -> bool:
    """Whether nothing in the clip is louder than -80 dBFS; of sound that was not kept nobody knows."""
    return clip.samples_not_kept == 0 and all(float(np.abs(block).max()) < SILENCE_PEAK for block in _blocks(clip))


def frame_times_s(count: int) -> NDArray[np.float64]:
    """Start of each frame, [T]."""
    return np.arange(count) / FRAME_RATE_HZ


def _room_for(shape: tuple[int, int]) -> FloatArray:
    """An empty array, in memory while it is small, then in a temporary file without a name: 3 hours of frames of the
    large model take 2.2 GB, which the system can then put aside.
    """
    if shape[0] * shape[1] <= _HELD_NUMBERS:
        return np.empty(shape, np.float32)
    with tempfile.TemporaryFile() as file:  # the mapping keeps the file alive, and ends it when the array goes
        return np.memmap(file, np.float32, mode="w+", shape=shape)


def _blocks(clip: Clip) -> Iterator[FloatArray]:
    """The samples of a clip, a minute at a time, each let go of when the next is wanted."""
    for start in range(0, len(clip.samples), _BLOCK_SAMPLES):
        yield clip.samples[start : start + _BLOCK_SAMPLES]
        clip.forget(start, start + _BLOCK_SAMPLES)


def _waveform_statistics(clip: Clip) -> tuple[float, float]:
    """Mean and 1 / sqrt(variance + 1e-5) of the whole clip, as torch's layer_norm over the waveform has them."""
    count = len(clip.samples)
    mean = sum(float(block.sum(dtype=np.float64)) for block in _blocks(clip)) / count
    squares = sum(float(np.square(block.astype(np.float64) - mean).sum()) for block in _blocks(clip))
    return mean, 1.0 / float(np.sqrt(squares / count + 1e-5))


def _normalise(samples: FloatArray, mean: float, scale: float) -> FloatArray:
    return ((samples - np.float32(mean)) * np.float32(scale)).astype(np.float32, copy=False)


def _block_edges(total: int, plan: Plan) -> list[int]:
    """Frame indices that cut a clip of so many frames into kept parts of about equal length."""
    longest = max(round((plan.window_s - 2 * plan.context_s) * FRAME_RATE_HZ), FRAME_RATE_HZ)
    parts = -(-total // longest)
    return [total * part // parts for part in range(parts + 1)]


def _runs(winners: np.ndarray[Any, Any]) -> list[tuple[int, int, int]]:
    """Stretches of equal value as (first, last + 1, value)."""
    edges = [0, *(np.flatnonzero(np.diff(winners)) + 1).tolist(), len(winners)]
    return [(first, last, int(winners[first])) for first, last in pairwise(edges)]


def _join_short(runs: list[tuple[int, int, int]], shortest: int) -> list[tuple[int, int, int]]:
    """Stretches shorter than so many frames join the one before (the first joins the one after)."""
    joined: list[tuple[int, int, int]] = []
    for first, last, winner in runs:
        if joined and (last - first < shortest or joined[-1][2] == winner):
            joined[-1] = (joined[-1][0], last, joined[-1][2])
        elif joined and len(joined) == 1 and joined[0][1] - joined[0][0] < shortest:
            joined[0] = (joined[0][0], last, winner)
        else:
            joined.append((first, last, winner))
    return joined


def _named_scores(labels: tuple[str, ...], scores: FloatArray) -> dict[str, float]:
    return {label: float(score) for label, score in zip(labels, scores, strict=True)}


def _frame_records(labels: tuple[str, ...], frame_scores: FloatArray) -> Iterator[dict[str, Any]]:
    # Six decimals: a frame of float noise costs 200 bytes of JSON, of six decimals 130.
    rows = np.round(frame_scores.astype(np.float64), 6).tolist()
    for index, (row, best) in enumerate(zip(rows, frame_scores.argmax(axis=1).tolist(), strict=True)):
        yield {
            "index": index,
            "start": round(index / FRAME_RATE_HZ, 2),
            "end": round((index + 1) / FRAME_RATE_HZ, 2),
            "emotion": labels[best],
            "confidence": row[best],
            "scores": dict(zip(labels, row, strict=True)),
        }
