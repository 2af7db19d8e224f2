"""How engine, model, process and machine are at the moment of a scrape; nothing here is slow."""

import platform
from collections.abc import Iterator

import psutil
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from emotion import __version__
from emotion.engine import SpeechEngine
from emotion.monitor import MachineStatus, StudioWatch


class StudioReading(Collector):
    """Asks the engine, and the watch for its last reading of the machine."""

    def __init__(self, engine: SpeechEngine, watch: StudioWatch) -> None:
        self._engine, self._watch = engine, watch
        self._process = psutil.Process()
        self._build = {"version": __version__, "python": platform.python_version()}

    def describe(self) -> Iterator[Metric]:
        """Nothing: the registry would else collect to learn the names."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("emotion_build", "Version of the program.", self._build)
        card = self._engine.card
        model = {"name": card.name, "runtime": card.runtime, "precision": card.precision, "device": card.device}
        yield InfoMetricFamily("emotion_model", "The model that answers now.", model)
        yield from _of_engine(self._engine)
        yield from self._of_process()
        status = self._watch.glance()
        if status is not None:
            yield from _of_machine(status.machine)

    def _of_process(self) -> Iterator[Metric]:
        with self._process.oneshot():
            memory, times = self._process.memory_info(), self._process.cpu_times()
            yield _gauge("emotion_process_resident_memory_bytes", "Memory of this process.", memory.rss)
            seconds = CounterMetricFamily("emotion_process_cpu_seconds", "Processor time of this process.")
            seconds.add_metric([], times.user + times.system)
            yield seconds
            yield _gauge("emotion_process_threads", "Threads of this process.", self._process.num_threads())
        if psutil.POSIX:
            yield _gauge("emotion_process_open_files", "Files and connections open.", self._process.num_fds())


def _of_engine(engine: SpeechEngine) -> Iterator[Metric]:
    yield _gauge("emotion_queue_length", "Recordings accepted and not yet settled.", engine.queue_length)
    yield _gauge("emotion_queue_size", "Recordings that are accepted at most.", engine.queue_size)
    yield _gauge("emotion_batch_frames_limit", "Frames of the largest batch.", engine.batch_frames)
    yield _gauge("emotion_decode_threads", "Recordings that are decoded at once.", engine.decode_threads)
    yield _gauge("emotion_uptime_seconds", "Time since the engine began.", engine.uptime_s)
    times = CounterMetricFamily(
        "emotion_engine_seconds",
        "What threads did: decode over all its threads; the inference thread at work, waiting for a decoder (starved), "
        "or idle.",
        labels=["state"],
    )
    now = engine.stage_times
    for stage in ("decode", "inference", "starved", "idle"):
        times.add_metric([stage], getattr(now, f"{stage}_s"))
    yield times
    stats = engine.cache_stats
    if stats is not None:
        yield _gauge("emotion_cache_entries", "Analyses in the cache of this process.", stats.entries)
        yield _gauge("emotion_cache_bytes", "Size of the cache of this process.", stats.size_bytes)


def _of_machine(machine: MachineStatus) -> Iterator[Metric]:
    yield _gauge("emotion_machine_cpu_ratio", "Processors at work, from 0 to 1.", machine.cpu_percent / 100)
    yield _gauge("emotion_machine_cores", "Processors that this process may use.", machine.cores)
    yield _gauge("emotion_machine_memory_used_bytes", "Memory in use.", machine.memory.used_bytes)
    yield _gauge("emotion_machine_memory_bytes", "Memory of the machine.", machine.memory.total_bytes)
    yield _gauge("emotion_machine_swap_used_bytes", "Swap in use.", machine.swap.used_bytes)
    if machine.container is not None:
        yield _gauge("emotion_container_memory_used_bytes", "Of the limit, in use.", machine.container.used_bytes)
        yield _gauge("emotion_container_memory_limit_bytes", "Limit of the container.", machine.container.total_bytes)
    yield from _of_cards(machine)


def _of_cards(machine: MachineStatus) -> Iterator[Metric]:
    labels = ["card", "name"]
    used = GaugeMetricFamily("emotion_gpu_memory_used_bytes", "Memory of a graphics card in use.", labels=labels)
    total = GaugeMetricFamily("emotion_gpu_memory_bytes", "Memory of a graphics card.", labels=labels)
    work = GaugeMetricFamily("emotion_gpu_use_ratio", "A graphics card at work, from 0 to 1.", labels=labels)
    heat = GaugeMetricFamily("emotion_gpu_temperature_celsius", "Heat of a graphics card.", labels=labels)
    for number, card in enumerate(machine.gpus):
        who = [str(number), card.name]
        used.add_metric(who, card.memory.used_bytes)
        total.add_metric(who, card.memory.total_bytes)
        if card.utilization_percent is not None:
            work.add_metric(who, card.utilization_percent / 100)
        if card.temperature_c is not None:
            heat.add_metric(who, card.temperature_c)
    yield from (used, total, work, heat)


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value=value)
