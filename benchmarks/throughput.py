"""Many clips at once, as from a call centre: FunASR one after the other, ours with several budgets of a batch.

All clips are there at the start. The wait of a clip is from then to its result; p50 and p95 are of the shortest quarter
of the clips, which feels it most. Lengths and order are the same in every run.
"""

import argparse
import random
import time
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bench
import numpy as np
import sides

from emotion.audio import Clip

CLIPS = 64
SHORTEST_S, TURN_S = 0.5, 15.0
LONG_S = (45.0, 90.0)
WARM_UP_CLIPS = 8
HEADER = (
    "side", "batch_frames", "time, s", "best, s", "clips/s", "sound s/s", "times faster", "wait p50, s", "wait p95, s",
)  # fmt: skip
MemoryBudget = int | None
"""Frames of a batch: None leaves them to the default, 1 makes no batches."""
Key = tuple[sides.Variant, MemoryBudget]


@dataclass(frozen=True)
class Passed:
    """All clips of one pass: how long they took together, the wait of each in their order, and what computed."""

    elapsed_s: float
    waits_s: list[float]
    name: str


def main() -> None:
    parser = bench.arguments(__doc__, repeats=3)
    bench.add_sides(parser)
    parser.add_argument("--clips", type=int, default=CLIPS, help="recordings, two of them long")
    parser.add_argument("--budgets", type=int, nargs="+", default=[1, 512, 2048, 8192], help="frames of a batch")
    parser.add_argument("--wait-ms", type=float, help="how long a batch waits for more; else the default")
    wanted = parser.parse_args()
    if wanted.quick:
        wanted.clips, wanted.repeats, wanted.budgets = 12, 1, wanted.budgets[:2]
    lengths = mixed_lengths(wanted.clips)
    variants = both_on_each_device(wanted)
    with (
        bench.checkpoint(wanted.model) as folder,
        sides.opened(variants, open_side, folder, wanted.threads) as opened,
    ):
        passes, away = alternate(opened, lengths, wanted)
    report(opened, passes, away, lengths)


def both_on_each_device(wanted: argparse.Namespace) -> list[sides.Variant]:
    devices = ("cpu", "cuda") if wanted.device == "auto" else (wanted.device,)
    how = [("funasr", "fp32"), (wanted.runtime, wanted.precision)]
    return [sides.Variant(runtime, precision, device) for device in devices for runtime, precision in how]


def mixed_lengths(clips: int) -> list[float]:
    """Seconds of each clip: turns of a talk, and two long ones among them."""
    chance = random.Random(0)  # noqa: S311 - no secret
    lengths = [chance.uniform(SHORTEST_S, TURN_S) for _ in range(max(1, clips - len(LONG_S)))] + list(LONG_S)
    chance.shuffle(lengths)
    return lengths


def open_side(variant: sides.Variant, folder: Path, threads: int) -> "OneByOne | Queue":
    threads = threads or bench.physical_cores()
    return OneByOne(variant, folder, threads) if variant.runtime == "funasr" else Queue(variant, folder, threads)


class OneByOne:
    """FunASR, which takes one clip at a time."""

    def __init__(self, variant: sides.Variant, folder: Path, threads: int) -> None:
        self._name = variant.name
        self._recognize = sides.open_funasr(variant, folder, threads)

    def run(self, lengths: list[float], _settings: dict[str, Any]) -> Passed:
        clips = [bench.speech_like(length_s, seed) for seed, length_s in enumerate(lengths)]
        self._recognize(clips[0], "utterance", False)
        started_s = time.perf_counter()
        waits_s = []
        for clip in clips:
            self._recognize(clip, "utterance", False)
            waits_s.append(time.perf_counter() - started_s)
        return Passed(waits_s[-1], waits_s, self._name)


