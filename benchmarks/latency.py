"""Latency and memory of one clip: FunASR's AutoModel, and ours with every runtime and precision of this machine.

Each side lives in a process of its own, so that no side's threads disturb another's; they work in turn on the same
weights. All get samples in memory, give frame embeddings and scores, and use the same number of threads.
`--funasr-default` leaves FunASR the number that it takes by itself, whatever the machine has. The share of the peak
compares the operations of the clip in a second with the fastest matrix product of that precision on this machine.
"""

from pathlib import Path
from typing import Any

import bench
import numpy as np
import peak
import resources
import sides

from emotion.audio import SAMPLE_RATE_HZ
from emotion.model.checkpoint.config import NetworkConfig, read_config

FUNASR_THREADS = 4  # the default of its argument `ncpu`
HEADER = (
    "clip", "side", "median, s", "best, s", "times faster", "GFLOP/s", "of peak, %",
    "resident MB", "of it files", "peak MB", "scores differ",
)  # fmt: skip
Answers = dict[sides.Variant, list[sides.Answer]]


def main() -> None:
    parser = bench.arguments(__doc__, repeats=5)
    bench.add_threads(parser)
    parser.add_argument("--durations", type=float, nargs="+", default=[1, 3, 10, 30, 60], help="seconds of each clip")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="auto: all that are here")
    parser.add_argument("--only", nargs="+", default=[""], help="sides whose name has one of these words, and FunASR")
    parser.add_argument("--funasr-default", action="store_true", help="four threads for FunASR, as it takes by itself")
    wanted = parser.parse_args()
    if wanted.quick:
        wanted.durations, wanted.repeats = [1, 3], 1
    threads = wanted.threads or bench.physical_cores()
    chosen = tuple(v for v in sides.variants(wanted.device) if v.runtime == "funasr" or named(v, wanted.only))
    peaks = Peaks(devices(chosen), threads, wanted.quick)
    their_threads = FUNASR_THREADS if wanted.funasr_default else threads
    with (
        bench.checkpoint(wanted.model) as folder,
        sides.opened(chosen, open_side, folder, threads, their_threads) as opened,
    ):
        compare(opened, wanted.durations, wanted.repeats, Judge(read_config(folder), peaks))


def devices(chosen: tuple[sides.Variant, ...]) -> list[str]:
    here = {"cpu"} if resources.first_card() is None else {"cpu", "cuda"}
    return sorted(here & {variant.device for variant in chosen})


def named(variant: sides.Variant, words: list[str]) -> bool:
    return any(word in variant.name for word in words)


def open_side(variant: sides.Variant, folder: Path, threads: int, their_threads: int) -> sides.Worker:
    return sides.Worker(variant, folder, their_threads if variant.runtime == "funasr" else threads)


class Peaks:
    """The fastest matrix products of each device, measured at the start and again when asked."""

    def __init__(self, devices: list[str], threads: int, quick: bool) -> None:
        self._threads, self._quick = threads, quick
        self.rates: dict[str, peak.Rates] = {device: {} for device in devices}
        self.measure()

    def measure(self) -> None:
        """Keep the better of what was measured and what is now: whatever else runs here can only slow a product."""
        for device, before in self.rates.items():
            now = peak.measure(self._threads, device, self._quick)
            self.rates[device] = {name: max(rate, before.get(name, 0)) for name, rate in now.items()}


class Judge:
    """Says how much of the machine a timing used."""

    def __init__(self, config: NetworkConfig, peaks: Peaks) -> None:
        self._config, self.peaks = config, peaks

    def notes(self) -> list[str]:
        return [f"{device}, {peak.describe(rates)}" for device, rates in self.peaks.rates.items() if rates]

    def rate(self, duration_s: float, elapsed_s: float) -> float:
        """GFLOP/s of a clip."""
        return peak.operations(self._config, round(duration_s * SAMPLE_RATE_HZ)) / elapsed_s / 1e9

    def share_percent(self, variant: sides.Variant, rate: float) -> float | None:
        """How much of the peak of its device and precision this is."""
        highest = peak.best(self.peaks.rates.get(variant.device, {}), variant.precision)
        return None if highest is None else 100 * rate / highest


def compare(opened: sides.Opened, durations: list[float], repeats: int, judge: Judge) -> None:
    answers: dict[float, Answers] = {duration_s: ask_all(opened.here, duration_s, repeats) for duration_s in durations}
    judge.peaks.measure()
    lines = [
        line(variant, duration_s, answers[duration_s], judge) for duration_s in durations for variant in opened.here
    ]
    rows = [row for row, _ in lines] + opened.rows(len(HEADER), name_column=1)
    record = {"peaks_gflops": judge.peaks.rates, "rows": [facts for _, facts in lines]}
    bench.report("latency of one clip", HEADER, rows, record, [*judge.notes(), *opened.notes()])


def ask_all(here: dict[sides.Variant, sides.Side], duration_s: float, repeats: int) -> Answers:
    """The answers of all sides in turn, a warm-up first."""
    answers: Answers = {variant: [] for variant in here}
    for _ in range(repeats + 1):
        for variant, side in here.items():
            answers[variant].append(side.ask("clip", duration_s))
    return answers


def line(
    variant: sides.Variant, duration_s: float, answers: Answers, judge: Judge
) -> tuple[tuple[object, ...], dict[str, Any]]:
    """The row of one side at one length, and the same for the record; the first answer was the warm-up."""
    timing, last = timing_of(answers[variant]), answers[variant][-1]
    theirs = next((v for v in answers if v.runtime == "funasr" and v.device == variant.device), None)
    faster = timing_of(answers[theirs]).median_s / timing.median_s if theirs else None
    distance = float(np.abs(np.subtract(answers[theirs][-1].scores, last.scores)).max()) if theirs else None
    rate = judge.rate(duration_s, timing.median_s)
    share_percent = judge.share_percent(variant, rate)
    memory = last.memory
    row = (
        f"{duration_s:g} s", variant.name, f"{timing.median_s:.3f}", f"{timing.minimum_s:.3f}",
        bench.number(faster, ".2f"), f"{rate:.0f}", bench.number(share_percent),
        f"{memory.resident_mb:.0f}", f"{memory.file_mb:.0f}", f"{memory.peak_mb:.0f}", bench.number(distance, ".1e"),
    )  # fmt: skip
    facts = {
        "duration_s": duration_s, "side": variant.name, "seconds": timing.seconds, "times_faster": faster,
        "gflops": rate, "share_percent": share_percent, "resident_mb": memory.resident_mb, "file_mb": memory.file_mb,
        "peak_mb": memory.peak_mb, "scores_differ": distance,
    }  # fmt: skip
    return row, facts


def timing_of(answers: list[sides.Answer]) -> bench.Timing:
    return bench.Timing(tuple(answer.elapsed_s for answer in answers[1:]))


if __name__ == "__main__":
    main()
