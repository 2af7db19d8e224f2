"""`emotion models quantize` and `compare`: int8 by calibration, and what a precision changes on own recordings."""

import json
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emotion.cli import flags, terminal
from emotion.errors import ClipError, EmotionError, command_line

if TYPE_CHECKING:
    from emotion.analysis.comparison import Answer, Comparison
    from emotion.model import FloatArray, ModelCard
    from emotion.model.checkpoint import Checkpoint
    from emotion.settings import Settings

_HERE_HELP = "Short name, hub id or folder of a model that is on this machine."
_CALIBRATE_HELP = (
    "Recordings of your own, or folders of them; none: the example clip of the model and synthetic samples."
)
_RECORDINGS_HELP = "Recordings of your own, or folders of them."
_SAMPLES = Path(__file__).parent.parent / "ui" / "assets" / "samples"


@flags.with_settings()
def quantize(
    name: Annotated[str, typer.Argument(help=_HERE_HELP)],
    files: Annotated[list[Path] | None, typer.Argument(metavar="FILE|FOLDER...", help=_CALIBRATE_HELP)] = None,
    *,
    load: flags.Load,
) -> None:
    """Make int8 of a model for CPUs: calibrate it once on speech and keep it in the cache, for --precision int8.

    Calibrate on recordings like those you will recognise, some dozens of your own: int8 then loses least.
    """
    settings = _named(load(model=name, offline=True))
    sources = _find_recordings(files or [])
    if not files:
        example = _checkpoint_of(settings).example_clip
        sources = [*([example] if example else []), *sorted(_SAMPLES.glob("*.flac"))]
        terminal.say(
            "emotion: no recordings were named, so the example clip of the model and synthetic samples are taken. "
            f"Your own are better: {command_line(f'models quantize {name} FOLDER')}"
        )
    waveforms, failures = _read_waveforms(settings, sources)
    for failure in failures:
        terminal.say(failure)
    folder = _make_int8(settings, waveforms)
    terminal.show(f"{name}: int8 is made, use it with --precision int8")
    terminal.show(f"  {folder}")
    if failures:
        raise typer.Exit(1)


@flags.with_settings("precision", "runtime", "model", "device")
def compare(
    files: Annotated[list[Path], typer.Argument(metavar="FILE|FOLDER...", help=_RECORDINGS_HELP)],
    against: Annotated[str, typer.Option(help="The precision to compare with.")] = "fp32",
    against_runtime: Annotated[
        str | None, typer.Option(help="The runtime to compare with; that of --runtime if not named.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take only so many recordings.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as one JSON line.")] = False,
    *,
    load: flags.Load,
) -> None:
    """Compare two precisions or runtimes of a model on your own recordings: labels, scores, embeddings and time.

    Exits with 1 when a file failed.
    """
    from emotion.analysis.comparison import compare as judge

    chosen = _named(load(offline=True))
    other_runtime = {} if against_runtime is None else {"runtime": against_runtime}
    other = _named(load(offline=True, precision=against, **other_runtime))
    sources = _find_recordings(files)[:limit]
    for settings in (chosen, other):
        _make_missing_int8(settings, sources)
    first = _run_side(chosen, sources)
    second = _run_side(other, list(first.answers))
    both = list(second.answers)
    comparison = judge([first.answers[path] for path in both], list(second.answers.values()))
    failed = len(sources) - len(both)
    if as_json:
        sides = [{"model": side.card.record(), "elapsed_s": round(side.elapsed_s, 3)} for side in (first, second)]
        times_as_fast = round(second.elapsed_s / first.elapsed_s, 3)
        record = {"sides": sides, "times_as_fast": times_as_fast, "failed": failed, **comparison.record()}
        terminal.show(json.dumps(record, ensure_ascii=False))
    else:
        _show_comparison(first, second, comparison)
    if failed:
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Side:
    """One way to compute, what it said of each recording, and how long it took for all."""

    card: "ModelCard"
    elapsed_s: float
    answers: "dict[Path, Answer]"

    @property
    def title(self) -> str:
        return f"{self.card.runtime} {self.card.precision} on {self.card.device}"


def _find_recordings(files: list[Path]) -> list[Path]:
    """The recordings, each once; folders give their sound files in order of name."""
    from emotion.audio import sound_files

    return list(dict.fromkeys(one for path in files for one in (sound_files(path) if path.is_dir() else [path])))


def _make_missing_int8(settings: "Settings", sources: list[Path]) -> None:
    """Make int8 on the recordings that are compared, where int8 is asked for and is not there yet."""
    from emotion.model.quantization import find_quantized

    if settings.precision != "int8" or find_quantized(_checkpoint_of(settings), settings.cache_dir):
        return
    terminal.say("emotion: there is no int8 of this model yet, so it is made first, calibrated on these recordings")
    waveforms, failures = _read_waveforms(settings, sources)
    for failure in [] if waveforms else failures:  # else the comparison tells what could not be read
        terminal.say(failure)
    _make_int8(settings, waveforms)


