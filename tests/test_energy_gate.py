from pathlib import Path

import numpy as np
import pytest

from emotion.analysis.speech import heard_frames
from emotion.audio import SAMPLE_RATE_HZ, decode
from emotion.audio.energy_gate import FRAMES_PER_S, frame_levels_db
from tests.fakes import tone

pytestmark = pytest.mark.numeric

CALM = Path(__file__).parent.parent / "emotion" / "ui" / "assets" / "samples" / "calm.flac"


def silence(duration_s: float):
    return np.zeros(round(duration_s * SAMPLE_RATE_HZ), np.float32)


def noise(duration_s: float, level_db: float, seed: int = 3):
    steps = np.random.default_rng(seed).standard_normal(round(duration_s * SAMPLE_RATE_HZ))
    return (steps * 10 ** (level_db / 20)).astype(np.float32)


def joined(*parts):
    return np.concatenate(parts)


def test_sound_is_told_from_silence_frame_by_frame():
    sounds = heard_frames(joined(silence(1), tone(1), silence(1)))
    assert sounds.tolist() == [False] * 50 + [True] * 50 + [False] * 50


@pytest.mark.parametrize("level_db", [-80, -65, -55, -45])
def test_steady_noise_is_no_sound_up_to_45_below_full_scale(level_db):
    assert not heard_frames(noise(20, level_db)).any()


def test_a_voice_in_a_noisy_room_stands_out():
    voice = decode(CALM).samples
    loud = frame_levels_db(voice) > np.percentile(frame_levels_db(voice), 95) - 20
    before = round(2 * FRAMES_PER_S)
    padded = joined(silence(2), voice, silence(2))
    sounds = heard_frames(padded + noise(len(padded) / SAMPLE_RATE_HZ, -45))
    assert sounds[before : before + len(loud)][loud].mean() > 0.98
    assert not sounds[: before - 5].any()


def test_who_talks_without_a_pause_or_holds_a_tone_is_heard():
    assert heard_frames(tone(10)).all()
    assert heard_frames(tone(10, loudness=0.02)).all()


def test_a_short_gap_within_speech_is_no_silence_and_a_click_is_no_sound():
    assert heard_frames(joined(tone(1), silence(0.28), tone(1))).all()
    assert not heard_frames(joined(tone(1), silence(0.4), tone(1))).all()
    assert not heard_frames(joined(silence(1), tone(0.04), silence(1))).any()


def test_an_offset_of_the_converter_is_silence():
    assert not heard_frames(silence(1) + np.float32(0.4)).any()
    assert frame_levels_db(silence(0.1)).tolist() == pytest.approx([-120.0] * 5, abs=1e-4)


def test_noise_is_judged_by_its_own_ten_seconds():
    talk = joined(*[tone(0.7, 0.01), silence(0.3)] * 10)
    sounds = heard_frames(joined(noise(10, -45), noise(10, -75) + talk))
    assert not sounds[: 10 * FRAMES_PER_S].any()
    assert sounds[10 * FRAMES_PER_S : -15].all()
