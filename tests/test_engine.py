import threading
from concurrent.futures import CancelledError, wait
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest

from emotion.analysis import AnalysisRequest
from emotion.analysis.windows import Plan
from emotion.audio import Clip, DecodeLimits, write_wav
from emotion.engine import ClipTimes, Engine, EnginePlan, StageTimes
from emotion.engine import engine as engine_module
from emotion.engine.times import Stopwatch
from emotion.errors import ClipTooLong, ClipTooShort, EngineBusy, EngineClosed, NotSound
from tests.fakes import FakeClock, FakeModel, HeldModel, analyze, loud_clip, turning_clip, wait_for

WINDOWED = EnginePlan(analysis=Plan(exact_limit_s=1.0, window_s=3.0, context_s=0.5))
PATIENCE_S = 20


@pytest.fixture
def held():
    model = HeldModel()
    with Engine(model, EnginePlan(queue_size=3, decode_threads=1)) as engine:
        yield engine, model
        for _ in range(100):
            model.may_go_on.release()


def test_a_file_becomes_an_analysis(tmp_path):
    write_wav(loud_clip(), tmp_path / "loud.wav")
    with Engine(FakeModel()) as engine:
        analysis = engine.submit(tmp_path / "loud.wav").result(PATIENCE_S)
    assert analysis.emotion.key == "angry"
    assert analysis.clip.name == "loud.wav"
    assert set(analysis.timings_ms) == {"decode", "queue", "inference"}


def test_the_same_sound_by_path_by_bytes_and_as_clip_gives_the_same_analysis(tmp_path):
    path = tmp_path / "call.wav"
    write_wav(turning_clip(), path)
    with Engine(FakeModel()) as engine:
        by_path = engine.submit(path, AnalysisRequest("frame", True)).result(PATIENCE_S)
        by_bytes = engine.submit(path.read_bytes(), AnalysisRequest("frame", True), "call.wav").result(PATIENCE_S)
        as_clip = engine.submit(by_path.clip, AnalysisRequest("frame", True)).result(PATIENCE_S)
    for other in (by_bytes, as_clip):
        np.testing.assert_array_equal(by_path.frame_scores, other.frame_scores)
        np.testing.assert_array_equal(by_path.embedding, other.embedding)
        assert other.clip.name == "call.wav"


def test_one_bad_clip_does_not_hurt_its_neighbours(tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"this is no sound" * 100)
    with Engine(FakeModel()) as engine:
        before, bad, after = (engine.submit(s) for s in (loud_clip(), tmp_path / "bad.wav", turning_clip()))
        assert isinstance(bad.exception(PATIENCE_S), NotSound)
        assert before.result(PATIENCE_S).emotion.key == "angry"
        assert after.result(PATIENCE_S).clip.name == "call.wav"


def test_a_model_that_fails_fails_only_that_clip():
    class Picky(FakeModel):
        def predict(self, waveforms):
            if len(waveforms[0]) < 10_000:
                raise MemoryError("no room")
            return super().predict(waveforms)

    with Engine(Picky()) as engine:
        failing, good = engine.submit(loud_clip(0.5)), engine.submit(loud_clip(1.0))
        assert isinstance(failing.exception(PATIENCE_S), MemoryError)
        assert good.result(PATIENCE_S).emotion.key == "angry"


def test_a_clip_that_is_too_short_or_too_long_says_so():
    with Engine(FakeModel(), EnginePlan(limits=DecodeLimits(max_clip_s=1.0))) as engine:
        assert isinstance(engine.submit(loud_clip(0.01)).exception(PATIENCE_S), ClipTooShort)
        long_wav = engine.submit(_wav_bytes(loud_clip(2.0)), name="long.wav")
        assert isinstance(long_wav.exception(PATIENCE_S), ClipTooLong)


def test_a_full_queue_refuses_at_once_and_says_how_many_wait(held):
    engine, _ = held
    for _ in range(3):
        engine.submit(loud_clip())
    with pytest.raises(EngineBusy, match="3 recordings"):
        engine.submit(loud_clip())


def test_a_cancelled_job_frees_its_place_in_the_queue_at_once(held):
    engine, model = held
    futures = [engine.submit(loud_clip()) for _ in range(3)]
    assert model.began.acquire(timeout=PATIENCE_S)
    assert futures[2].cancel()
    assert engine.queue_length == 2
    last = engine.submit(loud_clip(2.0))
    for _ in range(3):
        model.may_go_on.release()
    assert last.result(PATIENCE_S).clip.duration_s == 2.0
    assert engine.progress(futures[2]).stage == "cancelled"


