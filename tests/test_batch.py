import csv
import io
import logging
import time
import zipfile
from concurrent.futures import Future, wait

import pytest

from emotion.analysis import Analysis, AnalysisRequest
from emotion.audio import Clip, wav_bytes
from emotion.engine.batch import CANCELLED, Batch, Named
from emotion.engine.batch_rows import BatchView, Outcome, Row, distribution, rows_of
from emotion.engine.recognizer import Recognizer
from emotion.errors import ArchiveBroken, ClipLocked, ClipNotFound, DiskFull, EngineBusy, NotSound, Unexpected
from emotion.labels import EMOTION_BY_KEY
from emotion.outputs import BatchRun, History
from tests.fakes import FakeModel, HeldModel, loud_clip, soft, wait_for

PATIENCE_S = 30
NO_SOUND = b"no sound at all" * 50


@pytest.fixture
def recognizer(tmp_path):
    """A recogniser whose model says angry of loud sound and sad of quiet sound."""
    with Recognizer("compact", outputs=tmp_path / "outputs", queue_size=8, cache="off") as recognizer:
        recognizer.engine.use(FakeModel())
        yield recognizer


@pytest.fixture
def held(recognizer):
    """The model of the recogniser, which waits for permission."""
    model = HeldModel()
    recognizer.engine.use(model)
    yield model
    model.let_go()


def loud(duration_s: float = 0.5) -> bytes:
    return wav_bytes(loud_clip(duration_s))


def quiet() -> bytes:
    return wav_bytes(Clip("quiet.wav", soft(1.0)))


def many(count: int) -> list[Named]:
    return [Named(loud(), f"{number}.wav") for number in range(count)]


