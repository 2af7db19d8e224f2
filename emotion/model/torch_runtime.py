"""PyTorch as the runtime of emotion2vec: on the CPU in fp32 or bf16, on a graphics card in fp16, bf16 or fp32."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from emotion.errors import ModelError, OutOfMemory
from emotion.model.checkpoint import Checkpoint
from emotion.model.contract import Collect, FloatArray, ModelCard, Prediction, pad_batch
from emotion.model.emotion2vec import Emotion2vec, load_network

if TYPE_CHECKING:
    from torch.nn import Module

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchModel:
    """The network of one checkpoint, resident on one device.

    On a graphics card `start` only hands the work over: the copies run beside the computation of the batch before,
    and whoever collects the predictions waits for them.
    """

    def __init__(self, network: Emotion2vec, card: ModelCard) -> None:
        self._network = network
        self._card = card
        self._device = torch.device(card.device)
        self._on_gpu = self._device.type == "cuda"
        self._uploads = torch.cuda.Stream(self._device) if self._on_gpu else None  # type: ignore[no-untyped-call]

    @property
    def card(self) -> ModelCard:
        return self._card

    def start(self, waveforms: Sequence[FloatArray]) -> Collect:
        """What `SpeechModel.start` says."""
        if not self._on_gpu:
            return lambda: self.predict(waveforms)
        counts, outputs = self._guarded(waveforms)
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record(torch.cuda.current_stream(self._device))

        def collect() -> list[Prediction]:
            done.synchronize()
            return cut_apart(*outputs, counts)

        return collect

    def predict(self, waveforms: Sequence[FloatArray]) -> list[Prediction]:
        """One prediction per waveform [n], n >= 400, each normalised with the statistics of its clip."""
        if self._on_gpu:
            return self.start(waveforms)()
        counts, outputs = self._guarded(waveforms)
        return cut_apart(*outputs, counts)

    def free_memory(self) -> None:
        """Give cached GPU memory back to the driver; the CPU keeps none."""
        # Costs a device sync, so it runs when idle or after an out-of-memory error, not after every request.
        if self._on_gpu:
            torch.cuda.empty_cache()

    def _guarded(self, waveforms: Sequence[FloatArray]) -> tuple[list[int], tuple[Tensor, Tensor]]:
        """Run a batch; where memory is short, once more with all that is only cached given back."""
        try:
            return self._run(waveforms)
        except torch.OutOfMemoryError:
            pass  # the second try lies outside, since the error itself keeps the tensors of the first alive
        self.free_memory()
        try:
            return self._run(waveforms)
        except torch.OutOfMemoryError:
            raise OutOfMemory(self._card.device) from None

    @torch.inference_mode()
    def _run(self, waveforms: Sequence[FloatArray]) -> tuple[list[int], tuple[Tensor, Tensor]]:
        batch, counts = pad_batch(waveforms)
        logits, embeddings = self._network(self._upload(torch.from_numpy(batch)), counts)
        return counts, (self._download(logits), self._download(embeddings))

    def _upload(self, batch: Tensor) -> Tensor:
        if self._uploads is None:
            return batch
        with torch.cuda.stream(self._uploads):
            here = batch.pin_memory().to(self._device, non_blocking=True)
        current = torch.cuda.current_stream(self._device)
        current.wait_stream(self._uploads)
        here.record_stream(current)
        return here

    def _download(self, output: Tensor) -> Tensor:
        if not self._on_gpu:
            return output
        there = torch.empty(output.shape, dtype=output.dtype, pin_memory=True)
        return there.copy_(output, non_blocking=True)


def cut_apart(logits: Tensor, embeddings: Tensor, counts: Sequence[int]) -> list[Prediction]:
    """One prediction per clip of logits [B, T, C] and embeddings [B, T, D], without the frames behind its end."""
    return [
        Prediction(logits[row, :count].numpy(), embeddings[row, :count].numpy()) for row, count in enumerate(counts)
    ]


def open_torch_model(checkpoint: Checkpoint, device: str, precision: str, offload_blocks: int = 0) -> TorchModel:
    """An emotion2vec checkpoint on `cpu`, `cuda` or `cuda:1`; the first `offload_blocks` blocks stay in main memory."""
    device = usable_device(device)
    if precision not in DTYPES or (precision == "fp16" and device == "cpu"):
        possible = "fp32 or bf16 on a CPU" if device == "cpu" else "fp16, bf16 or fp32 on a graphics card"
        raise ModelError(f"PyTorch does not compute in {precision} here. Use --precision {possible}.")
    network = load_network(checkpoint.config, checkpoint.kept_rows, checkpoint.weights, DTYPES[precision])
    place(network, device, offload_blocks)
    card = ModelCard(
        name=checkpoint.name,
        fingerprint=checkpoint.fingerprint,
        runtime="torch",
        device=device,
        precision=precision,
        labels=checkpoint.labels,
        embedding_size=checkpoint.config.width,
    )
    return TorchModel(network, card)


def place(network: Emotion2vec, device: str, offload_blocks: int) -> None:
    """Put the network on a device, but for its first blocks, which come over for the time of their use only."""
    for block in list(network.blocks)[:offload_blocks]:
        _lend(block, torch.device(device))
    for name, module in network.named_children():
        if name != "blocks":
            module.to(device)
    for block in list(network.blocks)[offload_blocks:]:
        block.to(device)
    network.alibi_scale.data = network.alibi_scale.data.to(device)
    network.extra_tokens.data = network.extra_tokens.data.to(device)


def _lend(block: "Module", device: torch.device) -> None:
    """Keep the parameters of a block in main memory (pinned beside a card), and on the device while it computes."""
    kept = {name: parameter.data for name, parameter in block.named_parameters()}
    if device.type == "cuda":
        kept = {name: tensor.pin_memory() for name, tensor in kept.items()}
    parameters = dict(block.named_parameters())

    def bring(*_: object) -> None:
        for name, parameter in parameters.items():
            parameter.data = kept[name].to(device, non_blocking=True)

    def take_back(*_: object) -> None:
        for name, parameter in parameters.items():
            parameter.data = kept[name]

    take_back()
    block.register_forward_pre_hook(bring)
    block.register_forward_hook(take_back)


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
