import io
import logging
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import orjson
import pytest

from emotion.analysis import Analysis, Segment
from emotion.audio import Clip, write_wav
from emotion.errors import RunIsOpen, RunNotFound
from emotion.outputs import EXPORT_FORMATS, BatchRun, History, Retention, RetentionTask, locks, remove_stale, write_run
from emotion.outputs import index as entries_room
from emotion.outputs.history import matching_clips
from emotion.outputs.retention import apply
from tests.fakes import LABELS, NOON, analyze, loud_clip, soft, tone, turning_clip, wait_for

NOON_RUN = "outputs_20261122_120000"
DAY_S = 86_400.0
HOSTILE_FOLDERS = [
    "",
    ".",
    "..",
    "/",
    "/etc",
    "outputs_20261122_120000/..",
    "outputs_20261122_120000/../outputs_20261122_120001",
    "outputs_20261122_120000/./call",
    "outputs_20261122_120000/call/..",
    "outputs_20261122_120000/call/deeper",
    "outputs_20261122_120000//call",
    "outputs_20261122_120000/",
    "outputs_20261122_120000/.hidden",
    "outputs_20261122_120000/call\0",
    "outputs_20261122_120000\n",
    "outputs_20261122_120000\\call",
    "outputs_20261122_120000/" + "x" * 5000,
    "outputs_20261122_120000/half\udc80",
    "outputs_20260230_120000",
    "outputs_２０２６1122_120000",
    "outputs_00010101_000000",
    "outputs_20261122_120000_0",
    "outputs_20261122_120000_9999999999999999999",
    "../outputs/outputs_20261122_120000",
    "mine",
]


def written(outputs: Path, *clips: Clip, hours_before: float = 0.0) -> str:
    """The name of a new run, a batch where there are several clips."""
    moment = NOON - timedelta(hours=hours_before)
    if len(clips) == 1:
        return write_run(outputs, replace(analyze(clips[0]), timestamp=moment)).folder.name
    with BatchRun(outputs, now=moment) as batch:
        for clip in clips:
            batch.add(analyze(clip))
    os.utime(batch.summary, (moment.timestamp(),) * 2)
    return batch.folder.name


def names_of(history: History, search: str = "", emotion: str = "", limit: int | None = None) -> list[str]:
    return [run.name for run in history.runs(search, emotion, limit).runs]


def reopened(tmp_path: Path, analysis: Analysis, **words: object) -> tuple[Analysis, Analysis]:
    """The analysis as it was written, and as it comes back."""
    files = write_run(tmp_path, analysis, **words)
    return files.analysis, History(tmp_path).open_clip(files.folder.name).analysis


def changed_result(folder: Path, **changes: object) -> None:
    record = {**orjson.loads((folder / "result.json").read_bytes()), **changes}
    (folder / "result.json").write_bytes(orjson.dumps({k: v for k, v in record.items() if v is not ...}))


