import json
import os
import sys
import threading
from concurrent.futures import Future
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from emotion.analysis import AnalysisRequest
from emotion.audio import Clip, wav_bytes, write_wav
from emotion.bulk import (
    BulkProgress,
    BulkStopped,
    Listing,
    ManifestInvalid,
    PartDamaged,
    Results,
    ResultsDiffer,
    ResultsInUse,
    ResultsNotOurs,
    Watch,
    recognize_into,
    state_of,
)
from emotion.bulk.cluster import BLOCK_JSON, Blocks, Replica, connected, open_on_replica
from emotion.bulk.parts import part_name
from emotion.engine.recognizer import Recognizer
from emotion.errors import EmotionError, SettingsInvalid
from emotion.settings import load_settings
from tests.fakes import FakeModel, HeldModel, loud_clip, soft, turning_clip, wait_for

NO_SOUND = b"no sound at all" * 50


@pytest.fixture
def recognizer():
    """A recogniser whose model says angry of loud sound and sad of quiet sound."""
    with Recognizer("compact", cache="off", bulk_part_rows=4) as recognizer:
        recognizer.engine.use(FakeModel())
        yield recognizer


@pytest.fixture
def calls(tmp_path):
    """A folder of ten recordings, one of them in a folder of its own and one broken."""
    folder = tmp_path / "calls"
    (folder / "late").mkdir(parents=True)
    for number in range(8):
        write_wav(loud_clip(0.2), folder / f"{number}.wav")
    write_wav(Clip("x", soft(0.3)), folder / "late" / "quiet.wav")
    (folder / "broken.wav").write_bytes(NO_SOUND)
    (folder / "notes.txt.bak").write_text("no recording")
    return folder


def work(
    recognizer: Recognizer, place: object, *sources: object, request: AnalysisRequest | None = None, **words: bool
) -> BulkProgress:
    """What `emotion recognize SOURCE... --results PLACE` does."""
    watch = Watch()
    with Results(str(place)).held() as results:
        state = state_of(request or AnalysisRequest(), recognizer.engine.card, recognizer.settings)
        before = results.claim(state, **words)
        return recognize_into(recognizer, results, Listing([str(source) for source in sources]), before, watch)


def table(place: Path) -> pyarrow.Table:
    return parquet.read_table(place)


def paths(place: Path) -> list[str]:
    return sorted(table(place).column("path").to_pylist())


def test_a_folder_becomes_one_row_for_each_recording(recognizer, calls, tmp_path):
    progress = work(recognizer, tmp_path / "out", calls, request=AnalysisRequest(embedding=True))
    rows = {row["entry"]: row for row in table(tmp_path / "out").to_pylist()}
    assert (progress.here.rows, progress.failed) == (10, 1)
    assert len(rows) == 10
    assert rows["late/quiet.wav"]["emotion"] == "sad"
    assert rows["late/quiet.wav"]["duration_s"] == 0.3
    first = rows["0.wav"]
    assert first["path"] == str(calls / "0.wav")
    assert (first["emotion"], first["model"], first["error_code"]) == ("angry", "fake", None)
    assert first["score_angry"] == pytest.approx(first["confidence"])
    assert len(first["embedding"]) == 8
    assert first["size_bytes"] == (calls / "0.wav").stat().st_size
    assert rows["broken.wav"]["error_code"] == "not_sound"
    assert rows["broken.wav"]["emotion"] is None


def test_a_name_that_is_not_utf8_is_a_row_as_every_other_and_is_known_again(recognizer, calls, tmp_path):
    (calls / "0.wav").rename(calls / os.fsdecode(b"caf\xe9.wav"))
    (calls / "broken.wav").rename(calls / os.fsdecode(b"broken\xff.wav"))
    assert work(recognizer, tmp_path / "out", calls).here.rows == 10
    rows = {row["entry"]: row for row in table(tmp_path / "out").to_pylist()}
    assert rows["caf\\xe9.wav"]["emotion"] == "angry"
    assert rows["broken\\xff.wav"]["error_code"] == "not_sound"
    assert work(recognizer, tmp_path / "out", calls).here.rows == 0


