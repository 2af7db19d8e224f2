"""What cutting a long recording costs: frames and scores of windows with context against the whole clip at once.

For each length of window and context: how much more is computed than the clip has, the largest and the mean difference
of a frame's scores (all frames, and those within a second of a seam), and the difference of the overall scores. The
random weights of the large architecture stand for its reach; the built-in model for real sense.
"""

from pathlib import Path

import bench
import numpy as np

from emotion.analysis import Analysis
from emotion.analysis.windows import Plan, count_windows, cut_windows
from emotion.audio import Clip, decode
from emotion.engine import Engine, EnginePlan
from emotion.model import FRAME_RATE_HZ, SpeechModel, num_frames

# Window and context in seconds.
PLANS = ((20, 1), (20, 2), (30, 2), (30, 3), (30, 5), (40, 5), (50, 5), (40, 8))


def main() -> None:
    parser = bench.arguments(__doc__, 1)
    parser.add_argument("--duration", type=float, default=120, help="seconds of the clip")
    parser.add_argument("--recordings", type=Path, help="folder of speech to be strung together instead of noise")
    wanted = parser.parse_args()
    clip = _clip(30.0 if wanted.quick else wanted.duration, wanted.recordings)
    plans = PLANS[:2] if wanted.quick else PLANS
    rows: list[tuple[object, ...]] = []
    record = []
    for name, model in _models(wanted.model):
        whole = _analyze(clip, model, Plan(exact_limit_s=1e9))
        for window_s, context_s in plans:
            plan = Plan(exact_limit_s=1.0, window_s=window_s, context_s=context_s)
            found = _differences(whole, _analyze(clip, model, plan), plan)
            more = _computed(clip, plan)
            rows.append((name, window_s, context_s, f"{more:.2f}", *(f"{value:.1e}" for value in found)))
            names = ("largest", "mean", "at_seams", "overall")
            record.append({"model": name, "window_s": window_s, "context_s": context_s, "computed": more}
                          | dict(zip(names, found, strict=True)))  # fmt: skip
    header = ("model", "window, s", "context, s", "times computed", "largest", "mean", "largest at seams", "overall")
    bench.report("seams of long recordings", header, rows, {"duration_s": clip.duration_s, "rows": record})


def _models(folder: Path | None) -> list[tuple[str, SpeechModel]]:
    from emotion.engine.recognizer import Recognizer

    found = []
    with bench.checkpoint(folder) as given:
        for name, model in (("random, large", str(given)), ("built-in", "compact")):
            with Recognizer(model) as recognizer:
                found.append((name, recognizer.engine._model))
    return found


def _clip(duration_s: float, folder: Path | None) -> Clip:
    if folder is None:
        return Clip("noise", bench.speech_like(duration_s))
    parts, length = [], 0
    for path in sorted(folder.rglob("*.opus"))[:: max(1, len(list(folder.rglob("*.opus"))) // 200)]:
        parts.append(decode(path).samples)
        length += len(parts[-1])
        if length > duration_s * 16_000:
            break
    return Clip("speech", np.concatenate(parts)[: round(duration_s * 16_000)])


def _analyze(clip: Clip, model: SpeechModel, plan: Plan) -> Analysis:
    from emotion.analysis import AnalysisRequest

    with Engine(model, EnginePlan(analysis=plan)) as engine:
        return engine.submit(clip, AnalysisRequest("frame")).result()


def _differences(whole: Analysis, cut: Analysis, plan: Plan) -> tuple[float, float, float, float]:
    """Largest and mean difference of frame scores, the largest within a second of a seam, and that of the overall."""
    assert whole.frame_scores is not None  # noqa: S101 - asked for above
    assert cut.frame_scores is not None  # noqa: S101
    distance = np.abs(whole.frame_scores - cut.frame_scores).max(axis=1)
    parts = count_windows(whole.clip, plan)
    seams = [len(distance) * part // parts for part in range(1, parts)]
    near = np.zeros(len(distance), bool)
    for seam in seams:
        near[max(seam - FRAME_RATE_HZ, 0) : seam + FRAME_RATE_HZ] = True
    overall = np.abs(whole.scores - cut.scores).max()
    return float(distance.max()), float(distance.mean()), float(distance[near].max(initial=0)), float(overall)


def _computed(clip: Clip, plan: Plan) -> float:
    """Frames of all windows for each frame of the clip."""
    total = sum(num_frames(len(window.samples)) for window in cut_windows(clip, plan))
    return total / num_frames(len(clip.samples))


if __name__ == "__main__":
    main()
