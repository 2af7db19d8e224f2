"""`emotion recognize --results`: any number of recordings into Parquet files, resumable, here or on a cluster."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from emotion.cli import terminal
from emotion.formatting import duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.status import Status

    from emotion.analysis import AnalysisRequest
    from emotion.bulk import BulkProgress
    from emotion.bulk.results import State
    from emotion.settings import Settings

    Opened = tuple[State, Callable[..., BulkProgress]]

# How often a log, in which no line can move, gets another one.
_LINE_EVERY_S = 30.0
_BAR_EVERY_S = 0.2
INTERRUPTED = 130


@dataclass(frozen=True)
class BulkCall:
    """What one call of the command asks for."""

    sources: list[str]
    results: str
    request: "AnalysisRequest"
    cluster: bool
    overwrite: bool
    retry_failed: bool
    as_json: bool


def recognize_bulk(call: BulkCall, settings: "Settings") -> int:
    """Run the bulk work and show its progress; returns the exit code."""
    from emotion.bulk import Listing, Results, Watch

    # The same sound twice is rarer than what looking for it costs.
    settings = settings.model_copy(update={"cache": "off"})
    listing = Listing(call.sources)
    opened = _on_cluster(call.request, settings) if call.cluster else _here(call.request, settings)
    with (
        Results(call.results).held() as results,
        _ending_on_interrupt(not call.cluster) as stop,
        _bar() as show,
        opened as (state, recognize),
    ):
        before = results.claim(state, call.overwrite, call.retry_failed)
        if before.rows:
            are = "is" if before.rows == 1 else "are"
            terminal.say(f"The results hold {_count(before.rows)} already, which {are} not done again.")
        tally = recognize(results, listing, before, Watch(show, stop))
    _say_end(tally, results.name, call.as_json, stop.is_set())
    if stop.is_set():
        return INTERRUPTED
    return 1 if tally.failed else 0


@contextmanager
def _here(request: "AnalysisRequest", settings: "Settings") -> "Iterator[Opened]":
    """How recordings are recognised on this machine, and the function that does it."""
    from emotion.bulk import recognize_into, state_of

    with terminal.recognizer_of(settings) as recognizer:
        yield state_of(request, recognizer.engine.card, settings), partial(recognize_into, recognizer)


@contextmanager
def _on_cluster(request: "AnalysisRequest", settings: "Settings") -> "Iterator[Opened]":
    from emotion.bulk import connected, recognize_on_cluster, state_on_cluster

    with connected(settings):
        state = state_on_cluster(request, settings)
        try:
            yield state, partial(recognize_on_cluster, settings)
        except KeyboardInterrupt:
            terminal.say("Stopped. What is written is kept; the same command goes on.")
            raise


def _say_end(tally: "BulkProgress", name: str, as_json: bool, stopped: bool) -> None:
    here = tally.here
    terminal.say(
        f"{_count(here.rows)}, {here.sound_s / 3600:.2f} h of sound in {tally.elapsed_s:.1f} s: "
        f"{tally.per_s:.1f} a second, {tally.hours_per_hour:.0f} h of sound an hour"
    )
    if tally.failed:
        terminal.say(f"{_count(tally.failed)} of the results failed; the column error says why.")
    if stopped:
        terminal.say("Stopped. What is done is kept; the same command goes on.")
    record = {
        "results": name,
        "recordings": here.rows + tally.before.rows,
        "failed": tally.failed,
        "done_now": here.rows,
        "sound_s": round(here.sound_s + tally.before.sound_s, 3),
        "elapsed_s": round(tally.elapsed_s, 3),
        "complete": not stopped,
    }
    terminal.show(json.dumps(record) if as_json else f"{_count(here.rows + tally.before.rows)} in {name}")


def _count(rows: int) -> str:
    return "1 recording" if rows == 1 else f"{rows:,} recordings"


@contextmanager
def _ending_on_interrupt(asked: bool) -> Iterator[threading.Event]:
    """An event that Ctrl+C sets, so that the work ends between two recordings; the second time it ends at once."""
    stop = threading.Event()

    def end(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = signal.getsignal(signal.SIGINT)
    if asked and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, end)
    try:
        yield stop
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)


@contextmanager
def _bar() -> Iterator["Callable[[BulkProgress], None]"]:
    """Shows how far it is: a moving line on a terminal, a line now and then elsewhere."""
    from rich.console import Console

    is_watched, shown_s = terminal.watched(), time.monotonic()
    with ExitStack() as ending:
        status: Status | None = None

        def show(tally: "BulkProgress") -> None:
            nonlocal shown_s, status
            if time.monotonic() - shown_s < (_BAR_EVERY_S if is_watched else _LINE_EVERY_S):
                return
            shown_s = time.monotonic()
            if not is_watched:
                terminal.say(_line(tally))
            elif status is None:
                status = ending.enter_context(Console(stderr=True).status(_line(tally)))
            else:
                status.update(_line(tally))

        yield show


def _line(tally: "BulkProgress") -> str:
    """How far it is, in one line."""
    listed = tally.again + tally.here.rows
    of = f"{listed:,}" if tally.total is None else f"{listed:,} of {tally.total:,}"
    words = [f"{of} recordings", f"{tally.per_s:.1f}/s", f"{tally.hours_per_hour:.0f} h of sound an hour"]
    if tally.failed:
        words.append(f"{tally.failed:,} failed")
    if tally.left_s is not None:
        words.append(f"{duration(round(tally.left_s))} left")
    return " · ".join(words)
