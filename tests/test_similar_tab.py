"""The tab Similar without a browser: the list, the map, and the reasons why there is none."""

import re
from datetime import datetime, timedelta

import pytest

from emotion.outputs import ClipEntry
from emotion.outputs.similar import ClipMap, KnownClip, MapPoint, Neighbor, Neighborhood
from emotion.texts import Words
from emotion.ui import similar_render
from tests.page_server import text_of

EN, ZH = Words("en"), Words("zh")
NOON = datetime(2026, 11, 22, 12, 0)
HOSTILE = '<img src=x onerror="alert(1)">.wav'
EMOTIONS = ("angry", "happy", "sad")


def known(number, file=None, emotion=None, **facts):
    name = f"outputs_{number}"
    entry = ClipEntry(
        file or f"call{number}.wav", name, emotion or EMOTIONS[number % 3], 0.84, duration_s=12.8, has_audio=True,
        has_embedding=True, model="fake", **facts,
    )  # fmt: skip
    return KnownClip(entry, NOON - timedelta(minutes=number))


def around(count=4, view="compared", **facts):
    """The surroundings of clip 0 among so many."""
    clips = {one.entry.folder: one for one in (known(number) for number in range(count))}
    spread = [MapPoint(f"outputs_{n}", EMOTIONS[n % 3], (n % 7) / 7 - 0.4, (n % 5) / 10 - 0.2) for n in range(count)]
    neighbors = tuple(Neighbor(f"outputs_{n}", EMOTIONS[n % 3], 0.9 - n / 2) for n in range(1, min(count, 4)))
    values = {
        "view": view,
        "comparable": count,
        "embedded": count,
        "neighbors": neighbors,
        "map": ClipMap(tuple(spread), 0.63),
        "clips": clips,
    }
    return Neighborhood(**(values | facts))


def address(folder):
    return None if folder == "outputs_1" else f"files/x/{folder}.wav"


def marks(html):
    return re.findall(r'<g role="option".*?</g>', html)


def test_the_nearest_stand_below_the_open_clip_with_their_similarity():
    html = similar_render.nearest(around(), "outputs_0", address, EN)
    text = text_of(html)
    assert "Open now ▶ call0.wav 😠 Angry 2026-11-22 12:00 Open" in text
    assert "call1.wav 😊 Happy 2026-11-22 11:59 0.400 Open" in text
    assert "call3.wav 😠 Angry 2026-11-22 11:57 −0.600 Open" in text
    assert text.index("call1.wav") < text.index("call2.wav") < text.index("call3.wav")
    assert "cosine of two embeddings" in text
    assert 'style="width:40.0%' in html
    assert 'style="width:0.0%' in html, "below 0 there is no bar"


def test_sound_that_was_not_kept_has_no_button_to_play():
    html = similar_render.nearest(around(), "outputs_0", address, EN)
    assert html.count("data-audio=") == 3
    assert 'aria-label="The recording was not kept"' in html


@pytest.mark.parametrize(
    ("view", "english", "chinese"),
    [
        ("none_open", "No recording is open", "没有打开的录音"),
        ("gone", "The open recording is gone", "打开的录音已不在"),
        ("no_embedding", "Tick “Keep embedding”", "保留特征向量"),
        ("unreadable", "embedding of this recording cannot be used", "特征向量无法使用"),
        ("few", "there are 2 so far; at least 3 are needed", "目前有 2 段"),
        ("other_model", "By fake there are 2 so far", "来自 fake 的目前有 2 段"),
    ],
)
def test_why_there_is_nothing_to_compare_is_said(view, english, chinese):
    folder = {"none_open": "", "gone": "outputs_9"}.get(view, "outputs_0")
    found = around(2, view, neighbors=(), map=ClipMap())
    assert english in text_of(similar_render.nearest(found, folder, address, EN))
    assert chinese in text_of(similar_render.nearest(found, folder, address, ZH))
    assert ("call0.wav" in similar_render.nearest(found, folder, address, EN)) == (folder == "outputs_0")


def test_few_clips_are_faces_on_the_map_and_many_are_shapes():
    few = similar_render.clip_map(around(60), "outputs_0", EN)
    assert len(marks(few)) == 60
    assert few.count("<text") == 60
    many = similar_render.clip_map(around(61), "outputs_0", EN)
    assert len(marks(many)) == 61
    assert "<text" not in many
    assert many.count('href="#mark-happy"') == 20 + 1, "and one in the legend"


