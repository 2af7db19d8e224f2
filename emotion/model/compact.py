"""The built-in model: emotion from log-mel and pitch frames, by a small convolution network and running statistics.

It keeps the contract of the large network: 50 frames per second over the same samples, one embedding and one row of
logits per frame, and a linear head, so that the mean of the frames' logits is exactly the utterance's logits.
"""

import hashlib
import json
import math
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from emotion.audio import SAMPLE_RATE_HZ
from emotion.labels import EMOTIONS
from emotion.model.contract import FRAME_SPAN_SAMPLES, FRAME_STEP_SAMPLES, num_frames

LABELS: tuple[str, ...] = tuple(emotion.key for emotion in EMOTIONS)
WEIGHTS_FILE = Path(__file__).parent.parent / "weights" / "compact.safetensors"
CONFIG_FILE = WEIGHTS_FILE.with_suffix(".json")


BAND_STRIDE = 160  # Two spectra per frame, centred on its samples 120 and 280.
BAND_WINDOW = 512
BAND_MARGIN = BAND_WINDOW // 2 - 120
# The floor lies 40 dB below the clip's mean, so that the hiss of a microphone does not tell the corpora apart.
BAND_FLOOR = 1e-4

PITCH_WINDOW = 1024
PITCH_MARGIN = (PITCH_WINDOW - FRAME_SPAN_SAMPLES) // 2
PITCH_BINS = slice(4, 160)  # 63 to 2,484 Hz: where harmonics stand clear of each other and of the hum.
PITCH_OCTAVES = 3

# Statistics reach half a second to each side for what happens now, and two seconds for how the person speaks.
REACHES = (25, 100)
NUM_CEPSTRA = 20


@dataclass(frozen=True)
class CompactConfig:
    """Sizes of the network."""

    num_bands: int = 64
    num_pitches: int = 48
    width: int = 192
    picture_size: int = 256
    hidden_size: int = 512
    summary_size: int = 128
    dilations: tuple[int, ...] = (1, 2, 5, 12)
    dropout: float = 0.1

    @property
    def embedding_size(self) -> int:
        return self.picture_size + self.summary_size


def load_compact() -> "Compact":
    """The trained network of this package, for inference."""
    stored = json.loads(CONFIG_FILE.read_text(encoding="utf-8"))["config"]
    config = CompactConfig(**{field.name: stored[field.name] for field in fields(CompactConfig)})
    network = Compact(config)
    network.load_state_dict(load_file(WEIGHTS_FILE))
    return network.eval().requires_grad_(False)


def measured_accuracy(scheme: str) -> tuple[float, float]:
    """The lowest and the highest unweighted accuracy over the corpora of `leave_speakers_out` or `leave_corpora_out`.

    Corpora of two classes are left out: a coin is right there in half of the cases.
    """
    by_corpus = json.loads(CONFIG_FILE.read_text(encoding="utf-8"))[scheme].values()
    accuracies = [corpus["unweighted_accuracy"] for corpus in by_corpus if corpus["classes"] > 2]
    return min(accuracies), max(accuracies)


@cache
def weights_sha256() -> str:
    """The fingerprint of the weights, for example `sha256:8d0c...`; a few milliseconds, once."""
    return f"sha256:{hashlib.sha256(WEIGHTS_FILE.read_bytes()).hexdigest()}"


