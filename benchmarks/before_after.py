"""The case of the predecessor: an app as it is usually written, and ours; beside it what its own tuning gained.

Before: every request loads FunASR's model, decodes with librosa, sets no threads and frees nothing. After: one resident
recogniser. The first clip holds imports and loading of either side. Every run is a process of its own.
"""

import argparse
import contextlib
import io
import statistics
import tempfile
from pathlib import Path
from typing import Any

import bench
import resources
import sides

CLIP_S, LATER_CLIPS = 10.0, 3
# First clip s, later clips s, peak GB, mean GPU %: the predecessor's own figures on a server with a T4.
PUBLISHED = {
    "predecessor, untuned, published (T4)": ("12.1", "8.2", "6.2", "35"),
    "predecessor, tuned, published (T4)": ("6.3", "1.1", "3.8", "72"),
}
HEADER = ("app", "first clip, s", "later clips, s", "peak GB", "GPU, %")


# One use for every clip of a run, for every run, by app.
Runs = dict[str, list[list[resources.Use]]]


def main() -> None:
    parser = bench.arguments(__doc__, repeats=3)
    bench.add_sides(parser)
    parser.add_argument("--duration", type=float, default=CLIP_S, help="seconds of the clip, a stereo MP3")
    parser.add_argument("--later", type=int, default=LATER_CLIPS, help="clips after the first")
    wanted = parser.parse_args()
    if wanted.quick:
        wanted.duration, wanted.later, wanted.repeats = 3.0, 1, 1
    try:
        runs = measure(wanted)
    except sides.ReplicaUnavailable as reason:
        parser.exit(1, f"not here: {reason}\n")
    rows: list[tuple[object, ...]] = [(name, *cells(uses)) for name, uses in runs.items()]
    rows += [(name, *figures) for name, figures in PUBLISHED.items()]
    rows.append(("times better, here", *gains(runs["before"], runs["after"]), bench.NONE))
    record = {name: [[vars(use) for use in one] for one in uses] for name, uses in runs.items()}
    title = f"before and after, {wanted.duration:g} s, {sides.both(wanted)[1].name}"
    bench.report(title, HEADER, rows, {"runs": record})


def measure(wanted: argparse.Namespace) -> Runs:
    """What the first and the later clips took in each run of both apps, in turn after a warm-up of one clip."""
    runs: Runs = {name: [] for name in APPS}
    ours = sides.both(wanted)[1]
    with bench.checkpoint(wanted.model) as folder, tempfile.TemporaryDirectory() as place:
        mp3 = str(bench.write_recording(Path(place) / "clip.mp3", wanted.duration, 44_100, channels=2))
        for turn in range(1 + wanted.repeats):
            for name, make in APPS.items():
                clips = 1 + wanted.later if turn else 1
                uses = run(make, ours, folder, mp3, wanted.threads, clips)
                runs[name] += [uses] if turn else []
    return runs


def run(make: Any, ours: sides.Variant, folder: Path, mp3: str, threads: int, clips: int) -> list[resources.Use]:
    """What each clip took in one process."""
    with sides.Side(make, ours, folder, threads) as side:
        return [side.ask("request", mp3) for _ in range(clips)]


class Before:
    """The app as it is usually written around FunASR."""

    def __init__(self, variant: sides.Variant, folder: Path, _threads: int) -> None:
        self._folder, self._device = folder, variant.device

    def request(self, path: str) -> resources.Use:
        def recognize() -> Any:
            import librosa

            from emotion.model.funasr_runtime import import_funasr

            model = import_funasr()(model=str(self._folder), device=self._device, disable_update=True)
            samples, _ = librosa.load(path, sr=16_000, mono=True)
            return model.generate(samples, granularity="utterance", extract_embedding=True)

        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return resources.measured(recognize)


class After:
    """Ours: the first request opens the recogniser, which then stays."""

    def __init__(self, variant: sides.Variant, folder: Path, threads: int) -> None:
        self._how = variant, folder, threads or bench.physical_cores()
        self._recognize: sides.Recognize | None = None

    def request(self, path: str) -> resources.Use:
        def recognize() -> Any:
            if self._recognize is None:
                self._recognize = sides.open_ours(*self._how)
            return self._recognize(path, "utterance", True)

        return resources.measured(recognize)


APPS = {"before": Before, "after": After}


def cells(uses: list[list[resources.Use]]) -> tuple[str, ...]:
    first_s, later_s, peak_gb = figures(uses)
    gpu = [use.gpu_percent for one in uses for use in one if use.gpu_percent is not None]
    mean_gpu = statistics.mean(gpu) if gpu else None
    return f"{first_s:.2f}", bench.number(later_s, ".3f"), f"{peak_gb:.2f}", bench.number(mean_gpu)


def figures(uses: list[list[resources.Use]]) -> tuple[float, float | None, float]:
    """Median seconds of the first clip and of the later ones (None without any), and the peak in GB."""
    later = [use.elapsed_s for one in uses for use in one[1:]]
    first_s = statistics.median(one[0].elapsed_s for one in uses)
    peak_gb = max(use.peak_mb for one in uses for use in one) / 1000
    return first_s, statistics.median(later) if later else None, peak_gb


def gains(before: list[list[resources.Use]], after: list[list[resources.Use]]) -> tuple[str, ...]:
    pairs = zip(figures(before), figures(after), strict=True)
    return tuple(bench.NONE if not old or not new else f"{old / new:.1f}" for old, new in pairs)


if __name__ == "__main__":
    main()
