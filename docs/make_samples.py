"""Makes the page's three sample clips: synthetic voices that differ in pitch, loudness and tempo.

    python docs/make_samples.py

Source and filter as in D. H. Klatt, "Software for a cascade/parallel formant synthesizer" (1980), in its simplest form:
glottal pulses and a little breath through four resonators in a row, whose frequencies glide from vowel to vowel.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE_HZ = 16_000
SAMPLES = Path(__file__).parent.parent / "emotion" / "ui" / "assets" / "samples"
# Formants of five vowels of a man's voice, Hz: Peterson and Barney (1952), rounded; the fourth is fixed.
VOWELS_HZ = {
    "a": (730, 1090, 2440, 3400),
    "e": (530, 1840, 2480, 3400),
    "i": (280, 2250, 2900, 3400),
    "o": (570, 840, 2410, 3400),
    "u": (310, 870, 2250, 3400),
}
BANDWIDTHS_HZ = (70, 90, 130, 200)
Sound = NDArray[np.float64]


@dataclass(frozen=True)
class Manner:
    """How a voice speaks: its mean pitch and how far it moves, loudness, seconds per syllable, and roughness."""

    vowels: str
    pitch_hz: float
    range_semitones: float
    syllable_s: float
    peak: float
    roughness: float
    tilt: float  # how much softer the high harmonics are, 0 to 1
    tract: float  # scale of the formants: above 1 for a smaller head


# Found by a random search near plausible voices for what the built-in model calls neutral, happy and angry.
MANNERS = {
    "calm": Manner("ouaeaeoea", 104, 4.8, 0.17, 0.46, 0.006, 0.51, 1.01),
    "cheerful": Manner("oauaoaooaao", 224, 12.0, 0.33, 0.48, 0.001, 0.02, 1.12),
    "cross": Manner("aeeoaaoaeao", 253, 3.5, 0.12, 0.89, 0.002, 0.17, 1.25),
}


def main() -> None:
    SAMPLES.mkdir(parents=True, exist_ok=True)
    for seed, (name, manner) in enumerate(MANNERS.items()):
        voice = speak(manner, np.random.default_rng(seed))
        soundfile.write(SAMPLES / f"{name}.flac", voice, RATE_HZ, subtype="PCM_16")


def speak(manner: Manner, chance: np.random.Generator) -> Sound:
    """One utterance, [n] at 16 kHz."""
    count = round(len(manner.vowels) * manner.syllable_s * RATE_HZ)
    place = np.arange(count) / (manner.syllable_s * RATE_HZ)  # in syllables
    source = glottis(pitch_hz(manner, place, chance), manner, chance)
    voice = resonate(source, formants_hz(manner, place)) * loudness(manner, place)
    silence = np.zeros(RATE_HZ // 5)
    return np.concatenate([silence, voice / np.abs(voice).max() * manner.peak, silence])


def pitch_hz(manner: Manner, place: Sound, chance: np.random.Generator) -> Sound:
    """A line that falls over the utterance, with an accent on every other syllable and natural unsteadiness."""
    fall = 0.5 - place / place[-1]
    accent = np.sin(np.pi * (place % 2) / 2) ** 2 - 0.5
    drift = np.interp(place, np.arange(len(manner.vowels) + 1), chance.normal(0, 0.15, len(manner.vowels) + 1))
    semitones = manner.range_semitones * (0.5 * fall + 0.6 * accent + drift)
    jitter = 1 + manner.roughness * np.repeat(chance.normal(size=len(place) // 80 + 1), 80)[: len(place)]
    return manner.pitch_hz * 2 ** (semitones / 12) * jitter


def glottis(pitch: Sound, manner: Manner, chance: np.random.Generator) -> Sound:
    """Pulses with an opening of 60 % of the period (Rosenberg 1971), differentiated, and breath with each."""
    phase = np.cumsum(pitch / RATE_HZ) % 1
    opening = np.where(phase < 0.4, 0.5 - 0.5 * np.cos(np.pi * phase / 0.4), np.cos(np.pi / 2 * (phase - 0.4) / 0.2))
    flow = np.where(phase < 0.6, opening, 0.0)
    edge = np.diff(flow, prepend=0.0)
    softened = np.copy(edge)
    for i in range(1, len(softened)):
        softened[i] = (1 - manner.tilt) * edge[i] + manner.tilt * softened[i - 1]
    breath = chance.normal(0, 0.02, len(edge)) * flow * np.abs(softened).max()
    return softened + breath


def formants_hz(manner: Manner, place: Sound) -> Sound:
    """Four frequencies for each sample, [n, 4], gliding between the middles of the vowels."""
    targets = np.array([VOWELS_HZ[vowel] for vowel in manner.vowels]) * manner.tract
    middles = np.arange(len(targets)) + 0.5
    return np.stack([np.interp(place, middles, targets[:, i]) for i in range(4)], axis=1)


def resonate(source: Sound, frequencies: Sound) -> Sound:
    """The source through four two-pole resonators in a row."""
    sound = source
    for i, bandwidth in enumerate(BANDWIDTHS_HZ):
        radius = np.exp(-np.pi * bandwidth / RATE_HZ)
        first = 2 * radius * np.cos(2 * np.pi * frequencies[:, i] / RATE_HZ)
        second = -(radius**2)
        gain = 1 - first - second
        out = np.zeros(len(sound) + 2)
        for n in range(len(sound)):
            out[n + 2] = gain[n] * sound[n] + first[n] * out[n + 1] + second * out[n]
        sound = out[2:]
    return sound


def loudness(manner: Manner, place: Sound) -> Sound:
    """Each syllable rises quickly and falls slowly; the lips nearly close between two."""
    within = place % 1
    rise, fall = np.clip(within / 0.18, 0, 1), np.clip((1 - within) / 0.45, 0, 1)
    ends = np.clip((place[-1] - place) / 1.2, 0, 1)
    return (0.12 + 0.88 * np.sqrt(rise * fall)) * ends * (1.0 if manner.tilt < 0.9 else 0.9)


if __name__ == "__main__":
    main()
