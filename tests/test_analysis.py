import json

import numpy as np
import pytest

from emotion.analysis import (
    MAX_FRAMES_IN_JSON,
    Segment,
    find_segments,
    smooth,
    softmax,
)
from emotion.analysis.windows import Plan, count_windows, cut_windows
from emotion.audio import SAMPLE_RATE_HZ, Clip
from emotion.errors import ClipTooShort
from emotion.labels import SILENCE
from emotion.model import num_frames
from tests.fakes import LABELS, analyze, loud_clip, soft, tone, turning_clip

pytestmark = pytest.mark.numeric

SHORT_WINDOWS = Plan(exact_limit_s=1.0, window_s=3.0, context_s=0.5)


def noise(samples: int, seed: int = 0) -> Clip:
    return Clip("noise.wav", np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32))


def frame_scores_of(*stretches: tuple[str, int]) -> np.ndarray:
    one_hot = np.eye(len(LABELS), dtype=np.float32)
    return np.concatenate([np.repeat(one_hot[[LABELS.index(label)]], count, axis=0) for label, count in stretches])


def test_a_loud_clip_is_angry_and_says_how_sure_it_is():
    analysis = analyze(loud_clip())
    assert analysis.emotion.key == "angry"
    assert analysis.confidence == pytest.approx(float(softmax(np.array([4.0] + [0.0] * 8)).max()))
    assert analysis.margin > 0.8
    assert not analysis.uncertain


def test_the_record_has_the_keys_of_the_contract():
    record = analyze(turning_clip(), "frame").record()
    assert set(record) == {
        "schema", "emotion", "confidence", "scores", "granularity", "timestamp", "file", "duration_s", "margin",
        "uncertain", "silent", "short", "speech_s", "overall_from", "cached", "model", "frame_rate_hz", "num_frames",
        "frames", "segments",
        "timings_ms",
    }  # fmt: skip
    assert record["timestamp"] == "2026-11-22 12:00:00"
    assert record["num_frames"] == len(record["frames"]) == 199
    assert set(record["frames"][7]) == {"index", "start", "end", "emotion", "confidence", "scores"}
    assert (record["frames"][7]["start"], record["frames"][7]["end"]) == (0.14, 0.16)
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_utterance_granularity_keeps_no_frames_and_no_segments():
    assert not {"frames", "segments", "frames_file"} & set(analyze(loud_clip()).record())


def test_utterance_scores_are_the_softmax_of_the_mean_of_frame_logits_not_the_mean_of_softmaxes():
    analysis = analyze(turning_clip(), "frame")
    assert analysis.frame_scores is not None
    logits = np.log(analysis.frame_scores.astype(np.float64))
    np.testing.assert_allclose(softmax(logits.mean(axis=0)), analysis.scores, atol=1e-6)
    assert np.abs(analysis.frame_scores.mean(axis=0) - analysis.scores).max() > 0.05


def test_the_same_scores_come_out_for_both_granularities():
    np.testing.assert_array_equal(analyze(turning_clip()).scores, analyze(turning_clip(), "frame").scores)


def test_an_embedding_is_kept_only_when_asked_for_and_utterance_is_the_mean_over_frames():
    utterance, frame = analyze(turning_clip(), embedding=True), analyze(turning_clip(), "frame", embedding=True)
    assert analyze(turning_clip()).embedding is None
    assert utterance.embedding is not None
    assert frame.embedding is not None
    assert utterance.embedding.shape == (8,)
    assert frame.embedding.shape == (199, 8)
    np.testing.assert_allclose(frame.embedding.mean(axis=0), utterance.embedding, rtol=1e-5)


@pytest.mark.parametrize("samples", [400, 719, 720, 721, 16_000, 95_999])
def test_frames_follow_from_the_convolutions(samples):
    assert analyze(noise(samples)).record()["num_frames"] == (samples - 400) // 320 + 1


