"""emotion2vec as OpenVINO graphs: the same network as in `network`, cut into pieces that are compiled one by one.

Pieces keep memory low: the runtime packs the weights of one piece at a time, and lets go of the mapped file behind it.
What grows with the length of a clip lies between the pieces, where the runtime cuts it into rows. Convolutions from
waveform to frames are written as products of matrices, with the channels last: nothing is transposed.
"""

import mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion.model.checkpoint.config import Convolution, NetworkConfig, alibi_slopes
from emotion.model.checkpoint.mapped import MappedTensors
from emotion.model.openvino_api import ops, ov

# A node of a graph or one of its outputs; the operations of OpenVINO have no narrower type.
Value = Any
FEATURES, ENTRANCE, BIAS, ATTENTION, HEAD = "features", "entrance", "bias", "attention", "head"


class Graphs:
    """Makes the pieces of one network; weights are read where they lie in the file.

    `quantized` is a folder of blocks that replace those of the file, `None` for none.
    """

    def __init__(
        self, config: NetworkConfig, weights: MappedTensors, kept_rows: list[int], quantized: Path | None = None
    ) -> None:
        self.config = config
        self._weights = weights
        self._kept_rows = kept_rows
        self._quantized = quantized
        self._mapped: list[mmap.mmap] = []

    def names(self) -> list[str]:
        """The pieces in the order of their use; bias and attention stand before each block."""
        blocks = [block_name(index) for index in range(self.config.num_blocks)]
        return [FEATURES, ENTRANCE, BIAS, ATTENTION, *blocks, HEAD]

    def build(self, name: str) -> ov.Model:
        """One piece by its name."""
        makers = {
            FEATURES: self._features,
            ENTRANCE: self._entrance,
            BIAS: self._bias,
            ATTENTION: self._attention,
            HEAD: self._head,
        }
        if name in makers:
            return makers[name]()
        if self._quantized is not None:
            return self._read_quantized(self._quantized / f"{name}.xml")
        return self._block(int(name.partition(".")[2]))

    def forget(self, beyond_bytes: int = 0) -> None:
        """Let go of the weights that were read; of those of the file not before they are so many."""
        self._weights.forget(beyond_bytes)
        for mapped in self._mapped:
            if hasattr(mapped, "madvise"):  # Windows has none
                mapped.madvise(mmap.MADV_DONTNEED)

    def slopes(self) -> NDArray[np.float32]:
        """How fast attention falls with distance: [layers or 1, H], the slope of each head times its learned scale."""
        scale = np.maximum(self._weights["alibi_scale"][:, 0, :, 0, 0], 0)  # [layers or 1, H or 1]
        return np.array(alibi_slopes(self.config.heads), np.float32) * scale

    def _read_quantized(self, xml: Path) -> ov.Model:
        """A block of the quantised ones; its weights are mapped here, since OpenVINO would never let go of them."""
        with xml.with_suffix(".bin").open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # as MappedTensors does
        self._mapped.append(mapped)
        return ov.Core().read_model(xml.read_bytes(), ov.Tensor(np.frombuffer(mapped, np.uint8), shared_memory=True))

    def _features(self) -> ov.Model:
        """Waveforms [B, n] to frames [B, T, D]."""
        waveform = ops.parameter([-1, -1], np.float32, "waveform")
        hidden: Value = ops.unsqueeze(waveform, _whole([2]))
        channels_in = 1
        for index, layer in enumerate(self.config.convolutions):
            name = f"features.layers.{index}"
            hidden = convolve(hidden, self._array(f"{name}.conv.weight"), channels_in, layer)
            hidden = ops.gelu(self._norm(hidden, f"{name}.norm", 1e-5), "ERF")
            channels_in = layer[0]
        frames = self._linear(self._norm(hidden, "features.norm", 1e-5), "features.project")
        return ov.Model([ops.result(frames, "frames")], [waveform], FEATURES)

    def _entrance(self) -> ov.Model:
        """Frames [B, T, D] and mask [B, T, 1], 0 behind the end of a clip, to tokens [B, S, D] and qkv [B, S, 3 D]."""
        config = self.config
        frames = ops.parameter([-1, -1, config.width], np.float32, "frames")
        mask = ops.parameter([-1, -1, 1], np.float32, "mask")
        code: Value = frames
        for index in range(config.position_layers):
            name = f"positions.{index}"
            convolved = self._position(ops.multiply(code, mask), name)
            code = ops.gelu(_standardized(convolved, 1e-5), "ERF")
        tokens: Value = ops.add(frames, code)
        if config.extra_tokens:
            extra = self._constant("extra_tokens")
            batch = ops.gather(ops.shape_of(frames), _whole([0]), _whole(0))
            shape = ops.concat([batch, _whole([config.extra_tokens, config.width])], 0)
            tokens = ops.concat([ops.broadcast(extra, shape), tokens], 1)
        tokens = self._norm(tokens, "norm")
        outputs = [ops.result(tokens, "tokens"), ops.result(self._query_key_value(tokens, 0), "qkv")]
        return ov.Model(outputs, [frames, mask], ENTRANCE)

    def _position(self, frames: Value, name: str) -> Value:
        """A grouped convolution over frames [B, T, D]."""
        config, size = self.config, self.config.width // self.config.position_groups
        kernel = self._array(f"{name}.weight").reshape(config.position_groups, size, size, -1)
        half = config.position_kernel // 2
        by_channel = ops.transpose(frames, _whole([0, 2, 1]))
        filters = ops.constant(kernel, shared_memory=True)
        convolved = ops.group_convolution(by_channel, filters, [1], [half], [half], [1])
        return ops.add(ops.transpose(convolved, _whole([0, 2, 1])), self._constant(f"{name}.bias"))

    def _bias(self) -> ov.Model:
        """Positions of some queries [R] and of all keys [S], whether each is a frame (0 or 1), slopes [H] and what
        hides keys [B, 1, 1, S], to the bias [B, H, R, S].
        """
        query, query_is_frame, key, key_is_frame, slopes = (
            ops.parameter([-1], np.float32, name)
            for name in ("query", "query_is_frame", "key", "key_is_frame", "slopes")
        )
        hidden = ops.parameter([-1, 1, 1, -1], np.float32, "hidden")
        distance = ops.abs(ops.subtract(ops.unsqueeze(query, _whole([1])), ops.unsqueeze(key, _whole([0]))))
        among = ops.multiply(ops.unsqueeze(query_is_frame, _whole([1])), ops.unsqueeze(key_is_frame, _whole([0])))
        fall = ops.multiply(ops.unsqueeze(ops.negative(slopes), _whole([1, 2])), ops.multiply(distance, among))
        bias = ops.add(ops.unsqueeze(fall, _whole([0])), hidden)
        return ov.Model([ops.result(bias, "bias")], [query, query_is_frame, key, key_is_frame, slopes, hidden], BIAS)

    def _attention(self) -> ov.Model:
        """qkv [B, S, 3 D], the first of some queries, and their bias [B, H, rows, S], to mixed values [B, rows, D]."""
        config = self.config
        size = config.width // config.heads
        qkv = ops.parameter([-1, -1, 3 * config.width], np.float32, "qkv")
        first = ops.parameter([1], np.int64, "first")
        bias = ops.parameter([-1, config.heads, -1, -1], np.float32, "bias")
        rows = ops.gather(ops.shape_of(bias), _whole([2]), _whole(0))
        thirds = ops.split(qkv, _whole(2), 3).outputs()
        thirds[0] = ops.slice(thirds[0], first, ops.add(first, rows), _whole([1]), _whole([1])).output(0)
        heads = [
            ops.transpose(ops.reshape(third, _whole([0, 0, config.heads, size]), True), _whole([0, 2, 1, 3]))
            for third in thirds
        ]
        mixed = ops.transpose(ops.scaled_dot_product_attention(*heads, bias), _whole([0, 2, 1, 3]))
        mixed = ops.reshape(mixed, _whole([0, 0, config.width]), True)
        return ov.Model([ops.result(mixed, "mixed")], [qkv, first, bias], ATTENTION)

    def _block(self, index: int) -> ov.Model:
        """Tokens and mixed values [B, rows, D] to tokens, and, but for the last block, to the next one's qkv."""
        width, name = self.config.width, block_name(index)
        tokens = ops.parameter([-1, -1, width], np.float32, "tokens")
        mixed = ops.parameter([-1, -1, width], np.float32, "mixed")
        hidden = self._norm(ops.add(tokens, self._linear(mixed, f"{name}.attention.project")), f"{name}.norm1")
        thought = ops.gelu(self._linear(hidden, f"{name}.expand"), "ERF")
        hidden = self._norm(ops.add(hidden, self._linear(thought, f"{name}.contract")), f"{name}.norm2")
        outputs = [ops.result(hidden, "tokens")]
        if index + 1 < self.config.num_blocks:
            outputs.append(ops.result(self._query_key_value(hidden, index + 1), "qkv"))
        return ov.Model(outputs, [tokens, mixed], name)

    def _head(self) -> ov.Model:
        """Tokens [B, S, D] to logits [B, S, C]."""
        tokens = ops.parameter([-1, -1, self.config.width], np.float32, "tokens")
        weight, bias = (self._array(f"head.{part}")[self._kept_rows] for part in ("weight", "bias"))
        logits = ops.add(ops.matmul(tokens, ops.constant(weight), False, True), ops.constant(bias))
        return ov.Model([ops.result(logits, "logits")], [tokens], HEAD)

    def _query_key_value(self, tokens: Value, index: int) -> Value:
        return self._linear(tokens, f"{block_name(index)}.attention.qkv")

    def _linear(self, hidden: Value, name: str) -> Value:
        product = ops.matmul(hidden, self._constant(f"{name}.weight"), False, True)
        return ops.add(product, self._constant(f"{name}.bias"))

    def _norm(self, hidden: Value, name: str, eps: float | None = None) -> Value:
        standard = _standardized(hidden, eps or self.config.norm_eps)
        return ops.add(ops.multiply(standard, self._constant(f"{name}.weight")), self._constant(f"{name}.bias"))

    def _array(self, name: str) -> NDArray[np.float32]:
        return self._weights[name]

    def _constant(self, name: str) -> Value:
        # Shared, so that the graph reads the weights where they are mapped.
        return ops.constant(self._weights[name], shared_memory=True)


