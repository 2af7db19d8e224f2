"""Long recordings: FunASR and ours at 2 minutes, ours at 10 minutes and an hour; time per second and memory.

All give frame scores and embeddings. FunASR gets samples, ours the path of an 8 kHz WAV file, so that decoding counts.
Growth is the peak of resident memory over what was resident with the model loaded and warm. FunASR takes about 11 GB
for 2 minutes with the large model.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import bench
import resources
import sides

BOTH_MINUTES = 2.0
BOUND_MB = 500.0
RATE_HZ = 8_000
WARM_UP_S = 3.0
HEADER = ("length", "side", "time, s", "s per s of sound", "growth MB", "anonymous", "peak MB")
# Length in minutes, side, and what it took.
Took = tuple[float, str, resources.Use]


def main() -> None:
    parser = bench.arguments(__doc__, repeats=1)
    bench.add_sides(parser)
    parser.add_argument("--hours", type=float, default=1.0, help="longest recording of ours")
    parser.add_argument("--three-hours", action="store_true", help="three hours for ours too")
    parser.add_argument("--ours-only", action="store_true", help="without FunASR, which needs 11 GB")
    wanted = parser.parse_args()
    minutes = [BOTH_MINUTES, 5.0] if wanted.quick else [BOTH_MINUTES, 10.0, wanted.hours * 60]
    minutes += [180.0] if wanted.three_hours else []
    with bench.checkpoint(wanted.model) as folder, tempfile.TemporaryDirectory() as place:
        recordings = {length: bench.write_recording(Path(place) / f"{length}.wav", length * 60, RATE_HZ)
                      for length in sorted(set(minutes))}  # fmt: skip
        theirs, ours = sides.both(wanted)
        took: list[Took] = []
        compared = [] if wanted.ours_only else [theirs, sides.Variant(ours.runtime, "fp32", ours.device)]
        notes = run(compared, {BOTH_MINUTES: recordings[BOTH_MINUTES]}, folder, wanted, took)
        notes += run([ours], recordings, folder, wanted, took)
    report(took, notes)


def run(
    variants: list[sides.Variant],
    recordings: dict[float, Path],
    folder: Path,
    wanted: argparse.Namespace,
    took: list[Took],
) -> list[str]:
    """Each recording through each side in turn; adds to `took` and returns why sides are away."""
    with sides.opened(variants, sides.Worker, folder, wanted.threads) as opened:
        for side in opened.here.values():
            side.ask("clip", WARM_UP_S)
        for length, path in recordings.items():
            for _ in range(wanted.repeats):
                for variant, side in opened.here.items():
                    source = samples_of(path) if variant.runtime == "funasr" else str(path)
                    took.append((length, variant.name, side.ask("use", source, "frame", True)))
        return opened.notes()


def samples_of(path: Path) -> bench.Samples:
    from emotion.audio import decode

    return decode(path).samples


def report(took: list[Took], notes: list[str]) -> None:
    rows = [
        (f"{length:g} min", name, f"{use.elapsed_s:.1f}", f"{use.elapsed_s / (length * 60):.4f}",
         f"{use.growth_mb:.0f}", f"{use.anonymous_growth_mb:.0f}", f"{use.peak_mb:.0f}")
        for length, name, use in took
    ]  # fmt: skip
    longest = max(took, key=lambda row: row[0], default=None)
    record: list[dict[str, Any]] = [{"minutes": length, "side": name, **vars(use)} for length, name, use in took]
    bench.report(
        "long recordings", HEADER, rows, {"rows": record}, [*notes, *(judge(took, longest) if longest else [])]
    )


def judge(took: list[Took], longest: Took) -> list[str]:
    """Whether time is linear and memory bounded: the longest recording beside the same side's shortest."""
    length, name, use = longest
    base_length, _, base = min((row for row in took if row[1] == name), key=lambda row: row[0])
    ratio = (use.elapsed_s / length) / (base.elapsed_s / base_length)
    verdict = "within" if use.growth_mb <= BOUND_MB else "beyond"
    return [
        f"{name}: a second of sound takes {ratio:.2f} times as long at {length:g} min as at {base_length:g} min; "
        f"growth {use.growth_mb:.0f} MB, {verdict} the bound of {BOUND_MB:g} MB"
    ]


if __name__ == "__main__":
    main()
