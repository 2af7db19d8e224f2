"""`emotion recognize`: files, folders or standard input; one line or one JSON record for each."""

import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emotion.cli import flags, terminal
from emotion.errors import EmotionError

if TYPE_CHECKING:
    from emotion.analysis import Analysis, Granularity
    from emotion.outputs import BatchRun
    from emotion.recognizer import Recognizer

_STANDARD_INPUT = "-"
_FILES_HELP = "Recordings, folders of them, or - for standard input."
_FORMATS_HELP = "Also write csv, srt, vtt, textgrid, audacity, rttm or labelstudio (json always is); may be repeated."


@dataclass(frozen=True)
class _Request:
    """What one call wants of every file; `outputs` is None when nothing is to be written."""

    granularity: "Granularity"
    embedding: bool
    formats: tuple[str, ...]
    outputs: Path | None
    as_json: bool


def recognize(
    files: Annotated[list[str], typer.Argument(metavar="FILE|FOLDER|-...", help=_FILES_HELP)],
    granularity: Annotated[str, typer.Option(help="utterance: one answer; frame: 50 a second.")] = "utterance",
    embedding: Annotated[bool, typer.Option("--embedding", help="Keep the embedding as embedding.npy.")] = False,
    output: Annotated[Path | None, typer.Option(help="Folder of the runs: outputs; with --json none.")] = None,
    formats: Annotated[list[str] | None, typer.Option("--format", help=_FORMATS_HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON record per file.")] = False,
    model: flags.Model = None,
    hub: flags.Hub = None,
    offline: flags.Offline = None,
    runtime: flags.Runtime = None,
    device: flags.Device = None,
    precision: flags.Precision = None,
    config: flags.Config = None,
) -> None:
    """Recognise the emotion in recordings. Exits with 1 when a file failed; the others are still done."""
    from emotion.recognizer import Recognizer
    from emotion.settings import load_settings

    settings = load_settings(
        config,
        model=model,
        hub=hub,
        offline=offline,
        runtime=runtime,
        device=device,
        precision=precision,
        outputs=output,
    )
    writes = output is not None or not as_json
    request = _request(granularity, embedding, formats or [], settings.outputs if writes else None, as_json)
    sources = list(_find_sources(files))
    with (
        terminal.DownloadBar(settings.model) as report,
        Recognizer(settings=settings, on_download=report) as recognizer,
    ):
        terminal.say_model(recognizer.state)
        failures = _Session(recognizer, request).run(sources)
    if failures:
        raise typer.Exit(1)


def _request(granularity: str, embedding: bool, formats: list[str], outputs: Path | None, as_json: bool) -> _Request:
    from emotion.outputs import EXPORT_FORMATS

    if granularity not in ("utterance", "frame"):
        raise typer.BadParameter(f"{granularity!r} is neither utterance nor frame.", param_hint="--granularity")
    for chosen in formats:
        if chosen not in (*EXPORT_FORMATS, "json"):
            raise typer.BadParameter(f"{chosen!r} is none of json, {', '.join(EXPORT_FORMATS)}.", param_hint="--format")
    exports = tuple(dict.fromkeys(chosen for chosen in formats if chosen != "json"))
    return _Request("frame" if granularity == "frame" else "utterance", embedding, exports, outputs, as_json)


def _find_sources(files: list[str]) -> Iterator[Path | bytes]:
    """The recordings behind the words of the call; folders give their sound files in order of name."""
    from emotion.audio import SOUND_SUFFIXES

    for word in files:
        path = Path(word)
        if word == _STANDARD_INPUT:
            yield sys.stdin.buffer.read()
        elif path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SOUND_SUFFIXES and p.is_file())
            if not found:
                raise EmotionError(f"The folder {path.name!r} holds no sound file.")
            yield from found
        else:
            yield path


class _Session:
    """Runs the files of one call through the engine in order and prints as they come."""

    def __init__(self, recognizer: "Recognizer", request: _Request) -> None:
        self._recognizer, self._request = recognizer, request
        self._failures = 0
        self._sound_s = 0.0

    def run(self, sources: list[Path | bytes]) -> int:
        """The number of files that failed."""
        started_s = time.perf_counter()
        futures = self._recognizer.submit_all(sources, self._request.granularity, self._request.embedding)
        with self._open_batch(len(sources)) as batch, terminal.progress_bar(len(sources)) as bar:
            for source, future in zip(sources, futures, strict=True):
                name = "standard input" if isinstance(source, bytes) else source.name
                bar.follow(name, future, self._recognizer.progress)
                self._settle(name, future, batch)
        if len(sources) > 1:
            elapsed_s = time.perf_counter() - started_s
            terminal.say_times(self._sound_s, elapsed_s, self._recognizer.engine.stage_times)
        return self._failures

    def _open_batch(self, count: int) -> "AbstractContextManager[BatchRun | None]":
        from emotion.outputs import BatchRun

        if self._request.outputs is None or count == 1:
            return nullcontext()
        return BatchRun(self._request.outputs)

    def _settle(self, name: str, future: "Future[Analysis]", batch: "BatchRun | None") -> None:
        try:
            folder, analysis = self._write(future.result(), batch)
        except EmotionError as error:
            self._failures += 1
            if batch is not None:
                batch.add_failure(name, str(error))
            terminal.show_failure(name, error, self._request.as_json)
            return
        self._sound_s += analysis.clip.duration_s
        terminal.show_analysis(analysis, folder, self._request.as_json)

    def _write(self, analysis: "Analysis", batch: "BatchRun | None") -> "tuple[Path | None, Analysis]":
        from emotion.outputs import write_run

        if self._request.outputs is None:
            return None, analysis
        if batch is not None:
            written = batch.add(analysis, self._request.formats)
        else:
            written = write_run(self._request.outputs, analysis, self._request.formats)
        return written.folder, written.analysis
