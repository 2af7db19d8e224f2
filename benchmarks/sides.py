"""Sides of a comparison: each is a process of its own that opens its model once and then answers, one at a time."""

import argparse
import contextlib
import io
import multiprocessing
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import bench
import resources

from emotion.errors import CheckpointBroken, ModelError, ModelNotFound, SettingsInvalid

FUNASR = "FunASR"
_END_S = 30
_NO_CARD = "no graphics card"


class ReplicaUnavailable(Exception):
    """This machine, or this version, does not have what the side needs; the message says what."""


@dataclass(frozen=True)
class Variant:
    """One way to compute: FunASR, or ours with a runtime and a precision."""

    runtime: str
    precision: str
    device: str = "cpu"

    @property
    def name(self) -> str:
        who = [FUNASR] if self.runtime == "funasr" else ["ours", self.runtime]
        words = [*who, self.precision, "" if self.device == "cpu" else self.device]
        return " ".join(word for word in words if word not in ("", "auto"))


THEIRS = Variant("funasr", "fp32")
CPU_VARIANTS = (
    THEIRS,
    Variant("torch", "fp32"),
    Variant("torch", "bf16"),
    Variant("openvino", "fp32"),
    Variant("openvino", "bf16"),
    Variant("openvino", "int8"),
)
CUDA_VARIANTS = (
    Variant("funasr", "fp32", "cuda"),
    Variant("torch", "fp32", "cuda"),
    Variant("torch", "fp16", "cuda"),
    Variant("torch", "bf16", "cuda"),
)


def variants(device: str) -> tuple[Variant, ...]:
    """Every way to compute on `cpu`, on `cuda`, or for `auto` on both."""
    return {"cpu": CPU_VARIANTS, "cuda": CUDA_VARIANTS, "auto": CPU_VARIANTS + CUDA_VARIANTS}[device]


def both(wanted: argparse.Namespace) -> tuple[Variant, Variant]:
    """FunASR, and ours with the runtime and the precision that were asked for, on one device."""
    device = one_device(wanted.device)
    return Variant("funasr", "fp32", device), Variant(wanted.runtime, wanted.precision, device)


def one_device(device: str) -> str:
    """`auto` is the graphics card where there is one."""
    if device != "auto":
        return device
    return "cpu" if resources.first_card() is None else "cuda"


@dataclass(frozen=True)
class Answer:
    """One clip: how long it took, its scores in the order of the labels, and the memory of the side after it."""

    elapsed_s: float
    scores: list[float]
    memory: resources.Memory


class Side:
    """A process in which `make(*args)` lives; `ask` calls one of its methods. Raises NotHere if it cannot be made."""

    def __init__(self, make: Callable[..., object], *args: object, **settings: object) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_live, args=(theirs, make, args, settings), daemon=True)
        self._process.start()
        theirs.close()
        self.opened_s: float = self._receive()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        with contextlib.suppress(OSError):
            self._pipe.send(None)
        self._process.join(_END_S)
        self._process.terminate()

    def ask(self, method: str, *args: object, **named: object) -> Any:
        self._pipe.send((method, args, named))
        return self._receive()

    def _receive(self) -> Any:
        try:
            kind, value = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(f"a side ended without an answer, exit code {self._process.exitcode}") from None
        if kind == "not here":
            raise ReplicaUnavailable(value)
        if kind == "failed":
            raise RuntimeError(value)
        return value


def _live(pipe: Connection, make: Callable[..., object], args: tuple[object, ...], settings: dict[str, object]) -> None:
    """The life of a side: say how long opening took, then answer until asked nothing."""
    started_s = time.perf_counter()
    worker: Any = None

    def open_worker() -> float:
        nonlocal worker
        worker = make(*args, **settings)
        return time.perf_counter() - started_s

    opened = _answer(pipe, open_worker)
    while opened and (question := pipe.recv()) is not None:
        method, positional, named = question
        _answer(pipe, lambda: getattr(worker, method)(*positional, **named))  # noqa: B023 - called at once


def _answer(pipe: Connection, work: Callable[[], object]) -> bool:
    """Send what the work gives, or why it gave nothing; True if it gave something."""
    try:
        pipe.send(("done", work()))
    except Exception as error:
        pipe.send(("not here", str(error)) if is_away(error) else ("failed", traceback.format_exc()))
        return False
    return True