def test_those_who_wait_for_a_cancelled_job_are_told(held):
    engine, model = held
    first, second = engine.submit(loud_clip()), engine.submit(loud_clip())
    assert model.began.acquire(timeout=PATIENCE_S)
    second.cancel()
    model.may_go_on.release()
    assert wait([first, second], PATIENCE_S).not_done == set()


def test_cancelling_stops_a_long_clip_between_two_windows():
    model = HeldModel()
    with Engine(model, WINDOWED) as engine:
        future = engine.submit(loud_clip(60.0))
        assert model.began.acquire(timeout=PATIENCE_S)
        assert engine.progress(future).windows == 30
        assert future.cancel()
        model.may_go_on.release()
        with pytest.raises(CancelledError):
            future.result(PATIENCE_S)
    assert len(model.lengths) == 1


def test_progress_tells_stage_place_and_windows(held):
    engine, model = held
    first, second = engine.submit(loud_clip()), engine.submit(loud_clip())
    assert model.began.acquire(timeout=PATIENCE_S)
    assert engine.progress(first).stage == "recognising"
    assert engine.progress(second).position == 1
    model.may_go_on.release()
    assert engine.progress(first).windows in (0, 1)
    assert engine.progress(second).wait_s is None
    first.result(PATIENCE_S)
    assert engine.progress(first).stage == "done"
    third = engine.submit(loud_clip())
    assert engine.progress(third).wait_s == pytest.approx(engine.recent[0].inference_ms / 1000)


def test_a_failed_job_is_told_apart_from_a_done_one():
    with Engine(FakeModel()) as engine:
        future = engine.submit(b"", name="nothing.wav")
        wait([future], PATIENCE_S)
        assert engine.progress(future).stage == "failed"


def test_a_long_clip_lets_a_short_one_pass():
    model = HeldModel()
    with Engine(model, WINDOWED) as engine:
        long = engine.submit(loud_clip(30.0))
        assert model.began.acquire(timeout=PATIENCE_S)
        short = engine.submit(loud_clip(0.5))
        wait_for(lambda: engine.progress(short).stage == "ready")
        for _ in range(8):
            model.may_go_on.release()
        assert short.result(PATIENCE_S).clip.duration_s == 0.5
        assert not long.done()
        for _ in range(30):
            model.may_go_on.release()
        assert long.result(PATIENCE_S).overall_from == "windows"


def test_leaving_the_engine_finishes_what_was_accepted():
    with Engine(FakeModel(), EnginePlan(queue_size=50)) as engine:
        futures = [engine.submit(loud_clip()) for _ in range(40)]
    assert all(future.result(0).emotion.key == "angry" for future in futures)
    assert engine.clips_done == 40
    with pytest.raises(EngineClosed):
        engine.submit(loud_clip())


def test_leaving_the_engine_with_an_error_cancels_what_waits():
    model = HeldModel()
    futures = []

    def leave_in_the_middle():
        with Engine(model) as engine:
            futures.extend(engine.submit(loud_clip()) for _ in range(5))
            assert model.began.acquire(timeout=PATIENCE_S)
            futures[0].add_done_callback(lambda _: model.may_go_on.release())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave_in_the_middle()
    assert all(future.cancelled() for future in futures)
    assert len(model.lengths) == 1


def test_new_work_gets_the_new_model_and_begun_work_keeps_its_own(held):
    engine, model = held
    begun = engine.submit(loud_clip())
    assert model.began.acquire(timeout=PATIENCE_S)
    engine.use(FakeModel("second"))
    assert engine.card.name == "second"
    later = engine.submit(loud_clip())
    model.may_go_on.release()
    assert begun.result(PATIENCE_S).model.name == "held"
    assert later.result(PATIENCE_S).model.name == "second"


def test_the_engine_says_exactly_what_a_plain_loop_over_the_windows_says():
    with Engine(FakeModel(), WINDOWED) as engine:
        analysis = engine.submit(turning_clip(), AnalysisRequest("frame", True)).result(PATIENCE_S)
    alone = analyze(turning_clip(), "frame", True, WINDOWED.analysis)
    np.testing.assert_array_equal(analysis.frame_scores, alone.frame_scores)
    np.testing.assert_array_equal(analysis.embedding, alone.embedding)
    assert analysis.segments == alone.segments


def test_memory_is_given_back_through_the_model():
    model = FakeModel()
    with Engine(model) as engine:
        engine.free_memory()
    assert model.times_freed == 1


def test_a_chore_is_done_when_its_future_is():
    working, may_end = threading.Event(), threading.Event()

    class Thorough(FakeModel):
        def free_memory(self):
            working.set()
            assert may_end.wait(PATIENCE_S)

    with Engine(Thorough()) as engine:
        chore = engine.free_memory()
        assert working.wait(PATIENCE_S)
        assert not chore.done()
        may_end.set()
        assert chore.result(PATIENCE_S) is None


