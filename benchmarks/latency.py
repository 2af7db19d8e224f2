"""Latency of one clip: FunASR's AutoModel and ours on the same random weights, alternating in one process.

Each side gets samples in memory and gives frame embeddings and scores; both use the same number of threads.
"""

import argparse
import io
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import bench
import numpy as np

from emotion.model.funasr_runtime import import_funasr, quiet
from emotion.recognizer import Recognizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--durations", type=float, nargs="+", default=[1, 3, 10, 30, 60], help="seconds of each clip")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each side after one warm-up")
    parser.add_argument("--threads", type=int, default=0, help="threads of both sides; 0: every physical core")
    parser.add_argument("--model", type=Path, help="folder of a checkpoint instead of random weights")
    wanted = parser.parse_args()
    if wanted.model:
        compare(wanted.model, wanted)
    else:
        with bench.large_checkpoint() as folder:
            compare(folder, wanted)


def compare(folder: Path, wanted: argparse.Namespace) -> None:
    rows: list[tuple[object, ...]] = []
    record: list[dict[str, Any]] = []
    with Recognizer(str(folder), inference_threads=wanted.threads) as recognizer:
        reference = open_reference(folder)
        for duration_s in wanted.durations:
            samples = bench.speech_like(duration_s)
            sides = {
                "funasr": lambda samples=samples: ask_reference(reference, samples),
                "ours": lambda samples=samples: recognizer.recognize(samples, "frame", embedding=True),
            }
            timings = bench.alternate(sides, wanted.repeats)
            theirs, ours = timings["funasr"], timings["ours"]
            distance = largest_difference(ask_reference(reference, samples), recognizer.recognize(samples).scores)
            ratio = theirs.median_s / ours.median_s
            rows.append(
                (f"{duration_s:g} s", f"{theirs.median_s:.3f}", f"{ours.median_s:.3f}", f"{ours.minimum_s:.3f}",
                 f"{ratio:.2f}", f"{ours.median_s / duration_s:.3f}", f"{distance:.1e}")
            )  # fmt: skip
            record.append(
                {"duration_s": duration_s, "funasr_s": theirs.seconds, "ours_s": ours.seconds, "ratio": ratio}
            )
    header = ("clip", "FunASR, s", "ours, s", "ours at best, s", "times faster", "ours, s per s", "scores differ by")
    bench.report("latency, fp32", header, rows, {"rows": record})


def open_reference(folder: Path) -> Any:
    with quiet():
        return import_funasr()(model=str(folder), disable_update=True, disable_pbar=True, log_level="ERROR")


def ask_reference(reference: Any, samples: np.ndarray[Any, Any]) -> Any:
    import torch

    threads = torch.get_num_threads()
    with redirect_stdout(io.StringIO()):
        spoken = reference.generate(input=samples, granularity="frame", extract_embedding=True)[0]
    torch.set_num_threads(threads)  # FunASR sets four, whatever the machine has
    return spoken


def largest_difference(spoken: Any, scores: np.ndarray[Any, Any]) -> float:
    return float(np.abs(np.asarray(spoken["scores"]) - scores).max())


if __name__ == "__main__":
    main()
