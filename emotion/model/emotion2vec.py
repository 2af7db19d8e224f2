"""emotion2vec for inference: waveform in, emotion logits and embedding of every frame out.

Architecture: emotion2vec (Ma et al. 2023, arXiv:2312.15185) over data2vec 2.0 (Baevski et al. 2022,
arXiv:2212.07525), with the symmetric form of ALiBi (Press et al. 2021, arXiv:2108.12409).
"""

import math
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from emotion.model.checkpoint.config import NetworkConfig, alibi_slopes
from emotion.model.contract import FRAME_SPAN_SAMPLES, FRAME_STEP_SAMPLES, num_frames

# The convolutions see this many frames at once (10 s over all clips of a batch): 65 MB per copy of the widest layer of
# the large network, where a whole minute would take 400 MB. They have no padding, so the pieces join exactly.
FEATURE_CHUNK_FRAMES = 500
# Elements of an attention bias: up to the first it is made once for all blocks (160 MB, 31 s of the large network);
# beyond, every block makes it anew for as many queries as the second allows (64 MB), which costs about 4 % of time.
SHARED_BIAS_ELEMENTS = 40_000_000
CHUNK_BIAS_ELEMENTS = 16_000_000


class Emotion2vec(nn.Module):
    """The network of one checkpoint, without the parts that only training needs.

    A batch gives what single runs give: frames behind the end of a clip are zeroed before each positional convolution
    and no token attends to them. Time of attention grows with the square of the length; memory does not: beside its
    weights, the large network takes about 0.4 GB for 30 s and for 60 s of sound, and 3 MB for every second more.
    """

    def __init__(self, config: NetworkConfig, num_classes: int) -> None:
        super().__init__()
        self.config = config
        self.features = Features(config)
        self.positions = nn.ModuleList(_position_convolution(config) for _ in range(config.position_layers))
        layers = config.num_blocks if config.scale_per_layer else 1
        heads = config.heads if config.scale_per_head else 1
        self.alibi_scale = nn.Parameter(torch.ones(layers, 1, heads, 1, 1))
        self.extra_tokens = nn.Parameter(torch.zeros(1, config.extra_tokens, config.width))
        self.norm = nn.LayerNorm(config.width, config.norm_eps)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_blocks))
        self.head = nn.Linear(config.width, num_classes)

    def forward(self, waveforms: Tensor, counts: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
        """Logits [B, T, C] and embeddings [B, T, D] of waveforms [B, n], n >= 400, each of mean 0 and variance 1.

        `counts` are the frames of each clip where clips of different length are filled up to n; what comes out behind
        them means nothing.
        """
        frames = self.features(waveforms)
        mask = _frame_mask(counts, frames)
        code = self._position_code(frames, mask)
        # Whatever the precision of the products, the sums that run through all blocks, their norms and the head are
        # float32: they cost little, and in bf16 they would cost a quarter of what the scores differ by.
        frames = frames.float() + code
        tokens = self.norm(torch.cat([self.extra_tokens.expand(len(frames), -1, -1), frames], 1))
        bias = AlibiBias(self.config, self.alibi_scale, tokens.shape[1], code.dtype, mask)
        for index, block in enumerate(self.blocks):
            tokens = block(tokens, index, bias)
        embeddings = tokens[:, self.config.extra_tokens :]
        return self.head(embeddings), embeddings

    def _position_code(self, frames: Tensor, mask: Tensor | None) -> Tensor:
        """What the neighbourhood of each frame adds to it, [B, T, D]: convolution, norm without parameters, GELU."""
        code = frames
        for convolution in self.positions:
            if mask is not None:
                code = code * mask
            code = convolution(code.transpose(1, 2)).transpose(1, 2)[:, : frames.shape[1]]
            code = functional.gelu(functional.layer_norm(code, code.shape[-1:]))
        return code


class Features(nn.Module):
    """Convolutions from the waveform to frames, then a projection to the width of the transformer."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        channels_in = [1, *(channels for channels, _, _ in config.convolutions)]
        self.layers = nn.ModuleList(
            FeatureLayer(channels_in[index], *layer) for index, layer in enumerate(config.convolutions)
        )
        self.norm = nn.LayerNorm(channels_in[-1])
        self.project = nn.Linear(channels_in[-1], config.width)

    def forward(self, waveforms: Tensor) -> Tensor:
        """Frames [B, T, D] of waveforms [B, n]."""
        step = max(FEATURE_CHUNK_FRAMES // len(waveforms), 1)
        firsts = range(0, num_frames(waveforms.shape[1]), step)
        return torch.cat([self._chunk(waveforms, first, step) for first in firsts], 1)

    def _chunk(self, waveforms: Tensor, first: int, count: int) -> Tensor:
        start = first * FRAME_STEP_SAMPLES
        stop = start + (count - 1) * FRAME_STEP_SAMPLES + FRAME_SPAN_SAMPLES
        hidden = waveforms[:, start:stop, None].to(self.project.weight.dtype)
        for layer in self.layers:
            hidden = layer(hidden)
        projected: Tensor = self.project(self.norm(hidden))
        return projected


class FeatureLayer(nn.Module):
    """Convolution without bias, LayerNorm over the channels, GELU."""

    def __init__(self, channels_in: int, channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels_in, channels, kernel, stride=stride, bias=False)
        self.norm = nn.LayerNorm(channels)

    def forward(self, hidden: Tensor) -> Tensor:
        """[B, n, channels_in] to [B, (n - kernel) // stride + 1, channels]."""
        return functional.gelu(self.norm(self._convolve(hidden)))

    def _convolve(self, hidden: Tensor) -> Tensor:
        # As products of matrices, with the channels last, nothing is transposed, and the library's search for the
        # best convolution, anew for each length, is not needed. `stride` neighbours are one row of a reshaped input,
        # so the kernel is taken in parts of that length.
        (stride,), (kernel,) = self.conv.stride, self.conv.kernel_size
        batch, length, channels_in = hidden.shape
        count = (length - kernel) // stride + 1
        taps = self.conv.weight.permute(0, 2, 1)
        total: Tensor | None = None
        for first in range(0, kernel, stride):
            width = min(stride, kernel - first)
            rows = hidden[:, first : first + (count - 1) * stride + width]
            if width == stride:
                rows = rows.reshape(batch, count, stride * channels_in)
            else:
                rows = rows.unfold(1, width, stride).transpose(2, 3).flatten(2)
            product = functional.linear(rows, taps[:, first : first + width].flatten(1))
            total = product if total is None else total.add_(product)
        assert total is not None  # noqa: S101 - a kernel has at least one tap
        return total


class Block(nn.Module):
    """A transformer block that normalises after each of its two sums."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.attention = Attention(config.width, config.heads)
        self.norm1 = nn.LayerNorm(config.width, config.norm_eps)
        self.expand = nn.Linear(config.width, config.mlp_width)
        self.contract = nn.Linear(config.mlp_width, config.width)
        self.norm2 = nn.LayerNorm(config.width, config.norm_eps)

    def forward(self, tokens: Tensor, index: int, bias: "AlibiBias") -> Tensor:
        """Tokens [B, S, D] to tokens [B, S, D]; `index` is the block's place, which may have its own bias."""
        tokens = self.norm1(tokens + self.attention(tokens, index, bias))
        thought: Tensor = self.contract(functional.gelu(self.expand(tokens.to(self.expand.weight.dtype))))
        normed: Tensor = self.norm2(tokens + thought)
        return normed


class Attention(nn.Module):
    """Attention of every token to every token, with a bias by distance."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)

    def forward(self, tokens: Tensor, index: int, bias: "AlibiBias") -> Tensor:
        batch, length, width = tokens.shape
        qkv = self.qkv(tokens.to(self.qkv.weight.dtype)).view(batch, length, 3, self.heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        chunks = [
            functional.scaled_dot_product_attention(query[:, :, first:last], key, value, attn_mask=rows)
            for first, last, rows in bias.chunks(index)
        ]
        mixed = chunks[0] if len(chunks) == 1 else torch.cat(chunks, dim=2)
        projected: Tensor = self.project(mixed.transpose(1, 2).reshape(batch, length, width))
        return projected


class AlibiBias:
    """What distance subtracts from attention: `-|i - j| * slope_h * max(scale_h, 0)` between frames, 0 for the
    extra tokens in front, minus infinity for frames behind the end of a clip (`mask` [B, T, 1] is 0 there).

    Lives for one forward pass, so a long clip leaves nothing behind.
    """

    def __init__(
        self, config: NetworkConfig, scale: Tensor, length: int, dtype: torch.dtype, mask: Tensor | None = None
    ) -> None:
        slopes = _slopes_on(scale.device, config.heads)
        # [layers or 1, H, 1, 1], float32 whatever the weights are: half precision cannot count past 256.
        self._slopes = slopes[:, None, None] * scale.float().clamp_min(0)[:, 0]
        self._num_extra = config.extra_tokens
        self._length = length
        self._dtype = dtype
        self._hidden: Tensor | None = None
        if mask is not None:
            ends = functional.pad(mask[:, None, None, :, 0], (config.extra_tokens, 0), value=1.0)  # [B, 1, 1, S]
            self._hidden = torch.zeros_like(ends).masked_fill_(ends == 0, -math.inf)
        elements = config.heads * self._length * (1 if mask is None else len(mask))
        self._rows_per_chunk = max(16, CHUNK_BIAS_ELEMENTS // elements)
        self._shared: Tensor | None = None
        if len(self._slopes) == 1 and elements * self._length <= SHARED_BIAS_ELEMENTS:
            self._shared = self._rows(0, 0, self._length)

    def chunks(self, index: int) -> Iterator[tuple[int, int, Tensor]]:
        """First and last query and bias [B or 1, H, last - first, S] of each part of the block at `index`."""
        if self._shared is not None:
            yield 0, self._length, self._shared
            return
        for first in range(0, self._length, self._rows_per_chunk):
            last = min(first + self._rows_per_chunk, self._length)
            yield first, last, self._rows(index, first, last)

    def _rows(self, index: int, first: int, last: int) -> Tensor:
        # Rows of a length that 16 divides: the kernels of graphics cards would copy any other.
        padded = -(-self._length // 16) * 16
        position = torch.arange(padded, dtype=torch.float32, device=self._slopes.device)
        distance = (position[None, :] - position[first:last, None]).abs_()
        distance[:, : self._num_extra] = 0
        distance[: max(0, self._num_extra - first)] = 0
        slopes = self._slopes[index if len(self._slopes) > 1 else 0]
        rows = (distance * -slopes)[None].to(self._dtype)[..., : self._length]
        if self._hidden is None:
            return rows
        masked = rows.new_empty(len(self._hidden), len(slopes), last - first, padded)[..., : self._length]
        return torch.add(rows, self._hidden, out=masked)


@cache
def _slopes_on(device: torch.device, heads: int) -> Tensor:
    # Kept, since a copy to a graphics card would wait for all the work before it.
    return torch.tensor(alibi_slopes(heads), dtype=torch.float32, device=device)


def load_network(
    config: NetworkConfig, kept_rows: list[int], weights: Path, dtype: torch.dtype = torch.float32
) -> Emotion2vec:
    """The network with the weights of a converted safetensors file, which stay mapped from disk in float32.

    `kept_rows` are the rows of the head whose tokens are labels; the others were never trained. `dtype` is that of the
    convolutions and of the products in the blocks.
    """
    from safetensors import safe_open

    with safe_open(weights, framework="pt") as file:
        # One by one, so that both precisions of only one tensor are in memory.
        state = {name: file.get_tensor(name).to(_kept_dtype(name, dtype)) for name in file.keys()}  # noqa: SIM118
    for name in ("head.weight", "head.bias"):
        state[name] = state[name][kept_rows]
    if not config.extra_tokens:
        state["extra_tokens"] = torch.zeros(1, 0, config.width)
    with torch.device("meta"):
        network = Emotion2vec(config, num_classes=len(kept_rows))
    network.load_state_dict(state, assign=True)
    return network.eval().requires_grad_(False)


def _kept_dtype(name: str, dtype: torch.dtype) -> torch.dtype:
    always_fp32 = name in ("alibi_scale", "extra_tokens") or name.startswith(("head.", "norm.")) or ".norm" in name
    return torch.float32 if always_fp32 and not name.startswith("features.") else dtype


def _frame_mask(counts: Sequence[int] | None, frames: Tensor) -> Tensor | None:
    """1 for the frames of each clip and 0 behind them, [B, T, 1]; None where all clips are of one length."""
    length = frames.shape[1]
    if counts is None or min(counts) == length:
        return None
    ends = torch.tensor(counts)[:, None]
    if frames.is_cuda:
        ends = ends.pin_memory().to(frames.device, non_blocking=True)
    return (torch.arange(length, device=frames.device)[None] < ends)[..., None].to(frames.dtype)


def _position_convolution(config: NetworkConfig) -> nn.Conv1d:
    kernel = config.position_kernel
    return nn.Conv1d(config.width, config.width, kernel, padding=kernel // 2, groups=config.position_groups)
