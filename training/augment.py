"""Distortions of training batches: rooms, microphones, noises, speed; and hidden stripes of the features."""

import math

import torch
from torch import Tensor

SAMPLE_RATE_HZ = 16_000


def distort(waveforms: Tensor, generator: torch.Generator) -> Tensor:
    """Waveforms [B, n] as other rooms, microphones and lines would give them, normalised each."""
    size = waveforms.shape[1]
    length = fast_length(size + 8_000)
    spectra = torch.fft.rfft(normalise(waveforms), length)
    spectra = spectra * responses(len(waveforms), length, generator)
    clean = normalise(torch.fft.irfft(spectra, length)[:, :size])
    noise = noises(waveforms, generator)
    # Half of the clips keep a quiet background; the rest go down to 3 dB above the noise.
    snr_db = 3 + 32 * torch.rand(len(waveforms), 1, generator=generator)
    heard = torch.rand(len(waveforms), 1, generator=generator) < 0.6
    return normalise(clean + heard * noise * 10 ** (-snr_db / 20))


def normalise(waveforms: Tensor) -> Tensor:
    mean = waveforms.mean(1, keepdim=True)
    return (waveforms - mean) / (waveforms.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt()


def fast_length(size: int) -> int:
    """The next length that is a small multiple of a power of two."""
    step = 2 ** (size.bit_length() - 4)
    return math.ceil(size / step) * step


def responses(count: int, length: int, generator: torch.Generator) -> Tensor:
    """Transfer functions [count, bins]: a smooth random equaliser, sometimes a band limit, sometimes a room."""
    bins = length // 2 + 1
    octave_knots_db = torch.randn(count, 1, 10, generator=generator) * 4.5
    tilt_db = torch.randn(count, 1, 1, generator=generator) * 5 * torch.linspace(-1, 1, 10)
    positions = torch.log2(torch.arange(bins) * (8000 / (bins - 1)) / 60 + 1) / math.log2(8000 / 60 + 1) * 9
    lower = positions.floor().clamp(max=8).long()
    share = positions - lower
    knots_db = (octave_knots_db + tilt_db)[:, 0]
    gain_db = knots_db[:, lower] * (1 - share) + knots_db[:, lower + 1] * share
    gain_db = gain_db + band_limits_db(count, bins, generator)
    gain = 10 ** (gain_db / 20)
    return gain * rooms(count, length, generator)


def band_limits_db(count: int, bins: int, generator: torch.Generator) -> Tensor:
    frequencies_hz = torch.linspace(0, 8000, bins)
    top_hz = torch.where(torch.rand(count, 1, generator=generator) < 0.35, 3000 + 4500 * torch.rand(count, 1, generator=generator), torch.tensor(9000.0))
    low_hz = torch.where(torch.rand(count, 1, generator=generator) < 0.35, 50 + 300 * torch.rand(count, 1, generator=generator), torch.tensor(1.0))
    above = -60 * torch.log2(frequencies_hz / top_hz + 1e-6).clamp(0, 1)
    below = -24 * torch.log2(low_hz / (frequencies_hz + 1)).clamp(0, 3)
    return above + below


def rooms(count: int, length: int, generator: torch.Generator) -> Tensor:
    """Spectra of decaying noise after a direct sound; half of the clips stay dry."""
    times_s = torch.arange(6_400) / SAMPLE_RATE_HZ
    decay_s = 0.1 + 0.6 * torch.rand(count, 1, generator=generator) ** 1.5
    tail = torch.randn(count, 6_400, generator=generator) * torch.exp(-6.9 * times_s / decay_s)
    tail = tail / tail.square().sum(1, keepdim=True).sqrt()
    level_db = -3 - 17 * torch.rand(count, 1, generator=generator)
    wet = torch.rand(count, 1, generator=generator) < 0.5
    impulse = tail * 10 ** (level_db / 20) * wet
    impulse[:, 0] = 1.0
    return torch.fft.rfft(impulse, length)


def noises(waveforms: Tensor, generator: torch.Generator) -> Tensor:
    """Unit noise [B, n]: coloured noise, or a babble of the clip itself, backwards and shifted."""
    count, size = waveforms.shape
    length = fast_length(size)
    slope = torch.rand(count, 1, generator=generator) * 1.2
    colour = (torch.arange(1, length // 2 + 2) / 200.0).clamp(min=0.2) ** -slope
    white = torch.randn(count, length, generator=generator)
    noise = normalise(torch.fft.irfft(torch.fft.rfft(white) * colour, length)[:, :size])
    backwards = waveforms.flip(1)
    babble = backwards + backwards.roll(size // 3, 1) + backwards.roll(size // 2, 1)
    is_babble = torch.rand(count, 1, generator=generator) < 0.15
    return torch.where(is_babble, normalise(babble), noise)


def change_speed(waveform: Tensor, rate: float) -> Tensor:
    """The waveform [n] played at another rate: pitch, formants and tempo move together."""
    size = int(len(waveform) / rate)
    return torch.nn.functional.interpolate(waveform[None, None], size, mode="linear", align_corners=True)[0, 0]


def hide_stripes(bands: Tensor, pitches: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """SpecAugment on bands [B, 2, F, 2 T] and pitches [B, 1, P, T]: stripes of time and frequency set to the mean."""
    count, _, num_bands, num_steps = bands.shape
    hidden = torch.zeros(count, num_bands, num_steps, dtype=torch.bool)
    hidden_pitch = torch.zeros(count, 1, num_steps // 2, dtype=torch.bool)
    for _ in range(2):
        band = stripe(count, num_bands, 10, generator)
        time = stripe(count, num_steps // 2, 12, generator)
        hidden |= band[:, :, None] | time.repeat_interleave(2, 1)[:, None]
        hidden_pitch |= time[:, None]
    without_pitch = torch.rand(count, 1, 1, generator=generator) < 0.1
    bands = bands.masked_fill(hidden[:, None], 0.0)
    return bands, pitches.masked_fill((hidden_pitch | without_pitch)[:, None], 0.0)


def stripe(count: int, size: int, widest: int, generator: torch.Generator) -> Tensor:
    width = torch.randint(0, widest + 1, (count, 1), generator=generator)
    start = (torch.rand(count, 1, generator=generator) * (size - width)).long()
    positions = torch.arange(size)
    return (positions >= start) & (positions < start + width)
