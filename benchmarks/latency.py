"""Latency and peak memory of one clip: FunASR's AutoModel and ours on the same random weights.

Each side lives in a process of its own, so that neither's threads disturb the other's; they work in turn. Both get
samples in memory, give frame embeddings and scores, and use the same number of threads. `--funasr-default` leaves
FunASR the number that it takes by itself, whatever the machine has.
"""

import argparse
import contextlib
import io
import multiprocessing
import resource
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import bench
import numpy as np

FUNASR_THREADS = 4  # the default of its argument `ncpu`


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--durations", type=float, nargs="+", default=[1, 3, 10, 30, 60], help="seconds of each clip")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each side after one warm-up")
    parser.add_argument("--threads", type=int, default=0, help="threads of both sides; 0: every physical core")
    parser.add_argument("--funasr-default", action="store_true", help="four threads for FunASR, as it takes by itself")
    parser.add_argument("--model", type=Path, help="folder of a checkpoint instead of random weights")
    wanted = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = wanted.model or stack.enter_context(bench.large_checkpoint())
        threads = wanted.threads or bench.physical_cores()
        their_threads = FUNASR_THREADS if wanted.funasr_default else threads
        sides = {"funasr": Side(run_funasr, folder, their_threads), "ours": Side(run_ours, folder, threads)}
        compare(sides, wanted.durations, wanted.repeats)
        for side in sides.values():
            side.end()


class Side:
    """One process that answers durations with seconds, scores and its peak memory."""

    def __init__(self, work: Any, folder: Path, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._ask, theirs = context.Pipe()
        context.Process(target=work, args=(theirs, folder, threads), daemon=True).start()

    def __call__(self, duration_s: float) -> tuple[float, list[float], float]:
        self._ask.send(duration_s)
        answer: tuple[float, list[float], float] = self._ask.recv()
        return answer

    def end(self) -> None:
        self._ask.send(None)


def compare(sides: dict[str, Side], durations: list[float], repeats: int) -> None:
    rows: list[tuple[object, ...]] = []
    record: list[dict[str, Any]] = []
    for duration_s in durations:
        answers = {name: [] for name in sides}  # type: dict[str, list[tuple[float, list[float], float]]]
        for _ in range(repeats + 1):
            for name, side in sides.items():
                answers[name].append(side(duration_s))
        theirs, ours = (bench.Timing(tuple(a[0] for a in answers[name][1:])) for name in ("funasr", "ours"))
        their_mb, our_mb = (answers[name][-1][2] for name in ("funasr", "ours"))
        distance = np.abs(np.subtract(answers["funasr"][-1][1], answers["ours"][-1][1])).max()
        rows.append(
            (f"{duration_s:g} s", f"{theirs.median_s:.3f}", f"{ours.median_s:.3f}",
             f"{theirs.median_s / ours.median_s:.2f}", f"{theirs.minimum_s / ours.minimum_s:.2f}",
             f"{their_mb:.0f}", f"{our_mb:.0f}", f"{distance:.1e}")
        )  # fmt: skip
        record.append({"duration_s": duration_s, "funasr_s": theirs.seconds, "ours_s": ours.seconds,
                       "funasr_peak_mb": their_mb, "ours_peak_mb": our_mb})  # fmt: skip
    header = (
        "clip",
        "FunASR, s",
        "ours, s",
        "times faster",
        "at best",
        "FunASR, peak MB",
        "ours, peak MB",
        "scores differ",
    )
    bench.report("latency, fp32", header, rows, {"rows": record})


def run_funasr(questions: Connection, folder: Path, threads: int) -> None:
    from emotion.model.funasr_runtime import import_funasr, quiet

    with quiet():
        model = import_funasr()(
            model=str(folder), ncpu=threads, disable_update=True, disable_pbar=True, log_level="ERROR"
        )

    def ask(samples: Any) -> list[float]:
        with contextlib.redirect_stdout(io.StringIO()):
            spoken = model.generate(input=samples, granularity="frame", extract_embedding=True, ncpu=threads)[0]
        return [float(score) for score in spoken["scores"]]

    answer(questions, ask, threads)


def run_ours(questions: Connection, folder: Path, threads: int) -> None:
    from emotion.recognizer import Recognizer

    recognizer = Recognizer(str(folder), inference_threads=threads)

    def ask(samples: Any) -> list[float]:
        return [float(score) for score in recognizer.recognize(samples, "frame", embedding=True).scores]

    answer(questions, ask, threads)


def answer(questions: Connection, ask: Any, threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    while (duration_s := questions.recv()) is not None:
        samples = bench.speech_like(duration_s)
        started_s = time.perf_counter()
        scores = ask(samples)
        elapsed_s = time.perf_counter() - started_s
        questions.send((elapsed_s, scores, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


if __name__ == "__main__":
    main()
