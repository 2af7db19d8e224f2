import csv
import json
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import srt
import webvtt
from praatio import textgrid

from emotion.analysis import Analysis, Segment
from emotion.audio import Clip
from emotion.errors import SettingsInvalid
from emotion.outputs import EXPORT_FORMATS, write_export
from emotion.outputs.exports import csv_line, export_segments
from tests.fakes import LABELS, analyze, loud_clip, tone, turning_clip

TURNING = [(0.0, 2.0, "angry"), (2.0, 4.0, "sad")]
WHOLE = [(0.0, 1.0, "angry")]


def turning() -> Analysis:
    return analyze(turning_clip(), "frame")


def whole() -> Analysis:
    return analyze(loud_clip())


def late() -> Analysis:
    """A segment that ends in the third hour, at a millisecond that rounds up."""
    long = Segment(3599.9996, 2 * 3600 + 61.25, "happy", 0.999)
    return replace(turning(), segments=(Segment(0.0, 3599.9996, "sad", 0.5), long))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_config(path: Path) -> ElementTree.Element:
    return ElementTree.fromstring(path.read_text("utf-8"))  # noqa: S314, we wrote it ourselves


@pytest.mark.parametrize("format", EXPORT_FORMATS)
def test_every_format_is_written_into_the_folder(tmp_path: Path, format: str) -> None:
    paths = write_export(turning(), format, tmp_path)
    assert sorted(paths) == sorted(tmp_path.iterdir())
    assert all(path.read_text("utf-8") for path in paths)


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="Choose from csv, srt"):
        write_export(turning(), "docx", tmp_path)


@pytest.mark.parametrize(("analysis", "spans"), [(turning(), TURNING), (whole(), WHOLE)])
def test_exported_segments_cover_the_clip(analysis: Analysis, spans: list[tuple[float, float, str]]) -> None:
    segments = export_segments(analysis)
    assert [(part.start_s, part.end_s, part.emotion) for part in segments] == spans
    assert segments[0].start_s == 0
    assert segments[-1].end_s == pytest.approx(analysis.clip.duration_s)
    assert all(one.end_s == two.start_s for one, two in pairwise(segments))


def test_csv_has_a_row_per_segment_and_per_frame(tmp_path: Path) -> None:
    analysis = turning()
    segments, frames = (rows_of(path) for path in write_export(analysis, "csv", tmp_path))
    assert [(float(row["start"]), float(row["end"]), row["emotion"]) for row in segments] == TURNING
    assert [float(row["confidence"]) for row in segments] == pytest.approx([0.8722, 0.8722], abs=1e-4)
    record = analysis.record()["frames"]
    assert len(frames) == len(record) == 199
    for row, frame in zip(frames, record, strict=True):
        assert int(row["index"]) == frame["index"]
        assert (float(row["start"]), float(row["end"])) == (frame["start"], frame["end"])
        assert (row["emotion"], float(row["confidence"])) == (frame["emotion"], frame["confidence"])
        assert {label: float(row[label]) for label in LABELS} == frame["scores"]


def test_csv_of_an_utterance_is_one_segment_without_frames(tmp_path: Path) -> None:
    (path,) = write_export(whole(), "csv", tmp_path)
    assert path.name == "segments.csv"
    assert rows_of(path) == [{"start": "0.0", "end": "1.0", "emotion": "angry", "confidence": "0.872201"}]


def test_frames_are_rounded_in_blocks_without_losing_one(tmp_path: Path) -> None:
    analysis = replace(turning(), frame_scores=np.tile(np.float32([[0.5, 0.25, 0.25, *[0] * 6]]), (20_001, 1)))
    frames = rows_of(write_export(analysis, "csv", tmp_path)[1])
    assert [int(row["index"]) for row in frames] == list(range(20_001))
    assert frames[-1]["end"] == "400.02"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_text_cell_is_never_a_formula_and_a_number_stays_a_number(start: str) -> None:
    (row,) = csv.reader([csv_line([f"{start}1+1", -0.5, 3])])
    assert row == [f"'{start}1+1", "-0.5", "3"]


def test_a_telephone_number_keeps_its_text() -> None:
    for name in ("+49 170 1234567.wav", "-call_2.mp3"):
        assert next(csv.reader([csv_line([name])])) == [name]
    for formula in ("+1+cmd|' /C calc'!A0", "-HYPERLINK(1)", "=1", "@SUM(1)"):
        assert next(csv.reader([csv_line([formula])])) == [f"'{formula}"]


def test_subtitles_of_an_utterance_show_what_changes_and_not_one_label_for_all(tmp_path: Path) -> None:
    (path,) = write_export(analyze(turning_clip()), "srt", tmp_path)
    assert [cue.content for cue in srt.parse(path.read_text("utf-8"))] == ["😠 Angry 87%", "😢 Sad 87%"]


def test_srt_is_read_by_a_subtitle_parser(tmp_path: Path) -> None:
    (path,) = write_export(turning(), "srt", tmp_path)
    cues = list(srt.parse(path.read_text("utf-8")))
    assert [(cue.start.total_seconds(), cue.end.total_seconds()) for cue in cues] == [(0, 2), (2, 4)]
    assert [cue.index for cue in cues] == [1, 2]
    assert [cue.content for cue in cues] == ["😠 Angry 87%", "😢 Sad 87%"]


def test_srt_keeps_hours_and_milliseconds(tmp_path: Path) -> None:
    (path,) = write_export(late(), "srt", tmp_path)
    cues = list(srt.parse(path.read_text("utf-8")))
    assert cues[1].start == timedelta(hours=1)
    assert cues[1].end == timedelta(hours=2, minutes=1, seconds=1, milliseconds=250)
    assert "01:00:00,000 --> 02:01:01,250" in path.read_text("utf-8")


