"""Batches: that one gives what single runs give, and how the engine forms them of what waits."""

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, wait
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from emotion.analysis import Analysis, AnalysisRequest
from emotion.analysis.windows import Plan
from emotion.audio import Clip
from emotion.engine import Engine, EnginePlan, measure_batch_frames
from emotion.engine import batch_tuning as pace_module
from emotion.engine.job import Job
from emotion.engine.ready import MOST_PADDING, ReadyQueue
from emotion.errors import EngineClosed, OutOfMemory
from emotion.model import FloatArray, SpeechModel, num_frames
from emotion.model.checkpoint import Checkpoint, find_checkpoint
from emotion.model.torch_runtime import open_torch_model
from tests.checkpoints import MEDIUM, Size, write_checkpoint
from tests.fakes import (
    CardModel,
    FakeClock,
    FakeModel,
    HeldModel,
    analyze,
    changing_clip,
    loud_clip,
    wait_for,
)

pytestmark = pytest.mark.numeric

PATIENCE_S = 20
UNLIKE = Size(16, 32, 4, prenet_depth=1, depth=2, scale_per_layer=True, scale_per_head=False, extra_tokens=0)
SIZES = {"medium": MEDIUM, "one scale per layer and no extra tokens": UNLIKE}
WINDOWED = Plan(exact_limit_s=1.0, window_s=3.0, context_s=0.5)


# A batch gives what single runs give


def open_runtime(runtime: str, checkpoint: Checkpoint) -> SpeechModel:
    if runtime == "torch":
        return open_torch_model(checkpoint, "cpu", "fp32")
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    from emotion.model.openvino_runtime import open_openvino_model

    return open_openvino_model(checkpoint, "fp32", 0, None)


@pytest.fixture(scope="module", params=[(runtime, size) for runtime in ("torch", "openvino") for size in SIZES])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SpeechModel:
    runtime, size = request.param
    folder = write_checkpoint(tmp_path_factory.mktemp("checkpoint"), SIZES[size])
    return open_runtime(runtime, find_checkpoint(str(folder), tmp_path_factory.mktemp("cache")))


def noise(frames: int, extra_samples: int = 0) -> FloatArray:
    """A waveform [n] of so many frames, and some samples that make no frame of their own."""
    rng = np.random.default_rng(frames * 1000 + extra_samples)
    return rng.standard_normal(400 + 320 * (frames - 1) + extra_samples).astype(np.float32)


def assert_batch_equals_single_runs(model: SpeechModel, waveforms: list[FloatArray]) -> None:
    for waveform, together in zip(waveforms, model.start(waveforms)(), strict=True):
        (alone,) = model.start([waveform])()
        assert together.logits.shape == (num_frames(len(waveform)), 9)
        np.testing.assert_allclose(together.logits, alone.logits, rtol=0, atol=1e-5)
        np.testing.assert_allclose(together.embeddings, alone.embeddings, rtol=0, atol=1e-5)


@pytest.mark.parametrize("frames", [(1, 15, 49, 103, 149), (149, 1), (50, 50, 50), (149, 103, 49, 15, 1, 149)])
def test_a_batch_of_any_lengths_in_any_order_gives_what_single_runs_give(
    model: SpeechModel, frames: tuple[int, ...]
) -> None:
    assert_batch_equals_single_runs(model, [noise(count) for count in frames])


@given(lengths=some.lists(some.tuples(some.integers(1, 120), some.integers(0, 319)), min_size=2, max_size=5))
@settings(max_examples=6, deadline=None, derandomize=True)
def test_a_batch_of_random_lengths_gives_what_single_runs_give(
    model: SpeechModel, lengths: list[tuple[int, int]]
) -> None:
    assert_batch_equals_single_runs(model, [noise(*length) for length in lengths])


def test_the_convolutions_see_many_clips_in_pieces_that_join(model: SpeechModel) -> None:
    assert_batch_equals_single_runs(model, [noise(20 + count % 3) for count in range(24)])


