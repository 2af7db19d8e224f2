"""What the engine needs of a model: waveforms in, predictions out, and the card that says what computed them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from emotion.record import ModelRecord

FloatArray = NDArray[np.float32]

BUILT_IN = "compact"
"""The name of the model that comes with the package."""

FRAME_RATE_HZ = 50
FRAME_STEP_SAMPLES = 320
# The convolutions' receptive field (config.yaml, feature_encoder_spec): a shorter waveform yields no frame.
FRAME_SPAN_SAMPLES = 400


@dataclass(frozen=True)
class Accuracy:
    """Unweighted accuracies that were measured, each as the lowest and the highest over several corpora."""

    new_speakers: tuple[float, float]
    new_corpora: tuple[float, float]


@dataclass(frozen=True)
class ModelCard:
    """What computed a prediction: the `model` object of result.json, and what its output means.

    `labels` are the columns of the logits, `embedding_size` is D, `unsupported_labels` those whose score is always 0;
    `accuracy` is None where it was not measured here.
    """

    name: str
    fingerprint: str
    runtime: str
    device: str
    precision: str
    labels: tuple[str, ...]
    embedding_size: int
    unsupported_labels: tuple[str, ...] = ()
    accuracy: Accuracy | None = None

    def record(self) -> ModelRecord:
        """The five facts that result.json keeps."""
        return {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "runtime": self.runtime,
            "device": self.device,
            "precision": self.precision,
        }


@dataclass(frozen=True)
class Prediction:
    """What the model says of one waveform, frame by frame: logits [T, C] and embeddings [T, D], both float32."""

    logits: FloatArray
    embeddings: FloatArray


Collect = Callable[[], list[Prediction]]
"""Waits for the predictions of a batch that was started."""


class SpeechModel(Protocol):
    """What the engine needs of a model, so that a fake of ten lines fits."""

    @property
    def card(self) -> ModelCard: ...

    def start(self, waveforms: Sequence[FloatArray]) -> Collect:
        """Begin one batch of waveforms [n], n >= 400, each normalised with the statistics of its clip.

        What comes back gives one prediction per waveform, the same as if each had been alone. A graphics card works
        in between; a CPU works when the predictions are collected. Raises OutOfMemory, here or there.
        """
        ...

    def free_memory(self) -> None:
        """Give back what is only cached."""
        ...


class CpuModel(ABC):
    """A model that works when its predictions are collected; a runtime only says how."""

    @abstractmethod
    def predict(self, waveforms: Sequence[FloatArray]) -> list[Prediction]:
        """One prediction per waveform [n]."""

    def start(self, waveforms: Sequence[FloatArray]) -> Collect:
        """What `SpeechModel.start` says."""
        return lambda: self.predict(waveforms)


def softmax(logits: np.ndarray[Any, Any]) -> FloatArray:
    """Scores over the last axis; a logit of minus infinity gives a score of exactly 0."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: FloatArray = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return shares


def pad_batch(waveforms: Sequence[FloatArray]) -> tuple[FloatArray, list[int]]:
    """Waveforms as one array [B, n], zero behind the shorter ones, and the frames of each."""
    counts = [num_frames(len(waveform)) for waveform in waveforms]
    if len(waveforms) == 1:
        return np.ascontiguousarray(waveforms[0], np.float32)[None], counts
    batch = np.zeros((len(waveforms), max(map(len, waveforms))), np.float32)
    for row, waveform in zip(batch, waveforms, strict=True):
        row[: len(waveform)] = waveform
    return batch, counts


def num_frames(num_samples: int) -> int:
    """Frames that the model makes of so many samples: floor((N - 400) / 320) + 1, and 0 below 400."""
    if num_samples < FRAME_SPAN_SAMPLES:
        return 0
    return (num_samples - FRAME_SPAN_SAMPLES) // FRAME_STEP_SAMPLES + 1