def test_vtt_is_read_by_a_subtitle_parser(tmp_path: Path) -> None:
    (path,) = write_export(turning(), "vtt", tmp_path)
    cues = list(webvtt.read(str(path)))
    assert [(cue.start, cue.end) for cue in cues] == [
        ("00:00:00.000", "00:00:02.000"),
        ("00:00:02.000", "00:00:04.000"),
    ]
    assert [cue.text for cue in cues] == ["😠 Angry 87%", "😢 Sad 87%"]


def test_vtt_escapes_the_labels_of_a_foreign_checkpoint(tmp_path: Path) -> None:
    foreign = replace(turning(), segments=(Segment(0.0, 4.0, "joy<b>&-->", 0.5),))
    (path,) = write_export(foreign, "vtt", tmp_path)
    assert "joy&lt;b&gt;&amp;--&gt; 50%" in path.read_text("utf-8").lower()


@pytest.mark.parametrize(("analysis", "spans"), [(turning(), TURNING), (whole(), WHOLE)])
def test_textgrid_is_read_by_praatio_and_has_no_gaps(
    tmp_path: Path, analysis: Analysis, spans: list[tuple[float, float, str]]
) -> None:
    (path,) = write_export(analysis, "textgrid", tmp_path)
    grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=True, reportingMode="error")
    assert grid.tierNames == ("emotion",)
    assert (grid.minTimestamp, grid.maxTimestamp) == (0, analysis.clip.duration_s)
    assert [tuple(entry) for entry in grid.getTier("emotion").entries] == spans


def test_textgrid_doubles_quotes(tmp_path: Path) -> None:
    foreign = replace(turning(), segments=(Segment(0.0, 4.0, 'so-called "joy"', 0.5),))
    (path,) = write_export(foreign, "textgrid", tmp_path)
    assert 'text = "so-called ""joy"""' in path.read_text("utf-8")
    grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=True)
    assert grid.getTier("emotion").entries[0].label == 'so-called "joy"'


def test_audacity_labels_are_separated_by_tabs(tmp_path: Path) -> None:
    (path,) = write_export(turning(), "audacity", tmp_path)
    assert path.read_text("utf-8") == "0.000000\t2.000000\t😠 Angry 87%\n2.000000\t4.000000\t😢 Sad 87%\n"


def test_rttm_has_ten_fields_whatever_the_name(tmp_path: Path) -> None:
    analysis = replace(turning(), clip=Clip("my  long\tcall.wav", turning_clip().samples))
    (path,) = write_export(analysis, "rttm", tmp_path)
    assert [line.split() for line in path.read_text("utf-8").splitlines()] == [
        ["SPEAKER", "my%20%20long%09call", "1", "0.000", "2.000", "<NA>", "<NA>", "angry", "<NA>", "<NA>"],
        ["SPEAKER", "my%20%20long%09call", "1", "2.000", "2.000", "<NA>", "<NA>", "sad", "<NA>", "<NA>"],
    ]


def test_two_names_never_share_an_rttm_id(tmp_path: Path) -> None:
    names = ["a b.wav", "a_b.wav", "a%20b.wav", "spk1/a.wav", "spk2/a.wav", "a" * 120 + "1.wav", "a" * 120 + "2.wav"]
    ids = set()
    for name in names:
        (path,) = write_export(replace(turning(), clip=Clip(name, turning_clip().samples)), "rttm", tmp_path)
        ids.add(path.read_text("utf-8").split()[1])
    assert len(ids) == len(names)


def test_silence_is_a_segment_of_its_own_in_every_format(tmp_path: Path) -> None:
    clip = Clip("talk.wav", np.concatenate([tone(2.0), np.zeros(32_000, np.float32), tone(2.0)]))
    written = {}
    for format in EXPORT_FORMATS:
        for path in write_export(analyze(clip, "frame"), format, tmp_path):
            written[path.name] = path.read_text("utf-8")
    assert "2.0,4.0,silence,0.0" in written["segments.csv"]
    for name in ("emotion.srt", "emotion.vtt", "audacity_labels.txt"):
        assert "🔇 No speech\n" in written[name]
    assert 'text = "silence"' in written["emotion.TextGrid"]
    assert "NON-SPEECH talk 1 2.000 2.000 <NA> other silence <NA> <NA>" in written["emotion.rttm"]
    assert '"silence"' in written["labelstudio.json"]


def test_labelstudio_predictions_refer_to_the_configuration(tmp_path: Path) -> None:
    task_path, config_path = write_export(turning(), "labelstudio", tmp_path)
    (task,) = json.loads(task_path.read_text("utf-8"))
    config = read_config(config_path)
    labels, audio = config.find("Labels"), config.find("Audio")
    assert task["data"] == {audio.get("value").removeprefix("$"): "call.wav"}
    (prediction,) = task["predictions"]
    assert prediction["model_version"] == "fake"
    regions = prediction["result"]
    assert [(r["value"]["start"], r["value"]["end"], *r["value"]["labels"]) for r in regions] == TURNING
    for region in regions:
        assert (region["from_name"], region["to_name"]) == (labels.get("name"), audio.get("name"))
        assert region["type"] == "labels"
        assert 0 <= region["score"] <= 1
    assert [label.get("value") for label in labels] == [*LABELS, "silence"]
    assert len({region["id"] for region in regions}) == 2


def test_labelstudio_config_escapes_the_labels_of_a_foreign_checkpoint(tmp_path: Path) -> None:
    analysis = turning()
    foreign = replace(analysis, model=replace(analysis.model, labels=('"joy" & <co>', *LABELS[1:])))
    config = read_config(write_export(foreign, "labelstudio", tmp_path)[1])
    assert config.find("Labels")[0].get("value") == '"joy" & <co>'