def test_a_chore_waits_for_recordings_that_are_being_worked_on(held):
    engine, model = held
    future = engine.submit(loud_clip())
    assert model.began.acquire(timeout=PATIENCE_S)
    chore = engine.free_memory()
    assert (chore.done(), model.times_freed) == (False, 0)
    model.let_go()
    future.result(PATIENCE_S)
    chore.result(PATIENCE_S)
    assert model.times_freed == 1


def test_idle_memory_is_given_back_once_until_new_work_comes():
    model = FakeModel()
    with Engine(model, EnginePlan(free_after_s=0.01)) as engine:
        wait_for(lambda: model.times_freed == 1)
        wake(engine)
        assert model.times_freed == 1
        engine.submit(loud_clip()).result(PATIENCE_S)
        wait_for(lambda: model.times_freed == 2)
    assert model.times_freed == 2


def test_memory_is_kept_while_a_recording_is_on_its_way(monkeypatch):
    clock, stages = FakeClock(), watched_stages(monkeypatch)
    monkeypatch.setattr(engine_module, "time", clock)
    may_decode, model = threading.Event(), FakeModel()

    def slow_decode(*_):
        assert may_decode.wait(PATIENCE_S)
        return loud_clip()

    monkeypatch.setattr(engine_module, "decode", slow_decode)
    with Engine(model, EnginePlan(free_after_s=1000.0)) as engine:
        future = engine.submit(b"sound")
        wait_for(lambda: "starved" in stages)
        clock.now_s += 5000
        wake(engine)
        assert model.times_freed == 0
        may_decode.set()
        future.result(PATIENCE_S)


def wake(engine):
    """Let the inference thread look around three times although nothing is to be done."""
    for _ in range(3):
        awake = threading.Event()
        engine._when_idle(awake.set)
        assert awake.wait(PATIENCE_S)


def watched_stages(monkeypatch):
    """The stages that the stopwatches have begun to count, in order."""
    stages, during = [], Stopwatch.during

    @contextmanager
    def watched(watch, stage):
        with during(watch, stage):
            stages.append(stage)
            yield

    monkeypatch.setattr(Stopwatch, "during", watched)
    return stages


def test_the_stage_times_say_who_waited_for_whom(monkeypatch):
    clock, stages = FakeClock(), watched_stages(monkeypatch)
    monkeypatch.setattr("emotion.engine.times.time", clock)

    def decode_for_3_s(*_):
        wait_for(lambda: "starved" in stages)
        clock.now_s += 3
        return loud_clip()

    class FiveSeconds(FakeModel):
        def predict(self, waveforms):
            clock.now_s += 5
            return super().predict(waveforms)

    monkeypatch.setattr(engine_module, "decode", decode_for_3_s)
    with Engine(FiveSeconds()) as engine:
        wait_for(lambda: "idle" in stages)
        clock.now_s += 10
        engine.submit(b"sound").result(PATIENCE_S)
    assert engine.stage_times == StageTimes(decode_s=3, inference_s=5, starved_s=3, idle_s=10)


@pytest.mark.parametrize(("ahead_s", "bound"), [(0.0, 3), (5.0, 5), (600.0, 12)])
def test_decoding_runs_ahead_of_a_busy_model_within_its_bounds(monkeypatch, ahead_s, bound):
    decoded, clips, threads = [], 12, 1
    monkeypatch.setattr(engine_module, "_DECODED_AHEAD_S", ahead_s)
    monkeypatch.setattr(engine_module, "decode", lambda *_: decoded.append(1) or loud_clip(1.0))
    model = HeldModel()
    with Engine(model, EnginePlan(decode_threads=threads)) as engine:
        futures = [engine.submit(b"sound") for _ in range(clips)]
        for resolved in range(clips):
            assert model.began.acquire(timeout=PATIENCE_S)
            most = min(bound + resolved, clips)
            wait_for(partial(lambda most: len(decoded) >= most, most))
            assert len(decoded) == most
            model.let_go(1)
        assert all(future.exception(PATIENCE_S) is None for future in futures), "the model was let go in time"
    assert len(decoded) == clips


def test_a_cancelled_recording_makes_room_for_the_next_to_be_decoded(monkeypatch):
    decoded = []
    monkeypatch.setattr(engine_module, "_DECODED_AHEAD_S", 0.0)
    monkeypatch.setattr(engine_module, "decode", lambda *_: decoded.append(1) or loud_clip(1.0))
    model = HeldModel()
    with Engine(model, EnginePlan(decode_threads=1)) as engine:
        futures = [engine.submit(b"sound") for _ in range(6)]
        wait_for(lambda: len(decoded) == 3)
        futures[2].cancel()
        wait_for(lambda: len(decoded) == 4)
        futures[5].cancel()
        model.let_go()
        assert wait(futures, PATIENCE_S).not_done == set()
    assert len(decoded) == 5


