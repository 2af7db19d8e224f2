"""The analysis room, pure: scores, segments and uncertainty of a clip, and the one JSON record."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from emotion.analysis.request import AnalysisRequest
from emotion.analysis.speech import HEADLINE_SHARE, LEAST_S, SHORT_S, Speech, find_speech
from emotion.analysis.windows import ClipPrediction, Plan
from emotion.audio import Clip
from emotion.labels import SILENCE, Emotion, emotion_of
from emotion.model import FRAME_RATE_HZ, FloatArray, ModelCard, num_frames, softmax
from emotion.record import AnalysisRecord, FrameRecord, OptionalParts, SegmentRecord

SCHEMA: Final = 1
# More frames than these (10 minutes) would make a JSON of over 10 MB: they go to FRAMES_FILE.
MAX_FRAMES_IN_JSON = 30_000
FRAMES_FILE = "frames.npz"
TIMESTAMP_FORMAT = "%Y-%m-%d %H:%M:%S"


@dataclass(frozen=True)
class Segment:
    """A stretch of one emotion, or of `silence`.

    Confidence is the mean of that emotion's score over its frames, and 0 in silence.
    """

    start_s: float
    end_s: float
    emotion: str
    confidence: float

    @property
    def is_silent(self) -> bool:
        """Whether nobody is heard in it."""
        return self.emotion == SILENCE.key


@dataclass(frozen=True)
class Analysis:
    """Everything known of one clip.

    - `scores` [C] are of the whole clip, in the order of `model.labels`; `speech_scores` [C] of its speech alone, where
      less than half of the clip is speech. Emotion, confidence and margin are those of the latter where there are any;
      a `silent` clip has none.
    - `frame_scores` [T, C] are there for frame granularity, `segments` for either.
    - `embedding` is [D] or [T, D], None unless asked for.
    - `overall_from` is `clip` or `windows`.
    - `cached` says that the same sound was recognised before, and the model was not asked again.
    """

    clip: Clip
    model: ModelCard
    request: AnalysisRequest
    timestamp: datetime
    scores: FloatArray
    frame_scores: FloatArray | None
    embedding: FloatArray | None
    segments: tuple[Segment, ...]
    overall_from: Literal["clip", "windows"]
    uncertain: bool
    speech_s: float
    speech_scores: FloatArray | None = None
    cached: bool = False
    timings_ms: dict[str, float] = field(default_factory=dict)

    @property
    def silent(self) -> bool:
        """Whether nobody is heard in the clip."""
        return self.speech_s == 0

    @property
    def short(self) -> bool:
        """Whether there is less than a second of speech."""
        return self.speech_s < SHORT_S

    @property
    def headline_scores(self) -> FloatArray:
        """The scores that emotion, confidence and margin are of, [C]."""
        return self.scores if self.speech_scores is None else self.speech_scores

    @property
    def emotion(self) -> Emotion:
        """The first candidate; SILENCE where nobody is heard."""
        return SILENCE if self.silent else emotion_of(self.model.labels[int(self.headline_scores.argmax())])

    @property
    def confidence(self) -> float:
        """The score of the emotion; 0 where nobody is heard."""
        return 0.0 if self.silent else float(self.headline_scores.max())

    @property
    def runner_up(self) -> Emotion:
        """The second candidate."""
        return emotion_of(self.model.labels[int(np.argsort(self.headline_scores)[-2])])

    @property
    def margin(self) -> float:
        """How far the first emotion's score leads the second's; 0 where nobody is heard."""
        return 0.0 if self.silent else _lead(self.headline_scores)

    def with_timing(self, stage: str, elapsed_ms: float) -> "Analysis":
        return replace(self, timings_ms={**self.timings_ms, stage: round(elapsed_ms, 1)})

    def record(self, all_frames: bool = False) -> AnalysisRecord:
        """The content of result.json; more than MAX_FRAMES_IN_JSON frames are left to FRAMES_FILE, but `all_frames`."""
        return {
            "schema": SCHEMA,
            "emotion": self.emotion.key,
            "confidence": self.confidence,
            "scores": _named_scores(self.model.labels, self.scores),
            "granularity": self.request.granularity,
            "timestamp": self.timestamp.strftime(TIMESTAMP_FORMAT),
            "file": self.clip.name,
            "duration_s": round(self.clip.duration_s, 3),
            "margin": self.margin,
            "uncertain": self.uncertain,
            "silent": self.silent,
            "short": self.short,
            "speech_s": round(self.speech_s, 3),
            **self._speech_scores(),
            **self._channels(),
            "overall_from": self.overall_from,
            "cached": self.cached,
            "model": self.model.record(),
            "frame_rate_hz": FRAME_RATE_HZ,
            "num_frames": num_frames(self.clip.num_samples),
            **self._parts_by_frame(all_frames),
            "timings_ms": self.timings_ms,
        }

    def _speech_scores(self) -> OptionalParts:
        if self.speech_scores is None:
            return {}
        return {"speech_scores": _named_scores(self.model.labels, self.speech_scores)}

    def _channels(self) -> OptionalParts:
        if self.clip.channels == 1:
            return {}
        return {
            "channels": self.clip.channels,
            "mixed_from": list(self.clip.mixed_from),
            "channels_differ": self.clip.channels_differ,
        }

    def _parts_by_frame(self, all_frames: bool) -> OptionalParts:
        if self.frame_scores is None:
            return {}
        segments: list[SegmentRecord] = [
            {"start": s.start_s, "end": s.end_s, "emotion": s.emotion, "confidence": s.confidence}
            for s in self.segments
        ]
        if len(self.frame_scores) > MAX_FRAMES_IN_JSON and not all_frames:
            return {"frames_file": FRAMES_FILE, "segments": segments}
        return {"frames": list(_frame_records(self.model.labels, self.frame_scores)), "segments": segments}


def analyze(
    clip: Clip, card: ModelCard, request: AnalysisRequest, plan: Plan, prediction: ClipPrediction, timestamp: datetime
) -> Analysis:
    """What a prediction says of its clip: overall scores are the softmax of the mean of the frames' logits."""
    speech = find_speech(clip)
    heard = speech.frames[: len(prediction.logits)]
    scores = _mean_scores(prediction.logits)
    is_half_silent = 0 < heard.sum() < HEADLINE_SHARE * len(heard)
    speech_scores = _mean_scores(prediction.logits[heard]) if is_half_silent else None
    frame_scores = softmax(prediction.logits)
    segments = find_segments(frame_scores, card.labels, plan, clip.duration_s, speech)
    lead = _lead(scores if speech_scores is None else speech_scores)
    return Analysis(
        clip=clip,
        model=card,
        request=request,
        timestamp=timestamp,
        scores=scores,
        frame_scores=frame_scores if request.granularity == "frame" else None,
        embedding=_wanted_embedding(request, prediction),
        segments=segments,
        overall_from="clip" if prediction.windows == 1 else "windows",
        uncertain=speech.seconds < LEAST_S or lead < plan.uncertain_margin,
        speech_s=speech.seconds,
        speech_scores=speech_scores,
    )


