from types import SimpleNamespace

from emotion.monitor import Cores, Gpu, Threads, installed_gpus, plan_threads, usable_cores


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


def test_graphics_cards_are_named_by_their_driver(monkeypatch):
    card = SimpleNamespace(name="Card", memory_total=16_000, memory_used=100)
    monkeypatch.setattr("gpustat.new_query", lambda: SimpleNamespace(gpus=[card]))
    assert installed_gpus() == [Gpu("Card", 16_000, 100)]


def test_without_a_driver_there_are_no_graphics_cards(monkeypatch):
    def no_driver():
        raise RuntimeError("NVML Shared Library Not Found")

    monkeypatch.setattr("gpustat.new_query", no_driver)
    assert installed_gpus() == []
