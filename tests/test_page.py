import base64
import json
from dataclasses import replace

import numpy as np
import pytest

from emotion.analysis import Segment
from emotion.audio import Clip
from emotion.engine import Progress
from emotion.engine.recognizer import ModelState
from emotion.errors import ClipTooLarge, ClipTooLong, DiskFull, EmotionError, EngineBusy, HubUnreachable, NotSound
from emotion.labels import EMOTIONS
from emotion.model import Accuracy
from emotion.outputs import EXPORT_FORMATS
from emotion.settings import Settings
from emotion.texts import LANGUAGE_COOKIE, Words
from emotion.ui import render, templates, timeline_data
from emotion.ui.clip_view import log_text
from emotion.ui.language import visitor_language
from emotion.ui.layout import translations
from emotion.ui.tabs.recognize import SAMPLES, sample_path
from tests.fakes import FakeModel, analyze, loud_clip, tone, turning_clip
from tests.page_server import text_of

ENGLISH, CHINESE = Words("en"), Words("zh")


def with_scores(**scores: float):
    """A finished analysis whose overall scores are these, the rest 0."""
    analysis = analyze(loud_clip())
    row = np.array([scores.get(label, 0.0) for label in analysis.model.labels], np.float32)
    return replace(analysis, scores=row)


def bars(scores: dict[str, float], unsupported_labels: tuple[str, ...]) -> str:
    """The bars of some scores as HTML."""
    return templates.render("bars.html", ENGLISH, bars=render.bars(scores, unsupported_labels))


# What is shown


def test_the_headline_names_the_emotion_and_its_confidence():
    happy = with_scores(happy=0.853, sad=0.147)
    assert text_of(render.result_card(happy, ENGLISH)).startswith("😊 Happy Confidence: 85.3% clear lead")
    assert text_of(render.result_card(happy, CHINESE)).startswith("😊 快乐 (Happy) 置信度: 85.3% 领先明显")


def test_an_uncertain_result_names_both_candidates():
    doubtful = replace(with_scores(sad=0.51, neutral=0.49), uncertain=True)
    assert "Uncertain: between Sad and Neutral" in text_of(render.result_card(doubtful, ENGLISH))
    assert "介于悲伤与中性之间" in text_of(render.result_card(doubtful, CHINESE))


def test_a_silent_recording_is_called_silent():
    silent = analyze(Clip("quiet.wav", np.zeros(16_000, np.float32)))
    assert "No speech Nobody is heard, so the scores mean nothing" in text_of(render.result_card(silent, ENGLISH))


def test_a_recording_in_which_nothing_stands_out_is_said_to_mean_little():
    noise = np.random.default_rng(0).normal(0, 0.001, 32_000).astype(np.float32)
    humming = analyze(Clip("hum.wav", noise), "frame")
    assert timeline_data.source(humming, 0.5).quiet == ((0.0, 2.0),)
    shown = text_of(render.result_card(humming, ENGLISH))
    assert "No speech Nobody is heard" in shown
    assert "clear lead" not in shown


def test_what_the_answer_is_made_of_stands_beside_it():
    call = Clip("call.wav", np.concatenate([np.zeros(80_000, np.float32), tone(1.5)]))
    assert "From its 1.5 s of speech; the rest of 0:06.5 is silent." in text_of(
        render.result_card(analyze(call), ENGLISH)
    )
    word = analyze(loud_clip(0.7))
    assert "Short: 0.7 s of speech" in text_of(render.result_card(word, ENGLISH))
    assert "Only 0.2 s of speech: too short to tell" in text_of(render.result_card(analyze(loud_clip(0.2)), ENGLISH))
    stereo = replace(loud_clip(2.0), channels=2, mixed_from=(1, 2), channels_differ=True)
    assert "A mix of 2 different channels." in text_of(render.result_card(analyze(stereo), ENGLISH))
    opposed = replace(stereo, mixed_from=(2,))
    assert "From channel 2 of 2" in text_of(render.result_card(analyze(opposed), ENGLISH))


def test_nine_bars_keep_their_order_and_show_three_decimals():
    shown = text_of(bars({"sad": 0.75, "angry": 0.25} | {e.key: 0.0 for e in EMOTIONS[1:6]}, ()))
    names = [shown.index(emotion.english) for emotion in EMOTIONS]
    assert names == sorted(names)
    assert "Angry 0.250" in shown
    assert "Happy 0.000" in shown


def test_an_emotion_that_the_model_cannot_tell_is_muted_and_has_no_number():
    html = bars(dict.fromkeys(FakeModel().card.labels, 0.0) | {"happy": 1.0}, ("other",))
    assert html.count("untold") == 1
    assert "Other not told" in text_of(html)


def test_a_label_of_a_foreign_model_gets_a_bar_of_its_own():
    assert "Amused 1.000" in text_of(bars({"amused": 1.0}, ()))


