"""Where in a clip somebody is heard: the one rule behind headline, segments, statistics and the live microphone.

Today the rule is the energy gate: whatever stands out of the noise of the room counts. Pauses shorter than
SHORTEST_SILENCE_S belong to the speech around them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from emotion.audio import SAMPLE_RATE_HZ, Clip
from emotion.audio.energy_gate import FLOOR_DB, FRAME_SAMPLES, SHORTEST_SOUND_S, Flags, Levels, frame_levels_db, gate
from emotion.model import FRAME_RATE_HZ, FloatArray

# Shorter pauses are those between words: to split there would leave segments of a syllable.
SHORTEST_SILENCE_S = 0.5
# Below one second the scores speak of a word, and the clips of the training data were all longer.
SHORT_S = 1.0
# Below half a second they speak of a syllable: nothing is certain then.
LEAST_S = 0.5
# With less speech than this share of a recording its headline is that of the speech alone.
HEADLINE_SHARE = 0.5
_BLOCK_SAMPLES = 3_000 * FRAME_SAMPLES


@dataclass(frozen=True)
class Speech:
    """Whether somebody speaks in each frame of 20 ms of a clip, [T], pauses between words among them; and for how
    long somebody is heard, without these pauses.
    """

    frames: Flags
    seconds: float

    @property
    def is_silent(self) -> bool:
        """Whether nobody is heard at all."""
        return not self.frames.any()

    def stretches(self) -> Iterator[tuple[int, int, bool]]:
        """Stretches of speech and of silence in order: first frame, the one after the last, and whether it is speech.

        They cover the clip.
        """
        edges = [0, *(np.flatnonzero(np.diff(self.frames)) + 1).tolist(), len(self.frames)]
        yield from ((first, last, bool(self.frames[first])) for first, last in pairwise(edges) if last > first)


def find_speech(clip: Clip) -> Speech:
    """Where somebody is heard in a clip, which is read a minute at a time; sound that was not kept counts as speech."""
    if clip.samples_not_kept:
        return Speech(np.ones(clip.num_samples // FRAME_SAMPLES, np.bool_), clip.duration_s)
    levels = [frame_levels_db(clip.samples[:FRAME_SAMPLES])]
    for start in range(FRAME_SAMPLES, len(clip.samples), _BLOCK_SAMPLES):
        levels.append(frame_levels_db(clip.samples[start : start + _BLOCK_SAMPLES]))
        clip.forget(start, start + _BLOCK_SAMPLES)
    heard = _heard(np.concatenate(levels), clip.duration_s)
    rest = len(clip.samples) % FRAME_SAMPLES if heard[-1] else 0
    seconds = (int(heard.sum()) * FRAME_SAMPLES + rest) / SAMPLE_RATE_HZ
    return Speech(_without_pauses(heard, round(SHORTEST_SILENCE_S * FRAME_RATE_HZ)), seconds)


def heard_frames(samples: FloatArray) -> Flags:
    """Whether somebody is heard in each whole frame of 20 ms, [T] for samples [n] at 16 kHz; pauses are silent."""
    return _heard(frame_levels_db(samples), len(samples) / SAMPLE_RATE_HZ)


def _heard(levels_db: Levels, duration_s: float) -> Flags:
    # What is shorter than a syllable cannot be told from a click, and is given the benefit of the doubt.
    return levels_db > FLOOR_DB if duration_s < 2 * SHORTEST_SOUND_S else gate(levels_db)


def _without_pauses(heard: Flags, shortest: int) -> Flags:
    """The frames with pauses of fewer frames made speech, unless nothing is heard."""
    frames = heard.copy()
    for first, last, is_speech in Speech(heard, 0.0).stretches():
        if not is_speech and last - first < min(shortest, len(heard)):
            frames[first:last] = True
    return frames
