"""The engine of many machines without machines: replicas in this process, over a link that travels by pickle."""

import asyncio
import inspect
import pickle
import threading
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from emotion import errors
from emotion.access import problems
from emotion.analysis import AnalysisRequest
from emotion.audio import wav_bytes
from emotion.cluster import ClusterEngine, ClusterPlan
from emotion.cluster.link import ReplicaLost, ReplicasFull
from emotion.cluster.messages import AnalyzeRequest, Message, Refused, Report, ResultAssembler, packed
from emotion.cluster.plan import replica_settings, share_of_machine
from emotion.cluster.remote_job import MemoryBudget
from emotion.cluster.replica import Replica
from emotion.engine import Engine, EnginePlan
from emotion.engine.recognizer import Recognizer
from emotion.errors import ClipTooLong, ClipTooShort, EngineBusy, EngineClosed, NotSound, ReplicasLost, Unexpected
from emotion.settings import load_settings
from tests.fakes import FakeModel, HeldModel, analyze, changing_clip, loud_clip, turning_clip, wait_for

PATIENCE_S = 20


class LocalReplica(Replica):
    """A replica around an engine of this process."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(SimpleNamespace(engine=engine, close=engine.close))


def travelled(value: Any) -> Any:
    """What another process gets."""
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - our own bytes


class LocalLink:
    """Sends to the replicas in turn; `faults` are raised, or done, before the replica whose turn it is."""

    shares_files = False

    def __init__(self, *models: FakeModel, plan: EnginePlan | None = None) -> None:
        self.engines = [Engine(model, plan or EnginePlan(batch_frames=1)) for model in models]
        self.replicas = [LocalReplica(engine) for engine in self.engines]
        self.faults: list[Exception | Callable[[Message], None] | None] = []
        self.asked: list[AnalyzeRequest] = []
        self.chores: list[str] = []
        self.closed = threading.Event()

    async def analyze(self, request: AnalyzeRequest) -> AsyncGenerator[Message, None]:
        number = len(self.asked)
        self.asked.append(request)
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, Exception):
            raise fault
        answers = self.replicas[number % len(self.replicas)].analyze(travelled(request))
        try:
            async for message in answers:
                if fault is not None:
                    fault(message)
                yield travelled(message)
        finally:
            await answers.aclose()

    async def report(self) -> Report:
        return self.replicas[0].report()

    async def reports(self) -> list[Report]:
        return [travelled(replica.report()) for replica in self.replicas]

    async def broadcast(self, chore: str) -> None:
        self.chores.append(chore)

    def close(self) -> None:
        self.closed.set()
        for engine in self.engines:
            engine.close(finish=False)


@pytest.fixture
def open_cluster():
    """Makes engines over such a link, and closes them."""
    engines = []

    def open_one(link: LocalLink, **changes: Any) -> ClusterEngine:
        engine = ClusterEngine(link, replace(ClusterPlan(look_s=0.02), **changes))
        engines.append((engine, link))
        return engine

    yield open_one
    for engine, link in engines:
        for own in link.engines:
            if isinstance(own._model, HeldModel):
                own._model.let_go()
        engine.close(finish=False)


def lost() -> Callable[[Message], None]:
    """A replica that ends when it has said something."""

    def fault(_: Message) -> None:
        raise ReplicaLost("it was killed")

    return fault


def test_a_recording_is_recognised_by_a_replica(open_cluster):
    engine = open_cluster(LocalLink(FakeModel()))
    analysis = engine.submit(wav_bytes(loud_clip()), name="call.wav").result(PATIENCE_S)
    assert analysis.emotion.key == "angry"
    assert analysis.clip.name == "call.wav"
    assert set(analysis.timings_ms) == {"decode", "queue", "inference"}


@pytest.mark.parametrize(
    "options", [AnalysisRequest(), AnalysisRequest("frame", True), AnalysisRequest("utterance", True)]
)
def test_a_cluster_says_what_one_process_says(open_cluster, options):
    content = wav_bytes(changing_clip())
    engine = open_cluster(LocalLink(FakeModel()))
    with Engine(FakeModel()) as single:
        ours = engine.submit(content, options, "call.wav").result(PATIENCE_S)
        theirs = single.submit(content, options, "call.wav").result(PATIENCE_S)
    assert np.array_equal(ours.clip.samples, theirs.clip.samples)
    assert not ours.clip.samples.flags.writeable
    for name in ("scores", "frame_scores", "embedding"):
        assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name
    records = [analysis.record() for analysis in (ours, theirs)]
    for record in records:
        del record["timings_ms"], record["timestamp"]
    assert records[0] == records[1]


def test_a_clip_is_sent_and_its_samples_do_not_come_back(open_cluster):
    clip = turning_clip()
    analysis = open_cluster(LocalLink(FakeModel())).submit(clip).result(PATIENCE_S)
    assert analysis.clip is clip


def test_a_file_is_read_by_the_front_unless_replicas_see_it(open_cluster, tmp_path):
    path = tmp_path / "call.wav"
    path.write_bytes(wav_bytes(loud_clip()))
    link = LocalLink(FakeModel())
    engine = open_cluster(link)
    assert engine.submit(path).result(PATIENCE_S).clip.name == "call.wav"
    assert link.asked[-1].source == path.read_bytes()
    link.shares_files = True
    assert engine.submit(str(path)).result(PATIENCE_S).clip.name == "call.wav"
    assert link.asked[-1].source == path


@pytest.mark.parametrize("shares_files", [True, False])
def test_a_file_that_is_not_there_or_no_sound_is_said_as_by_one_process(open_cluster, tmp_path, shares_files):
    link = LocalLink(FakeModel())
    link.shares_files = shares_files
    engine = open_cluster(link)
    (tmp_path / "noise.wav").write_bytes(b"no sound at all")
    with pytest.raises(errors.ClipNotFound, match=r"'away\.wav'"):
        engine.submit(tmp_path / "away.wav").result(PATIENCE_S)
    with pytest.raises(NotSound, match=r"'noise\.wav'"):
        engine.submit(tmp_path / "noise.wav").result(PATIENCE_S)
    assert engine.queue_length == 0


def test_a_file_that_is_too_large_is_not_even_read(open_cluster, tmp_path):
    path = tmp_path / "call.wav"
    path.write_bytes(wav_bytes(loud_clip()))
    link = LocalLink(FakeModel())
    engine = open_cluster(link, limits=replace(ClusterPlan().limits, max_file_bytes=100))
    with pytest.raises(errors.ClipTooLarge):
        engine.submit(path).result(PATIENCE_S)
    assert link.asked == []


def test_a_replica_that_ends_in_the_middle_is_replaced_by_another(open_cluster):
    link = LocalLink(FakeModel("first"), FakeModel("second"))
    link.faults = [lost()]
    analysis = open_cluster(link).submit(loud_clip()).result(PATIENCE_S)
    assert analysis.model.name == "second"
    assert len(link.asked) == 2


def test_a_replica_that_is_ending_sends_the_recording_on(open_cluster):
    link = LocalLink(FakeModel("first"), FakeModel("second"))
    link.engines[0].close()
    assert open_cluster(link).submit(loud_clip()).result(PATIENCE_S).model.name == "second"


def test_a_recording_that_ends_every_replica_is_given_up_after_four(open_cluster, monkeypatch):
    monkeypatch.setattr("emotion.cluster.engine._WAITS_S", (0.0, 0.0, 0.0))
    link = LocalLink(FakeModel(), FakeModel())
    link.faults = [ReplicaLost("killed"), lost(), ReplicaLost("killed"), lost(), None]
    engine = open_cluster(link)
    with pytest.raises(ReplicasLost):
        engine.submit(loud_clip()).result(PATIENCE_S)
    assert len(link.asked) == 4
    assert engine.submit(loud_clip()).result(PATIENCE_S).emotion.key == "angry"


def test_an_answer_that_breaks_off_is_asked_for_again(open_cluster, monkeypatch):
    link = LocalLink(FakeModel())
    engine = open_cluster(link)
    monkeypatch.setattr("emotion.cluster.messages._PIECE_NUMBERS", 1000)
    link.faults = [_breaks_off_after(2)]
    analysis = engine.submit(wav_bytes(loud_clip())).result(PATIENCE_S)
    assert np.array_equal(analysis.clip.samples, travelled_clip(loud_clip()))
    assert len(link.asked) == 2


def _breaks_off_after(messages: int) -> Callable[[Message], None]:
    left = [messages]

    def fault(_: Message) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise ReplicaLost("it was killed")

    return fault


def travelled_clip(clip):
    from emotion.audio import decode

    return decode(wav_bytes(clip)).samples


def test_a_full_queue_refuses_at_once(open_cluster):
    model = HeldModel()
    engine = open_cluster(LocalLink(model), queue_size=2)
    futures = [engine.submit(loud_clip()), engine.submit(loud_clip())]
    with pytest.raises(EngineBusy) as caught:
        engine.submit(loud_clip())
    assert caught.value.details == {"queue_length": 2, "retry_s": 3}
    model.let_go()
    assert [future.result(PATIENCE_S).emotion.key for future in futures] == ["angry", "angry"]
    assert engine.queue_length == 0


def test_backpressure_of_ray_serve_arrives_as_503_with_retry_after(open_cluster):
    link = LocalLink(FakeModel())
    link.faults = [ReplicasFull()]
    with pytest.raises(EngineBusy) as caught:
        open_cluster(link).submit(loud_clip()).result(PATIENCE_S)
    problem = problems.problem_of(caught.value)
    assert problem.status == 503
    assert int(problem.headers["Retry-After"]) > 0


def test_cancelling_ends_the_work_in_the_replica(open_cluster):
    model = HeldModel()
    link = LocalLink(model)
    engine = open_cluster(link)
    future = engine.submit(loud_clip())
    assert model.began.acquire(timeout=PATIENCE_S)
    assert link.engines[0].queue_length == 1
    assert future.cancel()
    wait_for(lambda: link.engines[0].queue_length == 0)
    assert engine.queue_length == 0
    assert engine.progress(future).stage == "cancelled"


def test_progress_is_that_of_the_replica_and_the_place_that_of_the_front(open_cluster):
    model = HeldModel()
    engine = open_cluster(LocalLink(model))
    first = engine.submit(turning_clip())
    wait_for(lambda: engine.progress(first).stage == "recognising")
    assert engine.progress(first).duration_s == 4.0
    second, third = engine.submit(loud_clip()), engine.submit(loud_clip())
    wait_for(lambda: engine.progress(third).stage == "ready")
    assert [engine.progress(future).position for future in (first, second, third)] == [0, 0, 1]
    model.let_go()
    first.result(PATIENCE_S)
    assert engine.progress(first).stage == "done"


def test_what_is_unexpected_in_a_replica_tells_nothing_of_its_inside(open_cluster, caplog):
    class BrokenModel(FakeModel):
        def predict(self, waveforms):  # noqa: ARG002 - the name is that of the model
            raise RuntimeError("/a/secret/path")

    engine = open_cluster(LocalLink(BrokenModel()))
    with pytest.raises(Unexpected) as caught:
        engine.submit(loud_clip()).result(PATIENCE_S)
    assert "secret" not in str(caught.value)
    assert "a recording failed unexpectedly" in caplog.text


def test_a_closed_engine_refuses_finishes_what_it_took_and_closes_its_link(open_cluster):
    model = HeldModel()
    link = LocalLink(model)
    engine = open_cluster(link)
    future = engine.submit(loud_clip())
    assert model.began.acquire(timeout=PATIENCE_S)
    closing = threading.Thread(target=engine.close)
    closing.start()
    wait_for(lambda: not engine.is_alive)
    with pytest.raises(EngineClosed):
        engine.submit(loud_clip())
    assert not link.closed.is_set()
    model.let_go()
    closing.join(PATIENCE_S)
    assert future.result(0).emotion.key == "angry"
    assert link.closed.is_set()
    engine.close()


def test_leaving_without_finishing_cancels(open_cluster):
    model = HeldModel()
    engine = open_cluster(LocalLink(model))
    future = engine.submit(loud_clip())
    assert model.began.acquire(timeout=PATIENCE_S)
    threading.Timer(0.1, model.let_go).start()
    engine.close(finish=False)
    assert future.cancelled()


def test_what_replicas_say_of_themselves_is_one_engine(open_cluster):
    heard = []
    link = LocalLink(FakeModel(), FakeModel())
    engine = open_cluster(link, max_replicas=2)
    engine.listen(SimpleNamespace(clip_settled=heard.append, batch_predicted=heard.append))
    for _ in range(4):
        engine.submit(loud_clip()).result(PATIENCE_S)
    wait_for(lambda: engine.replicas == 2 and len(heard) == 8)
    assert [event.outcome for event in heard if hasattr(event, "outcome")] == ["done"] * 4
    assert [event.windows for event in heard if hasattr(event, "windows")] == [1] * 4
    assert (engine.card.name, engine.decode_threads, engine.batch_frames) == ("fake", 4, 1)
    assert engine.max_in_flight == 16
    assert engine.clips_done == len(engine.recent) == 4
    wait_for(lambda: engine.stage_times.inference_s > 0)
    engine.free_memory()
    wait_for(lambda: link.chores == ["free_memory"])


def test_a_recogniser_takes_the_engine_as_its_own(open_cluster, tmp_path):
    engine = open_cluster(LocalLink(FakeModel()))
    with Recognizer("compact", outputs=tmp_path, engine=engine) as recognizer:
        assert recognizer.state.phase == "ready"
        assert recognizer.state.card.name == "fake"
        assert recognizer.recognize(loud_clip().samples).emotion.key == "angry"
    assert not engine.is_alive


def test_every_error_of_the_family_travels_as_itself():
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.EmotionError)]
    assert len(kinds) > 25
    for kind in kinds:
        made = kind(*(_argument(parameter) for parameter in _parameters(kind)))
        again = travelled(made)
        assert type(again) is kind
        assert (str(again), again.message, again.details, again.code) == (
            str(made),
            made.message,
            made.details,
            made.code,
        )


def _parameters(kind: type[errors.EmotionError]) -> list[inspect.Parameter]:
    return [
        parameter
        for parameter in inspect.signature(kind).parameters.values()
        if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    ]


def _argument(parameter: inspect.Parameter) -> object:
    return "a name" if parameter.annotation is str else 3


@pytest.mark.parametrize("error", [ClipTooLong(5.0), ClipTooShort(0.1, 0.2)])
def test_an_error_of_a_replica_arrives_as_itself(open_cluster, error):
    class Refusing(LocalReplica):
        async def analyze(self, _: AnalyzeRequest) -> AsyncGenerator[Message, None]:
            yield Refused(error)

    link = LocalLink(FakeModel())
    link.replicas = [Refusing(link.engines[0])]
    with pytest.raises(type(error), match=error.message):
        open_cluster(link).submit(loud_clip()).result(PATIENCE_S)


def test_long_arrays_travel_in_pieces_and_arrive_whole(monkeypatch):
    monkeypatch.setattr("emotion.cluster.messages._PIECE_NUMBERS", 5000)
    monkeypatch.setattr("emotion.audio.mapping._HELD_NUMBERS", 1000)
    analysis = analyze(changing_clip(), "frame", embedding=True)
    messages = [travelled(message) for message in packed(analysis, with_samples=True)]
    assert len(messages) > 10
    gathering = ResultAssembler(messages[0], None)
    for message in messages[1:]:
        assert not gathering.is_whole
        gathering.add(message)
    assert gathering.is_whole
    again = gathering.analysis()
    assert isinstance(again.clip.samples, np.memmap)
    assert np.array_equal(again.clip.samples, analysis.clip.samples)
    assert np.array_equal(again.embedding, analysis.embedding)
    assert again.record() == analysis.record()


def test_no_room_for_a_long_array_is_a_full_disk(monkeypatch):
    monkeypatch.setattr("emotion.audio.mapping._HELD_NUMBERS", 10)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(errors.DiskFull):
        ResultAssembler(next(iter(packed(analyze(loud_clip()), with_samples=True))), None)


def test_a_budget_lets_in_what_fits_in_order_and_a_larger_one_alone():
    async def use() -> list[str]:
        budget, said, may_go = MemoryBudget(10), [], {name: asyncio.Event() for name in "abc"}

        async def hold(name: str, size_bytes: int) -> None:
            async with budget.hold(size_bytes):
                said.append(name)
                await may_go[name].wait()

        tasks = [asyncio.ensure_future(hold(name, size)) for name, size in (("a", 8), ("b", 50), ("c", 1))]
        given_up = asyncio.ensure_future(hold("a", 3))
        for _ in range(5):
            await asyncio.sleep(0)
        assert said == ["a"]
        given_up.cancel()
        for name in "abc":
            may_go[name].set()
        await asyncio.gather(*tasks)
        assert budget.held_bytes == 0
        return said

    assert asyncio.run(use()) == ["a", "b", "c"]


def test_a_replica_gets_its_share_of_a_machine_and_no_keys(tmp_path):
    settings = load_settings(model="auto", model_cache=tmp_path, api_keys="ann:x", results_url="s3://b", cluster_cpus=4)
    values = replica_settings(settings, ClusterPlan.of(settings))
    assert (values["model"], values["device"], values["inference_threads"], values["decode_threads"]) == (
        "compact",
        "cpu",
        4,
        2,
    )
    assert (values["api_keys"], values["page_logins"], values["results_url"]) == ("", "", "")
    assert type(settings)(**values).queue_size >= ClusterPlan.of(settings).ongoing


@pytest.mark.parametrize(
    ("cpus", "gpus", "asked", "threads"),
    [(4, 0, 0, (4, 2)), (1, 0, 0, (1, 1)), (0.5, 0, 0, (1, 1)), (4, 0.5, 0, (0, 4)), (4, 0, 3, (3, 3))],
)
def test_replicas_of_requests_and_of_bulk_work_have_the_same_threads(cpus, gpus, asked, threads):
    settings = load_settings(
        model="compact", cluster_cpus=cpus, cluster_gpus=gpus, decode_threads=asked, inference_threads=asked
    )
    plan = ClusterPlan.of(settings)
    for values in (replica_settings(settings, plan), share_of_machine(settings, plan)):
        assert (values["inference_threads"], values["decode_threads"]) == threads


def test_replicas_that_share_a_graphics_card_take_more_at_a_time():
    plan = ClusterPlan.of(load_settings(cluster_gpus=0.25))
    assert plan.ongoing == 32
    assert ClusterPlan.of(load_settings()).ongoing == 8
    assert replica_settings(load_settings(), plan)["device"] == "auto"


def test_a_replica_whose_engine_has_ended_or_is_stuck_is_not_healthy(monkeypatch):
    model = HeldModel()
    replica = LocalReplica(Engine(model, EnginePlan(batch_frames=1)))
    replica.check_health()
    future = replica.engine.submit(loud_clip())
    assert model.began.acquire(timeout=PATIENCE_S)
    replica.check_health()
    monkeypatch.setattr("emotion.cluster.replica._STUCK_S", -1.0)
    with pytest.raises(RuntimeError, match="minutes"):
        replica.check_health()
    model.let_go()
    future.result(PATIENCE_S)
    replica.engine.close()
    with pytest.raises(RuntimeError, match="ended"):
        replica.check_health()


def test_a_cluster_that_never_answers_leaves_no_thread():
    class Dead(LocalLink):
        async def report(self) -> Report:
            raise ReplicaLost("there is none")

    before = threading.active_count()
    with pytest.raises(ReplicaLost):
        ClusterEngine(Dead())
    assert threading.active_count() == before


def test_the_application_of_a_cluster_is_made_of_known_settings(monkeypatch):
    import importlib

    import yaml

    written = yaml.safe_load((Path(__file__).parent.parent / "config" / "ray-serve.yaml").read_text(encoding="utf-8"))
    application = written["applications"][0]
    settings = load_settings(None, **application["args"])
    assert settings.host == written["http_options"]["host"] == "127.0.0.1"
    module, _, name = application["import_path"].partition(":")
    build = getattr(importlib.import_module(module), name)
    made = []
    monkeypatch.setattr("emotion.cluster.front_deployment", lambda *given: made.append(given))
    build(application["args"])
    assert made[0][0] == settings
    with pytest.raises(errors.EmotionError, match="without a key"):
        build({**application["args"], "host": "192.0.2.1"})