@contextmanager
def batch_of_another_process(outputs: Path) -> Iterator[subprocess.Popen[str]]:
    """Another program that has begun a batch at noon and waits for a line before it closes it."""
    script = (
        "import sys; from pathlib import Path; from tests.fakes import *; from emotion.outputs import BatchRun\n"
        "batch = BatchRun(Path(sys.argv[1]), now=NOON); print('ready', flush=True); sys.stdin.readline(); batch.close()"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    with subprocess.Popen([sys.executable, "-c", script, str(outputs)], **pipes) as writer:
        try:
            assert writer.stdout.readline() == "ready\n"
            yield writer
        finally:
            writer.kill()


def test_a_run_is_listed_with_what_is_in_it(tmp_path: Path) -> None:
    files = write_run(tmp_path, analyze(turning_clip(), "frame", embedding=True))
    page = History(tmp_path).runs()
    assert page.total == 1
    (run,) = page.runs
    assert (run.name, run.started, run.is_batch, run.is_open) == (NOON_RUN, NOON, False, False)
    assert run.size_bytes == sum(path.stat().st_size for path in files.all)
    assert run.file_count == len(files.all) == 3
    assert (page.kept_runs, page.kept_bytes) == (1, run.size_bytes)
    (clip,) = run.clips
    assert (clip.file, clip.folder, clip.emotion, clip.granularity) == ("call.wav", NOON_RUN, "angry", "frame")
    assert (clip.confidence, clip.uncertain) == (files.analysis.confidence, True)
    assert (clip.duration_s, clip.model, clip.has_audio, clip.has_embedding, clip.error) == (
        4.0,
        "fake",
        True,
        True,
        "",
    )


def test_outputs_that_were_never_written_hold_no_runs(tmp_path: Path) -> None:
    assert History(tmp_path / "nowhere").runs().runs == ()


@pytest.mark.parametrize("granularity", ["utterance", "frame"])
@pytest.mark.parametrize("embedding", [False, True])
def test_a_reopened_analysis_is_the_written_one(tmp_path: Path, granularity: str, embedding: bool) -> None:
    before, after = reopened(tmp_path, analyze(turning_clip(), granularity, embedding).with_timing("decode", 1.5))
    np.testing.assert_array_equal(after.scores, before.scores)
    assert after.record() == before.record()
    kept_segments = before.segments if granularity == "frame" else ()
    assert (after.request, after.model.labels, after.segments) == (before.request, LABELS, kept_segments)
    assert (after.timestamp, after.timings_ms, after.silent) == (before.timestamp, before.timings_ms, False)
    np.testing.assert_allclose(after.clip.samples, before.clip.samples, atol=0.5 / 32768)
    if granularity == "frame":
        np.testing.assert_allclose(after.frame_scores, before.frame_scores, atol=5.1e-7)
    if embedding:
        assert isinstance(after.embedding, np.memmap)
        np.testing.assert_array_equal(after.embedding, before.embedding)


def test_a_reopened_long_clip_has_its_frames_from_their_own_file(tmp_path: Path) -> None:
    before, after = reopened(tmp_path, analyze(loud_clip(600.1), "frame"), keep_audio=False)
    np.testing.assert_array_equal(after.frame_scores, before.frame_scores)
    assert after.record() == before.record()


def test_the_files_of_a_reopened_clip_are_those_that_were_written(tmp_path: Path) -> None:
    files = write_run(tmp_path, analyze(turning_clip(), "frame", embedding=True), EXPORT_FORMATS)
    again = History(tmp_path).open_clip(NOON_RUN)
    assert (again.all, again.exports, again.folder) == (files.all, files.exports, files.folder)


@pytest.mark.parametrize("num_samples", [400, 719, 720, 16_007, 160_123])
def test_a_clip_whose_sound_was_not_kept_keeps_its_length(tmp_path: Path, num_samples: int) -> None:
    clip = Clip("call.wav", tone(20.0)[:num_samples])
    before, after = reopened(tmp_path, analyze(clip), keep_audio=False)
    assert len(after.clip.samples) == 0
    assert after.clip.duration_s == pytest.approx(clip.duration_s, abs=0.0005)
    assert after.record() == before.record()
    assert History(tmp_path).open_clip(NOON_RUN).audio is None
    assert not History(tmp_path).runs().runs[0].clips[0].has_audio


@pytest.mark.parametrize("keep_audio", [True, False])
def test_silence_comes_back_as_silence(tmp_path: Path, keep_audio: bool) -> None:
    _, after = reopened(tmp_path, analyze(Clip("x.wav", np.zeros(16_000, np.float32))), keep_audio=keep_audio)
    assert after.silent
    assert after.uncertain


def test_sound_that_16_bits_make_silent_does_not_come_back_as_silence(tmp_path: Path) -> None:
    faint = Clip("x.wav", np.where(tone(1.0) > 0, 1.03e-4, -1.03e-4).astype(np.float32))
    _, after = reopened(tmp_path, replace(analyze(faint), speech_s=1.0))
    assert not after.silent


def test_a_result_that_does_not_speak_of_silence_is_judged_by_its_sound(tmp_path: Path) -> None:
    for clip in (Clip("x.wav", np.zeros(16_000, np.float32)), turning_clip()):
        changed_result(write_run(tmp_path, analyze(clip)).folder, silent=...)
    history = History(tmp_path)
    assert history.open_clip(NOON_RUN).analysis.silent
    assert not history.open_clip(f"{NOON_RUN}_2").analysis.silent


def test_scores_that_are_no_numbers_come_back_as_such(tmp_path: Path) -> None:
    analysis = replace(analyze(loud_clip(), "frame"), segments=(Segment(0.0, 1.0, "sad", float("nan")),))
    _, after = reopened(tmp_path, replace(analysis, frame_scores=np.full_like(analysis.frame_scores, np.nan)))
    assert np.isnan(after.frame_scores).all()
    assert np.isnan(after.segments[0].confidence)


def test_a_label_that_the_model_cannot_tell_is_known_again(tmp_path: Path) -> None:
    analysis = analyze(loud_clip(), "frame")
    analysis.scores[2] = 0
    analysis.frame_scores[:, 2] = 0
    _, after = reopened(tmp_path, analysis)
    assert after.model.unsupported_labels == (LABELS[2],)


@pytest.mark.parametrize("folder", HOSTILE_FOLDERS)
def test_a_hostile_name_finds_nothing(tmp_path: Path, folder: str) -> None:
    outputs = tmp_path / "outputs"
    with BatchRun(outputs, now=NOON) as batch:
        batch.add(analyze(loud_clip()))
    (outputs / "mine").mkdir()
    (batch.folder / ".hidden").mkdir()
    (batch.folder / "call" / "deeper").mkdir()
    history = History(outputs)
    for ask in (history.open_clip, history.delete, history.zip_chunks, history.run):
        with pytest.raises(RunNotFound) as caught:
            ask(folder)
        assert str(tmp_path) not in caught.value.message
    assert (outputs / "mine").is_dir()
    assert history.open_clip(f"{NOON_RUN}/call").analysis.emotion.key == "angry"


def test_links_are_never_followed(tmp_path: Path) -> None:
    outputs, elsewhere = tmp_path / "outputs", tmp_path / "elsewhere"
    secret = write_run(elsewhere, analyze(loud_clip()))
    run = write_run(outputs, analyze(loud_clip()), ["srt"])
    (outputs / f"{NOON_RUN}_2").symlink_to(secret.folder)
    for name in ("processed_audio.wav", "emotion.srt"):
        (run.folder / name).unlink()
        (run.folder / name).symlink_to(secret.audio)
    history = History(outputs)
    assert names_of(history) == [NOON_RUN]
    for ask in (history.open_clip, history.delete, history.zip_chunks):
        with pytest.raises(RunNotFound):
            ask(f"{NOON_RUN}_2")
    assert history.open_clip(NOON_RUN).all == [run.result]
    assert zipfile.ZipFile(io.BytesIO(b"".join(history.zip_chunks(NOON_RUN)))).namelist() == [f"{NOON_RUN}/result.json"]
    history.delete(NOON_RUN)
    assert secret.audio.is_file()


def test_the_newest_run_stands_first(tmp_path: Path) -> None:
    for hours_before in (1, 0, 2):
        written(tmp_path, loud_clip(0.1), hours_before=hours_before)
    same_second = [written(tmp_path, loud_clip(0.1)) for _ in range(10)]
    expected = [*reversed(same_second), NOON_RUN, "outputs_20261122_110000", "outputs_20261122_100000"]
    history = History(tmp_path)
    assert names_of(history) == expected
    page = history.runs(limit=3, offset=2)
    assert ([run.name for run in page.runs], page.total) == (expected[2:5], 13)
    assert history.runs(limit=3, offset=99).runs == ()


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("call", ["Call 1.wav"]),
        ("CALL", ["Call 1.wav"]),
        ("通话", ["通话记录.m4a"]),
        ("  记录 ", ["通话记录.m4a"]),
        ("U\u0308ber", ["über.wav"]),
        (".*", []),
        ("", ["über.wav", "通话记录.m4a", "Call 1.wav"]),
    ],
)
def test_runs_are_found_by_a_part_of_a_file_name(tmp_path: Path, search: str, found: list[str]) -> None:
    for name in ("Call 1.wav", "通话记录.m4a", "über.wav"):
        written(tmp_path, loud_clip(0.1, name))
    page = History(tmp_path).runs(search)
    assert [run.clips[0].file for run in page.runs] == found
    assert page.total == len(found)