def _mean_scores(logits: FloatArray) -> FloatArray:
    """Scores [C] of frames with logits [T, C]."""
    return softmax(logits.mean(axis=0, dtype=np.float64)).astype(np.float32)


def _lead(scores: FloatArray) -> float:
    second, first = np.sort(scores)[-2:]
    return float(first - second)


def _wanted_embedding(request: AnalysisRequest, prediction: ClipPrediction) -> FloatArray | None:
    if not request.embedding:
        return None
    return prediction.frame_embeddings if request.keeps_frames else prediction.embedding


def find_segments(
    frame_scores: FloatArray, labels: tuple[str, ...], plan: Plan, duration_s: float, speech: Speech | None = None
) -> tuple[Segment, ...]:
    """Stretches of silence, and between them of one emotion: smoothed scores [T, C] of the speech, the best label of
    each frame, short stretches joined. Without `speech` all is speech.
    """
    segments: list[Segment] = []
    frames = np.ones(len(frame_scores), np.bool_) if speech is None else speech.frames[: len(frame_scores)]
    for first, last, is_speech in Speech(frames, duration_s).stretches():
        if is_speech:
            segments += _segments_of_speech(frame_scores[first:last], labels, plan, first)
        else:
            segments.append(Segment(first / FRAME_RATE_HZ, last / FRAME_RATE_HZ, SILENCE.key, 0.0))
    # The last frame reaches beyond its 20 ms, to the end of the clip.
    segments[-1] = replace(segments[-1], end_s=round(duration_s, 3))
    return tuple(segments)


def _segments_of_speech(
    frame_scores: FloatArray, labels: tuple[str, ...], plan: Plan, offset: int
) -> Iterator[Segment]:
    """The segments of a stretch of speech that begins `offset` frames after the clip."""
    winners = smooth(frame_scores, plan.smoothing_s).argmax(axis=1)
    for first, last, winner in _join_short(_runs(winners), round(plan.min_segment_s * FRAME_RATE_HZ)):
        confidence = float(frame_scores[first:last, winner].mean(dtype=np.float64))
        start_s, end_s = (offset + first) / FRAME_RATE_HZ, (offset + last) / FRAME_RATE_HZ
        yield Segment(start_s, end_s, labels[winner], confidence)


def smooth(frame_scores: FloatArray, smoothing_s: float) -> FloatArray:
    """Centred moving average of scores [T, C] over so many seconds, shorter at both ends."""
    half = round(smoothing_s * FRAME_RATE_HZ) // 2
    if half < 1:
        return frame_scores
    sums = np.concatenate([np.zeros((1, frame_scores.shape[1])), frame_scores.cumsum(axis=0, dtype=np.float64)])
    center = np.arange(len(frame_scores))
    low, high = np.maximum(center - half, 0), np.minimum(center + half + 1, len(frame_scores))
    averages: FloatArray = ((sums[high] - sums[low]) / (high - low)[:, None]).astype(np.float32)
    return averages


def frame_times_s(count: int) -> NDArray[np.float64]:
    """Start of each frame, [T]."""
    return np.arange(count) / FRAME_RATE_HZ


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


def _frame_records(labels: tuple[str, ...], frame_scores: FloatArray) -> Iterator[FrameRecord]:
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