class Compact(nn.Module):
    """Waveform to logits and embeddings, 50 frames per second.

    A class that the training data lack has weight 0 and bias -inf in the head: its logit is -inf, its score 0.
    """

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        self.config = config
        self.labels = LABELS
        self.features = Features(config.num_bands, config.num_pitches)
        self.pictures = Pictures(config)
        self.summaries = Summaries(config)
        self.head = nn.Linear(config.embedding_size, len(LABELS))

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [T, 9] and embeddings [T, D] of a waveform [n] at 16 kHz, n >= 400, normalised over its clip."""
        levels, pitches = self.features(waveform[None])
        seen = self.pictures(contrast(levels), pitches[:, None])
        summed = self.summaries(running_statistics(levels, pitches))
        embeddings = torch.cat([seen, summed], 2)[0]
        return self.head(embeddings), embeddings


class Features(nn.Module):
    """Log-mel bands at 100 Hz, and the strength of each pitch at 50 Hz, from plain Fourier transforms."""

    band_window: Tensor
    pitch_window: Tensor
    mel_filters: Tensor
    cosines: Tensor

    def __init__(self, num_bands: int, num_pitches: int) -> None:
        super().__init__()
        self.register_buffer("band_window", unit_window(BAND_WINDOW), persistent=False)
        self.register_buffer("pitch_window", unit_window(PITCH_WINDOW), persistent=False)
        self.register_buffer("mel_filters", mel_filters(num_bands), persistent=False)
        self.register_buffer("cosines", pitch_cosines(num_pitches), persistent=False)

    def forward(self, waveforms: Tensor) -> tuple[Tensor, Tensor]:
        """Levels [B, bands, 2 T] and pitches [B, pitches, T] of waveforms [B, n]."""
        return self.levels(waveforms), self.pitches(waveforms)

    def levels(self, waveforms: Tensor) -> Tensor:
        """Log energies [B, bands, 2 T] of the mel bands."""
        count = 2 * num_frames(waveforms.shape[1])
        power = spectra(waveforms, self.band_window, BAND_STRIDE, BAND_MARGIN, count).abs().square()
        return torch.log(power @ self.mel_filters + BAND_FLOOR).transpose(1, 2)

    def pitches(self, waveforms: Tensor) -> Tensor:
        """Strength [B, pitches, T] of each pitch: the correlation of the spectrum with a comb of its harmonics."""
        count = num_frames(waveforms.shape[1])
        magnitude = spectra(waveforms, self.pitch_window, FRAME_STEP_SAMPLES, PITCH_MARGIN, count).abs()
        # The square root keeps one loud harmonic from hiding the others.
        comb = magnitude[..., PITCH_BINS].sqrt()
        comb = comb - comb.mean(2, keepdim=True)
        largest = (comb.square().sum(2, keepdim=True) * len(self.cosines) / 2 + 1e-2).sqrt()
        return (2 * (comb @ self.cosines) / largest).transpose(1, 2)


def contrast(levels: Tensor) -> Tensor:
    """Bands [B, 2, bands, 2 T]: the levels [B, bands, 2 T], and the same against their mean over time."""
    weight = levels.exp().mean(1, keepdim=True).sqrt()
    # The mean over loud frames is the voice in its room and microphone; silence would tell nothing of them.
    mean = (levels * weight).sum(2, keepdim=True) / weight.sum(2, keepdim=True)
    return torch.stack([0.3 * levels + 1, 0.3 * (levels - mean)], 1)


def spectra(waveforms: Tensor, window: Tensor, stride: int, margin: int, count: int) -> Tensor:
    """Complex spectra [B, count, bins]; the first window begins `margin` samples before the waveform."""
    padded = nn.functional.pad(waveforms[:, None], (margin, margin), mode="reflect")[:, 0]
    windows = padded.unfold(1, len(window), stride)[:, :count]
    return cast(Tensor, torch.fft.rfft(windows * window))


def unit_window(size: int) -> Tensor:
    """A Hann window that keeps the variance of noise: white noise of variance 1 has mean power 1 in each bin."""
    window = torch.hann_window(size)
    return cast(Tensor, window / window.norm())


def mel_filters(num_bands: int) -> Tensor:
    """Triangular filters [bins, bands] from 60 to 7,800 Hz, evenly spaced on the mel scale, each of unit sum."""
    bins_hz = torch.linspace(0, SAMPLE_RATE_HZ / 2, BAND_WINDOW // 2 + 1)
    edges_hz = 700 * (torch.exp(torch.linspace(mel(60), mel(7_800), num_bands + 2) / 1127) - 1)
    rising = (bins_hz[:, None] - edges_hz[:-2]) / (edges_hz[1:-1] - edges_hz[:-2])
    falling = (edges_hz[2:] - bins_hz[:, None]) / (edges_hz[2:] - edges_hz[1:-1])
    triangles = torch.minimum(rising, falling).clamp(min=0) + 1e-8
    return triangles / triangles.sum(0)


def mel(frequency_hz: float) -> float:
    return 1127 * math.log(1 + frequency_hz / 700)


def pitch_cosines(num_pitches: int) -> Tensor:
    """Combs [bins, pitches] with a tooth at each harmonic, for pitches of 65 to 520 Hz, evenly spaced in octaves."""
    pitches_hz = 65 * 2 ** torch.linspace(0, PITCH_OCTAVES, num_pitches)
    bins_hz = torch.arange(PITCH_BINS.start, PITCH_BINS.stop) * SAMPLE_RATE_HZ / PITCH_WINDOW
    return torch.cos(2 * math.pi * bins_hz[:, None] / pitches_hz)


class Pictures(nn.Module):
    """Features seen as pictures by convolutions over frequency and time, then as frames by dilated ones over time."""

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        self.bands = nn.Sequential(
            convolve_picture(2, 16, (5, 7), (2, 4)),
            convolve_picture(16, 32, (3, 3), (2, 1)),
            PictureBlock(32, 48),
            PictureBlock(48, 64),
        )
        self.pitches = nn.Sequential(
            convolve_picture(1, 16, (5, 5), (2, 2)),
            convolve_picture(16, 32, (3, 3), (2, 1)),
            convolve_picture(32, 32, (3, 3), (2, 1)),
        )
        size = 64 * math.ceil(config.num_bands / 16) + 32 * math.ceil(config.num_pitches / 8)
        self.join = nn.Sequential(nn.Dropout1d(config.dropout / 2), *convolve_frames(size, config.width, 1), nn.ReLU())
        self.blocks = nn.Sequential(
            *[FrameBlock(config.width, dilation, config.dropout) for dilation in config.dilations]
        )
        self.embed = nn.Sequential(*convolve_frames(config.width, config.picture_size, 1), nn.ReLU())

    def forward(self, bands: Tensor, pitches: Tensor) -> Tensor:
        """Embeddings [B, T, D] of bands [B, 2, bands, 2 T] and pitches [B, 1, pitches, T]."""
        seen = torch.cat([self.bands(bands).flatten(1, 2), self.pitches(pitches).flatten(1, 2)], 1)
        embeddings = self.embed(self.blocks(self.join(seen)))
        return double(embeddings)[..., : pitches.shape[3]].transpose(1, 2)


def double(steps: Tensor) -> Tensor:
    """Steps [B, D, n] at 25 Hz as frames [B, D, 2 n] at 50 Hz: each step, and the middle between it and the next."""
    following = torch.cat([steps[..., 1:], steps[..., -1:]], 2)
    return torch.stack([steps, (steps + following) / 2], 3).flatten(2)


class PictureBlock(nn.Module):
    """Two convolutions beside a shortcut; the frequency axis is halved."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            convolve_picture(inputs, outputs, (3, 3), (2, 1)),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Sequential(nn.AvgPool2d((2, 1)), nn.Conv2d(inputs, outputs, 1))

    def forward(self, picture: Tensor) -> Tensor:
        return torch.relu(self.layers(picture) + self.shortcut(picture))