def test_the_clips_that_a_search_is_about_are_told_from_the_others_of_their_run(tmp_path: Path) -> None:
    written(tmp_path, loud_clip(name="anna.wav"), turning_clip("ben.wav"))
    written(tmp_path, loud_clip(name="zoe.wav"), hours_before=1)
    page = History(tmp_path).runs(search="BEN")
    assert [clip.file for clip in matching_clips(page.runs[0], "BEN")] == ["ben.wav"]
    assert matching_clips(page.runs[0], "ben", "happy") == ()
    assert matching_clips(page.runs[0], " ") == page.runs[0].clips
    assert (page.total, page.kept_runs) == (1, 2)
    assert page.kept_bytes == sum(run.size_bytes for run in History(tmp_path).runs().runs) > page.runs[0].size_bytes


def test_runs_are_found_by_the_emotion_of_one_of_their_clips(tmp_path: Path) -> None:
    sad = Clip("sad.wav", np.concatenate([tone(0.5), soft(3.0)]))
    angry, both = written(tmp_path, loud_clip()), written(tmp_path, loud_clip(), sad)
    history = History(tmp_path)
    assert names_of(history, emotion="angry") == [both, angry]
    assert names_of(history, emotion="sad") == [both]
    assert names_of(history, emotion="happy") == []
    assert names_of(history, search="sad", emotion="sad") == [both]
    assert names_of(history, search="sad", emotion="angry") == []


