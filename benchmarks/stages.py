"""What each stage takes of the machine: ours and FunASR measured, beside what the predecessor published.

Processor time is of all logical cores of the machine; memory is the peak over what was resident before the stage, with
mapped files. Loading holds the imports and a first clip of 1 s, after which the weights are in memory. FunASR's side
decodes with librosa. Every run is a process of its own; medians.
"""

import statistics
import tempfile
from pathlib import Path
from typing import Any

import bench
import resources
import sides

MP3_S, CLIP_S, FIRST_CLIP_S = 30.0, 10.0, 1.0
AT_LEAST_S = 1.0
STAGES = {
    "decode of a 30 s MP3": "decode",
    "model load": "load",
    "utterance, 10 s": "utterance",
    "frame, 10 s": "frame",
}
# Processor %, graphics card %, growth of resident and of the card's memory, as the predecessor published them.
PREDECESSOR = {
    "decode": ("85", "5", "120", bench.NONE),
    "load": ("60", "90", "1800", "1900"),
    "utterance": ("30", "75", "50", "100"),
    "frame": ("45", "80", "80", "150"),
}
HEADER = ("stage", "side", "time, s", "CPU, % of all cores", "GPU, %", "memory MB", "of it anonymous", "GPU memory MB")
Runs = dict[str, list[dict[str, resources.Use]]]


def main() -> None:
    parser = bench.arguments(__doc__, repeats=3)
    bench.add_sides(parser)
    wanted = parser.parse_args()
    theirs, ours = sides.both(wanted)
    makers = {"ours": (Stages, ours), sides.FUNASR: (FunasrStages, theirs)}
    runs: Runs = {name: [] for name in makers}
    notes: list[str] = []
    with bench.checkpoint(wanted.model) as folder, tempfile.TemporaryDirectory() as place:
        mp3 = bench.write_recording(Path(place) / "clip.mp3", MP3_S, 44_100, channels=2)
        for turn in range(1 + (1 if wanted.quick else wanted.repeats)):
            for name, (make, variant) in makers.items():
                try:
                    used = run(make, variant, folder, mp3, wanted.threads or bench.physical_cores())
                except sides.ReplicaUnavailable as reason:
                    notes += [] if turn else [f"{name}: not here ({reason})"]
                    continue
                runs[name] += [used] if turn else []  # the first fills the page cache and converts the weights
    rows = [row for title, stage in STAGES.items() for row in rows_of(title, stage, runs)]
    record = {name: [{stage: vars(use) for stage, use in used.items()} for used in all_] for name, all_ in runs.items()}
    bench.report(f"stages, {ours.name}", HEADER, rows, {"runs": record}, notes)


def run(make: Any, variant: sides.Variant, folder: Path, mp3: Path, threads: int) -> dict[str, resources.Use]:
    """What each stage took in one process, in their order."""
    with sides.Side(make, variant, folder, threads) as side:
        used = {"decode": side.ask("decode", str(mp3)), "load": side.ask("load")}
        return used | {granularity: side.ask("clip", granularity) for granularity in ("utterance", "frame")}


class Stages:
    """Ours; nothing is loaded before its stage."""

    def __init__(self, variant: sides.Variant, folder: Path, threads: int) -> None:
        self._how = variant, folder, threads
        self._recognize: sides.Recognize | None = None
        self._decode = self._decoder()

    def decode(self, path: str) -> resources.Use:
        return resources.measured(lambda: self._decode(path), AT_LEAST_S)

    def load(self) -> resources.Use:
        samples = bench.speech_like(FIRST_CLIP_S)

        def load() -> None:
            self._recognize = self._open()
            self._recognize(samples, "utterance", False)

        return resources.measured(load)

    def clip(self, granularity: str) -> resources.Use:
        samples, recognize = bench.speech_like(CLIP_S), self._recognize
        if recognize is None:
            raise RuntimeError("the model is loaded first")
        return resources.measured(lambda: recognize(samples, granularity, granularity == "frame"), AT_LEAST_S)

    def _decoder(self) -> Any:
        from emotion.audio import decode

        return decode

    def _open(self) -> sides.Recognize:
        return sides.open_ours(*self._how)


class FunasrStages(Stages):
    """FunASR, with librosa for decoding."""

    def _decoder(self) -> Any:
        import librosa

        librosa.resample  # noqa: B018 - librosa imports its parts when they are first named
        return lambda path: librosa.load(path, sr=16_000, mono=True)

    def _open(self) -> sides.Recognize:
        return sides.open_funasr(*self._how)


def rows_of(title: str, stage: str, runs: Runs) -> list[tuple[object, ...]]:
    """One stage: the measured sides, then the predecessor."""
    cpu, gpu, memory, gpu_memory = PREDECESSOR[stage]
    measured = [(title, name, *cells([used[stage] for used in all_])) for name, all_ in runs.items() if all_]
    published = (title, "predecessor, published", bench.NONE, cpu, gpu, memory, bench.NONE, gpu_memory)
    return [*measured, published]


def cells(uses: list[resources.Use]) -> tuple[str, ...]:
    """Medians over the runs, from the time to the card's memory."""
    names = ("cpu_percent", "gpu_percent", "growth_mb", "anonymous_growth_mb", "gpu_growth_mb")
    elapsed = f"{statistics.median(use.elapsed_s for use in uses):.3f}"
    return (elapsed, *(bench.number(median([getattr(use, name) for use in uses])) for name in names))


def median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


if __name__ == "__main__":
    main()