def test_a_runtime_that_did_not_know_where_clips_end_would_give_something_else(
    model: SpeechModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emotion.model import pad_batch

    waveforms = [noise(30), noise(60)]
    (alone,) = model.start(waveforms[:1])()

    def without_ends(batch: list[FloatArray]) -> tuple[FloatArray, list[int]]:
        padded, counts = pad_batch(batch)
        return padded, [max(counts)] * len(counts)

    monkeypatch.setattr(f"emotion.model.{model.card.runtime}_runtime.pad_batch", without_ends)
    blind = model.start(waveforms)()[0]

    assert np.abs(blind.embeddings[:30] - alone.embeddings).max() > 1e-2


def test_predictions_keep_their_numbers_when_the_next_batch_comes(model: SpeechModel) -> None:
    first = model.start([noise(49)])()[0]
    logits, embeddings = first.logits.copy(), first.embeddings.copy()

    model.start([noise(50), noise(49)])()

    np.testing.assert_array_equal(first.logits, logits)
    np.testing.assert_array_equal(first.embeddings, embeddings)


# The engine forms batches


def answers(futures: list["Future[Analysis]"]) -> list[str]:
    return [future.result(PATIENCE_S).emotion.key for future in futures]


def wait_until_ready(engine: Engine, futures: list["Future[Analysis]"]) -> None:
    wait_for(lambda: all(engine.progress(future).stage == "ready" for future in futures))


@contextmanager
def busy_engine(model: HeldModel, plan: EnginePlan) -> Iterator[Engine]:
    """An engine whose model works on a first, short clip until it is let go, so that what comes then waits."""
    with Engine(model, plan) as engine:
        engine.submit(loud_clip(0.1, "first.wav"))
        assert model.began.acquire(timeout=PATIENCE_S)
        try:
            yield engine
        finally:
            model.let_go()


def run_waiting(model: HeldModel, plan: EnginePlan, clips: list[Clip]) -> list["Future[Analysis]"]:
    """Let all clips wait for the model at once, then let it go; all futures are settled."""
    with busy_engine(model, plan) as engine:
        futures = [engine.submit(clip) for clip in clips]
        wait_until_ready(engine, futures)
        model.let_go()
        wait(futures, PATIENCE_S)
    return futures


def frames_of(batch: list[int]) -> int:
    """Frames that a batch costs, with its padding."""
    return len(batch) * max(num_frames(length) for length in batch)


def test_waiting_clips_of_like_length_go_in_one_batch() -> None:
    model = HeldModel()
    futures = run_waiting(model, EnginePlan(batch_frames=500), [loud_clip(1.0 - n / 100) for n in range(5)])

    assert answers(futures) == ["angry"] * 5
    assert [len(batch) for batch in model.batches] == [1, 5]


def test_no_batch_is_larger_than_the_budget_and_all_is_answered() -> None:
    model = HeldModel()
    futures = run_waiting(model, EnginePlan(batch_frames=200), [loud_clip(1.0)] * 11)

    assert answers(futures) == ["angry"] * 11
    assert [len(batch) for batch in model.batches[1:]] == [4, 4, 3]
    assert all(frames_of(batch) <= 200 for batch in model.batches)


def test_a_long_clip_is_not_padded_together_with_short_ones() -> None:
    model = HeldModel()
    clips = [loud_clip(seconds) for seconds in (1.0, 10.0, 1.1, 9.0, 1.2, 3.0)]
    run_waiting(model, EnginePlan(batch_frames=100_000), clips)

    assert sorted(len(batch) for batch in model.batches[1:]) == [1, 2, 3]
    for batch in model.batches:
        assert frames_of(batch) <= MOST_PADDING * sum(num_frames(length) for length in batch)


def test_a_budget_of_one_frame_means_one_clip_at_a_time() -> None:
    model = HeldModel()
    run_waiting(model, EnginePlan(batch_frames=1), [loud_clip(1.0)] * 5)

    assert [len(batch) for batch in model.batches] == [1] * 6


def test_a_batch_waits_for_a_recording_that_is_being_decoded_and_for_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    may_decode, decoding = threading.Event(), threading.Event()

    def slow_decode(*_: object) -> Clip:
        decoding.set()
        assert may_decode.wait(PATIENCE_S)
        return loud_clip(1.0)

    monkeypatch.setattr("emotion.engine.engine.decode", slow_decode)
    model = FakeModel()
    with Engine(model, EnginePlan(batch_frames=500, batch_wait_ms=60_000)) as engine:
        assert answers([engine.submit(loud_clip(1.0))]) == ["angry"]
        slow = engine.submit(b"sound")
        assert decoding.wait(PATIENCE_S)
        quick = engine.submit(loud_clip(1.0))
        wait_until_ready(engine, [quick])
        may_decode.set()
        assert answers([slow, quick]) == ["angry"] * 2
    assert [len(batch) for batch in model.batches] == [1, 2]


def test_a_full_batch_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    may_decode = threading.Event()
    monkeypatch.setattr("emotion.engine.engine.decode", lambda *_: may_decode.wait(PATIENCE_S) and loud_clip(1.0))
    with Engine(FakeModel(), EnginePlan(batch_frames=60, batch_wait_ms=60_000)) as engine:
        slow = engine.submit(b"sound")
        assert answers([engine.submit(loud_clip(1.0))]) == ["angry"]
        may_decode.set()
        assert answers([slow]) == ["angry"]


def test_without_a_measurement_nothing_is_batched() -> None:
    model = HeldModel()
    run_waiting(model, EnginePlan(), [loud_clip(1.0)] * 3)

    assert [len(batch) for batch in model.batches] == [1] * 4


@pytest.mark.parametrize("batch_frames", [1, 300, 10_000])
def test_windows_of_one_clip_go_together_and_come_back_in_order(batch_frames: int) -> None:
    model, clip = FakeModel(), changing_clip()
    with Engine(model, EnginePlan(analysis=WINDOWED, batch_frames=batch_frames)) as engine:
        together = engine.submit(clip, AnalysisRequest("frame", True)).result(PATIENCE_S)
    alone = analyze(clip, "frame", True, WINDOWED)

    assert max(len(batch) for batch in model.batches) == {1: 1, 300: 2, 10_000: 6}[batch_frames]
    np.testing.assert_array_equal(together.frame_scores, alone.frame_scores)
    np.testing.assert_array_equal(together.embedding, alone.embedding)


def test_windows_of_several_clips_share_batches_and_each_gets_its_own() -> None:
    model, clips = HeldModel(), [changing_clip(9.0, seed) for seed in range(4)]
    with busy_engine(model, EnginePlan(analysis=WINDOWED, batch_frames=1000)) as engine:
        futures = [engine.submit(clip, AnalysisRequest("frame")) for clip in clips]
        wait_until_ready(engine, futures)
        model.let_go()
        scores = [future.result(PATIENCE_S).frame_scores for future in futures]

    assert len(model.batches) < 12
    for clip, own in zip(clips, scores, strict=True):
        np.testing.assert_array_equal(own, analyze(clip, "frame", plan=WINDOWED).frame_scores)


class PickyModel(HeldModel):
    """Cannot bear waveforms of one length, nor batches of more than so many clips."""

    def __init__(self, bad_length: int = 0, most_clips: int = 1000) -> None:
        super().__init__("picky")
        self._bad_length, self._most_clips = bad_length, most_clips
        self.refused = 0

    def predict(self, waveforms):
        if len(waveforms) > self._most_clips:
            self.refused += 1
            raise OutOfMemory("cpu")
        if self._bad_length in map(len, waveforms):
            self.refused += 1
            raise ValueError("not this one")
        return super().predict(waveforms)


def test_one_bad_clip_fails_alone_and_its_batch_is_answered() -> None:
    model, bad = PickyModel(bad_length=16_160), loud_clip(1.01)
    clips = [loud_clip(1.0)] * 8
    clips[5] = bad
    futures = run_waiting(model, EnginePlan(batch_frames=10_000), clips)

    assert isinstance(futures.pop(5).exception(PATIENCE_S), ValueError)
    assert answers(futures) == ["angry"] * 7
    assert model.refused == 4, "halves of eight, of four and of two, and the clip itself"


def test_a_batch_that_memory_does_not_hold_is_answered_in_parts() -> None:
    model = PickyModel(most_clips=2)
    futures = run_waiting(model, EnginePlan(batch_frames=10_000), [loud_clip(1.0)] * 7)

    assert answers(futures) == ["angry"] * 7
    assert model.refused > 0
    assert max(len(batch) for batch in model.batches) == 2


def test_a_clip_of_which_two_windows_fail_in_one_batch_fails_once_and_the_engine_goes_on() -> None:
    class Broken(FakeModel):
        def predict(self, waveforms):
            if len(waveforms[0]) > 20_000:
                raise ValueError("no windows")
            return super().predict(waveforms)

    with Engine(Broken(), EnginePlan(analysis=WINDOWED, batch_frames=10_000)) as engine:
        windowed = engine.submit(changing_clip())
        assert isinstance(windowed.exception(PATIENCE_S), ValueError)
        assert answers([engine.submit(loud_clip(1.0))]) == ["angry"]


def test_a_job_that_is_given_up_in_a_failing_batch_is_told_and_the_engine_goes_on() -> None:
    class Failing(HeldModel):
        def predict(self, waveforms):
            super().predict(waveforms)
            raise ValueError("nothing works")

    model = Failing()
    with Engine(model, EnginePlan(analysis=WINDOWED, batch_frames=10_000)) as engine:
        windowed = engine.submit(changing_clip())
        assert model.began.acquire(timeout=PATIENCE_S)
        short = engine.submit(loud_clip(0.5))
        windowed.cancel()
        model.let_go()
        assert wait([windowed, short], PATIENCE_S).not_done == set()
        assert isinstance(engine.submit(loud_clip(0.5)).exception(PATIENCE_S), ValueError)


def test_a_model_that_answers_too_little_or_in_another_shape_fails_only_what_it_answered() -> None:
    class Forgetful(FakeModel):
        def predict(self, waveforms):
            predictions = super().predict(waveforms)
            if len(waveforms[0]) == 8_000:
                return predictions[1:]
            if len(waveforms[0]) == 8_160:
                return [type(each)(each.logits[:, :3], each.embeddings) for each in predictions]
            return predictions

    with Engine(Forgetful()) as engine:
        fewer, narrow, good = (engine.submit(loud_clip(seconds)) for seconds in (0.5, 0.51, 1.0))
        assert isinstance(fewer.exception(PATIENCE_S), ValueError)
        assert isinstance(narrow.exception(PATIENCE_S), ValueError)
        assert answers([good]) == ["angry"]


def test_those_who_wait_for_a_cancelled_job_of_a_running_batch_are_told_and_the_others_answered() -> None:
    model = HeldModel()
    with busy_engine(model, EnginePlan(batch_frames=500)) as engine:
        futures = [engine.submit(loud_clip(1.0)) for _ in range(3)]
        wait_until_ready(engine, futures)
        model.let_go(1)
        assert model.began.acquire(timeout=PATIENCE_S)
        assert futures[1].cancel()
        model.let_go()
        assert wait(futures, PATIENCE_S).not_done == set()
        with pytest.raises(CancelledError):
            futures[1].result(PATIENCE_S)
        assert answers([futures[0], futures[2]]) == ["angry", "angry"]
    assert [len(batch) for batch in model.batches] == [1, 3]


def test_a_job_that_is_cancelled_while_it_waits_is_in_no_batch() -> None:
    model = HeldModel()
    with busy_engine(model, EnginePlan(batch_frames=500)) as engine:
        futures = [engine.submit(loud_clip(1.0)) for _ in range(3)]
        wait_until_ready(engine, futures)
        futures[0].cancel()
        model.let_go()
        assert wait(futures, PATIENCE_S).not_done == set()
    assert [len(batch) for batch in model.batches] == [1, 2]


def test_two_models_never_share_a_batch() -> None:
    first, second = HeldModel("first"), HeldModel("second")
    with busy_engine(first, EnginePlan(analysis=WINDOWED, batch_frames=500)) as engine:
        begun = engine.submit(loud_clip(12.0))
        wait_until_ready(engine, [begun])
        first.let_go(1)
        assert first.began.acquire(timeout=PATIENCE_S)
        engine.use(second)
        later = [engine.submit(loud_clip(3.0)) for _ in range(3)]
        wait_until_ready(engine, later)
        second.let_go()
        first.let_go()
        assert begun.result(PATIENCE_S).model.name == "first"
        assert {future.result(PATIENCE_S).model.name for future in later} == {"second"}
    windows = len(analysis_windows(loud_clip(12.0)))
    assert sum(map(len, first.batches)) == 1 + windows
    assert sum(map(len, second.batches)) == 3 * len(analysis_windows(loud_clip(3.0)))


def analysis_windows(clip: Clip) -> list[object]:
    from emotion.analysis.windows import cut_windows

    return list(cut_windows(clip, WINDOWED))


def test_a_model_that_comes_while_a_batch_is_formed_computes_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, take = [], ReadyQueue.take
    first, second = FakeModel("first"), FakeModel("second")
    with Engine(first, EnginePlan(batch_frames=500)) as engine:

        def take_and_change(queue, *arguments):
            taken.append(take(queue, *arguments))
            engine.use(second)
            return taken[-1]

        monkeypatch.setattr(ReadyQueue, "take", take_and_change)
        assert engine.submit(loud_clip()).result(PATIENCE_S).model.name == "first"
        assert engine.submit(loud_clip()).result(PATIENCE_S).model.name == "second"
    assert (len(first.batches), len(second.batches)) == (1, 1)


# A graphics card


def test_a_card_gets_its_next_batch_before_the_one_before_is_collected() -> None:
    model = CardModel()
    with Engine(model, EnginePlan(batch_frames=1)) as engine:
        futures = [engine.submit(loud_clip(1.0))]
        wait_for(lambda: model.events == ["start 0"])
        futures += [engine.submit(loud_clip(1.0)) for _ in range(2)]
        wait_until_ready(engine, futures[1:])
        model.may_collect.release()
        wait_for(lambda: len(model.events) == 4)
        assert model.events == ["start 0", "collect 0", "start 1", "start 2"]
        model.may_collect.release(2)
        assert answers(futures) == ["angry"] * 3
    assert model.events[4:] == ["collect 1", "collect 2"]


def test_a_processor_gets_one_batch_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model = CardModel()
    monkeypatch.setattr(model, "card", FakeModel().card)
    with Engine(model, EnginePlan(batch_frames=1)) as engine:
        futures = [engine.submit(loud_clip(1.0))]
        wait_for(lambda: model.events == ["start 0"])
        futures += [engine.submit(loud_clip(1.0)) for _ in range(2)]
        wait_until_ready(engine, futures[1:])
        model.may_collect.release(3)
        assert answers(futures) == ["angry"] * 3
    assert model.events == [f"{what} {number}" for number in range(3) for what in ("start", "collect")]


def test_a_batch_that_a_card_refuses_while_another_runs_keeps_the_order_of_the_windows() -> None:
    model, clip = CardModel(refused=(1,)), changing_clip()
    model.may_collect.release(100)
    with Engine(model, EnginePlan(analysis=WINDOWED, batch_frames=300)) as engine:
        analysis = engine.submit(clip, AnalysisRequest("frame")).result(PATIENCE_S)
    np.testing.assert_array_equal(analysis.frame_scores, analyze(clip, "frame", plan=WINDOWED).frame_scores)


def test_work_given_up_while_a_card_computes_it_is_told_and_the_engine_goes_on() -> None:
    class FailingCard(CardModel):
        def predict(self, waveforms):
            super().predict(waveforms)
            raise ValueError("nothing works")

    model = FailingCard()
    with Engine(model, EnginePlan(analysis=WINDOWED, batch_frames=1)) as engine:
        first = engine.submit(loud_clip(0.5))
        wait_for(lambda: model.events == ["start 0"])
        windowed = engine.submit(changing_clip())
        wait_until_ready(engine, [windowed])
        model.may_collect.release()
        wait_for(lambda: "start 2" in model.events)
        windowed.cancel()
        model.may_collect.release(100)
        assert wait([first, windowed], PATIENCE_S).not_done == set()
        assert isinstance(engine.submit(loud_clip(0.5)).exception(PATIENCE_S), ValueError)


# Who comes first


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    clock = FakeClock()
    monkeypatch.setattr("emotion.engine.job.time", clock)
    return clock


def job_of(clip: Clip, plan: Plan | None = None) -> Job:
    job = Job(clip, AnalysisRequest(), None)
    job.cut(clip, plan or Plan())
    return job


def names_in_order(queue: ReadyQueue, most_frames: int = 1) -> list[str]:
    batches = []
    while len(queue):
        batches.append(",".join(part.job.clip.name for part in queue.take(most_frames, FakeModel())))
    return batches


def test_the_order_is_that_of_arrival_for_clips_of_one_length(clock: FakeClock) -> None:
    queue = ReadyQueue()
    for name in ("one", "two", "three"):
        queue.put(job_of(loud_clip(1.0, name)))
        clock.now_s += 0.001
    assert names_in_order(queue) == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("waited_s", "order"), [(1.0, ["short", "long"]), (14.0, ["short", "long"]), (16.0, ["long", "short"])]
)
def test_a_short_clip_passes_a_minute_of_sound_but_not_for_ever(
    clock: FakeClock, waited_s: float, order: list[str]
) -> None:
    queue = ReadyQueue()
    queue.put(job_of(loud_clip(60.0, "long")))
    clock.now_s += waited_s
    queue.put(job_of(loud_clip(1.0, "short")))
    assert names_in_order(queue) == order