def test_every_mark_says_its_emotion_its_file_and_its_date():
    html = similar_render.clip_map(around(), "outputs_0", EN)
    assert "<title>Sad · call2.wav · 2026-11-22 11:58 · among the nearest</title>" in html
    assert "<title>Angry · call0.wav · 2026-11-22 12:00 · open now</title>" in html
    assert "call0.wav" in marks(html)[-1], "the open one is drawn above the others"


def test_the_map_tells_what_it_shows_and_what_it_leaves_out():
    clips = around(5).clips
    text = text_of(similar_render.clip_map(around(4, clips=clips), "outputs_0", EN))
    assert "The two directions show 63.0% of what tells them apart." in text
    assert "Not on it: 1 without an embedding, or of another model." in text
    assert "😠 Angry 2 😊 Happy 1 😢 Sad 1 open now nearest to it" in text
    assert "Not on it" not in text_of(similar_render.clip_map(around(), "outputs_0", EN))


def test_the_newest_of_very_many_are_drawn_and_the_open_one_with_them():
    found = around(2_500)
    html = similar_render.clip_map(found, "outputs_2400", EN)
    drawn = re.findall(r'data-point="outputs_(\d+)"', html)
    assert len(drawn) == similar_render.MOST_POINTS
    assert drawn[-1] == "2400"
    assert max(map(int, drawn[:-1])) == 1_998
    assert "Drawn are the newest 2,000 of 2,500." in html


def test_the_tab_key_stops_once_on_the_map():
    assert similar_render.clip_map(around(9), "outputs_4", EN).count('tabindex="0"') == 1
    html = similar_render.clip_map(around(9), "", EN)
    assert html.count('tabindex="0"') == 1
    assert 'data-point="outputs_0"' in next(mark for mark in marks(html) if 'tabindex="0"' in mark)


def test_marks_stay_within_the_map_and_keep_one_scale_for_both_directions():
    corners = [MapPoint(f"outputs_{n}", "sad", *at) for n, at in enumerate([(-1, -1), (1, -1), (1, 1), (-1, 1)])]
    html = similar_render.clip_map(around(4, map=ClipMap(tuple(corners), 1.0)), "", EN)
    places = [tuple(map(float, at.split())) for at in re.findall(r'data-at="([^"]+)"', html)]
    across, down = ({round(max(one) - min(one), 1)} for one in zip(*places, strict=True))
    assert down == {90.0}
    assert across == {67.5}, "a square stays one on a map of 4 by 3"


def test_equal_recordings_lie_in_the_middle():
    points = tuple(MapPoint(f"outputs_{n}", "sad", 0, 0) for n in range(3))
    html = similar_render.clip_map(around(3, map=ClipMap(points)), "", EN)
    assert html.count('data-at="50.00 50.00"') == 3


def test_without_a_map_there_is_a_word_of_when_it_begins():
    html = similar_render.clip_map(around(2, "few", neighbors=(), map=ClipMap()), "outputs_0", EN)
    assert "begins with 3 recordings" in html
    assert "there are 2 so far" in html


def test_a_label_of_a_foreign_model_has_a_mark_too():
    clips = {f"outputs_{n}": known(n, emotion="<b>bored") for n in range(3)}
    points = tuple(MapPoint(f"outputs_{n}", "<b>bored", n / 3, 0) for n in range(70))
    clips |= {f"outputs_{n}": known(n, emotion="<b>bored") for n in range(70)}
    html = similar_render.clip_map(around(3, clips=clips, map=ClipMap(points)), "", EN)
    assert "#mark-unknown" in html
    assert "<b>bored" not in html


def test_names_of_files_cannot_bring_markup_onto_the_page():
    clips = {f"outputs_{n}": known(n, HOSTILE) for n in range(4)}
    found = around(clips=clips)
    pieces = [
        similar_render.nearest(found, "outputs_0", address, EN),
        similar_render.clip_map(found, "outputs_0", EN),
        similar_render.card("outputs_0", clips["outputs_0"], address, EN),
    ]
    assert all("<img" not in piece for piece in pieces)
    assert all("&lt;img" in piece for piece in pieces)


def test_the_card_of_a_mark_offers_to_play_to_compare_and_to_open():
    html = similar_render.card("outputs_2", known(2), address, EN)
    assert "call2.wav 😢 Sad · 0:12.8 · 84.0% · 2026-11-22 11:58 Find similar Open" in text_of(html)
    assert 'data-near="outputs_2"' in html
    assert 'data-open="outputs_2"' in html
    assert 'data-audio="files/x/outputs_2.wav"' in html
