"""The built-in model as a runtime: PyTorch in fp32, one waveform at a time, since batches would gain it nothing."""

import math
from collections.abc import Sequence

import numpy as np
import torch

from emotion.errors import ModelError
from emotion.model.compact import Compact, load_compact, measured_accuracy, weights_sha256
from emotion.model.contract import BUILT_IN, Accuracy, CpuModel, FloatArray, ModelCard, Prediction
from emotion.model.torch_runtime import usable_device


class CompactModel(CpuModel):
    """The built-in network behind the contract of the model room."""

    def __init__(self, network: Compact, card: ModelCard) -> None:
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
        return Prediction(logits.cpu().numpy(), embeddings.cpu().numpy())


def open_compact_model(device: str, precision: str) -> CompactModel:
    """The built-in model on a device; in fp32, the only precision in which it runs."""
    device = usable_device(device)
    if precision not in ("auto", "fp32"):
        raise ModelError(f"The built-in model computes in fp32 only, not in {precision}. Use --precision fp32.")
    network = load_compact()
    biases = network.head.bias.tolist()
    card = ModelCard(
        name=BUILT_IN,
        fingerprint=weights_sha256(),
        runtime="torch",
        device=device,
        precision="fp32",
        labels=network.labels,
        embedding_size=network.config.embedding_size,
        unsupported_labels=tuple(
            label for label, bias in zip(network.labels, biases, strict=True) if bias == -math.inf
        ),
        accuracy=Accuracy(measured_accuracy("leave_speakers_out"), measured_accuracy("leave_corpora_out")),
    )
    return CompactModel(network.to(device), card)
