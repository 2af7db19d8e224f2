"""What a person sees in the terminal: result lines, progress, and where the answers come from."""

import json
import os
import sys
from concurrent.futures import Future, wait
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion.errors import EmotionError, command_line
from emotion.formatting import clock
from emotion.labels import SILENCE, Emotion, Language, emotion_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import Progress as RichProgress
    from rich.progress import ProgressColumn

    from emotion.analysis import Analysis
    from emotion.engine import Progress, StageTimes
    from emotion.engine.recognizer import ModelState, Recognizer, ReportDownload
    from emotion.settings import Settings

_POLL_S = 0.1
# Share of the time that inference may wait for decoding before it is worth a word.
_STARVED = 0.3


def say(line: str) -> None:
    """A line for the person, beside the results: on standard error."""
    print(line, file=sys.stderr)  # noqa: T201


def show(line: str) -> None:
    """A line of the result, on standard output."""
    print(line, flush=True)  # noqa: T201


def watched() -> bool:
    """Whether somebody sees standard error, rather than a file or a pipe."""
    return sys.stderr.isatty()


def language() -> Language:
    """Chinese where the terminal's locale is Chinese, else English."""
    locale = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    return "zh" if locale.startswith("zh") else "en"


def say_model(state: "ModelState") -> None:
    """Tell the person when the built-in model answers although they did not choose it."""
    if state.phase == "built_in":
        say(
            "emotion: the built-in model answers (small, less accurate). "
            f"For emotion2vec+ large (1.95 GB): {command_line('models download emotion2vec_plus_large')}"
        )


def say_times(sound_s: float, elapsed_s: float, times: "StageTimes") -> None:
    """Where the time of many recordings went, and what would help when inference waits for decoding."""
    say(
        f"{sound_s:.0f} s of sound in {elapsed_s:.1f} s: inference {times.inference_s:.1f} s, decoding beside it "
        f"{times.decode_s:.1f} s, inference waited for decoding {times.starved_s:.1f} s"
    )
    if times.starved_s > _STARVED * elapsed_s and elapsed_s > 1:
        say("Decoding holds inference up. More threads may help: EMOTION_DECODE_THREADS=4, or `tune` finds the number.")


def show_failure(name: str, error: EmotionError, as_json: bool) -> None:
    say(f"{name}: {error}")
    if as_json:
        show(json.dumps({"file": name, "error": {"code": error.code, "message": str(error)}}, ensure_ascii=False))


def show_analysis(analysis: "Analysis", folder: Path | None, as_json: bool) -> None:
    if as_json:
        show(json.dumps(analysis.record(all_frames=folder is None), ensure_ascii=False))
        return
    spoken = language()
    headline = _with_confidence(analysis.emotion, analysis.confidence, spoken) + _doubt(analysis, spoken)
    show(f"{analysis.clip.name}: {headline}  ({analysis.clip.duration_s:.1f} s)")
    for segment in analysis.segments if analysis.request.granularity == "frame" else ():
        emotion = _with_confidence(emotion_of(segment.emotion), segment.confidence, spoken)
        show(f"  {clock(segment.start_s)} - {clock(segment.end_s)}  {emotion}")
    if folder is not None:
        show(f"  {folder}")


def _with_confidence(emotion: Emotion, confidence: float, spoken: Language) -> str:
    headline = emotion.headline(spoken)
    return headline if emotion is SILENCE else f"{headline} {confidence:.1%}"


def _doubt(analysis: "Analysis", spoken: Language) -> str:
    """What stands behind the headline of an answer that is not to be relied on."""
    if analysis.silent:
        return ""
    doubt = f" or {analysis.runner_up.headline(spoken)}" if analysis.uncertain else ""
    return f"{doubt}, short: {analysis.speech_s:.1f} s of speech" if analysis.short else doubt


def rich_bar(*columns: "ProgressColumn", transient: bool = True) -> "RichProgress":
    """A bar on standard error, with these columns; nothing is drawn where that is a file or a pipe."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    name = TextColumn("{task.description}", markup=False)
    return Progress(
        *(name, BarColumn(), *columns, TimeRemainingColumn()),
        console=Console(stderr=True),
        transient=transient,
        disable=not watched(),
    )


@contextmanager
def progress_bar(count: int) -> "Iterator[ProgressBar]":
    """A bar over so many files; in a file or a pipe one that shows nothing, for which rich, 0.1 s, is not imported."""
    if not watched():
        yield ProgressBar(None, count)
        return
    from rich.progress import TaskProgressColumn, TextColumn

    with rich_bar(TaskProgressColumn(), TextColumn("{task.fields[stage]}")) as bar:
        yield ProgressBar(bar, count)


class ProgressBar:
    """A bar over the files of one call, which also moves with the windows of a long file."""

    def __init__(self, bar: "RichProgress | None", count: int) -> None:
        self._bar, self._finished = bar, 0
        if bar is not None:
            self._task = bar.add_task("", total=count, stage="")

    def follow(self, name: str, future: "Future[Analysis]", progress: "Callable[[Future[Analysis]], Progress]") -> None:
        """Wait for a result; the bar shows meanwhile where it is."""
        if self._bar is None:
            wait([future])
            return
        while not wait([future], timeout=_POLL_S).done:
            now = progress(future)
            windows = f"{now.stage} {now.windows_done}/{now.windows}" if now.windows > 1 else now.stage
            done = self._finished + now.windows_done / max(now.windows, 1)
            self._bar.update(self._task, description=name, completed=done, stage=windows)
        self._finished += 1
        self._bar.update(self._task, completed=self._finished)


@contextmanager
def download_bar(name: str) -> "Iterator[ReportDownload]":
    """Shows `(done_bytes, total_bytes)` of a download: a bar on a terminal, a line at every tenth elsewhere.

    Nothing is shown before the first call, so that a model which is here already is opened in silence.
    """
    bar: RichProgress | None = None
    said_tenth = -1

    def report(done_bytes: int, total_bytes: int) -> None:
        nonlocal bar, said_tenth
        if not watched():
            if total_bytes and 10 * done_bytes // total_bytes > said_tenth:
                said_tenth = 10 * done_bytes // total_bytes
                say(f"{name}: {done_bytes / 1e6:.0f} of {total_bytes / 1e6:.0f} MB")
            return
        if bar is None:
            from rich.progress import DownloadColumn, TransferSpeedColumn

            bar = ending.enter_context(rich_bar(DownloadColumn(), TransferSpeedColumn(), transient=False))
            bar.add_task(name, total=None)
        bar.update(bar.task_ids[0], completed=done_bytes, total=total_bytes or None)

    with ExitStack() as ending:
        yield report


@contextmanager
def recognizer_of(settings: "Settings") -> "Iterator[Recognizer]":
    """A recogniser with these settings; shows the download of its model, and tells when the built-in one answers."""
    from emotion.engine.recognizer import Recognizer

    with download_bar(settings.model) as report, Recognizer(settings=settings, on_download=report) as recognizer:
        say_model(recognizer.state)
        yield recognizer


def analyses_of(recognizer: "Recognizer", paths: list[Path], **wanted: Any) -> "Iterator[Analysis | None]":
    """The analysis of each file under a bar, None for one that failed, which is said."""
    with progress_bar(len(paths)) as bar:
        for path, future in zip(paths, recognizer.submit_all(paths, **wanted), strict=True):
            bar.follow(path.name, future, recognizer.progress)
            try:
                analysis = future.result()
            except EmotionError as error:
                show_failure(path.name, error, as_json=False)
                analysis = None
            yield analysis
