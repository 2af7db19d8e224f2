"""Finds by measurement what is fastest on this machine: runtime, precision, threads and batches."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np

from emotion.audio import SAMPLE_RATE_HZ, decode
from emotion.doctor.computing import noise_wav
from emotion.engine import measure_batch_frames
from emotion.errors import EmotionError, ModelError
from emotion.hardware import Cores
from emotion.model import SpeechModel
from emotion.model.checkpoint import Checkpoint
from emotion.model.choice import cpu_computes_bf16, has_nvidia_driver, has_openvino
from emotion.model.opening import RuntimeSpec, open_model

CLIP_S = (3.0, 10.0)
_DECODED_FILES = 8
# A second decoder or thread that gains less than this is left to others.
_WORTH_IT = 0.97


@dataclass(frozen=True)
class Trial:
    """One way to compute: seconds per second of sound with clips of 3 and 10 s; None where it cannot be done here."""

    device: str
    runtime: str
    precision: str
    threads: int
    seconds_per_s: float | None
    note: str = ""


@dataclass(frozen=True)
class Tuning:
    """The winner: values of the settings of the same names."""

    runtime: str
    precision: str
    inference_threads: int
    decode_threads: int
    batch_frames: int

    def as_toml(self, machine: str) -> str:
        """The content of local.toml."""
        day = datetime.now().strftime("%Y-%m-%d")
        lines = [f"# Measured by `emotion tune` on {day}: {machine}. Delete this file to return to the defaults."]
        lines += [f'runtime = "{self.runtime}"', f'precision = "{self.precision}"']
        names = ("inference_threads", "decode_threads", "batch_frames")
        return "\n".join([*lines, *(f"{name} = {getattr(self, name)}" for name in names)]) + "\n"


def trials(checkpoint: Checkpoint | None, cores: Cores, budget_s: float) -> Iterator[Trial]:
    """Measure every way to compute a model (None: the built-in one), the most promising first.

    Ways that would begin after `budget_s` are left out, with a note.
    """
    started_s = time.perf_counter()
    for way in _ways(checkpoint is None, cores):
        if time.perf_counter() - started_s > budget_s:
            yield replace(way, note="left out, the time is over")
            continue
        try:
            model = _open(checkpoint, way)
        except ModelError as error:
            yield replace(way, note=str(error))
            continue
        yield replace(way, seconds_per_s=_pace(model))


def winner(measured: list[Trial]) -> Trial:
    """The fastest way; among ways that are as fast, the one with the fewest threads."""
    possible = [trial for trial in measured if trial.seconds_per_s is not None]
    if not possible:
        raise EmotionError("Nothing could be measured. `emotion doctor` says what is missing.")
    best = min(trial.seconds_per_s or 0.0 for trial in possible)
    as_fast = [trial for trial in possible if (trial.seconds_per_s or 0.0) * _WORTH_IT <= best]
    return min(as_fast, key=lambda trial: (trial.threads, trial.seconds_per_s))


def settle(checkpoint: Checkpoint | None, best: Trial, decode_threads: int) -> Tuning:
    """The settings of the winner, with the size of batches that is fastest for it."""
    batch_frames = measure_batch_frames(_open(checkpoint, best))
    return Tuning(best.runtime, best.precision, best.threads, decode_threads, batch_frames)


def decode_pace(threads: int) -> float:
    """How many recordings of 30 s (stereo WAV) so many threads decode in a second."""
    recording = noise_wav(30)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(decode, [recording] * threads))
        started_s = time.perf_counter()
        list(pool.map(decode, [recording] * _DECODED_FILES))
        return _DECODED_FILES / (time.perf_counter() - started_s)


def best_decode_threads(paces: dict[int, float]) -> int:
    """The fewest threads that are as fast as the fastest."""
    best = max(paces.values())
    return min(threads for threads, pace in paces.items() if pace >= _WORTH_IT * best)


def thread_counts(cores: Cores) -> list[int]:
    """Counts worth a trial: the physical cores, half of them, and all logical ones."""
    return list(dict.fromkeys([cores.physical, max(1, cores.physical // 2), cores.logical]))


def _ways(built_in: bool, cores: Cores) -> Iterator[Trial]:
    counts = thread_counts(cores)
    half = ["bf16"] if cpu_computes_bf16() else []
    if has_nvidia_driver():
        for precision in ("fp32",) if built_in else ("fp16", "bf16", "fp32"):
            yield Trial("cuda", "torch", precision, max(1, cores.logical // 2), None)
    if built_in:
        yield from (Trial("cpu", "torch", "fp32", threads, None) for threads in counts)
        return
    runtimes = ["openvino", "torch"] if has_openvino() else ["torch"]
    for threads in counts:
        for runtime in runtimes:
            yield from (Trial("cpu", runtime, precision, threads, None) for precision in (*half, "fp32"))


def _open(checkpoint: Checkpoint | None, way: Trial) -> SpeechModel:
    return open_model(checkpoint, RuntimeSpec(way.runtime, way.device, way.precision, way.threads))


def _pace(model: SpeechModel) -> float:
    """Seconds per second of sound: the better of two runs of each clip, after one that is not counted."""
    total_s = 0.0
    for clip_s in CLIP_S:
        clip = np.random.default_rng(0).standard_normal(round(clip_s * SAMPLE_RATE_HZ)).astype(np.float32)
        model.start([clip])()
        runs = []
        for _ in range(2):
            started_s = time.perf_counter()
            model.start([clip])()
            runs.append(time.perf_counter() - started_s)
        total_s += min(runs)
    return total_s / sum(CLIP_S)


def write_local(content: str, target: Path) -> None:
    """Write local.toml, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_suffix(".tmp")
    aside.write_text(content, encoding="utf-8")
    aside.replace(target)