def test_pandas_reads_the_folder_as_one_table(recognizer, calls, tmp_path):
    pandas = pytest.importorskip("pandas")
    work(recognizer, tmp_path / "out", calls)
    frame = pandas.read_parquet(tmp_path / "out")
    assert frame.emotion.value_counts().to_dict() == {"angry": 8, "sad": 1}


def test_frame_granularity_adds_a_column_of_frames_for_each_label_and_the_segments(recognizer, tmp_path):
    write_wav(turning_clip(), tmp_path / "turning.wav")
    work(recognizer, tmp_path / "out", tmp_path / "turning.wav", request=AnalysisRequest("frame", embedding=True))
    (row,) = table(tmp_path / "out").to_pylist()
    assert len(row["frames_angry"]) == len(row["frames_sad"]) == 199
    assert [segment["emotion"] for segment in row["segments"]] == ["angry", "sad"]
    assert len(row["embedding"]) == 8  # of the whole recording, not of each frame


def test_parts_hold_no_more_rows_than_they_may_and_are_named_by_what_they_hold(recognizer, calls, tmp_path):
    work(recognizer, tmp_path / "out", calls)
    parts = sorted((tmp_path / "out").glob("part-*.parquet"))
    assert sorted(len(parquet.read_table(part)) for part in parts) == [2, 4, 4]
    for part in parts:
        assert part.name == part_name(parquet.read_table(part).column("path").to_pylist())


def test_a_part_is_written_when_it_is_old_enough_however_few_rows_it_has(calls, tmp_path):
    seen: list[int] = []
    with Recognizer("compact", cache="off", bulk_part_s=0.001) as recognizer:
        model = HeldModel()
        recognizer.engine.use(model)
        with Results(str(tmp_path / "out")).held() as results:
            before = results.claim(state_of(AnalysisRequest(), model.card, recognizer.settings))

            def tell(_: BulkProgress) -> None:
                seen.append(len(results.parts()))
                model.let_go(1)

            recognize_into(recognizer, results, Listing([str(calls)]), before, Watch(tell))
    assert any(0 < parts < 10 for parts in seen)
    assert len(paths(tmp_path / "out")) == 10


def test_what_is_done_is_not_done_again_and_what_is_new_is(recognizer, calls, tmp_path):
    work(recognizer, tmp_path / "out", calls)
    write_wav(loud_clip(0.2), calls / "new.wav")
    progress = work(recognizer, tmp_path / "out", calls)
    assert (progress.before.rows, progress.here.rows, progress.again) == (10, 1, 10)
    assert progress.failed == 1  # from the first time
    assert len(set(paths(tmp_path / "out"))) == len(paths(tmp_path / "out")) == 11


def test_a_recording_that_is_named_twice_is_done_once(recognizer, calls, tmp_path):
    progress = work(recognizer, tmp_path / "out", calls / "1.wav", calls, calls / "1.wav")
    assert (progress.here.rows, progress.again) == (10, 2)
    assert len(paths(tmp_path / "out")) == 10


def test_stopping_keeps_what_is_done_and_the_rest_follows_later(recognizer, calls, tmp_path):
    with Results(str(tmp_path / "out")).held() as results:
        before = results.claim(state_of(AnalysisRequest(), recognizer.engine.card, recognizer.settings))
        stop = threading.Event()
        watch = Watch(lambda progress: stop.set() if progress.here.rows >= 3 else None, stop)
        progress = recognize_into(recognizer, results, Listing([str(calls)]), before, watch)
    assert progress.here.rows == 3
    assert len(paths(tmp_path / "out")) == 3
    wait_for(lambda: recognizer.engine.queue_length == 0)
    work(recognizer, tmp_path / "out", calls)
    assert len(set(paths(tmp_path / "out"))) == 10