def test_a_clip_below_400_samples_is_refused_with_its_length():
    with pytest.raises(ClipTooShort, match=r"25 ms; at least 25 ms|24 ms"):
        list(cut_windows(noise(390), Plan()))


@pytest.mark.parametrize("samples", [16_001, 3 * 16_000, 160_123, 40 * 16_000 + 17])
def test_windows_tile_the_frames_of_the_clip_exactly(samples):
    clip = noise(samples)
    windows = list(cut_windows(clip, SHORT_WINDOWS))
    assert sum(window.keep_frames for window in windows) == num_frames(samples)
    assert len(windows) == count_windows(clip, SHORT_WINDOWS)
    assert all(window.skip_frames + window.keep_frames <= num_frames(len(window.samples)) for window in windows)
    assert all(len(window.samples) <= 3.1 * SAMPLE_RATE_HZ for window in windows)


def test_windows_are_normalised_with_the_statistics_of_the_whole_clip():
    clip = Clip("x.wav", np.concatenate([tone(5.0), soft(5.0)]))
    whole = next(iter(cut_windows(clip, Plan()))).samples
    assert abs(float(whole.mean())) < 1e-4
    assert float(whole.std()) == pytest.approx(1, abs=1e-3)
    for window in cut_windows(clip, SHORT_WINDOWS):
        start = round(window.start_s * SAMPLE_RATE_HZ)
        np.testing.assert_array_equal(window.samples, whole[start : start + len(window.samples)])


def test_a_windowed_clip_gets_the_frames_of_the_one_pass_result_and_says_so():
    one_pass, windowed = analyze(noise(200_000), "frame"), analyze(noise(200_000), "frame", plan=SHORT_WINDOWS)
    np.testing.assert_array_equal(one_pass.frame_scores, windowed.frame_scores)
    np.testing.assert_allclose(one_pass.scores, windowed.scores, atol=1e-6)
    assert (one_pass.overall_from, windowed.overall_from) == ("clip", "windows")


def test_more_frames_than_ten_minutes_are_named_and_not_listed():
    record = analyze(noise((MAX_FRAMES_IN_JSON + 1) * 320 + 400), "frame").record()
    assert record["frames_file"] == "frames.npz"
    assert "frames" not in record


def test_segments_cover_the_clip_without_gaps():
    segments = analyze(turning_clip(), "frame").segments
    assert [segment.emotion for segment in segments] == ["angry", "sad"]
    assert segments[0].start_s == 0
    assert segments[0].end_s == segments[1].start_s == pytest.approx(2.0, abs=0.05)
    assert segments[-1].end_s == 4.0


def test_a_flicker_shorter_than_the_shortest_segment_joins_its_neighbour():
    flicker = frame_scores_of(("happy", 100), ("sad", 5), ("happy", 100))
    plan = Plan(smoothing_s=0, min_segment_s=0.2)
    assert [segment.emotion for segment in find_segments(flicker, LABELS, plan, 4.1)] == ["happy"]
    plan = Plan(smoothing_s=0, min_segment_s=0.1)
    assert [s.emotion for s in find_segments(flicker, LABELS, plan, 4.1)] == ["happy", "sad", "happy"]


def test_a_short_beginning_joins_what_follows():
    scores = frame_scores_of(("angry", 3), ("sad", 100))
    segments = find_segments(scores, LABELS, Plan(smoothing_s=0, min_segment_s=0.2), 2.06)
    assert [(segment.start_s, segment.emotion) for segment in segments] == [(0.0, "sad")]


def test_smoothing_outvotes_single_frames():
    scores = frame_scores_of(("happy", 20), ("sad", 2), ("happy", 20))
    segments = find_segments(scores, LABELS, Plan(smoothing_s=0.2, min_segment_s=0), 0.84)
    assert [segment.emotion for segment in segments] == ["happy"]


