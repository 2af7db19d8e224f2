"""Where in a recording there is sound: an energy gate, pure, cheap enough for every beat of a live microphone.

It tells sound from silence, not speech from other sounds: whatever stands out of the noise of the room counts.
Measured on EMO-DB, nEMO and RAVDESS: of the frames within 25 dB of a clip's loud ones it keeps at least 98 % for
speech from -20 to -40 dBFS that is 20 dB above pink noise, 89 % at 10 dB; it rejects steady noise up to -45 dBFS.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from emotion.audio import SAMPLE_RATE_HZ

FRAMES_PER_S = 50
FRAME_SAMPLES = SAMPLE_RATE_HZ // FRAMES_PER_S
# The hiss of a cheap microphone in a quiet room lies at about -65 dBFS, quiet speech of a far one at -50.
FLOOR_DB = -60.0
SILENCE_DB = -120.0
# In ten seconds of talk more than a tenth is pauses, so the level that a tenth does not reach is the room's noise.
NOISE_PERCENTILE = 10.0
NOISE_SPAN_S = 10.0
# Measured on white and pink noise: no three frames in a row are further above the level that a tenth does not reach.
ABOVE_NOISE_DB = 6.0
# What never falls below this is loud, not noise: somebody who talks without a pause, music, a tone.
LOUD_NOISE_DB = -40.0
# Pauses of less than 0.2 s belong to fluent speech (Campione and Veronis, 2002); the rest bridges a soft syllable.
HANGOVER_S = 0.3
# A click of the mouse or a tap on the table is shorter, every syllable longer.
SHORTEST_SOUND_S = 0.06

Samples = NDArray[np.float32]
Levels = NDArray[np.float32]
Flags = NDArray[np.bool_]


def frame_levels_db(samples: Samples) -> Levels:
    """Level of each whole frame in dBFS, [T]; a constant offset of the converter counts as silence."""
    frames = samples[: len(samples) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    means = frames.mean(axis=1)
    powers = np.einsum("ij,ij->i", frames, frames) / FRAME_SAMPLES - means * means
    levels: Levels = 10 * np.log10(np.maximum(powers, 10 ** (SILENCE_DB / 10)))
    return levels


def gate(levels_db: Levels) -> Flags:
    """Whether there is sound in each frame: above the floor and the noise around it, without gaps and clicks."""
    if not len(levels_db):
        return np.zeros(0, np.bool_)
    wanted_db = np.clip(_noise_db(levels_db) + ABOVE_NOISE_DB, FLOOR_DB, LOUD_NOISE_DB)
    loud = levels_db > wanted_db
    return _fill(_drop(loud, round(SHORTEST_SOUND_S * FRAMES_PER_S)), round(HANGOVER_S * FRAMES_PER_S))


def _noise_db(levels_db: Levels) -> Levels:
    """The noise around each frame, [T], found for stretches of NOISE_SPAN_S that the clip is cut into."""
    parts = max(round(len(levels_db) / (NOISE_SPAN_S * FRAMES_PER_S)), 1)
    edges = np.arange(parts + 1) * len(levels_db) // parts
    noise = [np.percentile(levels_db[first:last], NOISE_PERCENTILE) for first, last in pairwise(edges)]
    return np.repeat(noise, np.diff(edges)).astype(np.float32)


def _runs(flags: Flags) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First frame, and the one after the last, of each stretch that is true."""
    edges = np.diff(flags, prepend=False, append=False).nonzero()[0]
    return edges[::2], edges[1::2]


def _drop(flags: Flags, shortest: int) -> Flags:
    """Without the true stretches of fewer frames."""
    firsts, lasts = _runs(flags)
    kept = lasts - firsts >= shortest
    marks = np.zeros(len(flags) + 1, np.int8)
    marks[firsts[kept]] += 1
    marks[lasts[kept]] -= 1
    return marks.cumsum()[:-1] > 0


def _fill(flags: Flags, longest: int) -> Flags:
    """With the false stretches of up to so many frames made true, unless all is false."""
    return ~_drop(~flags, longest + 1) if flags.any() else flags