def zip_bytes(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def states(batch: Batch) -> list[str]:
    return [row.state for row in batch.snapshot().rows]


def summary(batch: Batch) -> list[tuple[str, str, str]]:
    folder = batch.snapshot().folder
    assert folder is not None
    with (folder / "summary.csv").open(encoding="utf-8-sig", newline="") as file:
        return [(row["file"], row["emotion"], row["error"]) for row in csv.DictReader(file)]


def test_many_recordings_become_rows_and_one_run(recognizer, tmp_path):
    (tmp_path / "one.wav").write_bytes(loud())
    (tmp_path / "tmp1234").write_bytes(quiet())
    batch = Batch(
        recognizer, [tmp_path / "one.wav", Named(tmp_path / "tmp1234", "two.wav"), Named(loud(), "three.wav")]
    )
    assert states(batch) == ["waiting"] * 3
    rows = [outcome.row for outcome in batch.run()]
    assert [(row.name, row.state, row.emotion.key) for row in rows] == [
        ("one.wav", "done", "angry"),
        ("two.wav", "done", "sad"),
        ("three.wav", "done", "angry"),
    ]
    assert rows[1].duration_s == 1.0
    assert rows[1].confidence > 0.8
    assert all(row.elapsed_ms > 0 for row in rows)
    assert tuple(rows) == batch.snapshot().rows
    assert [(clip.file, clip.folder) for clip in History(tmp_path / "outputs").runs().runs[0].clips] == [
        (row.name, row.folder) for row in rows
    ]


def test_a_zip_with_broken_files_among_good_ones_gives_the_good_ones(recognizer):
    packed = zip_bytes({"a.wav": loud(), "b.wav": NO_SOUND, "c.wav": quiet(), "d.txt": b"notes", "e.wav": b"EEEE" * 9})
    packed = packed.replace(b"EEEE" * 9, b"FFFF" * 9)
    batch = Batch(recognizer, [Named(packed, "calls.zip"), Named(quiet(), "last.wav")])
    assert batch.snapshot().total == 5
    assert batch.snapshot().skipped == 1
    errors = {outcome.row.name: type(outcome.row.error) for outcome in batch.run() if outcome.row.error}
    assert errors == {"b.wav": NotSound, "e.wav": ArchiveBroken}
    assert [(file, emotion) for file, emotion, _ in summary(batch)] == [
        ("a.wav", "angry"), ("b.wav", ""), ("c.wav", "sad"), ("e.wav", ""), ("last.wav", "sad"),
    ]  # fmt: skip
    view = batch.snapshot()
    assert (view.done, view.total, view.counts["sad"], view.counts["angry"], view.counts["failed"]) == (5, 5, 2, 1, 2)


def test_a_zip_of_chinese_windows_with_a_locked_recording_in_it(recognizer):
    packed = zip_bytes({"xxxx.wav": loud(), "yyyy.wav": quiet()})
    packed = packed.replace(b"xxxx", "通话".encode("gbk")).replace(b"yyyy", "会议".encode("gbk"))
    line = packed.index(b"PK\x01\x02")  # in order of bytes 通话 is listed first, in order of letters 会议
    packed = packed[: line + 8] + b"\x01" + packed[line + 9 :]
    batch = Batch(recognizer, [Named(packed, "录音.zip")])
    rows = [outcome.row for outcome in batch.run()]
    assert [(row.name, row.state) for row in rows] == [("会议.wav", "done"), ("通话.wav", "failed")]
    assert isinstance(rows[1].error, ClipLocked)
    assert (batch.snapshot().folder / "会议" / "result.json").exists()


def test_what_cannot_be_opened_is_a_row_that_failed(recognizer, tmp_path):
    batch = Batch(recognizer, [Named(NO_SOUND, "broken.zip"), tmp_path / "nowhere.wav", Named(loud(), "good.wav")])
    assert [type(outcome.row.error) for outcome in batch.run()] == [ArchiveBroken, ClipNotFound, type(None)]
    assert states(batch) == ["failed", "failed", "done"]
    assert str(tmp_path) not in str(summary(batch))


def test_recordings_of_one_name_get_a_folder_each(recognizer):
    batch = Batch(recognizer, [Named(zip_bytes({"x/a.wav": loud(), "y/a.wav": quiet()}), "calls.zip")])
    folders = [outcome.folder.name for outcome in batch.run()]
    assert folders == ["a", "a_2"]


def test_everything_that_was_wished_for_is_written(recognizer):
    wish = AnalysisRequest("frame", embedding=True, exports=("srt",), keep_audio=False)
    (outcome,) = Batch(recognizer, [Named(loud(), "a.wav")], wish).run()
    assert {path.suffix for path in outcome.folder.iterdir()} == {".json", ".npy", ".srt"}
    assert outcome.analysis.timings_ms["write"] > 0


def test_a_single_recording_may_have_a_run_of_its_own(recognizer, tmp_path):
    batch = Batch(recognizer, [Named(loud(), "a.wav")], summary_of_one=False)
    (outcome,) = batch.run()
    assert outcome.folder.parent == tmp_path / "outputs"
    assert outcome.row.folder == outcome.folder.name
    assert batch.snapshot().folder is None


def test_nothing_is_written_unless_it_is_wished_for(recognizer, tmp_path):
    outcomes = list(Batch(recognizer, many(2), writes=False).run())
    assert [outcome.row.state for outcome in outcomes] == ["done", "done"]
    assert not (tmp_path / "outputs").exists()


def test_no_recordings_are_no_run(recognizer, tmp_path):
    assert list(Batch(recognizer, []).run()) == []
    assert not (tmp_path / "outputs").exists()


def test_a_table_shows_what_is_in_work_and_what_waits(recognizer, held):
    batch = Batch(recognizer, many(12))
    ended = batch.start()
    assert held.began.acquire(timeout=PATIENCE_S)
    wait_for(lambda: recognizer.engine.queue_length == 6)
    wait_for(lambda: states(batch)[0] == "recognising")
    assert set(states(batch)[6:]) == {"waiting"}
    assert batch.snapshot().working.windows == 1
    held.let_go(2)
    wait_for(lambda: batch.snapshot().done == 2)
    assert states(batch)[:3] == ["done", "done", "recognising"]
    held.let_go()
    ended.result(PATIENCE_S)
    assert batch.snapshot().done == 12
    assert batch.snapshot().working is None
    assert not batch.is_cancelled


def test_cancelling_in_the_middle_keeps_what_is_done_and_says_what_is_not(recognizer, held):
    batch = Batch(recognizer, [*many(3), Named(zip_bytes({"z.wav": loud()}), "calls.zip"), *many(300)])
    ended = batch.start()
    held.let_go(1)
    wait_for(lambda: batch.snapshot().done == 1)
    held.began.acquire(timeout=PATIENCE_S)
    batch.cancel()
    ended.result(PATIENCE_S)
    assert recognizer.engine.queue_length == 0
    assert states(batch) == ["done"] + ["cancelled"] * 303
    assert batch.is_cancelled
    assert len(held.lengths) <= 2
    rows = summary(batch)
    assert rows[0] == ("0.wav", "angry", "")
    assert rows[3] == ("z.wav", "", CANCELLED)
    assert len(rows) == 304


def test_a_batch_that_is_cancelled_before_it_runs_unpacks_and_recognises_nothing(recognizer, monkeypatch):
    monkeypatch.setattr("emotion.audio.archive.Archive._unpack", lambda *_: pytest.fail("it was unpacked"))
    batch = Batch(recognizer, [Named(zip_bytes({"z.wav": loud()}), "calls.zip"), *many(2)])
    batch.cancel()
    settled = []
    outcomes = batch.run(lambda _, future: settled.append(len(wait([future], timeout=1).done)))
    assert [outcome.row.state for outcome in outcomes] == ["cancelled"] * 3
    assert settled == [1, 1, 1]


def test_the_run_of_a_cancelled_batch_can_be_deleted(recognizer, tmp_path):
    batch = Batch(recognizer, many(2))
    batch.cancel()
    list(batch.run())
    history = History(tmp_path / "outputs")
    history.delete(batch.snapshot().folder.name)
    assert history.runs().runs == ()


def test_whoever_leaves_in_the_middle_cancels_the_rest(recognizer, held):
    batch = Batch(recognizer, many(20))
    held.let_go(1)
    outcomes = batch.run()
    assert next(outcomes).row.state == "done"
    outcomes.close()
    assert states(batch) == ["done"] + ["cancelled"] * 19
    assert len(summary(batch)) == 20
    held.let_go()
    wait_for(lambda: recognizer.engine.queue_length == 0)
    assert len(held.lengths) <= 2


def test_a_queue_that_others_fill_makes_a_batch_wait_and_fails_nothing(recognizer, held):
    others = [recognizer.submit(loud_clip()) for _ in range(recognizer.engine.queue_size)]
    batch = Batch(recognizer, many(3))
    ended = batch.start()
    assert held.began.acquire(timeout=PATIENCE_S)
    assert states(batch) == ["waiting"] * 3
    held.let_go()
    ended.result(PATIENCE_S)
    assert states(batch) == ["done"] * 3
    assert all(other.result(PATIENCE_S) for other in others)


def test_a_place_that_another_takes_first_is_waited_for(recognizer, monkeypatch):
    refused = iter([True, False, True])
    submit = recognizer.engine.submit

    def submit_or_refuse(*words):
        if next(refused, False):
            submit(loud_clip())  # another takes the place, and leaves it when it is done
            raise EngineBusy(8)
        return submit(*words)

    monkeypatch.setattr(recognizer.engine, "submit", submit_or_refuse)
    assert [outcome.row.state for outcome in Batch(recognizer, many(3)).run()] == ["done"] * 3


def test_two_batches_leave_room_for_a_person_with_one_recording(recognizer, held):
    batches = [Batch(recognizer, many(20)) for _ in range(2)]
    endings = [batch.start() for batch in batches]
    wait_for(lambda: recognizer.engine.queue_length >= 6)
    single = recognizer.submit(loud_clip())
    held.let_go()
    assert single.result(PATIENCE_S).emotion.key == "angry"
    for ending in endings:
        ending.result(PATIENCE_S)
    assert [batch.snapshot().counts["angry"] for batch in batches] == [20, 20]


def test_only_as_many_go_in_as_keep_the_engine_busy(tmp_path):
    with Recognizer("compact", outputs=tmp_path / "outputs", queue_size=64, cache="off") as recognizer:
        model = HeldModel()
        recognizer.engine.use(model)
        batch = Batch(recognizer, many(60))
        ended = batch.start()
        for done in range(1, 4):
            model.let_go(1)
            wait_for(lambda done=done: batch.snapshot().done == done)
            assert recognizer.engine.queue_length <= recognizer.engine.max_in_flight < 48
        batch.cancel()
        model.let_go()
        ended.result(PATIENCE_S)


def test_unpacked_recordings_do_not_pile_up_in_memory(recognizer, held, monkeypatch):
    monkeypatch.setattr("emotion.engine.batch._HELD_BYTES", len(loud()))
    unpacked = []
    monkeypatch.setattr("emotion.audio.archive.Archive._unpack", lambda *_: unpacked.append(1) or loud())
    batch = Batch(recognizer, [Named(zip_bytes({f"{number}.wav": b"sound" for number in range(9)}), "calls.zip")])
    ended = batch.start()
    for done in range(1, 4):
        held.let_go(1)
        wait_for(lambda done=done: batch.snapshot().done == done)
        assert len(unpacked) <= done + 2
    held.let_go()
    ended.result(PATIENCE_S)
    assert len(unpacked) == 9


def test_the_end_of_the_program_cancels_what_it_has_not_begun(recognizer, held):
    batch = Batch(recognizer, many(20))
    ended = batch.start()
    assert held.began.acquire(timeout=PATIENCE_S)
    wait_for(lambda: recognizer.engine.queue_length == 6)
    held.let_go()
    recognizer.close()
    ended.result(PATIENCE_S)
    assert states(batch)[:6] == ["done"] * 6
    assert states(batch)[-1] == "cancelled"
    assert batch.is_cancelled


def test_what_should_not_happen_fails_one_recording_and_tells_no_path(recognizer, monkeypatch, caplog):
    add = BatchRun.add

    def add_or_break(self, analysis: Analysis, *words):
        if analysis.clip.name == "0.wav":
            raise RuntimeError("/secret/path")
        return add(self, analysis, *words)

    monkeypatch.setattr(BatchRun, "add", add_or_break)
    batch = Batch(recognizer, many(2))
    with caplog.at_level(logging.ERROR):
        first, second = batch.run()
    assert isinstance(first.row.error, Unexpected)
    assert second.row.state == "done"
    assert "/secret/path" in caplog.text
    assert "secret" not in str(summary(batch))


def test_a_recording_that_does_not_fit_on_the_disk_fails_alone(recognizer, monkeypatch):
    add = BatchRun.add

    def add_small_ones(self, analysis: Analysis, *words):
        if analysis.clip.duration_s > 1:
            raise DiskFull(10**9)
        return add(self, analysis, *words)

    monkeypatch.setattr(BatchRun, "add", add_small_ones)
    batch = Batch(recognizer, [Named(loud(2.0), "long.wav"), Named(loud(), "short.wav")])
    assert [outcome.row.state for outcome in batch.run()] == ["failed", "done"]


def test_a_disk_that_does_not_even_take_the_summary_ends_the_batch(recognizer, monkeypatch, tmp_path):
    def refuse(*_):
        raise DiskFull(10**9)

    monkeypatch.setattr(BatchRun, "add", refuse)
    monkeypatch.setattr(BatchRun, "add_failure", refuse)
    batch = Batch(recognizer, many(20))
    with pytest.raises(DiskFull):
        batch.start().result(PATIENCE_S)
    assert states(batch) == ["failed"] + ["cancelled"] * 19
    assert recognizer.engine.queue_length == 0
    History(tmp_path / "outputs").delete(batch.snapshot().folder.name)  # nobody holds the run any more


def test_results_that_cannot_be_written_anywhere_are_said_at_once(recognizer, tmp_path):
    (tmp_path / "outputs").write_text("a file where the folder should be")
    batch = Batch(recognizer, many(2))
    with pytest.raises(Exception, match="outputs"):
        next(batch.run())
    assert states(batch) == ["cancelled"] * 2


def test_the_one_in_work_can_be_followed(recognizer):
    followed: list[tuple[str, bool]] = []

    def follow(name: str, future: Future[Analysis]) -> None:
        followed.append((name, future.result(PATIENCE_S).clip.name == name))

    list(Batch(recognizer, many(3)).run(follow))
    assert followed == [("0.wav", True), ("1.wav", True), ("2.wav", True)]


def test_the_distribution_counts_all_nine_and_the_failures():
    angry, own = EMOTION_BY_KEY["angry"], EMOTION_BY_KEY["sad"]
    rows = [Row("a", "done", angry), Row("b", "done", angry), Row("c", "failed"), Row("d", "done", own), Row("e")]
    counts = distribution(rows)
    assert list(counts)[:9] == list(EMOTION_BY_KEY)
    assert {key: count for key, count in counts.items() if count} == {"angry": 2, "sad": 1, "failed": 1}


def test_the_rows_of_a_kind_are_those_that_the_distribution_counts():
    angry, sad = EMOTION_BY_KEY["angry"], EMOTION_BY_KEY["sad"]
    rows = [Row("a", "done", angry), Row("b", "done", sad), Row("c", "failed"), Row("d", "done", angry), Row("e")]
    assert [row.name for row in rows_of(rows, "angry")] == ["a", "d"]
    assert [row.name for row in rows_of(rows, "failed")] == ["c"]
    assert rows_of(rows, "") == rows
    assert all(len(rows_of(rows, kind)) == count for kind, count in distribution(rows).items())


def test_how_long_the_rest_takes_is_said_once_enough_is_done():
    done, rest = (Row("a", "done"), Row("b", "failed"), Row("c", "done")), (Row("d"), Row("e"))
    view = BatchView((*done, *rest), 0, None, None, elapsed_s=6.0)
    assert view.left_s == 4.0
    assert view.in_work == rest[0]
    assert BatchView((*done, *rest), 0, None, None, elapsed_s=1.0).left_s is None
    assert BatchView((*done[:2], *rest), 0, None, None, elapsed_s=6.0).left_s is None
    assert BatchView(done, 0, None, None, elapsed_s=6.0).in_work is None


def test_the_time_of_a_batch_begins_with_it_and_stands_still_afterwards(recognizer):
    batch = Batch(recognizer, many(2))
    assert batch.snapshot().elapsed_s == 0
    list(batch.run())
    assert 0 < batch.snapshot().elapsed_s == batch.snapshot().elapsed_s


def test_waiting_behind_others_is_not_time_that_a_recording_took(recognizer):
    (outcome,) = Batch(recognizer, many(1)).run()
    timings_ms = outcome.analysis.timings_ms
    assert outcome.row.elapsed_ms == pytest.approx(sum(timings_ms.values()) - timings_ms["queue"])


def test_an_outcome_without_a_result_has_neither_analysis_nor_folder(recognizer):
    (outcome,) = Batch(recognizer, [Named(NO_SOUND, "a.wav")]).run()
    assert outcome == Outcome(outcome.row)


def test_a_thousand_rows_are_looked_at_in_no_time(recognizer, held):
    batch = Batch(recognizer, many(1000))
    ended = batch.start()
    held.began.acquire(timeout=PATIENCE_S)

    def seconds() -> float:
        started_s = time.thread_time()  # the clock would count who else works on this machine
        view = batch.snapshot()
        assert (view.done, view.counts["angry"], view.total) == (0, 0, 1000)
        return time.thread_time() - started_s

    assert min(seconds() for _ in range(10)) < 0.02
    batch.cancel()
    ended.result(PATIENCE_S)


def test_recordings_of_one_name_are_told_apart(recognizer):
    batch = Batch(recognizer, [Named(loud(), "a.wav"), Named(loud(), "a.wav"), Named(loud(), "b/a.wav")])
    outcomes = list(batch.run())
    assert [row.name for row in batch.snapshot().rows] == ["a.wav", "a.wav (2)", "b/a.wav"]
    assert [outcome.analysis.clip.name for outcome in outcomes if outcome.analysis] == ["a.wav", "a.wav (2)", "b/a.wav"]
    assert [row[0] for row in summary(batch)] == ["a.wav", "a.wav (2)", "b/a.wav"]