def test_a_long_clip_comes_to_its_turn_however_many_short_ones_arrive(clock: FakeClock) -> None:
    queue = ReadyQueue()
    queue.put(job_of(loud_clip(60.0, "long")))
    taken = []
    for _ in range(100):
        queue.put(job_of(loud_clip(1.0, "short")))
        clock.now_s += 0.5
        taken += [part.job.clip.name for part in queue.take(1, FakeModel())]
    assert 20 < taken.index("long") < 40


def test_the_first_deadline_is_in_the_batch_even_if_it_fits_nothing_else(clock: FakeClock) -> None:
    queue = ReadyQueue()
    queue.put(job_of(loud_clip(10.0, "long")))
    clock.now_s += 60
    for name in ("a", "b", "c"):
        queue.put(job_of(loud_clip(1.0, name)))
    assert names_in_order(queue, 150) == ["long", "a,b,c"]


def test_a_long_clip_waits_anew_with_each_of_its_windows(clock: FakeClock) -> None:
    queue, model = ReadyQueue(), FakeModel()
    queue.put(job_of(loud_clip(20.0, "long"), WINDOWED))
    clock.now_s += 5.0
    queue.put(job_of(loud_clip(1.0, "short")))
    assert [part.job.clip.name for part in queue.take(1, model)] == ["long"]
    assert [part.job.clip.name for part in queue.take(1, model)] == ["short"]
    assert [part.job.clip.name for part in queue.take(1, model)] == ["long"]


