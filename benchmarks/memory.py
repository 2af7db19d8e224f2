"""Resident memory of each side with 10 s clips, and of ours over many clips of mixed lengths.

Anonymous memory is the side's own; mapped files (the weights of ours, and libraries) can be dropped by the system and
are shared by processes. The soak plays twenty lengths again and again, and compares what is resident over
the first round and over the last.
"""

import random
import statistics
from typing import Any

import bench
import resources
import sides

CLIP_S = 10.0
SHORTEST_S, LONGEST_S = 0.5, 60.0
ROUND_CLIPS = 20
LIMIT_PERCENT = 5.0
HEADER = ("side", "loaded MB", "steady MB", "anonymous", "files", "peak, loading", "peak, clips")


def main() -> None:
    parser = bench.arguments(__doc__, repeats=5)
    bench.add_sides(parser)
    parser.add_argument("--clips", type=int, default=200, help="clips of the soak; 0: none")
    parser.add_argument("--longest", type=float, default=LONGEST_S, help="seconds of the longest clip of the soak")
    wanted = parser.parse_args()
    if wanted.quick:
        wanted.repeats, wanted.clips, wanted.longest = 2, min(wanted.clips, 12), 5.0
    with bench.checkpoint(wanted.model) as folder:
        with sides.opened(sides.variants(wanted.device), sides.Worker, folder, wanted.threads) as opened:
            lives = {variant: live(side, wanted.repeats) for variant, side in opened.here.items()}
        soaked: list[resources.Memory] = []
        if wanted.clips:
            ours = sides.both(wanted)[1]
            with sides.opened([ours], sides.Worker, folder, wanted.threads) as opened_ours:
                opened.away.update(opened_ours.away)
                soaked = [m for side in opened_ours.here.values() for m in soak(side, wanted.clips, wanted.longest)]
    rows = [(variant.name, *cells(life)) for variant, life in lives.items()] + opened.rows(len(HEADER))
    record = {variant.name: [vars(moment) for moment in life] for variant, life in lives.items()}
    verdict, growth = judge(soaked)
    notes = [*opened.notes(), *verdict]
    bench.report(f"memory, {CLIP_S:g} s clips", HEADER, rows, {"clips": record, "soak": growth}, notes)


def live(side: sides.Side, clips: int) -> list[resources.Memory]:
    """Memory with the model loaded, then after every clip."""
    loaded = side.ask("memory")
    return [loaded, *(side.ask("clip", CLIP_S).memory for _ in range(clips + 1))]


def cells(life: list[resources.Memory]) -> tuple[object, ...]:
    loaded, *clips = life
    steady = clips[-1]
    peak_mb = max(moment.peak_mb for moment in clips)
    values = (loaded.resident_mb, steady.resident_mb, steady.anonymous_mb, steady.file_mb, loaded.peak_mb, peak_mb)
    return tuple(f"{value:.0f}" for value in values)


def soak(side: sides.Side, clips: int, longest_s: float) -> list[resources.Memory]:
    """Memory after each of many clips, in rounds of the same lengths in the same order."""
    lengths = random.Random(0)  # noqa: S311 - no secret
    round_s = [lengths.uniform(SHORTEST_S, longest_s) for _ in range(ROUND_CLIPS)]
    return [side.ask("clip", round_s[clip % ROUND_CLIPS]).memory for clip in range(clips)]


def judge(soaked: list[resources.Memory]) -> tuple[list[str], dict[str, Any]]:
    """What grew between the first round and the last, in a sentence and for the record.

    Memory between two releases is a sawtooth whose phase differs from round to round, so medians are compared.
    """
    if not soaked:
        return [], {}
    length = min(ROUND_CLIPS, (len(soaked) + 1) // 2)
    before, after = soaked[:length], soaked[-length:]
    before_mb, after_mb = (statistics.median(m.resident_mb for m in part) for part in (before, after))
    highest_mb = [max(m.resident_mb for m in part) for part in (before, after)]
    percent = 100 * (after_mb / before_mb - 1)
    verdict = "within" if percent <= LIMIT_PERCENT else "beyond"
    sentence = (
        f"soak of {len(soaked)} clips: resident {before_mb:.0f} MB over the first {length} (median; at most "
        f"{highest_mb[0]:.0f}), {after_mb:.0f} MB over the last {length} (at most {highest_mb[1]:.0f}): "
        f"{percent:+.1f} %, {verdict} the limit of {LIMIT_PERCENT:g} %"
    )
    growth = {"clips": len(soaked), "round": length, "growth_percent": percent, "limit_percent": LIMIT_PERCENT}
    return [sentence], {**growth, "before_mb": before_mb, "after_mb": after_mb, "highest_mb": highest_mb}


if __name__ == "__main__":
    main()