def test_a_batch_is_one_run_with_its_clips_and_its_failures_in_order(tmp_path: Path) -> None:
    with BatchRun(tmp_path, now=NOON) as batch:
        second = batch.add(analyze(loud_clip(name="ben.wav")))
        batch.add_failure("=broken.wav", "This is\nno sound.")
        batch.add(analyze(loud_clip(name="anna.wav"), embedding=True), keep_audio=False)
        batch.add(analyze(loud_clip(name="=formula.wav")))
    (run,) = History(tmp_path).runs().runs
    assert run.is_batch
    assert [clip.file for clip in run.clips] == ["ben.wav", "=broken.wav", "anna.wav", "=formula.wav"]
    assert [clip.folder for clip in run.clips] == [f"{NOON_RUN}/ben", "", f"{NOON_RUN}/anna", f"{NOON_RUN}/=formula"]
    assert [clip.error for clip in run.clips] == ["", "This is no sound.", "", ""]
    assert [clip.has_audio for clip in run.clips] == [True, False, False, True]
    assert [clip.has_embedding for clip in run.clips] == [False, False, True, False]
    assert run.size_bytes == sum(path.stat().st_size for path in batch.folder.rglob("*") if path.is_file())
    again = History(tmp_path).open_clip(run.clips[0].folder)
    assert (again.all, again.analysis.record()) == (second.all, second.analysis.record())
    assert History(tmp_path).open_clip(f"{NOON_RUN}/=formula").analysis.clip.name == "=formula.wav"


def test_a_batch_that_grows_is_read_again_and_only_where_it_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    read_head = entries_room.read_head
    monkeypatch.setattr(entries_room, "read_head", lambda folder: read.append(folder.name) or read_head(folder))
    history = History(tmp_path)
    with BatchRun(tmp_path, now=NOON) as batch:
        assert history.run(NOON_RUN).clips == ()
        batch.add(analyze(loud_clip(name="anna.wav")))
        assert [clip.file for clip in history.run(NOON_RUN).clips] == ["anna.wav"]
        batch.add_failure("broken.wav", "no sound")
        assert [clip.file for clip in history.run(NOON_RUN).clips] == ["anna.wav", "broken.wav"]
        batch.add(analyze(loud_clip(name="ben.wav")))
        assert [clip.file for clip in history.run(NOON_RUN).clips] == ["anna.wav", "broken.wav", "ben.wav"]
    assert read == ["anna", "ben"]


def test_a_clip_that_a_crash_left_without_a_row_is_shown_last(tmp_path: Path) -> None:
    with BatchRun(tmp_path, now=NOON) as batch:
        batch.add(analyze(loud_clip(name="zoe.wav")))
        row_bytes = batch.summary.read_bytes()
        batch.add(analyze(loud_clip(name="anna.wav")))
    batch.summary.write_bytes(row_bytes + b"anna.wav,ang")
    (run,) = History(tmp_path).runs().runs
    assert [clip.file for clip in run.clips] == ["zoe.wav", "anna.wav"]


def test_a_batch_is_open_until_it_is_closed(tmp_path: Path) -> None:
    history = History(tmp_path)
    with BatchRun(tmp_path, now=NOON) as batch:
        batch.add(analyze(loud_clip()))
        assert history.run(NOON_RUN).is_open
        with pytest.raises(RunIsOpen):
            history.delete(NOON_RUN)
        assert [clip.folder for clip in history.run(NOON_RUN).clips] == [f"{NOON_RUN}/call"]
    assert not history.run(NOON_RUN).is_open
    history.delete(NOON_RUN)
    assert list(tmp_path.iterdir()) == []


def test_a_batch_of_another_process_is_open_until_that_closes_it(tmp_path: Path) -> None:
    history = History(tmp_path)
    with batch_of_another_process(tmp_path) as writer:
        assert history.run(NOON_RUN).is_open
        with pytest.raises(RunIsOpen):
            history.delete(NOON_RUN)
        writer.communicate("close\n", timeout=30)
        assert writer.returncode == 0
    assert not history.run(NOON_RUN).is_open
    history.delete(NOON_RUN)


def test_a_batch_whose_process_was_killed_is_open_no_more(tmp_path: Path) -> None:
    history = History(tmp_path)
    with batch_of_another_process(tmp_path) as writer:
        assert history.run(NOON_RUN).is_open
        writer.kill()
        writer.wait(timeout=30)
        assert not history.run(NOON_RUN).is_open
    history.delete(NOON_RUN)
    assert names_of(history) == []


def test_a_batch_that_was_forgotten_is_open_no_more(tmp_path: Path) -> None:
    batch = BatchRun(tmp_path, now=NOON)
    assert History(tmp_path).run(NOON_RUN).is_open
    del batch
    assert not History(tmp_path).run(NOON_RUN).is_open


def test_where_the_system_has_no_locks_a_process_still_knows_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "fcntl", None)
    with BatchRun(tmp_path, now=NOON), pytest.raises(RunIsOpen):
        History(tmp_path).delete(NOON_RUN)
    History(tmp_path).delete(NOON_RUN)


