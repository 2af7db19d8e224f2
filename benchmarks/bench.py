"""What every benchmark here shares: the machine, the random large checkpoint, a table and one JSON line."""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

HOUSE = Path(__file__).parent.parent
sys.path.insert(0, str(HOUSE))

from emotion.audio import SAMPLE_RATE_HZ  # noqa: E402 - the house must be on the path first


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
def large_checkpoint() -> Iterator[Path]:
    """A random checkpoint of the large architecture in FunASR's format (656 MB), in a temporary folder."""
    from tests.checkpoints import LARGE, write_checkpoint

    with tempfile.TemporaryDirectory(prefix="emotion-benchmark-") as folder:
        yield write_checkpoint(Path(folder) / "large", LARGE)


def speech_like(duration_s: float, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Noise that swells four times a second, [n] at 16 kHz: as heavy for a network as speech."""
    count = round(duration_s * SAMPLE_RATE_HZ)
    swell = 0.5 + 0.5 * np.sin(2 * np.pi * 4 * np.arange(count) / SAMPLE_RATE_HZ)
    return (0.1 * swell * np.random.default_rng(seed).normal(size=count)).astype(np.float32)


def report(title: str, header: tuple[str, ...], rows: list[tuple[object, ...]], record: dict[str, Any]) -> None:
    """Print a Markdown table for people, then one JSON line for programs."""
    print(f"\n{title}: {machine()}\n")
    print("| " + " | ".join(header) + " |\n|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print(json.dumps({"title": title, "machine": machine(), "commit": commit(), "at": today(), **record}))


def machine() -> str:
    """Processor, cores and system in a few words."""
    import psutil

    processor = platform.processor() or platform.machine()
    facts = Path("/proc/cpuinfo")  # Linux has its best name there
    lines = facts.read_text().splitlines() if facts.is_file() else []
    processor = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), processor)
    return f"{processor}, {os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GB, {platform.system()}"


def commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False, cwd=HOUSE
    )
    return done.stdout.strip() or "unknown"


def today() -> str:
    return datetime.now().strftime("%Y-%m-%d")


def physical_cores() -> int:
    """Cores without hyper-threads that this process may use."""
    from emotion.monitor import usable_cores

    return usable_cores().physical