def test_names_of_files_cannot_bring_markup_onto_the_page():
    hostile = replace(analyze(loud_clip()), clip=loud_clip(name="<img src=x onerror=alert(1)>.wav"))
    assert "<img" not in render.result_card(hostile, ENGLISH)
    assert "<img" not in render.error_card(NotSound(hostile.clip.name), ENGLISH)
    link = render.Download("JSON", 'a"onclick="x.json', 'files/token/%C3%A9"onclick="x.json')
    assert 'href="files/token/%C3%A9&#34;onclick=&#34;x.json"' in render.downloads("Files", [link], ENGLISH)
    assert 'a"onclick' not in render.downloads("Files", [link], ENGLISH)


@pytest.mark.parametrize(
    ("progress", "shown"),
    [
        (Progress("waiting", 0, 0, 0), "Waiting: next in line"),
        (Progress("waiting", 3, 0, 0), "Waiting: place 4 in the queue"),
        (Progress("waiting", 3, 0, 0, 4.2), "Waiting: place 4 in the queue, about 4 s"),
        (Progress("decoding", 0, 0, 0), "Reading the sound"),
        (Progress("ready", 1, 0, 1), "Waiting: place 2 in the queue"),
        (Progress("recognising", 0, 0, 1), "Recognising"),
        (Progress("recognising", 0, 11, 300), "Recognising window 12 of 300"),
        (Progress("recognising", 0, 300, 300), "Recognising window 300 of 300"),
    ],
)
def test_progress_says_the_stage_in_words(progress, shown):
    assert text_of(render.progress_line(progress, ENGLISH)) == shown


def test_the_model_line_says_what_answers_and_what_is_coming():
    card = replace(FakeModel("emotion2vec_plus_large").card, precision="bf16")
    ready = ModelState(card, "auto", "ready")
    assert text_of(render.model_line(ready, ENGLISH)) == "emotion2vec+ large · cpu · bf16 · ready"
    assert render.model_notice(ready, ENGLISH) == ""
    small = replace(card, name="compact", precision="fp32", unsupported_labels=("other", "unknown"))
    coming = ModelState(small, "emotion2vec_plus_large", "downloading", 661_000_000, 1_945_000_000)
    assert text_of(render.model_line(coming, CHINESE)).endswith("emotion2vec+ large：34 %，共 1.95 GB")
    assert "meanwhile" in render.model_notice(coming, ENGLISH)
    asking = replace(coming, phase="asking")
    assert text_of(render.model_line(asking, ENGLISH)).endswith("serving asking for emotion2vec+ large")


def test_the_built_in_model_is_said_plainly_with_its_licence_and_the_way_to_the_large_one():
    accuracy = Accuracy(new_speakers=(0.582, 0.784), new_corpora=(0.273, 0.408))
    card = replace(FakeModel("compact").card, unsupported_labels=("other", "unknown"), accuracy=accuracy)
    state = ModelState(card, "auto", "built_in", reason=HubUnreachable("no answer"))
    notice = text_of(render.model_notice(state, ENGLISH))
    for words in (
        "tells 7 of the nine",
        "right in 58% to 78% of cases with speakers it never heard, in 27% to 41%",
        "CC BY-NC-SA 4.0",
        "does not answer",
        "models download emotion2vec_plus_large",
    ):
        assert words in notice
    assert "内置模型" in text_of(render.model_line(state, CHINESE))


def test_the_log_tells_what_was_done_and_how_long_each_stage_took():
    timed = replace(analyze(loud_clip()), timings_ms={"decode": 8.1, "queue": 0.4, "inference": 231.0, "write": 3.2})
    english = log_text(timed, "outputs_20261122_120000", ENGLISH)
    assert "Recording: call.wav · 0:01.0" in english
    assert "Inference: 231.0 ms" in english
    assert "Total: 242.7 ms" in english
    assert "推理: 231.0 毫秒" in log_text(timed, "outputs_20261122_120000", CHINESE)


# Words


@pytest.mark.parametrize(
    ("error", "english", "chinese"),
    [
        (ClipTooLarge(200_000_000), "larger than 200 MB", "超过 200 MB"),
        (ClipTooLong(10_800.0), "longer than 3:00:00.0", "超过 3:00:00.0"),
        (DiskFull(1_945_000_000), "1.95 GB are needed", "需要 1.95 GB"),
        (EngineBusy(64), "64 recordings are waiting already, which is the limit. Try again in 3 s.", "64 段录音在排队"),
    ],
)
def test_an_error_is_a_sentence_with_its_numbers(error, english, chinese):
    assert english in ENGLISH.error(error)
    assert chinese in CHINESE.error(error)


def test_an_error_from_elsewhere_shows_nothing_of_itself():
    assert "secret" not in ENGLISH.error(OSError("/secret/path"))


def test_an_error_without_words_shows_its_own_message():
    class NewError(EmotionError):
        code = "new_error"

    assert CHINESE.error(NewError("It rains.")) == "It rains."


@pytest.mark.parametrize(
    ("cookie", "accepted", "setting", "language"),
    [("zh", "en", "auto", "zh"), ("en", "zh", "zh", "en"), ("", "zh", "en", "en"), ("<x>", "zh-TW", "auto", "zh")],
)
def test_what_the_reader_chose_stands_over_the_setting_and_the_setting_over_the_browser(
    cookie, accepted, setting, language
):
    assert visitor_language({LANGUAGE_COOKIE: cookie}, {"accept-language": accepted}, setting) == language