class FrameBlock(nn.Module):
    """A dilated convolution over time beside a shortcut."""

    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *convolve_frames(width, width, 3, dilation),
            nn.ReLU(),
            nn.Dropout1d(dropout),
            *convolve_frames(width, width, 1),
        )

    def forward(self, frames: Tensor) -> Tensor:
        return torch.relu(frames + self.layers(frames))


def convolve_picture(inputs: int, outputs: int, kernel: tuple[int, int], stride: tuple[int, int]) -> nn.Sequential:
    padding = (kernel[0] // 2, kernel[1] // 2)
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def convolve_frames(inputs: int, outputs: int, kernel: int, dilation: int = 1) -> tuple[nn.Module, nn.Module]:
    convolution = nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2 * dilation, dilation=dilation, bias=False)
    return convolution, nn.BatchNorm1d(outputs)


class Summaries(nn.Module):
    """Statistics of the last and next seconds, through a perceptron of two layers."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        size = num_statistics(config)
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))
        self.layers = nn.Sequential(
            nn.Linear(size, config.hidden_size),
            nn.ReLU(),
            nn.Dropout(0.4),
            nn.Linear(config.hidden_size, config.summary_size),
            nn.ReLU(),
        )

    def forward(self, statistics: Tensor) -> Tensor:
        """Embeddings [B, T, D] of statistics [B, T, S]."""
        return cast(Tensor, self.layers(self.scale(statistics)))

    def scale(self, statistics: Tensor) -> Tensor:
        return ((statistics - self.mean) / self.deviation).clamp(-5, 5)


def num_statistics(config: CompactConfig) -> int:
    levels, pitches = torch.zeros(1, config.num_bands, 2), torch.zeros(1, config.num_pitches, 1)
    return running_statistics(levels, pitches).shape[2]


def running_statistics(levels: Tensor, pitches: Tensor) -> Tensor:
    """Means and deviations [B, T, S] around each frame, of levels [B, bands, 2 T] and pitches [B, pitches, T]."""
    statistics = [
        around(weight, traits, reach) for weight, traits in weighted_traits(levels, pitches) for reach in REACHES
    ]
    return torch.cat(statistics, 1).transpose(1, 2)


def weighted_traits(levels: Tensor, pitches: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Traits [B, F, T] of the frames and how much each frame counts, [B, 1, T]: spectrum, pitch, loudness."""
    levels = levels.unflatten(2, (-1, 2)).mean(3)  # type: ignore[no-untyped-call]
    energy = levels.exp().mean(1, keepdim=True)
    loud = energy.sqrt() + 1e-3
    loudness = energy.log()
    pitches = pitches.clamp(min=0)
    voicing = pitches.amax(1, keepdim=True)
    octaves = torch.linspace(0, PITCH_OCTAVES, pitches.shape[1], device=pitches.device)[:, None]
    pitch = ((8 * pitches).softmax(1) * octaves).sum(1, keepdim=True)
    cepstra = cosine_transform(levels.shape[1]).to(levels) @ levels
    flux = change(levels, 1).abs().unflatten(1, (-1, 4)).mean(2)  # type: ignore[no-untyped-call]
    glide, swell = change(pitch, 1), change(loudness, 1)
    return [
        (loud, torch.cat([levels, flux, cepstra, change(cepstra, 2)], 1)),
        (loud * voicing.square() + 1e-4, torch.cat([pitches, pitch, glide, glide.abs(), voicing], 1)),
        (torch.ones_like(loud), torch.cat([loudness, swell, swell.abs(), voicing, (2 * loudness + 6).sigmoid()], 1)),
    ]