def test_jobs_of_another_model_wait_for_the_next_batch() -> None:
    queue, first, second = ReadyQueue(), FakeModel("first"), FakeModel("second")
    begun, new = job_of(loud_clip(1.0, "begun")), job_of(loud_clip(1.0, "new"))
    begun.begin(first)
    for job in (begun, new):
        queue.put(job)
    (part,) = queue.take(1000, second)
    assert (part.job, part.model) == (begun, first)
    (part,) = queue.take(1000, second)
    assert (part.job, part.model) == (new, second)


def test_a_queue_is_full_when_one_more_clip_would_not_fit() -> None:
    queue = ReadyQueue()
    assert not queue.fills(1)
    for _ in range(3):
        queue.put(job_of(loud_clip(1.0)))
    assert not queue.fills(4 * 49)
    assert queue.fills(4 * 49 - 1)


# Whether batches pay


class TimedModel(FakeModel):
    """Moves the clock by what a batch costs: so much each time, and so much for every clip."""

    def __init__(self, clock: FakeClock, each_time_s: float, each_clip_s: float, most_clips: int = 1000) -> None:
        super().__init__("timed")
        self._clock, self._costs, self._most_clips = clock, (each_time_s, each_clip_s), most_clips

    def predict(self, waveforms):
        if len(waveforms) > self._most_clips:
            raise OutOfMemory("cuda:0")
        each_time_s, each_clip_s = self._costs
        self._clock.now_s += each_time_s + each_clip_s * len(waveforms)
        return super().predict(waveforms)