def test_the_folder_of_clients_is_no_run(tmp_path: Path) -> None:
    mine, theirs = written(tmp_path, loud_clip()), written(tmp_path / "clients" / "ann", loud_clip())
    history = History(tmp_path)
    assert names_of(history) == [mine]
    assert names_of(History(tmp_path / "clients" / "ann")) == [theirs]
    for name in ("clients", "clients/ann", f"clients/ann/{theirs}"):
        with pytest.raises(RunNotFound):
            history.run(name)
        with pytest.raises(RunNotFound):
            history.open_clip(name)
        with pytest.raises(RunNotFound):
            history.delete(name)


def test_folders_that_hold_no_result_are_passed_over(tmp_path: Path) -> None:
    for number, change in enumerate([{"schema": 2}, {"scores": {}}, {"file": 7}, {"model": ...}, {"num_frames": None}]):
        files = write_run(tmp_path, analyze(loud_clip(0.1)))
        assert files.folder.name == (NOON_RUN if number == 0 else f"{NOON_RUN}_{number + 1}")
        changed_result(files.folder, **change)
    for name, content in [("cut", b'{"schema": 1,'), ("list", b"[1]"), ("noise", bytes(range(256))), ("none", b"")]:
        files = write_run(tmp_path, analyze(loud_clip(0.1)))
        files.result.write_bytes(content)
        assert name
    (tmp_path / "outputs_20260101_000000").mkdir()
    (tmp_path / "outputs_20260101_000001").write_text("a file")
    (tmp_path / ".partial-0").mkdir()
    (tmp_path / "README.md").write_text("mine")
    good = write_run(tmp_path, analyze(loud_clip(0.1))).folder.name
    history = History(tmp_path)
    for _ in range(2):
        assert names_of(history) == [good]
    for name in sorted(path.name for path in tmp_path.iterdir() if path.name != good):
        with pytest.raises(RunNotFound):
            history.open_clip(name)


def test_the_list_reads_only_the_head_of_a_long_result(tmp_path: Path) -> None:
    files = write_run(tmp_path, analyze(turning_clip(), "frame"))
    whole = files.result.read_bytes()
    assert len(whole) > 20_000
    files.result.write_bytes(whole[:10_000])
    history = History(tmp_path)
    assert history.run(NOON_RUN).clips[0].confidence == files.analysis.confidence
    with pytest.raises(RunNotFound):
        history.open_clip(NOON_RUN)


def test_a_name_longer_than_the_head_is_read_whole(tmp_path: Path) -> None:
    name = '},\n  "frames": [通' * 2_000
    written(tmp_path, Clip(name, loud_clip(0.1).samples))
    assert History(tmp_path).run(NOON_RUN).clips[0].file == name


@pytest.mark.parametrize("content", [b"", b"no sound", b"RIFF"])
def test_damaged_sound_counts_as_not_kept(tmp_path: Path, content: bytes) -> None:
    files = write_run(tmp_path, analyze(loud_clip()))
    files.audio.write_bytes(content)
    again = History(tmp_path).open_clip(NOON_RUN)
    assert again.audio is None
    assert again.analysis.clip.duration_s == 1.0


def test_sound_of_another_length_counts_as_not_kept(tmp_path: Path) -> None:
    files = write_run(tmp_path, analyze(loud_clip(2.0), "frame"))
    write_wav(loud_clip(1.0), files.audio)
    again = History(tmp_path).open_clip(NOON_RUN)
    assert again.audio is None
    assert again.analysis.record() == files.analysis.record()


def test_a_damaged_embedding_counts_as_not_kept(tmp_path: Path) -> None:
    files = write_run(tmp_path, analyze(loud_clip(), embedding=True))
    whole = files.embedding.read_bytes()
    np.save(tmp_path / "objects.npy", np.array([{}], object))
    pickled = (tmp_path / "objects.npy").read_bytes()
    for content in (b"", whole[:-1], b"PK\x03\x04", pickled, _npy(np.zeros((49, 8), np.float32)), _npy(np.zeros(8))):
        files.embedding.write_bytes(content)
        again = History(tmp_path).open_clip(NOON_RUN)
        assert again.embedding is None
        assert again.analysis.embedding is None
    files.embedding.write_bytes(whole)
    assert History(tmp_path).open_clip(NOON_RUN).embedding == files.embedding


@pytest.mark.parametrize("content", [b"", b"PK", None])
def test_a_long_clip_without_its_frames_cannot_be_opened(tmp_path: Path, content: bytes | None) -> None:
    files = write_run(tmp_path, analyze(loud_clip(600.1), "frame"), keep_audio=False)
    if content is None:
        np.savez(files.frames, scores=np.zeros((3, 9), np.float32))
    else:
        files.frames.write_bytes(content)
    with pytest.raises(RunNotFound):
        History(tmp_path).open_clip(NOON_RUN)


