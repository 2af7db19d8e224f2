"""What every benchmark here shares: arguments, the checkpoint, sounds, the machine, a table and one JSON line."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

HOUSE = Path(__file__).parent.parent
sys.path.insert(0, str(HOUSE))

from emotion.audio import SAMPLE_RATE_HZ  # noqa: E402 - the house must be on the path first

NONE = "-"  # the cell of what was not measured
_BLOCK_S = 60
Samples = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class Timing:
    """Repeats of one measurement in seconds."""

    seconds: tuple[float, ...]

    @property
    def median_s(self) -> float:
        return statistics.median(self.seconds)

    @property
    def minimum_s(self) -> float:
        return min(self.seconds)


def arguments(about: str | None, repeats: int) -> argparse.ArgumentParser:
    """The flags of every benchmark; `repeats` is the default number of timed runs."""
    # The same sound is measured again and again, which the cache would answer. Children inherit the environment.
    os.environ.setdefault("EMOTION_CACHE", "off")
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--model", type=Path, help="folder of a checkpoint instead of random weights of the large one")
    parser.add_argument("--repeats", type=int, default=repeats, help="timed runs of each side after a warm-up")
    parser.add_argument("--quick", action="store_true", help="a short run that only shows that everything works")
    return parser


def add_sides(parser: argparse.ArgumentParser, *, precision: str = "auto") -> None:
    """The flags of how both sides compute: device and threads, and runtime and precision of ours."""
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="device of both sides")
    parser.add_argument("--runtime", default="auto", help="runtime of ours")
    parser.add_argument("--precision", default=precision, help=f"precision of ours; {precision} by default")
    add_threads(parser)


def add_threads(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=int, default=0, help="threads of both sides; 0: every physical core")


def alternate(sides: dict[str, Callable[[], object]], repeats: int) -> dict[str, Timing]:
    """Time each side in turn, so that whatever else the machine does hits all alike; one warm-up goes before."""
    for work in sides.values():
        work()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, work in sides.items():
            started_s = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - started_s)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


@contextmanager
def checkpoint(given: Path | None) -> Iterator[Path]:
    """The folder that was given, or a random large checkpoint with a cache of its own for what is made of it."""
    if given is not None:
        yield given.resolve()
        return
    with large_checkpoint() as folder:
        before = os.environ.get("EMOTION_MODEL_CACHE")
        os.environ["EMOTION_MODEL_CACHE"] = str(folder.parent / "cache")
        try:
            yield folder
        finally:
            del os.environ["EMOTION_MODEL_CACHE"]
            if before is not None:
                os.environ["EMOTION_MODEL_CACHE"] = before


@contextmanager
def large_checkpoint() -> Iterator[Path]:
    """A random checkpoint of the large architecture in FunASR's format (656 MB), in a temporary folder."""
    from tests.checkpoints import LARGE, write_checkpoint

    with tempfile.TemporaryDirectory(prefix="emotion-benchmark-") as folder:
        yield write_checkpoint(Path(folder) / "large", LARGE)


def speech_like(duration_s: float, seed: int = 0, rate_hz: int = SAMPLE_RATE_HZ) -> Samples:
    """Noise that swells four times a second, [n]: as heavy for a network as speech."""
    count = round(duration_s * rate_hz)
    swell = 0.5 + 0.5 * np.sin(2 * np.pi * 4 * np.arange(count) / rate_hz)
    return (0.1 * swell * np.random.default_rng(seed).normal(size=count)).astype(np.float32)


def write_recording(path: Path, duration_s: float, rate_hz: int = SAMPLE_RATE_HZ, channels: int = 1) -> Path:
    """A recording of `speech_like` sound in the format of the file's name, written minute by minute."""
    import soundfile

    with soundfile.SoundFile(path, "w", rate_hz, channels) as file:
        for minute, start_s in enumerate(range(0, int(np.ceil(duration_s)), _BLOCK_S)):
            mono = speech_like(min(_BLOCK_S, duration_s - start_s), minute, rate_hz)
            file.write(np.repeat(mono[:, None], channels, axis=1))
    return path


def report(
    title: str,
    header: tuple[str, ...],
    rows: Sequence[tuple[object, ...]],
    record: dict[str, Any],
    notes: Sequence[str] = (),
) -> None:
    """Print a Markdown table and its notes for people, then one JSON line for programs."""
    print(f"\n{title}: {machine()}\n")
    print("| " + " | ".join(header) + " |\n|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print("".join(f"\n{note}" for note in notes))
    facts = {"title": title, "machine": machine(), "commit": commit(), "at": today()}
    print(json.dumps({**facts, **record, "notes": list(notes)}))


def number(value: float | None, form: str = ".0f") -> str:
    """A cell of a table; NONE where nothing was measured."""
    return NONE if value is None else format(value, form)


def machine() -> str:
    """Processor, cores, memory, cards and system in a few words."""
    from emotion.hardware import describe_machine

    return describe_machine()


def cpu_facts() -> dict[str, str]:
    """What Linux says of its first processor, nothing elsewhere."""
    facts = Path("/proc/cpuinfo")
    first = facts.read_text().split("\n\n")[0] if facts.is_file() else ""
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False, cwd=HOUSE
    )
    return done.stdout.strip() or "unknown"


def today() -> str:
    return datetime.now().strftime("%Y-%m-%d")


def physical_cores() -> int:
    """Cores without hyper-threads that this process may use."""
    from emotion.hardware import usable_cores

    return usable_cores().physical
