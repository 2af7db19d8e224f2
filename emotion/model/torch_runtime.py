"""PyTorch as the runtime: any network of ours behind the contract of the model room."""

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from emotion.checkpoint import Checkpoint
from emotion.errors import ModelError
from emotion.model import Accuracy, FloatArray, ModelCard, Prediction
from emotion.network import load_network


class Network(Protocol):
    """Waveform [n] to logits [T, C] and embeddings [T, D]."""

    def __call__(self, waveform: Tensor) -> tuple[Tensor, Tensor]: ...


class TorchModel:
    """A network that is kept resident on one device; one waveform at a time, so every result is exact."""

    def __init__(self, network: Network, card: ModelCard) -> None:
        self._network = network
        self._card = card
        self._device = torch.device(card.device)

    @property
    def card(self) -> ModelCard:
        return self._card

    def predict(self, waveforms: Sequence[FloatArray]) -> list[Prediction]:
        """One prediction per waveform [n], n >= 400, each normalised with the statistics of its clip."""
        return [self._predict_one(waveform) for waveform in waveforms]

    def free_memory(self) -> None:
        """Give cached GPU memory back to the driver; the CPU keeps none."""
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def _predict_one(self, waveform: FloatArray) -> Prediction:
        samples = torch.from_numpy(np.ascontiguousarray(waveform, dtype=np.float32))
        logits, embeddings = self._network(samples.to(self._device))
        return Prediction(logits.float().cpu().numpy(), embeddings.float().cpu().numpy())


def open_torch_model(checkpoint: Checkpoint, device: str, precision: str) -> TorchModel:
    """An emotion2vec checkpoint on `cpu`, `cuda` or `cuda:1`."""
    device = usable_device(device)
    require_fp32(precision)
    network = load_network(checkpoint.config, checkpoint.kept_rows, checkpoint.weights).to(device)
    card = ModelCard(
        name=checkpoint.name,
        fingerprint=checkpoint.fingerprint,
        runtime="torch",
        device=device,
        precision="fp32",
        labels=checkpoint.labels,
        embedding_size=checkpoint.config.width,
    )
    return TorchModel(network, card)


def open_compact_model(device: str, precision: str) -> TorchModel:
    """The built-in model."""
    from emotion.compact import COMPACT_NAME, load_compact, measured_accuracy, weights_sha256

    device = usable_device(device)
    require_fp32(precision)
    network = load_compact()
    biases = network.head.bias.tolist()
    card = ModelCard(
        name=COMPACT_NAME,
        fingerprint=weights_sha256(),
        runtime="torch",
        device=device,
        precision="fp32",
        labels=network.labels,
        embedding_size=network.config.embedding_size,
        untold=tuple(label for label, bias in zip(network.labels, biases, strict=True) if bias == -math.inf),
        accuracy=Accuracy(measured_accuracy("leave_speakers_out"), measured_accuracy("leave_corpora_out")),
    )
    return TorchModel(network.to(device), card)


def usable_device(device: str) -> str:
    """`auto`, `cpu`, `cuda` or `cuda:1` as torch names it; ModelError if this machine does not have it."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        return device
    kind, _, index = device.partition(":")
    if kind != "cuda" or not (index or "0").isdecimal():
        raise ModelError(f"There is no device {device!r}. Use auto, cpu, cuda or cuda:1.", device=device)
    if int(index or "0") >= torch.cuda.device_count():
        raise ModelError(
            f"This machine has no device {device!r} that PyTorch can use. Use --device cpu.", device=device
        )
    return f"cuda:{index or '0'}"


def require_fp32(precision: str) -> None:
    """Refuse the precisions that this runtime does not compute."""
    if precision not in ("auto", "fp32"):
        raise ModelError(f"This runtime computes in fp32 only, not in {precision}. Use --precision fp32.")
