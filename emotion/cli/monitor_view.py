"""One reading as lines of a terminal, in English or Chinese."""

from collections.abc import Iterable, Iterator
from datetime import datetime

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from emotion.formatting import duration, size
from emotion.hardware import Gpu, Usage
from emotion.hardware.container import NEARLY_FULL
from emotion.labels import Language
from emotion.monitor import Advice, EngineStatus, MachineStatus, StudioStatus, said_of
from emotion.texts import Words

_BAR = 16
Row = tuple[str, str, float | None]
"""A name, a text, and a share from 0 to 1 where there is one."""


class View:
    """Lays readings out in one language."""

    def __init__(self, language: Language) -> None:
        self._words = Words(language)

    def of_server(self, status: StudioStatus, advice: Iterable[Advice], cache: object, address: str) -> RenderableType:
        """Everything that a server told."""
        card = status.model
        said = self._said("model", name=card.name, runtime=card.runtime, precision=card.precision, device=card.device)
        return Group(
            self._title(self._said("at", address=address, uptime=duration(int(status.uptime_s), self._words.language))),
            _plain(said, "dim"),
            self._section("machine", self._machine(status.machine, own=True)),
            self._section("engine", [*self._engine(status.engine), *self._cache(cache)]),
            self._advice(advice),
        )

    def of_machine(self, machine: MachineStatus, answer: str, address: str, start: str) -> RenderableType:
        """This machine, and why there is no more."""
        return Group(
            self._title(self._words("system.machine")),
            _plain(self._said(answer, address=address, start=start), "yellow"),
            self._section("machine", self._machine(machine, own=False)),
        )

    def _title(self, text: str) -> RenderableType:
        line = Table.grid(expand=True)
        line.add_column()
        line.add_column(justify="right")
        line.add_row(_plain(f"Emotion2Vec+ Studio · {text}", "bold"), Text(f"{datetime.now():%H:%M:%S}", "dim"))
        return line

    def _section(self, name: str, rows: Iterable[Row]) -> RenderableType:
        table = Table.grid(padding=(0, 2), expand=False)
        table.add_column(min_width=17, no_wrap=True)
        table.add_column(min_width=43, overflow="fold")
        table.add_column(min_width=_BAR)
        for label, text, share in rows:
            bar = Text() if share is None else _bar(share)
            table.add_row(Text(label), _plain(text), bar)
        return Group(Text(), Text(self._said(name), "bold cyan"), table)

    def _machine(self, machine: MachineStatus, own: bool) -> Iterator[Row]:
        share = machine.cpu_percent / 100
        yield self._said("cpu"), self._said("cores", percent=f"{share:.0%}", cores=machine.cores), share
        if own:
            used = machine.process_cpu_percent / 100
            said = self._said("of_cores", used=f"{used:.1f}", cores=machine.cores)
            yield f"  {self._said('own')}", said, used / max(machine.cores, 1)
        yield self._usage("memory", machine.memory)
        if own:
            own_share = Usage(machine.process_bytes, machine.memory.total_bytes).share
            yield f"  {self._said('own')}", size(machine.process_bytes), own_share
        if machine.container is not None:
            yield self._usage("container", machine.container)
        yield self._usage("swap", machine.swap)
        if not machine.gpus:
            yield self._said("gpu"), self._said("no_gpu"), None
        for card in machine.gpus:
            yield from self._card(card)

    def _card(self, card: Gpu) -> Iterator[Row]:
        heat = "" if card.temperature_c is None else f", {card.temperature_c} °C"
        share = None if card.utilization_percent is None else card.utilization_percent / 100
        work = self._said("unknown") if share is None else f"{share:.0%}"
        yield self._said("gpu"), f"{card.name}: {work}{heat}", share
        if card.total_mb:
            name, text, used = self._usage("gpu_memory", card.memory)
            yield f"  {name}", text, used

    def _usage(self, name: str, usage: Usage) -> Row:
        if not usage.total_bytes:
            return self._said(name), self._said("none"), None
        text = self._said("of", used=size(usage.used_bytes), total=size(usage.total_bytes))
        if usage.is_nearly_full:
            text = self._said("nearly_full", text=text)
        return self._said(name), text, usage.share

    def _engine(self, engine: EngineStatus) -> Iterator[Row]:
        places = Usage(engine.queue_length, engine.queue_size)
        yield self._said("queue"), self._said("places", used=engine.queue_length, total=engine.queue_size), places.share
        yield self._said("done"), self._said("done_count", count=f"{engine.clips_done:,}"), None
        median = engine.median
        said = self._said("no_stages")
        if median is not None:
            times = {"decode": median.decode_ms, "queue": median.queue_ms, "inference": median.inference_ms}
            said = self._said("stages_of", **{name: _number(time_ms) for name, time_ms in times.items()})
        yield self._said("stages"), said, None
        for name, share in (("busy", engine.shares.busy), ("starved", engine.shares.starved)):
            yield self._said(name), f"{share:.0%}", share
        threads = {"decode": engine.decode_threads, "network": engine.inference_threads}
        yield self._said("threads"), self._said("threads_of", **threads), None

    def _cache(self, cache: object) -> Iterator[Row]:
        if isinstance(cache, dict):
            counts = {name: f"{int(cache.get(name, 0)):,}" for name in ("hits", "misses", "entries")}
            yield self._said("cache"), self._said("cache_of", **counts), None

    def _advice(self, advice: Iterable[Advice]) -> RenderableType:
        said = [_plain(said_of(one, self._words.language), "yellow") for one in advice]
        return Group(
            Text(), Text(self._said("advice"), "bold cyan"), *(said or [Text(self._said("no_advice"), "green")])
        )

    def _said(self, name: str, /, **values: object) -> str:
        key = f"terminal.{name}"
        return self._words(key if self._words.has(key) else f"system.{name}", **values)


def _number(time_ms: float) -> str:
    return f"{time_ms:.1f}" if time_ms < 100 else f"{time_ms:.0f}"


def _bar(share: float) -> ProgressBar:
    style = "red" if share > NEARLY_FULL else "green"
    return ProgressBar(1.0, min(max(share, 0.0), 1.0), width=_BAR, complete_style=style, finished_style=style)


def _plain(text: str, style: str = "") -> Text:
    """Text of another machine: no markup, and no orders to the terminal."""
    return Text("".join(letter if letter.isprintable() else "�" for letter in text), style)