@pytest.fixture
def pace_clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    clock = FakeClock()
    monkeypatch.setattr(pace_module, "time", clock)
    return clock


@pytest.mark.parametrize(
    ("each_time_s", "each_clip_s", "clips"),
    [(0.0, 1.0, None), (0.05, 1.0, None), (1.0, 0.0, 64), (1.0, 1.5, 4), (1.0, 0.2, 32)],
)
def test_the_budget_grows_for_as_long_as_a_batch_gains_a_tenth(
    pace_clock: FakeClock, each_time_s: float, each_clip_s: float, clips: int | None
) -> None:
    model = TimedModel(pace_clock, each_time_s, each_clip_s)
    assert measure_batch_frames(model) == (1 if clips is None else clips * 49)


def test_a_slow_first_run_does_not_count(pace_clock: FakeClock) -> None:
    class ColdModel(TimedModel):
        def predict(self, waveforms):
            if len(waveforms) not in map(len, self.batches):
                pace_clock.now_s += 60 * len(waveforms)
            return super().predict(waveforms)

    assert measure_batch_frames(ColdModel(pace_clock, 1.0, 0.0)) == 64 * 49


def test_what_memory_does_not_hold_ends_the_measurement_with_what_it_held(pace_clock: FakeClock) -> None:
    assert measure_batch_frames(TimedModel(pace_clock, 1.0, 0.0, most_clips=20)) == 16 * 49