class Queue:
    """Ours, which takes all clips at once; opened anew for every pass, since the budget is a setting."""

    def __init__(self, variant: sides.Variant, folder: Path, threads: int) -> None:
        self._variant, self._folder, self._threads = variant, folder, threads
        self._open({}).close()

    def run(self, lengths: list[float], settings: dict[str, Any]) -> Passed:
        clips = [Clip(f"{i}.wav", bench.speech_like(length_s, i)) for i, length_s in enumerate(lengths)]
        with self._open({"queue_size": max(len(clips), WARM_UP_CLIPS), **settings}) as recognizer:
            for future in [recognizer.submit(clip) for clip in clips[:WARM_UP_CLIPS]]:
                future.result()
            done_s: dict[Future[Any], float] = {}
            started_s = time.perf_counter()
            futures = []
            for clip in clips:
                futures.append(recognizer.submit(clip))
                futures[-1].add_done_callback(lambda done: done_s.setdefault(done, time.perf_counter()))
        for future in futures:
            future.result()  # raises what went wrong
        waits_s = [done_s[future] - started_s for future in futures]
        card = recognizer.state.card
        name = sides.Variant(card.runtime, card.precision, self._variant.device).name
        return Passed(max(waits_s), waits_s, name)

    def _open(self, settings: dict[str, Any]) -> Any:
        return sides.open_recognizer(self._variant, self._folder, self._threads, **settings)


def alternate(
    opened: sides.Opened, lengths: list[float], wanted: argparse.Namespace
) -> tuple[dict[Key, list[Passed]], dict[Key, str]]:
    """Passes of every side and budget in turn, and why some are not here."""
    wait = {} if wanted.wait_ms is None else {"batch_wait_ms": wanted.wait_ms}
    passes: dict[Key, list[Passed]] = {}
    away: dict[Key, str] = {}
    for _ in range(wanted.repeats):
        for variant, side in opened.here.items():
            for budget in [None] if variant.runtime == "funasr" else [None, *wanted.budgets]:
                settings = wait if budget is None else {"batch_frames": budget, **wait}
                try:
                    passes.setdefault((variant, budget), []).append(side.ask("run", lengths, settings))
                except sides.ReplicaUnavailable as reason:
                    away[variant, budget] = str(reason)
    return {key: passed for key, passed in passes.items() if passed}, away


def report(opened: sides.Opened, passes: dict[Key, list[Passed]], away: dict[Key, str], lengths: list[float]) -> None:
    rows = [row(key, passes, lengths) for key in passes]
    rows += [(variant.name, budget, "not here", *[bench.NONE] * (len(HEADER) - 3)) for variant, budget in away]
    rows += opened.rows(len(HEADER))
    record = [
        {"side": passed[0].name, "batch_frames": budget, "passes": [vars(one) for one in passed]}
        for (_, budget), passed in passes.items()
    ]
    reasons = [f"{variant.name}, batch_frames {budget}: not here ({why})" for (variant, budget), why in away.items()]
    title = f"throughput of {len(lengths)} clips, {sum(lengths):.0f} s of sound"
    bench.report(title, HEADER, rows, {"lengths_s": lengths, "rows": record}, [*opened.notes(), *reasons])


def row(key: Key, passes: dict[Key, list[Passed]], lengths: list[float]) -> tuple[object, ...]:
    variant, budget = key
    timing = timing_of(passes[key])
    theirs = passes.get((sides.Variant("funasr", "fp32", variant.device), None))
    faster = timing_of(theirs).median_s / timing.median_s if theirs else None
    shortest = np.argsort(lengths)[: max(1, len(lengths) // 4)]
    waits_s = np.concatenate([np.array(one.waits_s)[shortest] for one in passes[key]])
    p50_s, p95_s = np.percentile(waits_s, [50, 95])
    frames = bench.NONE if variant.runtime == "funasr" else budget or "default"
    return (
        passes[key][0].name, frames, f"{timing.median_s:.2f}", f"{timing.minimum_s:.2f}",
        f"{len(lengths) / timing.median_s:.2f}", f"{sum(lengths) / timing.median_s:.1f}", bench.number(faster, ".2f"),
        f"{p50_s:.2f}", f"{p95_s:.2f}",
    )  # fmt: skip


def timing_of(passed: list[Passed]) -> bench.Timing:
    return bench.Timing(tuple(one.elapsed_s for one in passed))


if __name__ == "__main__":
    main()