@pytest.mark.parametrize(
    ("key", "value"),
    [("duration_s", 1e308), ("duration_s", -1), ("num_frames", "9" * 30), ("timings_ms", "3"), ("timestamp", '"x"')],
)
def test_a_result_of_absurd_values_is_opened_or_refused_and_hurts_no_list(
    tmp_path: Path, key: str, value: object
) -> None:
    files = write_run(tmp_path, analyze(loud_clip()), keep_audio=False)
    changed_result(files.folder, **{key: orjson.Fragment(str(value))})
    other = written(tmp_path, loud_clip())
    history = History(tmp_path)
    assert other in names_of(history)
    with suppress(RunNotFound):
        history.open_clip(NOON_RUN)


def test_two_thousand_runs_are_read_once_and_then_listed_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = write_run(tmp_path / "one", analyze(loud_clip(0.1))).result.read_bytes()
    for number in range(2_000):
        folder = tmp_path / f"outputs_20260101_{number // 60:04}{number % 60:02}"
        folder.mkdir()
        (folder / "result.json").write_bytes(result.replace(b"call.wav", b"call %d.wav" % number))
    history = History(tmp_path)
    assert history.runs(limit=20).total == 2_000

    def refuse(*_: object) -> None:
        raise AssertionError("a run was read again")

    monkeypatch.setattr(entries_room, "read_head", refuse)
    monkeypatch.setattr(entries_room, "file_sizes", refuse)
    page = history.runs("call 1999", "angry", limit=20)
    assert [run.clips[0].file for run in page.runs] == ["call 1999.wav"]