def test_results_of_another_wish_or_model_are_refused_with_what_differs(recognizer, calls, tmp_path):
    work(recognizer, tmp_path / "out", calls)
    with pytest.raises(ResultsDiffer, match="granularity was utterance, and is now frame"):
        work(recognizer, tmp_path / "out", calls, request=AnalysisRequest("frame"))
    recognizer.engine.use(FakeModel("other"))
    with pytest.raises(ResultsDiffer, match="model was fake, and is now other"):
        work(recognizer, tmp_path / "out", calls)
    assert work(recognizer, tmp_path / "out", calls, overwrite=True).here.rows == 10
    assert set(table(tmp_path / "out").column("model").to_pylist()) == {"other"}


def test_results_that_were_begun_by_version_0_4_are_gone_on_with(recognizer, calls, tmp_path):
    fingerprint = {"fingerprint": "sha256:0", "runtime": "fake", "precision": "fp32"}
    numbers = {"exact_limit_s": 60.0, "window_s": 30.0, "context_s": 3.0, "smoothing_s": 0.5, "min_segment_s": 0.4}
    begun = {
        "schema": 1,
        "program": "0.4.0",
        "began": "2026-11-25T09:00:00+00:00",
        "run": "0123456789abcdef",
        "granularity": "frame",
        "embedding": True,
        "model": {"name": "fake", **fingerprint},
        "labels": list(FakeModel().card.labels),
        "analysis": {**numbers, "uncertain_margin": 0.15},
    }
    state = tmp_path / "out" / "_state.json"
    state.parent.mkdir()
    state.write_text(json.dumps(begun))
    assert work(recognizer, tmp_path / "out", calls, request=AnalysisRequest("frame", embedding=True)).here.rows == 10
    now = json.loads(state.read_text())
    changing = ("run", "program")
    assert {key: now[key] for key in begun if key not in changing} == {
        key: value for key, value in begun.items() if key not in changing
    }
    assert list(now) == list(begun)


def test_results_of_another_version_are_refused(recognizer, calls, tmp_path):
    work(recognizer, tmp_path / "out", calls)
    state = tmp_path / "out" / "_state.json"
    state.write_text(state.read_text().replace('"schema": 1', '"schema": 0'))
    with pytest.raises(ResultsDiffer, match="layout was 0, and is now 1"):
        work(recognizer, tmp_path / "out", calls)


def test_failed_recordings_are_tried_again_only_when_asked(recognizer, calls, tmp_path):
    work(recognizer, tmp_path / "out", calls)
    write_wav(loud_clip(0.2), calls / "broken.wav")
    assert work(recognizer, tmp_path / "out", calls).here.rows == 0
    progress = work(recognizer, tmp_path / "out", calls, retry_failed=True)
    assert (progress.before.rows, progress.here.rows, progress.failed) == (9, 1, 0)
    assert len(set(paths(tmp_path / "out"))) == len(paths(tmp_path / "out")) == 10


def test_a_part_that_held_nothing_but_failures_goes_when_they_are_tried_again(recognizer, tmp_path):
    (tmp_path / "broken.wav").write_bytes(NO_SOUND)
    work(recognizer, tmp_path / "out", tmp_path / "broken.wav")
    progress = work(recognizer, tmp_path / "out", tmp_path / "broken.wav", retry_failed=True)
    assert (progress.before.rows, progress.here.failed) == (0, 1)
    assert len(paths(tmp_path / "out")) == 1


def test_two_commands_do_not_write_the_same_results(recognizer, calls, tmp_path):
    with Results(str(tmp_path / "out")).held(), pytest.raises(ResultsInUse):
        work(recognizer, tmp_path / "out", calls)


def test_who_was_taken_over_writes_no_more(recognizer, calls):
    place = "memory://taken/out"
    state = state_of(AnalysisRequest(), recognizer.engine.card, recognizer.settings)
    first, second = Results(place), Results(place)
    before = first.claim(state)
    second.claim(state)
    with pytest.raises(ResultsInUse):
        recognize_into(recognizer, first, Listing([str(calls)]), before)
    assert second.parts() == []


def test_parquet_files_of_somebody_else_are_left_alone(recognizer, calls, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "part-1.parquet").write_bytes(b"mine")
    with pytest.raises(ResultsNotOurs):
        work(recognizer, tmp_path / "out", calls, overwrite=True)
    assert (tmp_path / "out" / "part-1.parquet").read_bytes() == b"mine"