def test_a_warm_up_measures_batches_where_the_plan_leaves_it_to_the_machine(pace_clock: FakeClock) -> None:
    model = TimedModel(pace_clock, 1.0, 0.0)
    with Engine(model) as engine:
        assert engine.batch_frames == 1
        engine.warm_up()
        wait_for(lambda: engine.batch_frames == 64 * 49)


def test_a_warm_up_runs_the_model_once_where_the_plan_says_how_large_batches_are() -> None:
    model = FakeModel()
    with Engine(model, EnginePlan(batch_frames=77)) as engine:
        engine.warm_up()
        wait_for(lambda: bool(model.batches))
        assert engine.batch_frames == 77
    assert model.batches == [[16_000]]


def test_another_model_starts_without_the_measurement_of_the_one_before(pace_clock: FakeClock) -> None:
    with Engine(TimedModel(pace_clock, 1.0, 0.0)) as engine:
        engine.warm_up()
        wait_for(lambda: engine.batch_frames > 1)
        engine.use(FakeModel("second"))
        assert engine.batch_frames == 1


def test_a_warm_up_that_fails_is_said_and_does_not_end_the_engine(caplog: pytest.LogCaptureFixture) -> None:
    class Cold(FakeModel):
        def predict(self, waveforms):
            if not self.batches:
                self.batches.append([])
                raise ValueError("too cold")
            return super().predict(waveforms)

    with Engine(Cold()) as engine:
        engine.warm_up()
        wait_for(lambda: "a chore of the inference thread failed" in caplog.text)
        assert answers([engine.submit(loud_clip())]) == ["angry"]
        assert engine.batch_frames == 1


def test_work_that_comes_in_the_middle_of_the_measurement_goes_first() -> None:
    model = HeldModel()
    with Engine(model) as engine:
        engine.warm_up()
        assert model.began.acquire(timeout=PATIENCE_S)
        clip = engine.submit(loud_clip(0.5))
        wait_until_ready(engine, [clip])
        model.let_go(2)
        assert answers([clip]) == ["angry"]
        assert model.batches[:2] == [[16_000], [8_000]]
        model.let_go()


def test_leaving_the_engine_does_not_wait_for_the_end_of_the_measurement() -> None:
    model = HeldModel()
    with Engine(model) as engine:
        engine.warm_up()
        assert model.began.acquire(timeout=PATIENCE_S)
        leaving = threading.Thread(target=engine.close)
        leaving.start()
        wait_for(lambda: not takes_work(engine))
        model.let_go()
        leaving.join(PATIENCE_S)
    assert len(model.batches) == 1


def takes_work(engine: Engine) -> bool:
    try:
        engine.submit(b"")
    except EngineClosed:
        return False
    return True