class Worker:
    """A resident model of either side, fed with samples; a side for comparisons of single clips."""

    def __init__(self, variant: Variant, folder: Path, threads: int = 0, **settings: Any) -> None:
        open_side = open_funasr if variant.runtime == "funasr" else open_ours
        self._recognize = open_side(variant, folder, threads or bench.physical_cores(), **settings)

    def clip(
        self, duration_s: float, granularity: Literal["utterance", "frame"] = "frame", embedding: bool = True
    ) -> Answer:
        """Recognise so many seconds; the peak of memory is that of this clip."""
        samples = bench.speech_like(duration_s)
        resources.forget_peak()
        started_s = time.perf_counter()
        scores = self._recognize(samples, granularity, embedding)
        return Answer(time.perf_counter() - started_s, scores, resources.memory())

    def memory(self) -> resources.Memory:
        return resources.memory()

    def use(self, source: Any, granularity: str, embedding: bool, at_least_s: float = 0.0) -> resources.Use:
        """What samples, or for ours a path, take."""
        return resources.measured(lambda: self._recognize(source, granularity, embedding), at_least_s)


Recognize = Callable[[Any, str, bool], list[float]]


def open_funasr(variant: Variant, folder: Path, threads: int) -> Recognize:
    """FunASR's AutoModel with so many threads; it is given arrays only."""
    import torch

    from emotion.model.funasr_runtime import import_funasr, quiet
    from emotion.model.torch_runtime import usable_device

    device = usable_device(variant.device)
    with quiet():
        model = import_funasr()(
            model=str(folder), device=device, ncpu=threads, disable_update=True, disable_pbar=True, log_level="ERROR"
        )
    torch.set_num_threads(threads)

    def recognize(samples: Any, granularity: str, embedding: bool) -> list[float]:
        with contextlib.redirect_stdout(io.StringIO()):
            spoken = model.generate(input=samples, granularity=granularity, extract_embedding=embedding, ncpu=threads)
        return [float(score) for score in spoken[0]["scores"]]

    return recognize


def open_ours(variant: Variant, folder: Path, threads: int, **settings: Any) -> Recognize:
    """A resident recogniser, given samples or a path."""
    recognizer = open_recognizer(variant, folder, threads, **settings)

    def recognize(source: Any, granularity: Any, embedding: bool) -> list[float]:
        return [float(score) for score in recognizer.recognize(source, granularity, embedding).scores]

    return recognize


def open_recognizer(variant: Variant, folder: Path, threads: int, **settings: Any) -> Any:
    from emotion.engine.recognizer import Recognizer

    how: dict[str, Any] = {"runtime": variant.runtime, "device": variant.device, "precision": variant.precision}
    return Recognizer(str(folder), inference_threads=threads, **how, **settings)


@dataclass(frozen=True)
class Opened:
    """The sides that are here, and why the others are not."""

    here: dict[Variant, Side]
    away: dict[Variant, str]

    def rows(self, columns: int, name_column: int = 0) -> list[tuple[object, ...]]:
        """A row `not here` for every side that is away, and one for all that want a graphics card where none is."""
        blank = [bench.NONE] * columns
        before, after = blank[:name_column], blank[name_column + 2 :]
        said = {self._said(variant): None for variant in self.away}
        return [(*before, name, verdict, *after) for name, verdict, _ in said]

    def notes(self) -> list[str]:
        said = {self._said(variant): None for variant in self.away}
        return [f"{name}: {verdict} ({reason})" for name, verdict, reason in said]

    def _said(self, variant: Variant) -> tuple[str, str, str]:
        reason = self.away[variant]
        return ("CUDA", "not measured", reason) if reason == _NO_CARD else (variant.name, "not here", reason)


@contextlib.contextmanager
def opened(wanted: Iterable[Variant], make: Callable[..., object], *args: object) -> Iterator[Opened]:
    """A side `make(variant, *args)` for every variant, opened one after the other."""
    with contextlib.ExitStack() as stack:
        sides = Opened({}, {})
        for variant in wanted:
            if variant.device == "cuda" and resources.first_card() is None:
                sides.away[variant] = _NO_CARD
                continue
            try:
                if variant.runtime != "funasr":
                    prepare(make, variant, *args)
                sides.here[variant] = stack.enter_context(Side(make, variant, *args))
            except ReplicaUnavailable as reason:
                sides.away[variant] = str(reason)
        yield sides


def prepare(make: Callable[..., object], *args: object) -> None:
    """Open a side and end it: what the first start makes of a checkpoint would stay in the memory of its process."""
    with Side(make, *args):
        pass


def is_away(error: Exception) -> bool:
    """Whether an error says that this machine or this version lacks something, and not that something is broken."""
    return isinstance(error, ModelError | SettingsInvalid) and not isinstance(error, ModelNotFound | CheckpointBroken)