def test_a_damaged_part_is_named_and_what_a_kill_left_aside_goes(recognizer, calls, tmp_path):
    work(recognizer, tmp_path / "out", calls)
    (tmp_path / "out" / "_aside-1").write_bytes(b"half a part")
    part = next((tmp_path / "out").glob("part-*.parquet"))
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(PartDamaged, match=part.name):
        work(recognizer, tmp_path / "out", calls)
    assert not (tmp_path / "out" / "_aside-1").exists()
    part.unlink()
    work(recognizer, tmp_path / "out", calls)
    assert len(set(paths(tmp_path / "out"))) == 10


def test_recordings_and_results_of_a_store(recognizer, calls):
    import fsspec

    store = fsspec.filesystem("memory")
    for path in calls.rglob("*.wav"):
        store.pipe_file(f"/bucket/calls/{path.relative_to(calls).as_posix()}", path.read_bytes())
    progress = work(recognizer, "memory://bucket/out", "memory://bucket/calls")
    assert (progress.here.rows, progress.failed) == (10, 1)
    assert work(recognizer, "memory://bucket/out", "memory://bucket/calls").again == 10
    rows = [
        row
        for name in store.ls("/bucket/out", detail=False)
        if name.endswith(".parquet")
        for row in parquet.read_table(store.open(name)).to_pylist()
    ]
    assert sorted(row["entry"] for row in rows) == sorted(
        path.relative_to(calls).as_posix() for path in calls.rglob("*.wav")
    )
    assert all(row["path"].startswith("memory://bucket/calls/") for row in rows)
    assert all(row["size_bytes"] and row["modified"] for row in rows)


def test_a_recording_that_a_store_does_not_have_fails_alone(recognizer, tmp_path):
    import fsspec

    fsspec.filesystem("memory").pipe_file("/there/a.wav", wav_bytes(loud_clip()))
    (tmp_path / "list.txt").write_text("memory://there/a.wav\nmemory://there/b.wav\n")
    work(recognizer, tmp_path / "out", tmp_path / "list.txt")
    rows = {row["entry"]: row for row in table(tmp_path / "out").to_pylist()}
    assert rows["memory://there/a.wav"]["emotion"] == "angry"
    assert rows["memory://there/b.wav"]["error_code"] == "clip_not_found"


def test_a_recording_larger_than_the_limit_is_not_read_whole(tmp_path):
    import fsspec

    fsspec.filesystem("memory").pipe_file("/large/a.wav", wav_bytes(loud_clip(2.0)))
    with Recognizer("compact", cache="off", max_file_bytes=10_000) as recognizer:
        work(recognizer, tmp_path / "out", "memory://large/a.wav")
    assert table(tmp_path / "out").column("error_code").to_pylist() == ["clip_too_large"]


@pytest.mark.usefixtures("calls")
def test_a_manifest_with_a_bad_line_stops_the_work_and_keeps_what_is_done(recognizer, tmp_path):
    lines = [json.dumps({"audio_filepath": f"calls/{number}.wav"}) for number in range(8)]
    (tmp_path / "list.jsonl").write_text("\n".join([*lines, "{"]))
    with pytest.raises(ManifestInvalid, match="line 9"):
        work(recognizer, tmp_path / "out", tmp_path / "list.jsonl")
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    work(recognizer, tmp_path / "out", tmp_path / "list.jsonl")
    assert len(set(paths(tmp_path / "out"))) == 8


def test_work_ends_when_recordings_fail_for_no_fault_of_theirs(recognizer, calls, tmp_path, monkeypatch):
    def gone(*_: object, **__: object) -> Future[object]:
        future: Future[object] = Future()
        future.set_exception(RuntimeError("the card is gone"))
        return future

    monkeypatch.setattr(recognizer, "submit", gone)
    monkeypatch.setattr("emotion.bulk.pipeline._ENOUGH_FAILURES", 5)
    with pytest.raises(BulkStopped, match="--retry-failed"):
        work(recognizer, tmp_path / "out", calls)


