import csv
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import openpyxl
import pytest
import soundfile

from emotion.analysis import MAX_FRAMES_IN_JSON, Segment
from emotion.audio import Clip
from emotion.errors import DiskFull, FolderNotWritable, SettingsInvalid
from emotion.outputs import EXPORT_FORMATS, BatchRun, remove_stale, safe_name, write_run
from emotion.outputs import run as run_room
from tests.fakes import LABELS, NOON, analyze, loud_clip, turning_clip

NOON_RUN = "outputs_20261122_120000"
HOSTILE_NAMES = [
    "../../etc/passwd",
    "/etc/passwd",
    "..",
    ".",
    "",
    "...",
    "   ",
    "C:\\Users\\x\\call.wav",
    "\\\\server\\share\\call.wav",
    "call\0.wav",
    "call\n\r\t.wav",
    "\u202egnp.wav",
    "a\u2028b.wav",
    "CON.wav",
    "nul",
    "com1.tar.gz",
    "LPT¹.wav",
    ".hidden.wav",
    "-rf.wav",
    "x" * 5000,
    "说" * 5000 + ".wav",
    "😊👨\u200d👩\u200d👧.wav",
    "half\udc80character.wav",
    "what?<is>|this*.wav",
    "ends with dots....",
    "summary.csv.wav",
]


