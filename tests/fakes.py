"""A model of thirty lines and clips whose answer is known, for tests of everything around a model."""

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

from emotion.analysis import Analysis, AnalysisRequest, Granularity
from emotion.analysis import analyze as analyze_prediction
from emotion.analysis.windows import Plan, Stitcher, cut_windows
from emotion.audio import SAMPLE_RATE_HZ, Clip
from emotion.errors import OutOfMemory
from emotion.labels import EMOTIONS
from emotion.model import FRAME_SPAN_SAMPLES, FRAME_STEP_SAMPLES, Collect, CpuModel, FloatArray, ModelCard, Prediction

LABELS = tuple(emotion.key for emotion in EMOTIONS)
LOUD = 0.3
SOFT = 0.1
NOON = datetime(2026, 11, 22, 12, 0, 0)


def wait_for(condition: Callable[[], bool], patience_s: float = 30.0) -> None:
    """Wait until another thread has done its work."""
    never = threading.Event()
    for _ in range(int(patience_s / 0.02)):
        if condition():
            return
        never.wait(0.02)
    raise AssertionError("it did not happen in time")


def files_below(folder: Path, name: str = "*") -> list[Path]:
    """The files in all folders below, also while some of them are being deleted, at which `rglob` fails."""
    walked = (Path(here) / file for here, _, files in os.walk(folder) for file in files)
    return sorted(path for path in walked if fnmatch(path.name, name))


class FakeModel(CpuModel):
    """Calls a loud frame angry and a soft one sad; the embedding [T, 8] is the loudness times 1 to 8."""

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
        self.batches: list[list[int]] = []
        self.times_freed = 0

    def predict(self, waveforms: Sequence[FloatArray]) -> list[Prediction]:
        self.lengths += [len(waveform) for waveform in waveforms]
        self.batches.append([len(waveform) for waveform in waveforms])
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


class HeldModel(FakeModel):
    """Predicts only when told to, so that a test sees the engine in the middle of its work."""

    def __init__(self, name: str = "held") -> None:
        super().__init__(name)
        self.began = threading.Semaphore(0)
        self.may_go_on = threading.Semaphore(0)

    def predict(self, waveforms: Sequence[FloatArray]) -> list[Prediction]:
        self.began.release()
        assert self.may_go_on.acquire(timeout=20)
        return super().predict(waveforms)

    def let_go(self, times: int = 1000) -> None:
        """Allow so many batches."""
        self.may_go_on.release(times)


class CardModel(FakeModel):
    """Works beside the engine as a graphics card does: `start` returns at once, collecting waits for permission.

    `events` tells what happened in order; the batches whose number, from 0, is in `refused` do not start.
    """

    def __init__(self, refused: tuple[int, ...] = ()) -> None:
        super().__init__("card")
        self.card = replace(self.card, device="cuda:0")
        self.events: list[str] = []
        self.may_collect = threading.Semaphore(0)
        self._refused = refused

    def start(self, waveforms: Sequence[FloatArray]) -> Collect:
        number = sum(event.startswith("start") for event in self.events)
        self.events.append(f"start {number}")
        if number in self._refused:
            raise OutOfMemory("cuda:0")

        def collect() -> list[Prediction]:
            assert self.may_collect.acquire(timeout=20)
            self.events.append(f"collect {number}")
            return self.predict(waveforms)

        return collect


class FakeClock:
    """Stands for the module `time`; moves only when told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def perf_counter(self) -> float:
        return self.now_s


def tone(duration_s: float, loudness: float = LOUD) -> FloatArray:
    """A tone of 200 Hz, [n] at 16 kHz."""
    times_s = np.arange(round(duration_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return (loudness * np.sin(2 * np.pi * 200 * times_s)).astype(np.float32)


def soft(duration_s: float) -> FloatArray:
    """Pulses of 800 Hz, [n] at 16 kHz: heard by every gate, and of little mean loudness however they are scaled."""
    pulses = np.zeros(round(duration_s * SAMPLE_RATE_HZ), np.float32)
    pulses[::40], pulses[20::40] = SOFT, -SOFT
    return pulses


def loud_clip(duration_s: float = 1.0, name: str = "call.wav") -> Clip:
    """A clip that the fake model calls angry throughout."""
    return Clip(name, tone(duration_s))


def turning_clip(name: str = "call.wav") -> Clip:
    """Two seconds that the fake model calls angry, then two that it calls sad."""
    return Clip(name, np.concatenate([tone(2.0), soft(2.0)]))


def changing_clip(duration_s: float = 12.0, seed: int = 5) -> Clip:
    """Loud and quiet stretches of 0.2 s in a random order, so that two windows in the wrong order show."""
    loud = np.random.default_rng(seed).random(round(duration_s / 0.2)) > 0.5
    return Clip("call.wav", np.concatenate([tone(0.2) if is_loud else soft(0.2) for is_loud in loud]))


def analyze(
    clip: Clip, granularity: Granularity = "utterance", embedding: bool = False, plan: Plan | None = None
) -> Analysis:
    """What the engine makes of a clip with the fake model, at noon."""
    model, plan, request = FakeModel(), plan or Plan(), AnalysisRequest(granularity, embedding)
    stitcher = Stitcher(clip, model.card, request.keeps_frames)
    for window in cut_windows(clip, plan):
        stitcher.add(window, model.predict([window.samples])[0])
    return analyze_prediction(clip, model.card, request, plan, stitcher.finish(), NOON)
