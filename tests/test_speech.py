"""Where in a clip somebody is heard: the rule behind headline, segments and statistics."""

import numpy as np
import pytest

from emotion.analysis.speech import find_speech
from emotion.audio import Clip
from emotion.audio.energy_gate import FRAME_SAMPLES
from tests.fakes import tone


def silence(duration_s):
    return np.zeros(round(duration_s * 16_000), np.float32)


def clip_of(*parts):
    return Clip("call.wav", np.concatenate(parts))


def silences_s(clip):
    return [(first / 50, last / 50) for first, last, is_speech in find_speech(clip).stretches() if not is_speech]


def test_silence_between_speech_is_found_and_a_short_pause_belongs_to_the_speech():
    speech = find_speech(clip := clip_of(silence(1), tone(2), silence(0.4), tone(1), silence(0.605)))
    assert silences_s(clip) == [(0.0, 1.0), (4.4, 5.0)]
    assert speech.seconds == pytest.approx(3.0, abs=0.05)


def test_a_clip_without_sound_is_one_stretch_and_a_loud_one_has_none():
    assert silences_s(clip_of(silence(2))) == [(0.0, 2.0)]
    assert find_speech(clip_of(silence(2))).seconds == 0
    assert silences_s(clip_of(tone(2))) == []
    assert find_speech(clip_of(tone(2.005))).seconds == pytest.approx(2.005)


@pytest.mark.parametrize("duration_s", [0.025, 0.05, 0.11])
def test_what_is_shorter_than_a_syllable_is_heard_if_it_is_loud(duration_s):
    assert not find_speech(clip_of(tone(duration_s))).is_silent
    assert find_speech(clip_of(silence(duration_s))).is_silent


def test_a_long_clip_is_read_in_parts_with_the_same_outcome(monkeypatch):
    clip = clip_of(*(part for n in range(8) for part in (tone(1 + n / 10), silence(0.7))))
    whole = silences_s(clip)
    monkeypatch.setattr("emotion.analysis.speech._BLOCK_SAMPLES", 7 * FRAME_SAMPLES)
    assert silences_s(clip) == whole
    assert len(whole) == 8


def test_sound_that_was_not_kept_counts_as_speech():
    assert find_speech(Clip("call.wav", silence(0), samples_not_kept=32_000)).seconds == 2.0
