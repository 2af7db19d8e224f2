"""What a person sees in the terminal: result lines, progress, and where the answers come from."""

import json
import os
import sys
from concurrent.futures import Future, wait
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from emotion.errors import EmotionError, command_line
from emotion.formatting import clock
from emotion.labels import Language, emotion_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.progress import Progress

    from emotion.analysis import Analysis
    from emotion.engine import Progress as JobProgress
    from emotion.engine import StageTimes
    from emotion.engine.recognizer import ModelState

    ProgressOf = Callable[[Future[Analysis]], JobProgress]

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
    """Say it when the built-in model answers although nobody chose it."""
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
    headline = f"{analysis.emotion.headline(spoken)} {analysis.confidence:.1%}{_doubt(analysis, spoken)}"
    show(f"{analysis.clip.name}: {headline}  ({analysis.clip.duration_s:.1f} s)")
    for segment in analysis.segments:
        emotion = emotion_of(segment.emotion).headline(spoken)
        show(f"  {clock(segment.start_s)} - {clock(segment.end_s)}  {emotion} {segment.confidence:.1%}")
    if folder is not None:
        show(f"  {folder}")


def _doubt(analysis: "Analysis", spoken: Language) -> str:
    if analysis.silent:
        return ", but the recording is silent, so this means nothing"
    return f" or {analysis.runner_up.headline(spoken)}" if analysis.uncertain else ""


def progress_bar(count: int) -> "QuietBar":
    """A bar on a terminal, nothing where standard error is a file or a pipe."""
    return ProgressBar(count) if watched() else QuietBar()


class QuietBar:
    """Waits for results and shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def follow(self, name: str, future: "Future[Analysis]", progress: "ProgressOf") -> None:
        """Wait for a result; the bar shows meanwhile where it is."""
        del name, progress
        wait([future])


class ProgressBar(QuietBar):
    """A bar over the files of one call, which also moves with the windows of a long file."""

    def __init__(self, count: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[stage]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("", total=count, stage="")
        self._finished = 0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def follow(self, name: str, future: "Future[Analysis]", progress: "ProgressOf") -> None:
        while not wait([future], timeout=_POLL_S).done:
            now = progress(future)
            windows = f"{now.stage} {now.windows_done}/{now.windows}" if now.windows > 1 else now.stage
            done = self._finished + now.windows_done / max(now.windows, 1)
            self._bar.update(self._task, description=name, completed=done, stage=windows)
        self._finished += 1
        self._bar.update(self._task, completed=self._finished)


class DownloadBar:
    """Shows `(done_bytes, total_bytes)` of a download: a bar on a terminal, a line at every tenth elsewhere.

    Nothing is shown before the first call, so that a model which is here already is opened in silence.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._said_tenth = -1
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, done_bytes: int, total_bytes: int) -> None:
        if watched():
            self._move_bar(done_bytes, total_bytes)
        elif total_bytes:
            self._say_tenth(done_bytes, total_bytes)

    def _move_bar(self, done_bytes: int, total_bytes: int) -> None:
        if self._bar is None:
            self._bar = _download_progress()
            self._task = self._bar.add_task(self._name, total=None)
            self._bar.start()
        self._bar.update(self._task, completed=done_bytes, total=total_bytes or None)

    def _say_tenth(self, done_bytes: int, total_bytes: int) -> None:
        tenth = 10 * done_bytes // total_bytes
        if tenth > self._said_tenth:
            self._said_tenth = tenth
            say(f"{self._name}: {done_bytes / 1e6:.0f} of {total_bytes / 1e6:.0f} MB")


def _download_progress() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))