def test_progress_says_how_long_the_rest_takes(recognizer, calls, tmp_path):
    seen: list[BulkProgress] = []
    with Results(str(tmp_path / "out")).held() as results:
        before = results.claim(state_of(AnalysisRequest(), recognizer.engine.card, recognizer.settings))
        recognize_into(recognizer, results, Listing([str(calls)]), before, Watch(seen.append))
    last = seen[-1]
    later = BulkProgress(last.here, last.before, 0, 110, 10.0)
    assert later.left_s == pytest.approx(100.0)
    assert later.per_s == pytest.approx(1.0)
    assert BulkProgress(last.here, last.before, 0, None, 10.0).left_s is None


def test_a_full_disk_is_said(recognizer, calls, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.ParquetWriter.write_table", full)
    with pytest.raises(EmotionError, match="No space left on device"):
        work(recognizer, tmp_path / "out", calls)


def test_blocks_are_the_same_whenever_they_are_cut(recognizer, calls, tmp_path):
    results = Results(str(tmp_path / "out"))
    results.claim(state_of(AnalysisRequest(), recognizer.engine.card, recognizer.settings))
    blocks = Blocks(Listing([str(calls), str(calls)]), results, results.parts(), 4)
    first, second = list(blocks), list(blocks)
    assert first == second
    cut = [BLOCK_JSON.validate_json(text) for text in first]
    assert [len(block.recordings) for block in cut] == [4, 4, 2]
    assert cut[-1].again == 10
    assert cut[0].recordings[0].size_bytes


def test_a_list_that_cannot_be_read_ends_the_blocks_with_its_reason(recognizer, tmp_path):
    (tmp_path / "empty").mkdir()
    results = Results(str(tmp_path / "out"))
    results.claim(state_of(AnalysisRequest(), recognizer.engine.card, recognizer.settings))
    (text,) = Blocks(Listing([str(tmp_path / "empty")]), results, [], 4)
    assert "no sound file" in BLOCK_JSON.validate_json(text).error


@pytest.fixture
def replica_of():
    """Makes what Ray would make on a machine, for some results."""
    made: list[Replica] = []

    def make(results: Results) -> Replica:
        made.append(Replica(load_settings(model="compact", cache="off").model_dump(), results))
        return made[-1]

    yield make
    for replica in made:
        replica.close()


def test_a_replica_makes_the_part_of_a_block_once(replica_of, calls, tmp_path):
    results = Results(str(tmp_path / "out"))
    settings = load_settings(model="compact", cache="off")
    results.claim(state_of(AnalysisRequest(), open_on_replica(settings.model_dump()), settings))
    replica = replica_of(results)
    (block,) = Blocks(Listing([str(calls)]), results, [], 100)
    summary = replica({"block": [block]})
    assert (summary["rows"], summary["failed"], summary["error"]) == ([10], [1], [""])
    (part,) = (tmp_path / "out").glob("part-*.parquet")
    written_ns = part.stat().st_mtime_ns
    assert replica({"block": [block]})["rows"] == [10]
    assert [path.stat().st_mtime_ns for path in (tmp_path / "out").glob("part-*.parquet")] == [written_ns]


def test_a_replica_with_another_model_says_so_in_its_summary_and_writes_nothing(
    replica_of, recognizer, calls, tmp_path
):
    results = Results(str(tmp_path / "out"))
    results.claim(state_of(AnalysisRequest(), recognizer.engine.card, recognizer.settings))
    (block,) = Blocks(Listing([str(calls)]), results, [], 100)
    assert "model was fake, and is now compact" in replica_of(results)({"block": [block]})["error"][0]
    assert results.parts() == []


def test_a_model_that_no_replica_can_open_is_said_in_words():
    settings = load_settings(model="nowhere", offline=True)
    assert "nowhere" in str(open_on_replica(settings.model_dump()))


def test_a_cluster_without_ray_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingsInvalid, match=r"emotion2vec-studio\[ray\]"), connected(load_settings()):
        pass