def test_threads_that_ask_at_once_see_the_same(tmp_path: Path) -> None:
    names = [written(tmp_path, loud_clip(0.1)) for _ in range(20)]
    history = History(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        lists = list(pool.map(lambda _: names_of(history), range(32)))
    assert lists == [names[::-1]] * 32


def test_a_deleted_run_is_gone_and_its_neighbours_stay(tmp_path: Path) -> None:
    first, second = written(tmp_path, loud_clip()), written(tmp_path, loud_clip())
    history = History(tmp_path)
    assert names_of(history) == [second, first]
    opened = history.open_clip(first)
    history.delete(first)
    assert names_of(history) == [second]
    assert [path.name for path in tmp_path.iterdir()] == [second]
    for ask in (history.delete, history.open_clip, history.run, history.zip_chunks):
        with pytest.raises(RunNotFound):
            ask(first)
    assert opened.analysis.clip.samples.any()


def test_several_runs_are_deleted_whatever_became_of_one_of_them(tmp_path: Path) -> None:
    names = [written(tmp_path, loud_clip(0.1)) for _ in range(4)]
    gone = "outputs_20200101_000000"
    with BatchRun(tmp_path, now=NOON) as batch:
        history = History(tmp_path)
        assert [run.name for run in history.chosen([*names, gone, ".."])] == names[::-1]
        deletion = history.delete_all([names[0], gone, batch.folder.name, names[2], names[0]])
        assert {run.name for run in deletion.deleted} == {names[0], names[2]}
        assert (deletion.gone, deletion.failed, deletion.error) == ((gone,), (), None)
        assert [run.name for run in deletion.open] == [batch.folder.name]
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([names[1], names[3], batch.folder.name])


@pytest.mark.parametrize("folder", HOSTILE_FOLDERS)
def test_a_hostile_name_among_others_deletes_nothing(tmp_path: Path, folder: str) -> None:
    outputs = tmp_path / "outputs"
    name = written(outputs, loud_clip(0.1))
    (outputs / "mine").mkdir()
    (outputs / "outputs_20260101_000000").symlink_to(outputs / "mine")
    deletion = History(outputs).delete_all([folder, "outputs_20260101_000000"])
    assert (deletion.deleted, deletion.gone) == ((), (folder, "outputs_20260101_000000"))
    assert sorted(path.name for path in outputs.iterdir()) == ["mine", "outputs_20260101_000000", name]


def test_what_a_crash_leaves_of_a_deleted_run_goes_with_the_other_leftovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = written(tmp_path, loud_clip())
    with monkeypatch.context() as patch:
        patch.setattr("emotion.outputs.retention.shutil.rmtree", lambda *_, **__: None)
        History(tmp_path).delete(name)
    (left,) = tmp_path.iterdir()
    assert names_of(History(tmp_path)) == []
    remove_stale(tmp_path, left.stat().st_mtime + DAY_S + 1)
    assert list(tmp_path.iterdir()) == []


def test_a_zip_of_a_run_holds_all_its_files(tmp_path: Path) -> None:
    with BatchRun(tmp_path, now=NOON) as batch:
        batch.add(analyze(turning_clip("通话 1.wav"), "frame", embedding=True), EXPORT_FORMATS)
        batch.add(analyze(loud_clip(name="ben.wav")))
    packed = zipfile.ZipFile(io.BytesIO(b"".join(History(tmp_path).zip_chunks(NOON_RUN))))
    assert packed.testzip() is None
    expected = {str(p.relative_to(tmp_path)): p.read_bytes() for p in batch.folder.rglob("*") if p.is_file()}
    assert {name: packed.read(name) for name in packed.namelist()} == expected
    assert packed.namelist()[0] == f"{NOON_RUN}/summary.csv"
    kinds = {name.rsplit(".", 1)[-1]: packed.getinfo(name).compress_type for name in packed.namelist()}
    assert kinds["wav"] == kinds["npy"] == zipfile.ZIP_STORED
    assert kinds["json"] == kinds["csv"] == zipfile.ZIP_DEFLATED


def test_one_zip_holds_the_files_of_several_runs(tmp_path: Path) -> None:
    one = written(tmp_path, loud_clip(name="one.wav"))
    batch = written(tmp_path, loud_clip(name="a.wav"), loud_clip(name="b.wav"))
    written(tmp_path, loud_clip(name="other.wav"))
    history = History(tmp_path)
    packed = zipfile.ZipFile(io.BytesIO(b"".join(history.zip_chunks(one, batch))))
    assert packed.testzip() is None
    files = [path for run in (one, batch) for path in (tmp_path / run).rglob("*") if path.is_file()]
    assert {name: packed.read(name) for name in packed.namelist()} == {
        path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in files
    }
    history.delete(batch)
    with pytest.raises(RunNotFound):
        history.zip_chunks(one, batch)


def test_a_zip_is_made_in_pieces(tmp_path: Path) -> None:
    name = written(tmp_path, loud_clip(600))
    pieces = History(tmp_path).zip_chunks(name)
    sizes = [len(piece) for piece in pieces]
    assert sum(sizes) > 19_200_000
    assert max(sizes) < 2_000_000


def test_a_reader_who_leaves_in_the_middle_of_a_zip_leaves_nothing_open(tmp_path: Path) -> None:
    name = written(tmp_path, loud_clip(600))
    pieces = History(tmp_path).zip_chunks(name)
    assert next(pieces)
    pieces.close()


def test_a_file_that_goes_while_it_is_packed_leaves_no_zip_that_looks_whole(tmp_path: Path) -> None:
    name = written(tmp_path, loud_clip(60, "a.wav"), loud_clip(60, "b.wav"))
    history = History(tmp_path)
    pieces = history.zip_chunks(name)
    sent = next(pieces)
    history.delete(name)
    with pytest.raises(OSError, match="No such file"):
        sent += b"".join(pieces)
    assert not zipfile.is_zipfile(io.BytesIO(sent))


def test_runs_beyond_the_age_are_deleted(tmp_path: Path) -> None:
    old, older = (written(tmp_path, loud_clip(0.1), hours_before=hours) for hours in (25, 26))
    batch = written(tmp_path, loud_clip(0.1), loud_clip(0.1), hours_before=30)
    new = written(tmp_path, loud_clip(0.1), hours_before=23)
    assert apply(tmp_path, Retention(max_age_s=DAY_S), NOON.timestamp()) == [batch, older, old]
    assert names_of(History(tmp_path)) == [new]
    assert apply(tmp_path, Retention(max_age_s=DAY_S), NOON.timestamp()) == []


def test_a_batch_is_as_old_as_its_last_row(tmp_path: Path) -> None:
    batch = written(tmp_path, loud_clip(0.1), loud_clip(0.1), hours_before=30)
    os.utime(tmp_path / batch / "summary.csv", (NOON.timestamp() - 3600,) * 2)
    assert apply(tmp_path, Retention(max_age_s=DAY_S), NOON.timestamp()) == []


def test_the_oldest_runs_go_until_the_rest_is_small_enough(tmp_path: Path) -> None:
    names = [written(tmp_path, loud_clip(1.0), hours_before=hours) for hours in (1, 2, 3, 4)]
    size_bytes = History(tmp_path).runs().runs[0].size_bytes
    assert apply(tmp_path, Retention(max_bytes=4 * size_bytes + 100), NOON.timestamp()) == []
    assert apply(tmp_path, Retention(max_bytes=2 * size_bytes + 100), NOON.timestamp()) == [names[3], names[2]]
    assert names_of(History(tmp_path)) == names[:2]


def test_age_and_size_hold_together(tmp_path: Path) -> None:
    names = [written(tmp_path, loud_clip(1.0), hours_before=hours) for hours in (1, 2, 30)]
    size_bytes = History(tmp_path).runs().runs[0].size_bytes
    gone = apply(tmp_path, Retention(max_age_s=DAY_S, max_bytes=size_bytes + 100), NOON.timestamp())
    assert gone == [names[2], names[1]]


def test_a_run_of_the_last_minute_stays_whatever_the_bounds(tmp_path: Path) -> None:
    name = written(tmp_path, loud_clip())
    for retention in (Retention(max_bytes=1), Retention(max_age_s=1)):
        assert apply(tmp_path, retention, NOON.timestamp() + 59) == []
    assert apply(tmp_path, Retention(max_bytes=1), NOON.timestamp() + 61) == [name]


def test_what_is_being_written_stays_and_the_next_goes_in_its_place(tmp_path: Path) -> None:
    long_after_s = NOON.timestamp() + 365 * DAY_S
    with BatchRun(tmp_path, now=NOON - timedelta(hours=9)) as batch:
        batch.add(analyze(loud_clip()))
        name = written(tmp_path, loud_clip())
        os.utime(batch.summary, (NOON.timestamp(),) * 2)
        assert apply(tmp_path, Retention(max_age_s=DAY_S, max_bytes=1), long_after_s) == [name]
    assert apply(tmp_path, Retention(max_age_s=DAY_S, max_bytes=1), long_after_s) == [batch.folder.name]


def test_retention_touches_nothing_that_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "outputs_old").mkdir()
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / "outputs_20200101_000000").write_text("a file")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "outputs_20200101_000001").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "outputs_20200101_000002").mkdir()
    assert apply(tmp_path, Retention(1, 1), NOON.timestamp()) == ["outputs_20200101_000002"]
    assert len(list(tmp_path.iterdir())) == 6