def block_name(index: int) -> str:
    return f"blocks.{index}"


def convolve(hidden: Value, kernel: NDArray[np.float32], channels_in: int, layer: Convolution) -> Value:
    """A convolution [B, n, C_in] to [B, m, C_out], m = (n - kernel) // stride + 1, as a sum of products of matrices.

    `kernel` is [C_out, C_in, taps]. The taps are taken in parts as long as the stride, since `stride` neighbours are
    one row of a reshaped input, which costs no copy.
    """
    channels, taps, stride = layer
    length = ops.gather(ops.shape_of(hidden), _whole(1), _whole(0))
    count = ops.add(ops.divide(ops.subtract(length, _whole(taps)), _whole(stride)), _whole(1))
    rows = ops.multiply(count, _whole(stride))
    parts: list[tuple[Value, NDArray[np.float32]]] = []
    for first in range(0, taps, stride):
        last = min(first + stride, taps)
        if last - first == stride:
            stop = ops.unsqueeze(ops.add(rows, _whole(first)), _whole(0))
            part = ops.slice(hidden, _whole([first]), stop, _whole([1]), _whole([1]))
            part = ops.reshape(part, _whole([0, -1, stride * channels_in]), True)
        else:
            part = ops.concat([_every(hidden, tap, stride, count) for tap in range(first, last)], 2)
        weight = np.ascontiguousarray(kernel[:, :, first:last].transpose(0, 2, 1)).reshape(channels, -1)
        parts.append((part, weight))
    if channels_in == 1:  # a few columns each: one product
        joined = ops.concat([part for part, _ in parts], 2) if len(parts) > 1 else parts[0][0]
        return ops.matmul(joined, ops.constant(np.concatenate([w for _, w in parts], 1)), False, True)
    products = [ops.matmul(part, ops.constant(weight), False, True) for part, weight in parts]
    total: Value = products[0]
    for product in products[1:]:
        total = ops.add(total, product)
    return total


def _every(hidden: Value, tap: int, stride: int, count: Value) -> Value:
    """Rows tap, tap + stride, ... of [B, n, C], `count` of them."""
    last = ops.multiply(ops.subtract(count, _whole(1)), _whole(stride))
    stop = ops.unsqueeze(ops.add(last, _whole(tap + 1)), _whole(0))
    return ops.slice(hidden, _whole([tap]), stop, _whole([stride]), _whole([1]))


def _standardized(hidden: Value, eps: float) -> Value:
    return ops.mvn(hidden, _whole([-1]), True, eps, "inside_sqrt")


def _whole(value: int | list[int]) -> Value:
    return ops.constant(np.array(value, np.int64))


def _number(value: float) -> Value:
    return ops.constant(np.array(value, np.float32))
