import json
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

from emotion.engine import ClipTimes, Engine, EnginePlan, StageTimes
from emotion.hardware import Cores, Gpu, Threads, Usage, installed_gpus, plan_threads, usable_cores
from emotion.hardware.container import limited_memory, quota_cores
from emotion.model import ModelCard
from emotion.monitor import (
    Advice,
    EngineStatus,
    MachineStatus,
    MachineWatch,
    MemoryHeld,
    StageShares,
    StudioStatus,
    StudioWatch,
    advise,
    memory_held,
    said_of,
)
from emotion.texts import catalogue
from tests.fakes import FakeClock, FakeModel, HeldModel, loud_clip, wait_for

PATIENCE_S = 20
GIB = 2**30


def test_this_machine_has_cores():
    cores = usable_cores()
    assert cores.logical >= cores.physical >= 1


def test_the_cpu_infers_with_every_physical_core_and_decodes_with_half_the_logical_ones(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert plan_threads(Cores(logical=8, physical=4), on_gpu=False) == Threads(decode=4, inference=4)


def test_beside_a_gpu_half_the_logical_cores_do(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert plan_threads(Cores(logical=8, physical=8), on_gpu=True) == Threads(decode=4, inference=4)


def test_the_environment_overrides_and_a_setting_overrides_that(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert plan_threads(Cores(8, 4), on_gpu=False).inference == 3
    assert plan_threads(Cores(8, 4), on_gpu=False, decode=1, inference=2) == Threads(decode=1, inference=2)


def test_one_core_still_gets_one_thread(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert plan_threads(Cores(1, 1), on_gpu=True) == Threads(decode=1, inference=1)


def card(index=0, name="Card", **changes):
    """One card as gpustat tells it."""
    facts = {"memory_total": 16_000, "memory_used": 100, "utilization": 7, "temperature": 40, "uuid": f"GPU-{index}a"}
    return SimpleNamespace(**{"index": index, "name": name, "available": True, **facts, **changes})


@pytest.fixture
def cards(monkeypatch):
    """The cards that the driver will tell of."""
    installed = []
    monkeypatch.setattr("gpustat.new_query", lambda: SimpleNamespace(gpus=installed))
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)
    return installed


def test_graphics_cards_are_named_by_their_driver(cards):
    cards.append(card())
    assert installed_gpus() == [Gpu("Card", 16_000, 100, 7, 40, "cuda:0")]


def test_a_card_that_does_not_answer_leaves_the_others(cards):
    cards += [card(0, available=False), card(1)]
    assert [gpu.device for gpu in installed_gpus()] == ["cuda:0"]


def test_a_card_without_memory_of_its_own_is_shown_all_the_same(cards):
    cards.append(card(memory_total=None, memory_used=None, utilization=None, temperature=None))
    assert installed_gpus() == [Gpu("Card", 0, 0, None, None, "cuda:0")]


@pytest.mark.parametrize(
    ("visible", "devices"),
    [
        ("1,0", ["cuda:1", "cuda:0"]),
        ("1", ["", "cuda:0"]),
        ("GPU-1a", ["", "cuda:0"]),
        ("", ["", ""]),
        ("-1", ["", ""]),
    ],
)
def test_a_card_is_called_what_the_environment_makes_pytorch_call_it(cards, monkeypatch, visible, devices):
    cards += [card(0), card(1)]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [gpu.device for gpu in installed_gpus()] == devices


def test_which_of_unlike_cards_pytorch_means_is_known_by_slots_only(cards, monkeypatch):
    cards += [card(0, "Slow"), card(1, "Fast")]
    assert [gpu.device for gpu in installed_gpus()] == ["", ""]
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert [gpu.device for gpu in installed_gpus()] == ["cuda:0", "cuda:1"]


def test_without_a_driver_there_are_no_graphics_cards(monkeypatch):
    def no_driver():
        raise RuntimeError("NVML Shared Library Not Found")

    monkeypatch.setattr("gpustat.new_query", no_driver)
    assert installed_gpus() == []


# Memory of a container


def a_container(folder, limit, used=900, files=(100, 200), version=2):
    """Write what a control group of this version shows, in bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    limit_name, used_name = (
        ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    )
    prefix = "" if version == 2 else "total_"
    (folder / limit_name).write_text(f"{limit}\n")
    (folder / used_name).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 600\n{prefix}active_file {files[0]}\n{prefix}inactive_file {files[1]}\n")


def limit_seen(tmp_path, membership):
    (tmp_path / "membership").write_text(membership)
    return limited_memory(10_000, tmp_path, tmp_path / "membership")


def test_a_container_limits_memory_and_pages_of_files_do_not_count(tmp_path):
    a_container(tmp_path, limit=1_000)
    assert limit_seen(tmp_path, "0::/\n") == Usage(used_bytes=600, total_bytes=1_000)


def test_the_lowest_limit_of_all_groups_around_the_process_counts(tmp_path):
    a_container(tmp_path / "a.slice", limit=500, used=450)
    a_container(tmp_path / "a.slice" / "studio.service", limit=2_000)
    assert limit_seen(tmp_path, "0::/a.slice/studio.service\n") == Usage(150, 500)


def test_the_older_version_of_control_groups_is_read_too(tmp_path):
    a_container(tmp_path / "memory" / "docker" / "1f", limit=1_000, version=1)
    assert limit_seen(tmp_path, "5:cpu:/docker/1f\n4:memory:/docker/1f\n") == Usage(600, 1_000)


def test_a_container_that_sees_itself_as_the_top_is_found_there(tmp_path):
    a_container(tmp_path / "memory", limit=1_000, version=1)
    assert limit_seen(tmp_path, "4:memory:/docker/1f\n") == Usage(600, 1_000)


@pytest.mark.parametrize("limit", ["max", 10_000, 2**63 - 4096, "noise"])
def test_a_limit_that_is_none_is_not_told(tmp_path, limit):
    a_container(tmp_path, limit)
    assert limit_seen(tmp_path, "0::/\n") is None


def test_a_system_without_control_groups_has_no_limits(tmp_path):
    assert limited_memory(10_000, tmp_path / "none", tmp_path / "membership") is None
    assert quota_cores(tmp_path / "none") is None


def test_the_quota_of_a_container_counts_whole_cores(tmp_path):
    for quota, cores in [("150000 100000", 1), ("400000 100000", 4), ("max 100000", None)]:
        (tmp_path / "cpu.max").write_text(quota)
        assert quota_cores(tmp_path) == cores


# Readings of the machine


def test_a_reading_tells_of_this_machine():
    status = MachineWatch(ask_gpus=list).read()
    assert status.cores == usable_cores().logical
    assert 0 < status.memory.used_bytes < status.memory.total_bytes
    assert 0 < status.process_bytes < status.memory.total_bytes
    assert status.process_threads >= 1
    assert 0 <= status.memory.share <= 1
    assert status.gpus == ()


class BusyClock(FakeClock):
    """Also knows how long this process has kept processors busy."""

    def __init__(self):
        super().__init__()
        self.busy_s = 10.0

    def process_time(self):
        return self.busy_s


def test_processor_time_is_counted_between_two_readings(monkeypatch):
    clock, machine_s = BusyClock(), [100.0, 10.0, 500.0, 5.0]
    monkeypatch.setattr("emotion.monitor.machine.time", clock)
    monkeypatch.setattr("psutil.cpu_times", lambda: _CpuTimes(*machine_s))
    watch = MachineWatch(ask_gpus=list)
    machine_s[:] = [102.0, 11.0, 500.5, 5.5]
    clock.now_s, clock.busy_s = clock.now_s + 2, clock.busy_s + 3
    status = watch.read()
    assert status.cpu_percent == 75.0
    assert status.process_cpu_percent == 150.0
    clock.now_s += 2
    status = watch.read()
    assert (status.cpu_percent, status.process_cpu_percent) == (0.0, 0.0)


class _CpuTimes(tuple):
    """As psutil tells them: seconds of users, system, idle and waiting for the disk."""

    def __new__(cls, *seconds):
        return super().__new__(cls, seconds)

    idle = property(lambda self: self[2])
    iowait = property(lambda self: self[3])


def test_the_first_reading_already_knows_the_cards():
    assert MachineWatch(ask_gpus=lambda: [Gpu("Card", 1, 1)]).read().gpus == (Gpu("Card", 1, 1),)


def test_a_driver_that_is_slow_holds_no_reading_up():
    asked, may_answer = [], threading.Semaphore(1)

    def ask():
        asked.append(1)
        assert may_answer.acquire(timeout=PATIENCE_S)
        return [Gpu("Card", 1, len(asked))]

    watch = MachineWatch(ask)
    assert watch.read().gpus[0].used_mb == 1
    assert watch.read().gpus[0].used_mb == 1
    wait_for(lambda: len(asked) == 2)
    assert watch.read().gpus[0].used_mb == 1
    assert len(asked) == 2, "one question at a time"
    may_answer.release()
    wait_for(lambda: not _is_asking())
    assert watch.read().gpus[0].used_mb == 2
    may_answer.release()
    wait_for(lambda: not _is_asking())


def _is_asking():
    return any(thread.name == "graphics cards" for thread in threading.enumerate())


def test_without_a_card_the_driver_is_not_asked_again_for_a_minute(monkeypatch):
    clock, asked = BusyClock(), []
    monkeypatch.setattr("emotion.monitor.machine.time", clock)
    watch = MachineWatch(lambda: asked.append(1) or [])
    for _ in range(3):
        assert watch.read().gpus == ()
        clock.now_s += 19
    assert len(asked) == 1
    clock.now_s += 10
    watch.read()
    wait_for(lambda: len(asked) == 2)


# Readings of the studio


def test_the_studio_tells_machine_engine_and_model_as_plain_json():
    with Engine(FakeModel(), EnginePlan(queue_size=9, decode_threads=2)) as engine:
        watch = StudioWatch(engine, inference_threads=3)
        engine.submit(loud_clip()).result(PATIENCE_S)
        record = watch.read().record()
    assert json.loads(json.dumps(record)) == record
    assert record["engine"]["clips_done"] == 1
    assert record["engine"]["queue_size"] == 9
    assert (record["engine"]["decode_threads"], record["engine"]["inference_threads"]) == (2, 3)
    assert record["engine"]["median"] == record["engine"]["recent"][0]
    assert record["model"]["name"] == "fake"
    assert record["machine"]["memory"]["total_bytes"] > 0
    assert record["uptime_s"] >= 0


def test_two_who_look_at_once_see_the_same_reading(monkeypatch):
    clock = FakeClock()
    monkeypatch.setattr("emotion.monitor.watch.time", clock)
    with Engine(FakeModel()) as engine:
        watch = StudioWatch(engine, machine=MachineWatch(ask_gpus=list))
        first = watch.read()
        clock.now_s += 0.5
        assert watch.read() is first
        clock.now_s += 0.5
        assert watch.read() is not first


def test_a_glance_waits_for_nothing_and_has_the_reading_renewed_beside():
    asked, may_answer = threading.Event(), threading.Event()

    def ask():
        asked.set()
        assert may_answer.wait(PATIENCE_S)
        return [Gpu("Card", 1, 1)]

    with Engine(FakeModel()) as engine:
        watch = StudioWatch(engine, machine=MachineWatch(ask))
        assert watch.glance() is None
        assert asked.wait(PATIENCE_S)
        assert watch.glance() is None, "a driver that is slow holds nobody up"
        may_answer.set()
        wait_for(lambda: watch.glance() is not None)
        assert watch.glance().machine.gpus == (Gpu("Card", 1, 1),)


def test_a_glance_does_not_renew_what_is_new(monkeypatch):
    clock, may_look = FakeClock(), threading.Event()
    monkeypatch.setattr("emotion.monitor.watch.time", clock)

    class HeldMachine(MachineWatch):
        def read(self):
            assert may_look.wait(PATIENCE_S)
            return super().read()

    with Engine(FakeModel()) as engine:
        watch = StudioWatch(engine, machine=HeldMachine(list))
        may_look.set()
        first = watch.read()
        assert watch.glance() is first
        assert watch.readings == (first,)
        # Held, since the new reading may else be there before the old one is returned.
        may_look.clear()
        clock.now_s += 5
        assert watch.glance() is first
        may_look.set()
        wait_for(lambda: watch.glance() is not first)


def test_the_shares_of_the_inference_thread_are_those_since_the_last_reading(monkeypatch):
    clock = FakeClock()
    monkeypatch.setattr("emotion.monitor.watch.time", clock)
    monkeypatch.setattr("emotion.engine.times.time", clock)
    model = HeldModel()
    with Engine(model) as engine:
        watch = StudioWatch(engine, machine=MachineWatch(ask_gpus=list))
        wait_for(lambda: "idle" in _stages_under_way(engine))
        clock.now_s += 4
        assert watch.read().engine.shares == StageShares(idle=1.0)
        future = engine.submit(loud_clip())
        assert model.began.acquire(timeout=PATIENCE_S)
        clock.now_s += 4
        assert watch.read().engine.shares == StageShares(busy=1.0)
        model.let_go()
        future.result(PATIENCE_S)


def _stages_under_way(engine):
    return [stage for stage, _ in list(engine._watch._under_way.values())]


def test_shares_are_of_all_decode_threads_and_never_above_one():
    after = StageTimes(decode_s=3.0, inference_s=2.2, starved_s=0.5)
    assert StageShares.between(StageTimes(), after, 2.0, decode_threads=2) == StageShares(1.0, 0.25, 0.0, 0.75)
    assert StageShares.between(StageTimes(), after, 0.0, decode_threads=2) == StageShares()


def test_the_median_of_the_last_clips_is_of_each_stage_alone():
    engine = replace(CPU.engine, recent=(ClipTimes(1, 9, 5), ClipTimes(2, 0, 50), ClipTimes(9, 1, 6)))
    assert engine.median == ClipTimes(2, 1, 6)
    assert replace(engine, recent=()).median is None


def test_after_a_pause_old_readings_suggest_nothing(monkeypatch):
    clock = FakeClock()
    monkeypatch.setattr("emotion.monitor.watch.time", clock)
    model = HeldModel()
    with Engine(model, EnginePlan(queue_size=1)) as engine:
        engine.submit(loud_clip())
        watch = StudioWatch(engine, machine=MachineWatch(ask_gpus=list))
        assert watch.advice() == ()
        for _ in range(3):
            clock.now_s += 2
            watch.read()
        assert "queue_nearly_full" in [advice.code for advice in watch.advice()]
        clock.now_s += 1000
        watch.read()
        assert watch.advice() == ()
        model.let_go()


def test_the_readings_of_two_minutes_are_kept(monkeypatch):
    clock = FakeClock()
    monkeypatch.setattr("emotion.monitor.watch.time", clock)
    with Engine(FakeModel()) as engine:
        watch = StudioWatch(engine, machine=MachineWatch(ask_gpus=list))
        assert watch.readings == ()
        for _ in range(100):
            clock.now_s += 2
            latest = watch.read()
        assert watch.readings[-1] is latest
        assert sum(reading.period_s for reading in watch.readings[1:]) == pytest.approx(120)
        clock.now_s += 1000
        alone = watch.read()
        assert watch.readings == (alone,)


def test_memory_is_that_of_the_process_and_of_the_card_of_the_model(monkeypatch):
    cards = [Gpu("A", 8_000, 1_000, device="cuda:0"), Gpu("B", 8_000, 3, device="cuda:1")]
    monkeypatch.setattr("emotion.monitor.machine.installed_gpus", lambda: cards)
    assert memory_held("cpu").process_bytes > 2**20
    assert memory_held("cpu").card_bytes is None
    assert memory_held("cuda").card_bytes == 1_000 * 2**20
    assert memory_held("cuda:1").card_bytes == 3 * 2**20
    assert isinstance(memory_held("cuda:2"), MemoryHeld)
    assert memory_held("cuda:2").card_bytes is None


# Advice

CARD = ModelCard("emotion2vec_plus_large", "sha256:0", "torch", "cuda:0", "fp16", (), 1024)
MACHINE = MachineStatus(
    cores=8,
    cpu_percent=20.0,
    process_cpu_percent=100.0,
    process_bytes=2 * GIB,
    process_threads=20,
    memory=Usage(5 * GIB, 16 * GIB),
    swap=Usage(0, 4 * GIB),
    gpus=(Gpu("Card", 16_000, 4_000, 80, 60, "cuda:0"),),
)
ENGINE = EngineStatus(
    queue_length=20,
    queue_size=64,
    clips_done=100,
    batch_frames=2_000,
    decode_threads=2,
    inference_threads=4,
    shares=StageShares(busy=0.9, starved=0.05, idle=0.0, decode=0.5),
)
GPU = StudioStatus(MACHINE, ENGINE, CARD, uptime_s=100.0, period_s=2.0)
CPU = replace(
    GPU,
    machine=replace(MACHINE, gpus=()),
    engine=replace(ENGINE, batch_frames=1),
    model=replace(CARD, device="cpu", runtime="openvino", precision="fp32"),
)
STARVED = StageShares(busy=0.2, starved=0.8, idle=0.0, decode=0.95)


def changed(status, *, gpu=None, model=None, engine=None, **machine):
    """The reading with some of its facts changed."""
    gpus = tuple(replace(card, **(gpu or {})) for card in status.machine.gpus)
    return replace(
        status,
        machine=replace(status.machine, **{"gpus": gpus, **machine}),
        engine=replace(status.engine, **(engine or {})),
        model=replace(status.model, **(model or {})),
    )


def codes(status, times=5):
    """What so many equal readings suggest."""
    return [advice.code for advice in advise(status, [status] * (times - 1))]


@pytest.mark.parametrize("status", [GPU, CPU], ids=["card", "cpu"])
def test_a_machine_at_work_needs_no_advice(status):
    assert codes(status) == []


STARVED_CARD = changed(GPU, gpu={"utilization_percent": 12}, engine={"shares": STARVED})


def test_a_card_that_waits_for_decoders_wants_more_of_them():
    values = {"starved_percent": 80, "decode_threads": 2, "more_threads": 4, "gpu_percent": 12}
    assert advise(STARVED_CARD, [STARVED_CARD] * 4) == (Advice("decode_bound", values),)
    assert Advice("decode_bound", values).record() == {"code": "decode_bound", "values": values}


def test_three_of_the_last_five_readings_must_show_it():
    spike, calm = STARVED_CARD, GPU
    assert advise(spike, []) == ()
    assert advise(spike, [spike]) == ()
    assert advise(spike, [calm, calm, calm, spike]) == ()
    assert [advice.code for advice in advise(spike, [spike, spike])] == ["decode_bound"]
    assert [advice.code for advice in advise(calm, [spike, calm, spike, spike])] == ["decode_bound"]
    assert advise(calm, [spike, spike, spike, calm, calm]) == ()


def test_the_numbers_are_those_of_the_latest_reading_that_shows_it():
    later = changed(STARVED_CARD, gpu={"utilization_percent": 3})
    advice = advise(GPU, [STARVED_CARD, STARVED_CARD, later])
    assert advice[0].values["gpu_percent"] == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"gpu": {"utilization_percent": 30}},
        {"gpu": {"utilization_percent": None}},
        {"gpu": {"device": ""}},
        {"engine": {"queue_length": 2}},
        {"engine": {"shares": replace(STARVED, starved=0.2)}},
        {"engine": {"shares": replace(STARVED, decode=0.5)}},
    ],
    ids=["at work", "of unknown work", "of another", "empty queue", "hardly starved", "decoders idle"],
)
def test_a_card_that_waits_for_something_else_gets_no_decoders(changes):
    assert codes(changed(STARVED_CARD, **changes)) == []


def test_more_decoders_are_no_help_where_the_processor_is_full():
    assert codes(changed(STARVED_CARD, cpu_percent=97.0)) == ["decode_fills_cpu"]
    assert codes(changed(STARVED_CARD, process_cpu_percent=780.0)) == ["decode_fills_cpu"]
    assert codes(changed(STARVED_CARD, engine={"decode_threads": 8})) == ["decode_fills_cpu"]


def test_more_decoders_are_not_suggested_where_memory_is_short():
    assert codes(changed(STARVED_CARD, memory=Usage(14 * GIB, 16 * GIB))) == []
    assert codes(changed(STARVED_CARD, container=Usage(85, 100))) == []


def test_decoders_are_never_more_than_cores():
    (advice,) = advise(*_many(changed(STARVED_CARD, engine={"decode_threads": 5})))
    assert advice.values["more_threads"] == 8


def test_a_processor_whose_model_waits_for_sound_wants_more_decoders():
    starved = changed(CPU, engine={"shares": STARVED})
    (advice,) = advise(*_many(starved))
    assert advice == Advice("starved", {"starved_percent": 80, "decode_threads": 2, "more_threads": 4})


IDLE_CARD = changed(GPU, gpu={"utilization_percent": 12})


def test_a_card_with_little_to_do_at_a_time_wants_larger_batches():
    (advice,) = advise(*_many(IDLE_CARD))
    assert advice == Advice("small_batches", {"gpu_percent": 12, "batch_frames": 2_000, "more_frames": 4_000})
    (unbatched,) = advise(*_many(changed(IDLE_CARD, engine={"batch_frames": 1})))
    assert unbatched.values["more_frames"] == 1_000


@pytest.mark.parametrize(
    "changes",
    [
        {"gpu": {"used_mb": 13_500, "utilization_percent": 12}},
        {"engine": {"queue_length": 1}},
        {"engine": {"batch_frames": 20_000}},
        {"engine": {"shares": StageShares(idle=0.9, busy=0.1)}},
    ],
    ids=["short of memory", "empty queue", "large batches", "idle model"],
)
def test_larger_batches_are_not_suggested_where_they_would_not_help(changes):
    assert codes(changed(IDLE_CARD, **changes)) == []


FULL = {"memory": Usage(15 * GIB, 16 * GIB), "process_bytes": 8 * GIB}


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (changed(CPU, **FULL), "memory_full_int8"),
        (changed(CPU, **FULL, engine={"batch_frames": 800}), "memory_full_batch"),
        (changed(CPU, **FULL, model={"precision": "int8"}), "memory_full"),
        (changed(CPU, **FULL, model={"runtime": "torch"}), "memory_full"),
        (changed(GPU, **FULL), "memory_full"),
        (changed(CPU, **{**FULL, "process_bytes": GIB}), "memory_full_others"),
    ],
)
def test_what_helps_a_full_memory_depends_on_who_fills_it(status, code):
    assert codes(status) == [code]


def test_the_numbers_of_a_full_memory():
    (advice,) = advise(*_many(changed(CPU, **FULL)))
    assert advice.values == {
        "used_percent": 94,
        "used_bytes": 15 * GIB,
        "total_bytes": 16 * GIB,
        "process_bytes": 8 * GIB,
    }


def test_the_limit_of_the_container_counts_whatever_the_machine_has():
    (advice,) = advise(*_many(changed(CPU, container=Usage(3_900, 4_000))))
    assert advice == Advice(
        "container_full", {"used_bytes": 3_900, "limit_bytes": 4_000, "process_bytes": CPU.machine.process_bytes}
    )
    assert codes(changed(CPU, container=Usage(3_600, 4_000))) == []


def test_a_little_old_swap_says_nothing_and_much_or_growing_swap_does():
    def with_swap(swap_bytes):
        return changed(CPU, swap=Usage(swap_bytes, 4 * GIB))

    assert codes(with_swap(GIB)) == []
    assert codes(with_swap(2 * GIB)) == ["swap_in_use"]
    growing = [with_swap(number * 100 * 2**20) for number in range(4)]
    (advice,) = advise(growing[3], growing[:3])
    assert advice == Advice("swap_in_use", {"swap_bytes": 300 * 2**20, "process_bytes": CPU.machine.process_bytes})
    assert advise(growing[0], growing[:0:-1]) == (), "it shrinks"


CARD_FULL = {"used_mb": 15_200}


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (changed(GPU, gpu=CARD_FULL, model={"precision": "fp32"}), "gpu_memory_full_precision"),
        (changed(GPU, gpu=CARD_FULL), "gpu_memory_full_batch"),
        (changed(GPU, gpu=CARD_FULL, engine={"batch_frames": 1}), "gpu_memory_full_offload"),
        (
            changed(GPU, gpu=CARD_FULL, engine={"batch_frames": 1}, memory=Usage(14 * GIB, 16 * GIB)),
            "gpu_memory_full",
        ),
        (
            changed(GPU, gpu=CARD_FULL, engine={"batch_frames": 1}, model={"name": "compact", "precision": "fp32"}),
            "gpu_memory_full",
        ),
    ],
)
def test_what_helps_a_full_card_depends_on_what_is_left_to_try(status, code):
    assert codes(status) == [code]
    assert advise(*_many(status))[0].values["gpu_memory_percent"] == 95


def test_a_full_card_that_the_model_is_not_on_is_no_matter():
    assert codes(changed(GPU, gpu={**CARD_FULL, "device": "cuda:1"})) == []
    assert codes(changed(GPU, gpu={"total_mb": 0, "used_mb": 0})) == []


def test_a_queue_that_is_nearly_full_is_told():
    (advice,) = advise(*_many(changed(CPU, engine={"queue_length": 58})))
    assert advice == Advice("queue_nearly_full", {"queue_length": 58, "queue_size": 64})
    assert codes(changed(CPU, engine={"queue_length": 57})) == []


def test_the_most_urgent_comes_first():
    worst = changed(
        STARVED_CARD, **FULL, container=Usage(99, 100), swap=Usage(4 * GIB, 4 * GIB), engine={"queue_length": 64}
    )
    assert codes(worst) == ["container_full", "memory_full", "swap_in_use", "queue_nearly_full"]


def test_every_advice_has_words_in_both_languages_for_its_numbers():
    one_batch = {"engine": {"batch_frames": 1}}
    readings = [
        *(STARVED_CARD, IDLE_CARD, changed(CPU, engine={"shares": STARVED}), changed(STARVED_CARD, cpu_percent=97.0)),
        *(changed(CPU, **FULL), changed(CPU, **FULL, engine={"batch_frames": 800}), changed(GPU, **FULL)),
        changed(CPU, **{**FULL, "process_bytes": GIB}),
        changed(CPU, container=Usage(99, 100), swap=Usage(4 * GIB, 4 * GIB), engine={"queue_length": 64}),
        changed(GPU, gpu=CARD_FULL, model={"precision": "fp32"}),
        *(changed(GPU, gpu=CARD_FULL), changed(GPU, gpu=CARD_FULL, **one_batch)),
        changed(GPU, gpu=CARD_FULL, model={"name": "compact"}, **one_batch),
    ]
    found = {advice.code: advice for reading in readings for advice in advise(*_many(reading))}
    texts = catalogue()["advice"]
    assert set(found) == set(texts)
    for code, by_language in texts.items():
        assert set(by_language) == {"en", "zh"}
        for language in by_language:
            said = said_of(found[code], language)
            assert said[-1] in ".。", "and nothing is left to fill in"
            assert "{" not in said


def test_advice_is_said_with_numbers_of_people():
    full = Advice("container_full", {"used_bytes": 3_900_000_000, "limit_bytes": 4 * 10**9, "process_bytes": 1})
    assert said_of(full, "en").startswith("The container uses 3.90 GB of the 4.00 GB it may have")
    assert said_of(full, "zh").startswith("容器内存已用 3.90 GB")


def test_advice_of_a_newer_server_is_told_by_its_code():
    assert said_of(Advice("disk_nearly_full", {"free_bytes": 1}), "en") == "disk nearly full"


def _many(status):
    return status, [status] * 4


def test_a_small_network_gets_one_thread_unless_told_otherwise(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert plan_threads(Cores(8, 8), on_gpu=False, is_small=True) == Threads(decode=4, inference=1)
    assert plan_threads(Cores(8, 8), on_gpu=False, inference=2, is_small=True).inference == 2
