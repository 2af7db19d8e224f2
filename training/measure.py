"""Numbers that say how good held-out predictions are."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emotion.model.compact import LABELS, Compact
from training.augment import normalize
from training.corpus import Speech

NEVER = np.float32(-1e9)  # The logit of a class that the training clips did not have.


@dataclass(frozen=True)
class Prediction:
    """Held-out clips: their rows [n] and utterance logits [n, 9]."""

    rows: NDArray[np.int64]
    logits: NDArray[np.float32]


@torch.no_grad()
def predict(network: Compact, speech: Speech, rows: NDArray[np.int64]) -> Prediction:
    """The logits as an application gets them: whole clips, as they are, one at a time."""
    waveforms = (normalize(torch.from_numpy(speech.clip(row))[None])[0] for row in rows)
    return Prediction(rows, np.stack([network(waveform)[0].mean(0).numpy() for waveform in waveforms]))


def confusion(labels: NDArray[np.int64], logits: NDArray[np.float32]) -> NDArray[np.int64]:
    """Counts [9, 9]: rows are what was said, columns what was heard."""
    counts = np.zeros((len(LABELS), len(LABELS)), np.int64)
    np.add.at(counts, (labels, logits.argmax(1)), 1)
    return counts


def unweighted_accuracy(counts: NDArray[np.int64]) -> float:
    """The mean over the classes that occur of the share that was recognised."""
    occur = counts.sum(1) > 0
    return float((counts.diagonal()[occur] / counts.sum(1)[occur]).mean())


def best_temperature(labels: NDArray[np.int64], logits: NDArray[np.float32], weights: NDArray[np.float64]) -> float:
    """The temperature whose softmax gives held-out labels the largest likelihood (Guo et al. 2017)."""
    temperatures = np.exp(np.linspace(np.log(0.3), np.log(3), 93))
    losses = [negative_log_likelihood(labels, logits / temperature, weights) for temperature in temperatures]
    return float(temperatures[int(np.argmin(losses))])


def negative_log_likelihood(
    labels: NDArray[np.int64], logits: NDArray[np.float32], weights: NDArray[np.float64]
) -> float:
    losses = -log_softmax(logits)[torch.arange(len(labels)), torch.from_numpy(labels)].numpy()
    return float((losses * weights).sum() / weights.sum())


def calibration_error(labels: NDArray[np.int64], logits: NDArray[np.float32], num_bins: int = 10) -> float:
    """Expected calibration error: the mean gap between confidence and accuracy over bins of confidence."""
    confidence, heard = log_softmax(logits).exp().max(1)
    right = heard.numpy() == labels
    bins = np.minimum((confidence.numpy() * num_bins).astype(int), num_bins - 1)
    gaps = [abs(right[bins == place].mean() - confidence.numpy()[bins == place].mean()) for place in np.unique(bins)]
    return float(np.average(gaps, weights=np.unique(bins, return_counts=True)[1]))


def log_softmax(logits: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(logits).double().log_softmax(1)
