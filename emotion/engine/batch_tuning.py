"""Whether batches pay on this machine, by measurement."""

import time
from collections.abc import Generator

import numpy as np

from emotion.audio import SAMPLE_RATE_HZ
from emotion.errors import OutOfMemory
from emotion.model import FloatArray, SpeechModel, num_frames

# A batch that is not faster by a tenth is not worth that a clip waits for others.
_WORTH_IT = 0.9
_MOST_CLIPS = 64
NO_BATCHES = 1
# 40 s of sound: what a graphics card is given before anybody has measured, since one clip leaves most of it idle.
_CARD_FRAMES = 2_000


def run_once(model: SpeechModel) -> None:
    """One second of noise through a model, which then has packed its weights and started its threads."""
    model.start([_noise()])()


def unmeasured_batch_frames(model: SpeechModel) -> int:
    """Frames of a batch before anybody has measured: none on a CPU."""
    return NO_BATCHES if model.card.device == "cpu" else _CARD_FRAMES


def measure_batch_frames(model: SpeechModel) -> int:
    """Frames of the largest batch that still gains, found with clips of 1 s; 1 where batches do not pay.

    Takes about ten times as long as one such clip where they do not pay.
    """
    steps = batch_frames_in_steps(model)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return int(end.value)


def batch_frames_in_steps(model: SpeechModel) -> Generator[None, None, int]:
    """The same, one run of the model at a time, so that somebody who waits for it need not wait for all."""
    clip = _noise()
    best_s = yield from _seconds(model, [clip])
    budget, count = NO_BATCHES, 2
    while count <= _MOST_CLIPS:
        try:
            per_clip_s = (yield from _seconds(model, [clip] * count)) / count
        except OutOfMemory:  # what was found before fits
            break
        if per_clip_s > _WORTH_IT * best_s:
            break
        best_s, budget, count = per_clip_s, count * num_frames(len(clip)), 2 * count
    return budget


def _seconds(model: SpeechModel, clips: list[FloatArray]) -> Generator[None, None, float]:
    """The faster of two runs, after one that is not counted."""
    seconds = []
    for _ in range(3):
        started_s = time.perf_counter()
        model.start(clips)()
        seconds.append(time.perf_counter() - started_s)
        yield
    return min(seconds[1:])


def _noise() -> FloatArray:
    return np.random.default_rng(0).standard_normal(SAMPLE_RATE_HZ).astype(np.float32)