def parse_strictly(text: str) -> dict:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def summary_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def files_up_to(limit_bytes: int) -> Iterator[None]:
    """A disk on which no file grows beyond the limit: writing more fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_a_run_has_the_sound_and_the_result(tmp_path: Path) -> None:
    files = write_run(tmp_path, analyze(loud_clip()))
    assert files.folder == tmp_path / NOON_RUN
    assert names_in(files.folder) == ["processed_audio.wav", "result.json"]
    result = parse_strictly(files.result.read_text("utf-8"))
    assert result["emotion"] == "angry"
    assert result["timestamp"] == "2026-11-22 12:00:00"


def test_the_result_is_the_record_and_the_time_of_writing(tmp_path: Path) -> None:
    analysis = analyze(turning_clip(), "frame").with_timing("inference", 12.34)
    files = write_run(tmp_path, analysis)
    result = parse_strictly(files.result.read_text("utf-8"))
    assert result.pop("timings_ms") == files.analysis.timings_ms
    assert files.analysis.timings_ms["inference"] == 12.3
    assert files.analysis.timings_ms["write"] > 0
    expected = analysis.record()
    del expected["timings_ms"]
    assert result == expected
    assert list(result) == list(expected)


def test_the_result_is_made_to_be_read(tmp_path: Path) -> None:
    analysis = analyze(turning_clip('通话 },{"x.wav'), "frame")
    lines = write_run(tmp_path, analysis).result.read_text("utf-8").splitlines()
    assert '  "file": "通话 },{\\"x.wav",' in lines
    assert sum(line.startswith('    {"index":') for line in lines) == len(analysis.frame_scores)
    assert sum(line.startswith('    {"start":') for line in lines) == len(analysis.segments)


def test_a_score_that_is_no_number_becomes_null(tmp_path: Path) -> None:
    analysis = replace(analyze(loud_clip()), segments=(Segment(0.0, 1.0, "sad", float("nan")),))
    frames = np.full_like(analyze(loud_clip(), "frame").frame_scores, np.inf)
    files = write_run(tmp_path, replace(analysis, frame_scores=frames))
    result = parse_strictly(files.result.read_text("utf-8"))
    assert result["segments"][0]["confidence"] is None
    assert result["frames"][0]["scores"]["sad"] is None


def test_the_processed_sound_is_the_clip(tmp_path: Path) -> None:
    clip = loud_clip(0.5)
    audio = write_run(tmp_path, analyze(clip)).audio
    samples, rate_hz = soundfile.read(audio, dtype="float32")
    assert rate_hz == 16_000
    assert samples.ndim == 1
    np.testing.assert_allclose(samples, clip.samples, atol=0.5 / 32768)


def test_the_sound_can_be_left_out(tmp_path: Path) -> None:
    files = write_run(tmp_path, analyze(loud_clip()), keep_audio=False)
    assert files.audio is None
    assert files.all == [files.result]


@pytest.mark.parametrize("granularity", ["utterance", "frame"])
def test_the_embedding_is_saved_when_asked_for(tmp_path: Path, granularity: str) -> None:
    analysis = analyze(loud_clip(), granularity, embedding=True)
    saved = np.load(write_run(tmp_path, analysis).embedding, allow_pickle=False)
    assert saved.shape == ((8,) if granularity == "utterance" else (49, 8))
    assert saved.dtype == np.float32
    np.testing.assert_array_equal(saved, analysis.embedding)


def test_frames_of_more_than_ten_minutes_go_to_a_file_of_their_own(tmp_path: Path) -> None:
    analysis = analyze(loud_clip(600.1), "frame")
    assert len(analysis.frame_scores) > MAX_FRAMES_IN_JSON
    files = write_run(tmp_path, analysis, keep_audio=False)
    result = parse_strictly(files.result.read_text("utf-8"))
    assert "frames" not in result
    assert files.folder / result["frames_file"] == files.frames
    with np.load(files.frames, allow_pickle=False) as frames:
        assert frames["times_s"].shape == (result["num_frames"],)
        np.testing.assert_allclose(frames["times_s"][:3], [0, 0.02, 0.04])
        np.testing.assert_array_equal(frames["scores"], analysis.frame_scores)


def test_frames_of_up_to_ten_minutes_stay_in_the_result(tmp_path: Path) -> None:
    analysis = analyze(loud_clip(600.005), "frame")
    assert len(analysis.frame_scores) == MAX_FRAMES_IN_JSON
    files = write_run(tmp_path, analysis, keep_audio=False)
    assert files.frames is None
    assert len(parse_strictly(files.result.read_text("utf-8"))["frames"]) == MAX_FRAMES_IN_JSON


def test_exports_lie_beside_the_result(tmp_path: Path) -> None:
    files = write_run(tmp_path, analyze(turning_clip(), "frame", embedding=True), [*EXPORT_FORMATS, "csv"])
    assert tuple(files.exports) == EXPORT_FORMATS
    assert files.exports["csv"] == (files.folder / "segments.csv", files.folder / "frames.csv")
    assert sorted(path.name for path in files.all) == names_in(files.folder)


def test_an_unknown_export_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="'xml'"):
        write_run(tmp_path, analyze(loud_clip()), ["xml"])
    assert names_in(tmp_path) == []


def test_a_second_run_in_the_same_second_gets_its_own_folder(tmp_path: Path) -> None:
    folders = [write_run(tmp_path, analyze(loud_clip())).folder.name for _ in range(3)]
    assert folders == [NOON_RUN, f"{NOON_RUN}_2", f"{NOON_RUN}_3"]


def test_a_file_with_the_name_of_a_run_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / NOON_RUN).write_text("mine")
    assert write_run(tmp_path, analyze(loud_clip())).folder.name == f"{NOON_RUN}_2"
    assert (tmp_path / NOON_RUN).read_text() == "mine"


def test_threads_that_write_at_once_never_share_a_folder(tmp_path: Path) -> None:
    analysis, start = analyze(loud_clip(0.1)), threading.Barrier(8)

    def write(_: int) -> list[Path]:
        start.wait()
        return [write_run(tmp_path, analysis).folder for _ in range(5)]

    with ThreadPoolExecutor(8) as pool:
        folders = [folder for written in pool.map(write, range(8)) for folder in written]
    assert len(set(folders)) == 40
    assert names_in(tmp_path) == sorted(folder.name for folder in folders)


def test_processes_that_write_at_once_never_share_a_folder(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from tests.fakes import *; from emotion.outputs import write_run\n"
        "analysis = analyze(loud_clip(0.1)); print('ready', flush=True); sys.stdin.readline()\n"
        "for _ in range(20): print(write_run(Path(sys.argv[1]), analysis).folder.name)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-c", script, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    writers = [subprocess.Popen(command, **pipes) for _ in range(2)]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    written = [name for writer in writers for name in writer.communicate(timeout=60)[0].split()]
    assert len(set(written)) == 40
    assert names_in(tmp_path) == sorted(written)


@pytest.mark.parametrize("kept", ["audio", "embedding", "frames", "export"])
def test_a_disk_that_fills_up_leaves_nothing(tmp_path: Path, kept: str) -> None:
    clip = loud_clip(601 if kept == "frames" else 20)
    analysis = analyze(clip, "utterance" if kept == "audio" else "frame", embedding=kept == "embedding")
    exports = ["csv"] if kept == "export" else []
    with files_up_to(20_000), pytest.raises(DiskFull):
        write_run(tmp_path, analysis, exports, keep_audio=kept == "audio")
    assert names_in(tmp_path) == []


def test_a_failure_in_mid_run_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_room, "json_entries", fail)
    with pytest.raises(KeyboardInterrupt):
        write_run(tmp_path, analyze(loud_clip()))
    assert names_in(tmp_path) == []


def test_outputs_that_cannot_be_a_folder_are_an_error_that_says_so(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    outputs.write_text("a file")
    with pytest.raises(FolderNotWritable, match="'outputs' cannot be written: Not a directory"):
        write_run(outputs, analyze(loud_clip()))


def test_what_a_crash_left_is_removed_after_a_day_and_not_before(tmp_path: Path) -> None:
    day_s = 24 * 3600
    for name, age_s in [(".partial-old", day_s + 60), (".partial-new", day_s - 60), ("outputs_old", 9 * day_s)]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "processed_audio.wav").write_bytes(b"")
        os.utime(tmp_path / name, (NOON.timestamp() - age_s,) * 2)
    remove_stale(tmp_path, NOON.timestamp())
    assert names_in(tmp_path) == [".partial-new", "outputs_old"]


def test_the_first_run_of_a_process_removes_what_is_stale(tmp_path: Path) -> None:
    (tmp_path / ".partial-old").mkdir()
    os.utime(tmp_path / ".partial-old", (0, 0))
    write_run(tmp_path, analyze(loud_clip()))
    assert names_in(tmp_path) == [NOON_RUN]


def test_a_batch_has_a_folder_per_clip_and_a_summary(tmp_path: Path) -> None:
    with BatchRun(tmp_path, now=NOON) as batch:
        first = batch.add(analyze(loud_clip(name="anna.wav")), ["srt"])
        batch.add_failure("broken.wav", "This is\nno sound.")
        batch.add(analyze(turning_clip("ben.m4a"), "frame"))
    assert batch.folder == tmp_path / NOON_RUN
    assert names_in(batch.folder) == ["anna", "ben", "summary.csv", "summary.xlsx"]
    assert names_in(first.folder) == ["emotion.srt", "processed_audio.wav", "result.json"]
    rows = summary_rows(batch.close())
    assert [row["file"] for row in rows] == ["anna.wav", "broken.wav", "ben.m4a"]
    assert [row["folder"] for row in rows] == ["anna", "", "ben"]
    assert rows[0]["emotion"] == "angry"
    assert float(rows[0]["confidence"]) == pytest.approx(first.analysis.confidence, abs=1e-6)
    assert rows[0] | {"uncertain": "false", "duration_s": "1.0", "model": "fake", "error": ""} == rows[0]
    assert rows[1]["error"] == "This is no sound."
    assert rows[2]["uncertain"] == "true"


def test_a_batch_and_a_run_in_one_second_have_two_folders(tmp_path: Path) -> None:
    with BatchRun(tmp_path, now=NOON) as batch, BatchRun(tmp_path, now=NOON) as second:
        single = write_run(tmp_path, analyze(loud_clip()))
    assert [batch.folder.name, second.folder.name, single.folder.name] == [NOON_RUN, f"{NOON_RUN}_2", f"{NOON_RUN}_3"]


def test_a_batch_without_a_moment_is_named_after_now(tmp_path: Path) -> None:
    before = datetime.now().replace(microsecond=0)
    with BatchRun(tmp_path) as batch:
        named = datetime.strptime(batch.folder.name, "outputs_%Y%m%d_%H%M%S")
    assert before <= named <= datetime.now()


def test_the_summary_knows_each_clip_before_the_batch_is_closed(tmp_path: Path) -> None:
    batch = BatchRun(tmp_path, now=NOON)
    batch.add(analyze(loud_clip()))
    assert [row["folder"] for row in summary_rows(batch.summary)] == ["call"]


def test_a_clip_that_finds_the_disk_full_leaves_its_neighbours(tmp_path: Path) -> None:
    with BatchRun(tmp_path, now=NOON) as batch:
        batch.add(analyze(loud_clip(0.1, "small.wav")))
        with files_up_to(20_000), pytest.raises(DiskFull):
            batch.add(analyze(loud_clip(5, "large.wav")))
        batch.add(analyze(loud_clip(0.1, "last.wav")))
    assert names_in(batch.folder) == ["last", "small", "summary.csv", "summary.xlsx"]
    assert [row["file"] for row in summary_rows(batch.summary)] == ["small.wav", "last.wav"]


def test_a_clip_whose_row_cannot_be_written_is_not_there(tmp_path: Path) -> None:
    with BatchRun(tmp_path, now=NOON) as batch:
        batch.add_failure("x.wav", "x" * 29_000)
        before = batch.summary.read_bytes()
        with files_up_to(len(before) + 10), pytest.raises(DiskFull):
            batch.add(analyze(loud_clip(0.1)))
        assert names_in(batch.folder) == ["summary.csv"]
        assert batch.summary.read_bytes() == before


def test_a_batch_whose_folder_is_gone_says_so(tmp_path: Path) -> None:
    batch = BatchRun(tmp_path, now=NOON)
    batch.summary.unlink()
    batch.folder.rmdir()
    batch.folder.write_text("a file")
    with pytest.raises(FolderNotWritable):
        batch.add(analyze(loud_clip(0.1)))
    assert names_in(tmp_path) == [NOON_RUN]


def test_clips_of_one_name_get_folders_of_their_own_whatever_the_case(tmp_path: Path) -> None:
    with BatchRun(tmp_path, now=NOON) as batch:
        names = ["call.wav", "call.mp3", "CALL.wav", "call_2.wav"]
        folders = [batch.add(analyze(loud_clip(0.1, name))).folder.name for name in names]
    assert folders == ["call", "call_2", "CALL_3", "call_2_2"]


def test_hostile_names_stay_inside_the_run(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    with BatchRun(outputs, now=NOON) as batch:
        for name in HOSTILE_NAMES * 2:
            files = batch.add(analyze(Clip(name, loud_clip(0.1).samples)), EXPORT_FORMATS)
            assert files.folder.parent == batch.folder
            assert files.folder.is_dir()
            parse_strictly(files.result.read_text("utf-8"))
    assert len(names_in(batch.folder)) == 2 * len(HOSTILE_NAMES) + 2
    assert len(summary_rows(batch.summary)) == 2 * len(HOSTILE_NAMES)
    assert names_in(tmp_path) == ["outputs"]
    assert names_in(outputs) == [NOON_RUN]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_safe_name_is_safe(name: str) -> None:
    safe = safe_name(name)
    assert 0 < len(safe.encode()) <= 101
    assert not set(safe) & set('/\\<>:"|?*\0\n\r\t\u2028\u202e\u200d')
    assert safe[0] not in " .-"
    assert safe[-1] not in " ."
    assert safe.split(".")[0].casefold() not in {"con", "nul", "com1", "lpt¹"}


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("call.m4a", "call"),
        ("通话 2026-11-22.wav", "通话 2026-11-22"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\x\\call.wav", "call"),
        ("😊.wav", "😊"),
        ("CON.wav", "_CON"),
        ("..", "clip"),
        ("v1.2 of my talk", "v1.2 of my talk"),
        ("Cafe\u0301.wav", "Café"),
    ],
)
def test_a_safe_name_keeps_what_it_can(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_a_summary_runs_no_formula(tmp_path: Path) -> None:
    with BatchRun(tmp_path, now=NOON) as batch:
        batch.add_failure("=HYPERLINK(1).wav", "@SUM(1)")
    assert (
        summary_rows(batch.summary)[0] | {"file": "'=HYPERLINK(1).wav", "error": "'@SUM(1)"}
        == summary_rows(batch.summary)[0]
    )


def test_the_summary_of_a_batch_is_a_workbook_too(tmp_path):
    with BatchRun(tmp_path, NOON) as batch:
        batch.add(analyze(loud_clip(name="+49 170 1234.wav")))
        batch.add(analyze(Clip("=1+1.wav", np.zeros(16_000, np.float32))))
        batch.add_failure("broken.wav", "is empty")
    assert summary_rows(batch.summary)[0]["score_angry"] == "0.872201"
    sheet = openpyxl.load_workbook(batch.folder / "summary.xlsx").active
    header, loud, silent, broken = ([cell.value for cell in row] for row in sheet.iter_rows())
    assert header[:3] == ["file", "emotion", "confidence"]
    assert header[-9:] == [f"score_{label}" for label in LABELS]
    assert dict(zip(header, loud, strict=True))["file"] == "+49 170 1234.wav"
    assert dict(zip(header, loud, strict=True))["score_angry"] == pytest.approx(0.872, abs=1e-3)
    assert (silent[0], silent[1], dict(zip(header, silent, strict=True))["silent"]) == ("=1+1.wav", "silence", True)
    assert (broken[0], broken[header.index("error")]) == ("broken.wav", "is empty")
    assert sheet.auto_filter.ref
