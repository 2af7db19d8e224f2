"""Distortions of training clips: rooms, microphones, noises, speed; and hidden stripes of the features.

They are stronger than what the corpora differ by, so that neither a microphone nor a room can stand for an emotion.
"""

import math
from typing import cast

import torch
from torch import Tensor

from emotion.audio import SAMPLE_RATE_HZ
from emotion.model.compact import BAND_FLOOR

NUM_KNOTS = 10
ROOM_TAIL = 6_400


def normalize(waveforms: Tensor) -> Tensor:
    """Waveforms [B, n] of mean 0 and variance 1, as the network wants them."""
    mean = waveforms.mean(1, keepdim=True)
    return (waveforms - mean) / (waveforms.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt()


def change_speed(waveform: Tensor, rate: float) -> Tensor:
    """The waveform [B, n] played at another rate: pitch, formants and tempo move together."""
    size = int(waveform.shape[1] / rate)
    return torch.nn.functional.interpolate(waveform[:, None], size, mode="linear", align_corners=True)[:, 0]


def distort(waveforms: Tensor, generator: torch.Generator) -> Tensor:
    """Waveforms [B, n] as other rooms, microphones and lines would give them, normalised."""
    count, size = waveforms.shape
    length = fast_length(size + ROOM_TAIL)
    heard = torch.fft.rfft(normalize(waveforms), length) * microphones(count, length, generator)
    heard = heard * rooms(count, length, generator)
    clean = normalize(torch.fft.irfft(heard, length)[:, :size])
    snr_db = uniform(3, 35, count, generator)
    loudness = 10 ** (-snr_db / 20) * chosen(0.6, count, generator)
    return normalize(clean + loudness * noises(waveforms, generator))


def microphones(count: int, length: int, generator: torch.Generator) -> Tensor:
    """Gains [count, bins]: a smooth random equaliser with a tilt, and sometimes a band limit."""
    bins_hz = torch.linspace(0, SAMPLE_RATE_HZ / 2, length // 2 + 1)
    tilt_db = 5 * torch.randn(count, 1, generator=generator) * torch.linspace(-1, 1, NUM_KNOTS)
    knots_db = 4.5 * torch.randn(count, NUM_KNOTS, generator=generator) + tilt_db
    octaves = torch.log2(bins_hz / 60 + 1)
    places = octaves / octaves[-1] * (NUM_KNOTS - 1)
    lower = places.floor().clamp(max=NUM_KNOTS - 2).long()
    gain_db = torch.lerp(knots_db[:, lower], knots_db[:, lower + 1], places - lower)
    return torch.pow(10.0, (gain_db + band_limits_db(bins_hz, count, generator)) / 20)


def band_limits_db(bins_hz: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Losses [count, bins] of telephones, codecs and high-pass switches, each on a third of the clips."""
    top_hz = torch.where(chosen(0.35, count, generator), uniform(3_000, 7_500, count, generator), 9_000.0)
    low_hz = torch.where(chosen(0.35, count, generator), uniform(50, 350, count, generator), 1.0)
    above = -60 * torch.log2(bins_hz / top_hz + 1e-6).clamp(0, 1)
    below = -24 * torch.log2(low_hz / (bins_hz + 1)).clamp(0, 3)
    return above + below


def rooms(count: int, length: int, generator: torch.Generator) -> Tensor:
    """Spectra [count, bins] of a direct sound and decaying noise after it; half of the clips stay dry."""
    times_s = torch.arange(ROOM_TAIL) / SAMPLE_RATE_HZ
    decay_s = 0.1 + 0.6 * torch.rand(count, 1, generator=generator) ** 1.5
    # exp(-6.9) is -60 dB, by which reverberation times are told.
    tail = torch.randn(count, ROOM_TAIL, generator=generator) * torch.exp(-6.9 * times_s / decay_s)
    level_db = uniform(-20, -3, count, generator)
    impulse = tail / tail.norm(dim=1, keepdim=True) * 10 ** (level_db / 20) * chosen(0.5, count, generator)
    impulse[:, 0] = 1.0
    return cast(Tensor, torch.fft.rfft(impulse, length))


def noises(waveforms: Tensor, generator: torch.Generator) -> Tensor:
    """Unit noise [B, n]: coloured noise, or a babble of the clip itself, backwards and shifted."""
    count, size = waveforms.shape
    length = fast_length(size)
    color = (torch.arange(1, length // 2 + 2) / 200).clamp(min=0.2) ** -uniform(0, 1.2, count, generator)
    white = torch.randn(count, length, generator=generator)
    noise = torch.fft.irfft(torch.fft.rfft(white) * color, length)[:, :size]
    backwards = waveforms.flip(1)
    babble = backwards + backwards.roll(size // 3, 1) + backwards.roll(size // 2, 1)
    return normalize(torch.where(chosen(0.15, count, generator), normalize(babble), normalize(noise)))


def uniform(low: float, high: float, count: int, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, 1, generator=generator)


def chosen(share: float, count: int, generator: torch.Generator) -> Tensor:
    """True [count, 1] for about this share of the clips."""
    return torch.rand(count, 1, generator=generator) < share


def fast_length(size: int) -> int:
    """The next length that is a small multiple of a power of two, which Fourier transforms like."""
    step: int = 2 ** (size.bit_length() - 4)
    return math.ceil(size / step) * step


def equalise(energy: Tensor, spread: float, generator: torch.Generator) -> Tensor:
    """Log levels [B, bands, T] of energies of the same shape, through one more smooth random equaliser."""
    count, num_bands, _ = energy.shape
    knots = spread * torch.randn(count, 1, 6, generator=generator) + 0.5 * torch.randn(count, 1, 1, generator=generator)
    gain = torch.nn.functional.interpolate(knots, num_bands, mode="linear", align_corners=True)[:, 0].exp()
    return torch.log(energy.clamp(min=0) * gain[:, :, None] + BAND_FLOOR)


def hide_stripes(bands: Tensor, pitches: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """SpecAugment (Park et al. 2019) on bands [B, 2, F, 2 T] and pitches [B, 1, P, T]: stripes set to 0."""
    count, _, num_bands, _ = bands.shape
    num_steps = pitches.shape[3]
    hidden_bands = stripe(count, num_bands, 10, generator) | stripe(count, num_bands, 10, generator)
    hidden_times = stripe(count, num_steps, 12, generator) | stripe(count, num_steps, 12, generator)
    hidden = hidden_bands[:, :, None] | hidden_times.repeat_interleave(2, 1)[:, None]
    # One clip in ten shows no pitch at all, so that whispers and bad lines are not strange to it.
    hidden_pitches = hidden_times | chosen(0.1, count, generator)
    return bands.masked_fill(hidden[:, None], 0), pitches.masked_fill(hidden_pitches[:, None, None], 0)


def stripe(count: int, size: int, widest: int, generator: torch.Generator) -> Tensor:
    """True [count, size] on one random stretch of at most `widest` places."""
    width = torch.randint(0, widest + 1, (count, 1), generator=generator)
    start = (torch.rand(count, 1, generator=generator) * (size - width)).long()
    places = torch.arange(size)
    return (places >= start) & (places < start + width)