def test_the_browser_gets_every_text_of_the_page_in_both_languages():
    by_language = translations(Settings()).translations
    assert by_language["en"]["page_recognise"] == "Recognise"
    assert by_language["zh"]["page_recognise"] == "开始识别"
    assert by_language["en"].keys() == by_language["zh"].keys()


@pytest.mark.parametrize(
    ("flags", "english", "chinese"),
    [
        ({}, "until you delete them", "直到您删除"),
        ({"keep_days": 30}, "for 30 days", "30 天"),
        ({"keep_gb": 2.5}, "2.5 GB", "2.5 GB"),
        ({"keep_days": 7, "keep_gb": 10}, "for 7 days and up to 10 GB", "7 天"),
    ],
)
def test_the_page_says_how_long_results_are_kept(flags, english, chinese):
    by_language = translations(Settings(**flags)).translations
    assert english in text_of(by_language["en"]["page_footer"])
    assert chinese in text_of(by_language["zh"]["page_footer"])


def test_every_sample_and_every_export_has_a_name_on_the_page():
    assert all(ENGLISH.has(f"page.export_{name}") for name in EXPORT_FORMATS)
    for name in SAMPLES:
        assert ENGLISH.has(f"page.sample_{name}")
        assert 10_000 < sample_path(name).stat().st_size < 100_000


# The timeline


def numbers(packed: str) -> list[int]:
    return np.frombuffer(base64.b64decode(packed), "<i2").tolist()


def drawn(analysis, words=ENGLISH, smoothing_s=0.5):
    return timeline_data.timeline(analysis, timeline_data.source(analysis, smoothing_s), words)


def test_the_timeline_of_an_utterance_is_its_waveform():
    lane = drawn(analyze(loud_clip(2.0)))
    assert lane["duration_s"] == 2.0
    assert max(numbers(lane["peaks"][1])) == 1000
    assert lane["points"] == lane["segments"] == []
    json.dumps(lane)


def test_the_timeline_of_frames_has_scores_in_per_mille_and_segments():
    lane = drawn(analyze(turning_clip(), "frame"), CHINESE)
    angry, sad = (lane["labels"][row]["name"] for row in (0, 6))
    assert (angry, sad) == ("愤怒", "悲伤")
    points = [numbers(row) for row in lane["points"]]
    assert points[0][10] > 800 > points[0][-10]
    assert [segment[2] for segment in lane["segments"]] == [0, 6]
    assert all(abs(sum(point) - 1000) <= 5 for point in zip(*points, strict=True))


def test_stretches_without_sound_are_marked_on_the_timeline():
    pause = np.concatenate([tone(2.0), np.zeros(32_000, np.float32), tone(2.0)])
    (quiet,) = drawn(analyze(Clip("pause.wav", pause), "frame"))["quiet"]
    assert quiet == pytest.approx([2.0, 4.0], abs=0.1)


def test_no_lane_has_more_than_two_thousand_points_whatever_the_length():
    scores = np.random.default_rng(0).random((180_000, 9), np.float32)
    means, frames_per_point = timeline_data.thin(scores, timeline_data.MAX_POINTS)
    assert len(means) == 2_000
    assert means[7] == pytest.approx(scores[7 * frames_per_point : 8 * frames_per_point].mean(axis=0))
    low, high = timeline_data.envelope(tone(60.0), timeline_data.MAX_POINTS, 1.0)
    assert len(low) == len(high) == 2_000


def test_a_closer_look_gets_finer_steps_of_the_same_lanes():
    source = timeline_data.source(analyze(Clip("long.wav", np.tile(turning_clip().samples, 30)), "frame"), 0.0)
    whole, part = timeline_data.detail(source, 0.0, 120.0), timeline_data.detail(source, 60.0, 64.0)
    assert part["point_s"] == 0.02 < whole["point_s"] == 0.06
    assert (part["points_start_s"], part["peaks_start_s"]) == (60.0, 60.0)
    angry = numbers(part["points"][0])
    assert len(angry) == 201
    assert angry[:90] == [max(angry)] * 90
    assert part["peak_s"] == pytest.approx(4.0 / 2_000, rel=0.01)
    assert max(numbers(part["peaks"][1])) == 1000


def test_a_look_beyond_the_recording_shows_its_end():
    source = timeline_data.source(analyze(loud_clip(2.0), "frame"), 0.0)
    assert len(numbers(timeline_data.detail(source, 5.0, 9.0)["points"][0])) == 1
    assert len(numbers(timeline_data.detail(source, -3.0, 99.0)["points"][0])) == 99


def test_of_very_many_segments_the_longest_are_drawn():
    many = tuple(Segment(i, i + 0.5 + (i % 2) * 0.4, "sad", 0.9) for i in range(3_000))
    lane = drawn(replace(analyze(loud_clip(), "frame"), segments=many))
    assert len(lane["segments"]) == 2_000
    assert lane["segment_count"] == 3_000
    assert lane["segments"] == sorted(lane["segments"])