def test_a_narrow_lead_counts_as_uncertain_and_names_both():
    clip = Clip("x.wav", np.concatenate([tone(2.02), soft(2.0)]))
    analysis = analyze(clip)
    assert analysis.uncertain
    assert {analysis.emotion.key, analysis.runner_up.key} == {"angry", "sad"}


def test_a_recording_in_which_nobody_is_heard_has_no_emotion():
    silence = analyze(Clip("silence.wav", np.zeros(16_000, np.float32)), "frame")
    assert (silence.silent, silence.short, silence.uncertain) == (True, True, True)
    assert (silence.emotion, silence.confidence, silence.margin) == (SILENCE, 0, 0)
    assert silence.segments == (Segment(0.0, 1.0, "silence", 0.0),)
    record = silence.record()
    assert (record["emotion"], record["silent"], record["speech_s"]) == ("silence", True, 0)
    assert record["scores"]["sad"] > 0.5  # what the model says of the whole clip stays


@pytest.mark.parametrize("level_db", [-74, -60, -50])
def test_the_noise_of_a_muted_microphone_is_no_emotion(level_db):
    hiss = np.random.default_rng(1).normal(0, 10 ** (level_db / 20), 80_000).astype(np.float32)
    assert analyze(Clip("muted.wav", hiss)).silent


def test_pauses_between_sentences_are_segments_of_their_own():
    pause = np.zeros(16_000, np.float32)
    talk = analyze(Clip("talk.wav", np.concatenate([tone(2.0), pause, soft(2.0)])), "frame")
    assert [(round(s.start_s, 1), round(s.end_s, 1), s.emotion) for s in talk.segments] == [
        (0.0, 2.0, "angry"),
        (2.0, 3.0, "silence"),
        (3.0, 5.0, "sad"),
    ]


def test_a_short_pause_splits_no_segment():
    pause = np.zeros(6_400, np.float32)
    talk = analyze(Clip("talk.wav", np.concatenate([tone(2.0), pause, tone(2.0)])), "frame")
    assert "silence" not in {segment.emotion for segment in talk.segments}


def test_the_headline_of_a_mostly_silent_recording_is_that_of_its_speech():
    silence = np.zeros(10 * 16_000, np.float32)
    call = analyze(Clip("call.wav", np.concatenate([silence, tone(2.0)])))
    assert (call.emotion.key, call.scores.argmax()) == ("angry", LABELS.index("sad"))
    assert call.record()["speech_scores"]["angry"] == pytest.approx(call.confidence)
    assert call.speech_s == pytest.approx(2.0, abs=0.05)


def test_a_word_is_marked_as_short_and_a_syllable_is_never_certain():
    word, syllable = analyze(loud_clip(0.7)), analyze(loud_clip(0.1))
    assert (word.short, word.uncertain) == (True, False)
    assert (syllable.short, syllable.uncertain) == (True, True)
    assert analyze(Clip("smallest.wav", tone(0.025))).emotion.key == "angry"


def test_a_label_that_the_model_cannot_tell_scores_exactly_zero():
    assert softmax(np.array([1.0, -np.inf, 2.0]))[1] == 0


def test_smoothing_keeps_a_steady_score_and_spreads_a_jump():
    jump = np.repeat(np.array([[0.0], [1.0]], np.float32), 50, axis=0)
    smoothed = smooth(jump, 0.2)[:, 0]
    assert (smoothed[0], smoothed[-1]) == (0, 1)
    assert 0 < smoothed[48] < smoothed[51] < 1
    np.testing.assert_array_equal(smooth(jump, 0), jump)


def test_very_many_embeddings_lie_in_a_file_and_say_the_same(monkeypatch):
    held = analyze(noise(200_000), "frame", embedding=True).embedding
    monkeypatch.setattr("emotion.audio.mapping._HELD_NUMBERS", 100)
    filed = analyze(noise(200_000), "frame", embedding=True).embedding
    assert isinstance(filed, np.memmap)
    np.testing.assert_array_equal(held, filed)