def around(weight: Tensor, traits: Tensor, reach: int) -> Tensor:
    """Weighted means and deviations [B, 2 F, T] of traits [B, F, T] over the frames from t - reach to t + reach."""
    count = traits.shape[2]
    center = traits.mean(2, keepdim=True)
    moved = traits - center
    # Differences of running sums cost the same for any reach; in float32 they would drift over a minute.
    sums = torch.cat([weight, weight * moved, weight * moved.square()], 1).double().cumsum(2)
    sums = nn.functional.pad(sums, (1, 0))
    frames = torch.arange(count, device=traits.device)
    inside = sums[..., (frames + reach + 1).clamp(max=count)] - sums[..., (frames - reach).clamp(min=0)]
    means, squares = (inside[:, 1:] / inside[:, :1]).float().chunk(2, 1)
    return torch.cat([means + center, ((squares - means.square()).clamp(min=0) + 1e-4).sqrt()], 1)


def change(values: Tensor, step: int) -> Tensor:
    """Values [B, F, T] `step` frames later less those `step` frames before; the ends are repeated."""
    frames = torch.arange(values.shape[2], device=values.device)
    return values[..., (frames + step).clamp(max=len(frames) - 1)] - values[..., (frames - step).clamp(min=0)]


def cosine_transform(num_bands: int) -> Tensor:
    """Matrix [cepstra, bands] that gives the shape of a spectrum without its level."""
    order = torch.arange(1, NUM_CEPSTRA + 1)[:, None]
    return torch.cos(math.pi / num_bands * order * (torch.arange(num_bands) + 0.5)) * math.sqrt(2 / num_bands)