def test_a_clip_for_which_there_is_no_room_fails_alone(monkeypatch):
    def no_room(_):
        raise OSError("no space left on the device")

    monkeypatch.setattr("emotion.analysis.windows.empty_array", no_room)
    with Engine(FakeModel()) as engine:
        failing = engine.submit(loud_clip(), AnalysisRequest("frame", embedding=True))
        assert isinstance(failing.exception(PATIENCE_S), OSError)
        assert engine.submit(loud_clip()).result(PATIENCE_S).emotion.key == "angry"


def test_the_timings_of_a_long_clip_count_its_wait_and_each_batch_once(monkeypatch):
    clock = FakeClock()
    for module in ("engine", "job"):
        monkeypatch.setattr(f"emotion.engine.{module}.time", clock)

    class TwoSeconds(HeldModel):
        def predict(self, waveforms):
            predictions = super().predict(waveforms)
            clock.now_s += 2
            return predictions

    model = TwoSeconds()
    with Engine(model, EnginePlan(analysis=WINDOWED.analysis, batch_frames=10_000)) as engine:
        engine.submit(loud_clip(0.5))
        assert model.began.acquire(timeout=PATIENCE_S)
        long = engine.submit(loud_clip(12.0))
        wait_for(lambda: engine.progress(long).stage == "ready")
        clock.now_s += 1
        model.let_go()
        assert long.result(PATIENCE_S).timings_ms == {"decode": 0, "queue": 3000, "inference": 2000}
    assert len(model.batches[1]) == 6


def test_a_stage_that_is_under_way_counts_up_to_now(monkeypatch):
    clock = FakeClock()
    monkeypatch.setattr("emotion.engine.times.time", clock)
    watch = Stopwatch()
    with watch.during("idle"), watch.during("decode"):
        clock.now_s += 30
        assert watch.times == StageTimes(decode_s=30, idle_s=30)
        clock.now_s += 1
    clock.now_s += 5
    assert watch.times == StageTimes(decode_s=31, idle_s=31)
    assert watch.elapsed_s == 36


def test_an_engine_that_only_waits_says_that_it_is_idle(monkeypatch):
    clock, stages = FakeClock(), watched_stages(monkeypatch)
    for room in ("times", "front"):
        monkeypatch.setattr(f"emotion.engine.{room}.time", clock)
    with Engine(FakeModel()) as engine:
        wait_for(lambda: "idle" in stages)
        clock.now_s += 3600
        assert engine.stage_times == StageTimes(idle_s=3600)
        assert engine.uptime_s == 3600


def test_the_stages_of_the_last_20_clips_are_kept():
    with Engine(FakeModel()) as engine:
        assert engine.recent == ()
        first = engine.submit(loud_clip()).result(PATIENCE_S).timings_ms
        assert engine.recent == (ClipTimes(first["decode"], first["queue"], first["inference"]),)
        for _ in range(21):
            last = engine.submit(loud_clip()).result(PATIENCE_S).timings_ms
        assert len(engine.recent) == 20
        assert engine.recent[-1] == ClipTimes(last["decode"], last["queue"], last["inference"])


def test_a_clip_that_failed_leaves_no_times():
    with Engine(FakeModel()) as engine:
        wait([engine.submit(b"", name="nothing.wav")], PATIENCE_S)
        assert engine.recent == ()


def test_the_engine_says_how_it_is_set_up():
    with Engine(FakeModel(), EnginePlan(queue_size=7, decode_threads=3)) as engine:
        assert (engine.queue_size, engine.decode_threads) == (7, 3)


def test_what_is_accepted_reaches_the_decoders_before_the_engine_can_close(monkeypatch):
    owned = []
    with Engine(FakeModel()) as engine:
        monkeypatch.setattr(engine._decoders, "submit", lambda *_: owned.append(engine._change._is_owned()))
        engine.submit(loud_clip()).cancel()
    assert owned == [True]


def _wav_bytes(clip: Clip) -> bytes:
    import io

    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, clip.samples, 16_000, format="WAV")
    return buffer.getvalue()


def test_a_full_queue_says_when_a_quarter_of_it_will_have_passed(held):
    engine, model = held
    model.let_go()
    engine.submit(loud_clip()).result(PATIENCE_S)
    assert engine.recent
    while model.may_go_on.acquire(blocking=False):
        pass
    for _ in range(3):
        engine.submit(loud_clip())
    with pytest.raises(EngineBusy, match=r"Try again in \d+ s"):
        engine.submit(loud_clip())
