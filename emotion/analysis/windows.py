"""Windows of a clip, pure: how it is cut for the model, and how the predictions of its windows become one."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from emotion.audio import SAMPLE_RATE_HZ, Clip, empty_array, forget_rows
from emotion.errors import ClipTooShort
from emotion.model import (
    FRAME_RATE_HZ,
    FRAME_SPAN_SAMPLES,
    FRAME_STEP_SAMPLES,
    FloatArray,
    ModelCard,
    Prediction,
    num_frames,
)

_BLOCK_SAMPLES = 1_000_000


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
class ClipPrediction:
    """What the model says of a whole clip: logits [T, C], and the mean embedding [D] over its frames.

    `frame_embeddings` [T, D] are those of all frames, None where they were not kept; `windows` is how many went
    through the model.
    """

    logits: FloatArray
    embedding: FloatArray
    frame_embeddings: FloatArray | None
    windows: int

    @property
    def size_bytes(self) -> int:
        """How much memory it takes."""
        frames = 0 if self.frame_embeddings is None else self.frame_embeddings.nbytes
        return self.logits.nbytes + self.embedding.nbytes + frames


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
        yield Window(0.0, _normalize(clip.samples, mean, scale), 0, total)
        return
    context = round(plan.context_s * FRAME_RATE_HZ)
    edges = _block_edges(total, plan)
    for first, last in pairwise(edges):
        from_frame, to_frame = max(first - context, 0), min(last + context, total)
        start = from_frame * FRAME_STEP_SAMPLES
        end = (to_frame - 1) * FRAME_STEP_SAMPLES + FRAME_SPAN_SAMPLES
        samples = _normalize(clip.samples[start:end], mean, scale)
        clip.forget(start, end)
        yield Window(start / SAMPLE_RATE_HZ, samples, first - from_frame, last - first)


def count_windows(clip: Clip, plan: Plan) -> int:
    """How many windows `cut_windows` will make."""
    if clip.duration_s <= plan.exact_limit_s:
        return 1
    return len(_block_edges(num_frames(len(clip.samples)), plan)) - 1


class Stitcher:
    """Joins the predictions of a clip's windows, in order, into one of the clip.

    Raises DiskFull where the embeddings of all frames are to be kept, are long, and find no room.
    """

    def __init__(self, clip: Clip, card: ModelCard, keep_frames: bool) -> None:
        total = num_frames(len(clip.samples))
        self._logits = np.empty((total, len(card.labels)), np.float32)
        self._embedding_sum = np.zeros(card.embedding_size)
        self._embeddings = empty_array((total, card.embedding_size)) if keep_frames else None
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

    def finish(self) -> ClipPrediction:
        """The prediction of the whole clip, once all its windows were added; its arrays cannot be written to."""
        embedding = (self._embedding_sum / self._done).astype(np.float32)
        for array in (self._logits, embedding, self._embeddings):
            if array is not None:
                array.setflags(write=False)  # it may be shared by analyses of the same sound
        return ClipPrediction(self._logits, embedding, self._embeddings, self._windows)


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


def _normalize(samples: FloatArray, mean: float, scale: float) -> FloatArray:
    return ((samples - np.float32(mean)) * np.float32(scale)).astype(np.float32, copy=False)


def _block_edges(total: int, plan: Plan) -> list[int]:
    """Frame indices that cut a clip of so many frames into kept parts of about equal length."""
    longest = max(round((plan.window_s - 2 * plan.context_s) * FRAME_RATE_HZ), FRAME_RATE_HZ)
    parts = -(-total // longest)
    return [total * part // parts for part in range(parts + 1)]
