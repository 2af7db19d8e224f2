"""emotion2vec for inference: waveform in, emotion logits and embedding of every frame out.

Architecture: emotion2vec (Ma et al. 2023, arXiv:2312.15185) over data2vec 2.0 (Baevski et al. 2022,
arXiv:2212.07525), with the symmetric form of ALiBi (Press et al. 2021, arXiv:2108.12409).
"""

import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from emotion.checkpoint.config import NetworkConfig
from emotion.model import FRAME_SPAN_SAMPLES, FRAME_STEP_SAMPLES, num_frames

# The convolutions see this many frames at once (10 s): 65 MB per copy of the widest layer of the large network,
# where a whole minute would take 400 MB. They have no padding, so the pieces join exactly.
FEATURE_CHUNK_FRAMES = 500
# Elements of an attention bias: up to the first it is made once for all blocks (160 MB, 31 s of the large network);
# beyond, every block makes it anew for as many queries as the second allows (64 MB), which costs about 4 % of time.
SHARED_BIAS_ELEMENTS = 40_000_000
CHUNK_BIAS_ELEMENTS = 16_000_000


class Emotion2vec(nn.Module):
    """The network of one checkpoint, without the parts that only training needs.

    Time of attention grows with the square of the length; memory does not: beside its weights, the large network
    takes about 0.4 GB for 30 s and for 60 s of sound, and 3 MB for every second more.
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

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [T, C] and embeddings [T, D] of a waveform [n], n >= 400, that has mean 0 and variance 1."""
        frames = self.features(waveform)
        frames = frames + self._position_code(frames)
        tokens = torch.cat([self.extra_tokens[0], frames])
        tokens = self.norm(tokens)
        bias = AlibiBias(self.config, self.alibi_scale, len(frames))
        for index, block in enumerate(self.blocks):
            tokens = block(tokens, index, bias)
        embeddings = tokens[self.config.extra_tokens :]
        return self.head(embeddings), embeddings

    def _position_code(self, frames: Tensor) -> Tensor:
        """What the neighbourhood of each frame adds to it, [T, D]: convolution, norm without parameters, GELU."""
        code = frames
        for convolution in self.positions:
            code = convolution(code.T[None])[0].T[: len(frames)]
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

    def forward(self, waveform: Tensor) -> Tensor:
        """Frames [T, D] of a waveform [n]."""
        firsts = range(0, num_frames(len(waveform)), FEATURE_CHUNK_FRAMES)
        return torch.cat([self._chunk(waveform, first) for first in firsts])

    def _chunk(self, waveform: Tensor, first: int) -> Tensor:
        start = first * FRAME_STEP_SAMPLES
        stop = start + (FEATURE_CHUNK_FRAMES - 1) * FRAME_STEP_SAMPLES + FRAME_SPAN_SAMPLES
        hidden = waveform[start:stop, None]
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
        """[n, channels_in] to [(n - kernel) // stride + 1, channels]."""
        # As a picture of height 1 with its channels last, the convolution takes and gives what the norm wants:
        # nothing is transposed, which halves the time of this layer on a CPU.
        picture = hidden.T[None, :, None]
        weight = self.conv.weight[:, :, None].contiguous(memory_format=torch.channels_last)
        convolved = functional.conv2d(picture, weight, stride=(1, self.conv.stride[0]))
        return functional.gelu(self.norm(convolved[0, :, 0].T))


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
        """Tokens [S, D] to tokens [S, D]; `index` is the block's place, which may have its own bias."""
        tokens = self.norm1(tokens + self.attention(tokens, index, bias))
        thought: Tensor = self.contract(functional.gelu(self.expand(tokens)))
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
        length, width = tokens.shape
        # [3, 1, H, S, D / H]: the fused CPU kernel wants a batch axis.
        query, key, value = self.qkv(tokens).view(length, 3, 1, self.heads, -1).permute(1, 2, 3, 0, 4)
        chunks = [
            functional.scaled_dot_product_attention(query[:, :, first:last], key, value, attn_mask=rows[None])
            for first, last, rows in bias.chunks(index)
        ]
        mixed = chunks[0] if len(chunks) == 1 else torch.cat(chunks, dim=2)
        projected: Tensor = self.project(mixed[0].transpose(0, 1).reshape(length, width))
        return projected


class AlibiBias:
    """What distance subtracts from attention: `-|i - j| * slope_h * max(scale_h, 0)` between frames, 0 for the
    extra tokens in front. Lives for one forward pass, so a long clip leaves nothing behind.
    """

    def __init__(self, config: NetworkConfig, scale: Tensor, num_frames: int) -> None:
        slopes = torch.tensor(alibi_slopes(config.heads), dtype=torch.float32, device=scale.device)
        # [layers or 1, H, 1, 1], float32 whatever the weights are: half precision cannot count past 256.
        self._slopes = slopes[:, None, None] * scale.float().clamp_min(0)[:, 0]
        self._num_extra = config.extra_tokens
        self._length = config.extra_tokens + num_frames
        self._dtype = scale.dtype
        self._rows_per_chunk = max(16, CHUNK_BIAS_ELEMENTS // (config.heads * self._length))
        self._shared: Tensor | None = None
        if len(self._slopes) == 1 and config.heads * self._length**2 <= SHARED_BIAS_ELEMENTS:
            self._shared = self._rows(0, 0, self._length)

    def chunks(self, index: int) -> Iterator[tuple[int, int, Tensor]]:
        """First and last query and bias [H, last - first, S] of each part of the block at `index`."""
        if self._shared is not None:
            yield 0, self._length, self._shared
            return
        for first in range(0, self._length, self._rows_per_chunk):
            last = min(first + self._rows_per_chunk, self._length)
            yield first, last, self._rows(index, first, last)

    def _rows(self, index: int, first: int, last: int) -> Tensor:
        position = torch.arange(self._length, dtype=torch.float32, device=self._slopes.device)
        distance = (position[None, :] - position[first:last, None]).abs_()
        distance[:, : self._num_extra] = 0
        distance[: max(0, self._num_extra - first)] = 0
        slopes = self._slopes[index if len(self._slopes) > 1 else 0]
        return (distance * -slopes).to(self._dtype)


def alibi_slopes(heads: int) -> list[float]:
    """One slope per head: a geometric series from 2^(-8/n) to 2^-8; where the number of heads n is no power of two,
    the series of the next lower power, filled up with every other slope of the next higher one (Press et al. 2021).
    """
    lower = 2 ** math.floor(math.log2(heads))
    slopes = [2 ** (-8 * (head + 1) / lower) for head in range(lower)]
    between = [2 ** (-8 * (head + 1) / (2 * lower)) for head in range(0, 2 * lower, 2)]
    return slopes + between[: heads - lower]


def load_network(config: NetworkConfig, kept_rows: list[int], weights: Path) -> Emotion2vec:
    """The network with the weights of a converted safetensors file, which stay mapped from disk until they are used.

    `kept_rows` are the rows of the head whose tokens are labels; the others were never trained.
    """
    from safetensors.torch import load_file

    state = load_file(weights)
    for name in ("head.weight", "head.bias"):
        state[name] = state[name][kept_rows]
    if not config.extra_tokens:
        state["extra_tokens"] = torch.zeros(1, 0, config.width)
    with torch.device("meta"):
        network = Emotion2vec(config, num_classes=len(kept_rows))
    network.load_state_dict(state, assign=True)
    return network.eval().requires_grad_(False)


def _position_convolution(config: NetworkConfig) -> nn.Conv1d:
    kernel = config.position_kernel
    return nn.Conv1d(config.width, config.width, kernel, padding=kernel // 2, groups=config.position_groups)