def test_the_runs_of_clients_count_together_and_go_like_all_others(tmp_path: Path) -> None:
    homes = [tmp_path, tmp_path / "clients" / "ann", tmp_path / "clients" / "bo"]
    names = [written(home, loud_clip(), hours_before=hours) for home, hours in zip(homes, (1, 3, 2), strict=True)]
    size_bytes = sum(path.stat().st_size for path in (homes[0] / names[0]).iterdir())
    assert apply(tmp_path, Retention(max_bytes=2 * size_bytes + 100), NOON.timestamp()) == [names[1]]
    assert [History(home).runs().total for home in homes] == [1, 0, 1]
    assert apply(tmp_path, Retention(max_age_s=1.5 * 3600), NOON.timestamp()) == [names[2]]


def test_retention_follows_no_link_to_clients_elsewhere(tmp_path: Path) -> None:
    written(tmp_path / "elsewhere" / "ann", loud_clip(), hours_before=100)
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "clients").symlink_to(tmp_path / "elsewhere")
    assert apply(tmp_path / "outputs", Retention(max_age_s=1), NOON.timestamp()) == []


def test_without_a_bound_everything_stays(tmp_path: Path) -> None:
    written(tmp_path, loud_clip(), hours_before=9999)
    assert apply(tmp_path, Retention.of(keep_days=0, keep_gb=0), NOON.timestamp()) == []
    assert Retention.of(keep_days=2, keep_gb=1.5) == Retention(2 * DAY_S, 1_500_000_000)


def test_the_keeper_looks_at_the_start_and_when_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    written(tmp_path, loud_clip(), hours_before=48)
    keeper = RetentionTask(tmp_path, Retention(max_age_s=DAY_S), clock_s=NOON.timestamp)
    with caplog.at_level(logging.INFO, "emotion"):
        keeper.start()
        wait_for(lambda: "1 runs were deleted" in caplog.text)
        written(tmp_path, loud_clip(), hours_before=49)
        written(tmp_path, loud_clip(), hours_before=50)
        keeper.look()
        wait_for(lambda: names_of(History(tmp_path)) == [])
        keeper.close()
    assert "outputs_2026" not in caplog.text


def test_the_keeper_of_no_bounds_does_nothing(tmp_path: Path) -> None:
    name = written(tmp_path, loud_clip(), hours_before=9999)
    keeper = RetentionTask(tmp_path, Retention())
    keeper.start()
    keeper.look()
    keeper.close()
    assert names_of(History(tmp_path)) == [name]


def test_the_keeper_lives_on_when_outputs_cannot_be_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    outputs = tmp_path / "outputs"
    outputs.symlink_to(outputs)
    keeper = RetentionTask(outputs, Retention(max_age_s=DAY_S), clock_s=NOON.timestamp)
    keeper.start()
    wait_for(lambda: "could not be looked through" in caplog.text)
    assert str(tmp_path) not in caplog.text
    outputs.unlink()
    written(outputs, loud_clip(), hours_before=48)
    keeper.look()
    wait_for(lambda: names_of(History(outputs)) == [])
    keeper.close()


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()