def _make_int8(settings: "Settings", waveforms: "list[FloatArray]") -> Path:
    from rich.progress import MofNCompleteColumn, TextColumn

    from emotion.model.quantization import quantize as calibrate

    checkpoint = _checkpoint_of(settings)
    with terminal.rich_bar(MofNCompleteColumn(), TextColumn("blocks")) as bar:
        task = bar.add_task(f"{checkpoint.name} int8", total=None)
        return calibrate(
            checkpoint,
            waveforms,
            settings.cache_dir,
            lambda done, total: bar.update(task, completed=done, total=total),
        )


def _read_waveforms(settings: "Settings", sources: list[Path]) -> "tuple[list[FloatArray], list[str]]":
    """Waveforms of at most so many recordings as calibration looks at, and what was wrong with others."""
    from emotion.model.quantization import MAX_WINDOWS

    used = sources[:: -(-len(sources) // MAX_WINDOWS)]
    waveforms: list[FloatArray] = []
    failures = []
    for source in used:
        try:
            waveforms += _waveforms_of(source, settings, MAX_WINDOWS // len(used))
        except ClipError as error:
            failures.append(f"{source.name}: {error}")
    return waveforms, failures


def _waveforms_of(source: Path, settings: "Settings", most: int) -> "list[FloatArray]":
    """The recording as the network would see it: at most so many windows, spread evenly over it."""
    from emotion.analysis.windows import count_windows, cut_windows
    from emotion.audio import decode
    from emotion.engine.recognizer import engine_plan

    plan = engine_plan(settings)
    clip = decode(source, plan.limits)
    step = -(-count_windows(clip, plan.analysis) // most)
    return [window.samples for window in islice(cut_windows(clip, plan.analysis), 0, None, step)]


def _named(settings: "Settings") -> "Settings":
    """The same settings with the large model for `auto`: here no other model may take its place."""
    from emotion.engine.recognizer import AUTO, LARGE

    return settings.model_copy(update={"model": LARGE}) if settings.model == AUTO else settings


def _checkpoint_of(settings: "Settings") -> "Checkpoint":
    from emotion.model import BUILT_IN
    from emotion.model.checkpoint import find_checkpoint

    if settings.model == BUILT_IN:
        raise EmotionError("The built-in model computes in fp32 only and has no int8. Name another model.")
    return find_checkpoint(settings.model, settings.cache_dir)


def _run_side(settings: "Settings", sources: list[Path]) -> _Side:
    """The answers of one model about all recordings that it could read."""
    import numpy as np

    from emotion.analysis.comparison import answer_of
    from emotion.audio import SAMPLE_RATE_HZ, Clip
    from emotion.engine.recognizer import Recognizer

    with Recognizer(settings=settings) as recognizer:
        # The first run pays for what the others find there, on whichever side.
        recognizer.recognize(Clip("warm-up", np.zeros(SAMPLE_RATE_HZ, np.float32)))
        started_s = time.perf_counter()
        found = zip(sources, terminal.analyses_of(recognizer, sources, embedding=True), strict=True)
        answers = {source: answer_of(analysis) for source, analysis in found if analysis is not None}
        return _Side(recognizer.state.card, time.perf_counter() - started_s, answers)


def _show_comparison(first: _Side, second: _Side, comparison: "Comparison") -> None:
    from emotion.labels import emotion_of

    said, count, same = comparison, comparison.recordings, comparison.recordings - len(comparison.changes)
    distances = f"mean {said.mean_embedding_distance:.6f}, largest {said.largest_embedding_distance:.6f}"
    times = f"{first.elapsed_s:.1f} s against {second.elapsed_s:.1f} s"
    terminal.show(f"{first.card.name}: {first.title} against {second.title}")
    rows = {
        "recordings": str(count),
        "label agreement": f"{said.agreement:.1%} ({same} of {count})",
        "score difference": f"mean {said.mean_score_difference:.4f}, largest {said.largest_score_difference:.4f}",
        "embedding cosine distance": distances,
        "time": f"{times}, so {second.elapsed_s / first.elapsed_s:.2f} times as fast",
    }
    for name, text in rows.items():
        terminal.show(f"{name:<27}{text}")
    spoken = terminal.language()
    for change in comparison.changes:
        here = f"{emotion_of(change.label).headline(spoken)} {change.confidence:.1%}"
        there = f"{emotion_of(change.other_label).headline(spoken)} {change.other_confidence:.1%}"
        terminal.show(f"  {change.name}: {here} against {there}")
