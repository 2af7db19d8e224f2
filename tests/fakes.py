"""A model of thirty lines and clips whose answer is known, for tests of everything around a model."""

import threading
from collections.abc import Callable, Sequence
from datetime import datetime

import numpy as np

from emotion.analysis import Analysis, Granularity, Options, Plan, Stitcher, cut_windows
from emotion.audio import SAMPLE_RATE_HZ, Clip
from emotion.labels import EMOTIONS
from emotion.model import FRAME_SPAN_SAMPLES, FRAME_STEP_SAMPLES, CpuModel, FloatArray, ModelCard, Prediction

LABELS = tuple(emotion.key for emotion in EMOTIONS)
LOUD = 0.3
# Not silent, and yet the normalisation, which adds 1e-5 to the variance, leaves it quiet.
QUIET = 0.001
NOON = datetime(2026, 11, 22, 12, 0, 0)


def wait_for(condition: Callable[[], bool], patience_s: float = 30.0) -> None:
    """Wait until another thread has done its work."""
    never = threading.Event()
    for _ in range(int(patience_s / 0.02)):
        if condition():
            return
        never.wait(0.02)
    raise AssertionError("it did not happen in time")


class FakeModel(CpuModel):
    """Calls a loud frame angry and a quiet one sad; the embedding [T, 8] is the loudness times 1 to 8."""

    def __init__(self, name: str = "fake") -> None:
        self.card = ModelCard(
            name=name,
            fingerprint="sha256:0",
            runtime="fake",
            device="cpu",
            precision="fp32",
            labels=LABELS,
            embedding_size=8,
        )
        self.lengths: list[int] = []
        self.times_freed = 0

    def predict(self, waveforms: Sequence[FloatArray]) -> list[Prediction]:
        self.lengths += [len(waveform) for waveform in waveforms]
        return [self._predict_one(waveform) for waveform in waveforms]

    def free_memory(self) -> None:
        self.times_freed += 1

    def _predict_one(self, waveform: FloatArray) -> Prediction:
        spans = np.lib.stride_tricks.sliding_window_view(np.abs(waveform), FRAME_SPAN_SAMPLES)[::FRAME_STEP_SAMPLES]
        loudness = spans.mean(axis=1)
        logits = np.zeros((len(loudness), len(LABELS)), np.float32)
        # A waveform comes normalised, so a loud one has a mean of about 0.9.
        logits[loudness > 0.5, LABELS.index("angry")] = 4.0
        logits[loudness <= 0.5, LABELS.index("sad")] = 4.0
        return Prediction(logits, np.outer(loudness, np.arange(1, 9)).astype(np.float32))


def tone(duration_s: float, loudness: float = LOUD) -> FloatArray:
    """A tone of 200 Hz, [n] at 16 kHz."""
    times_s = np.arange(round(duration_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return (loudness * np.sin(2 * np.pi * 200 * times_s)).astype(np.float32)


def loud_clip(duration_s: float = 1.0, name: str = "call.wav") -> Clip:
    """A clip that the fake model calls angry throughout."""
    return Clip(name, tone(duration_s))


def turning_clip(name: str = "call.wav") -> Clip:
    """Two seconds that the fake model calls angry, then two that it calls sad."""
    return Clip(name, np.concatenate([tone(2.0), tone(2.0, QUIET)]))


def analyze(
    clip: Clip, granularity: Granularity = "utterance", embedding: bool = False, plan: Plan | None = None
) -> Analysis:
    """What the engine makes of a clip with the fake model, at noon."""
    model, plan = FakeModel(), plan or Plan()
    stitcher = Stitcher(clip, model.card, Options(granularity, embedding), plan)
    for window in cut_windows(clip, plan):
        stitcher.add(window, model.predict([window.samples])[0])
    return stitcher.finish(NOON)
