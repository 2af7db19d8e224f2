"""`emotion recognize`: files, folders, zips or standard input; one line or one JSON record for each.

With `--results` any number of them goes into Parquet files instead: see `emotion.cli.bulk`.
"""

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emotion.cli import bulk, flags, terminal

if TYPE_CHECKING:
    from emotion.analysis import AnalysisRequest, Granularity
    from emotion.engine.batch import Batch, Named
    from emotion.engine.batch_rows import Outcome
    from emotion.engine.recognizer import Recognizer
    from emotion.settings import Settings

_STANDARD_INPUT = "-"
_FILES_HELP = "Recordings, folders or .zip files of them, or - for standard input."
_RESULTS_HELP = (
    "Folder or URL for Parquet files, resumable, for any number of recordings; takes manifests and URLs too."
)
_FORMATS_HELP = "Also write csv, srt, vtt, textgrid, audacity, rttm or labelstudio (json always is); may be repeated."


@flags.with_settings(*flags.MODEL)
def recognize(
    files: Annotated[list[str], typer.Argument(metavar="FILE|FOLDER|ZIP|-...", help=_FILES_HELP)],
    granularity: Annotated[str, typer.Option(help="utterance: one answer; frame: 50 a second.")] = "utterance",
    embedding: Annotated[bool, typer.Option("--embedding", help="Keep the embedding as embedding.npy.")] = False,
    output: Annotated[Path | None, typer.Option(help="Folder of the runs: outputs; with --json none.")] = None,
    formats: Annotated[list[str] | None, typer.Option("--format", help=_FORMATS_HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON record per file.")] = False,
    results: Annotated[str | None, typer.Option(help=_RESULTS_HELP)] = None,
    cluster: Annotated[bool, typer.Option("--cluster", help="With --results: work on a Ray cluster.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="With --results: lose what is there.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="With --results: try failed ones again.")
    ] = False,
    *,
    load: flags.Load,
) -> None:
    """Recognise the emotion in recordings. Exits with 1 when a file failed; the others are still done."""
    settings = load(outputs=output)
    writes = output is not None or not as_json
    request = _request(granularity, embedding, formats or [], settings.keep_audio)
    if results is not None:
        if output is not None or formats:
            raise typer.BadParameter("Parquet files take the place of --output and --format.", param_hint="--results")
        call = bulk.BulkCall(files, results, request, cluster, overwrite, retry_failed, as_json)
        raise typer.Exit(bulk.recognize_bulk(call, settings))
    if cluster or overwrite or retry_failed:
        raise typer.BadParameter("--cluster, --overwrite and --retry-failed need --results.", param_hint="--results")
    if _recognize_files(files, request, writes, settings, as_json):
        raise typer.Exit(1)


def _recognize_files(
    files: list[str], request: "AnalysisRequest", writes: bool, settings: "Settings", as_json: bool
) -> int:
    """The files of the call as one batch; the number of those that failed."""
    from emotion.engine.batch import Batch

    sources = list(_find_sources(files))
    with terminal.recognizer_of(settings) as recognizer:
        batch = Batch(recognizer, sources, request, writes=writes, summary_of_one=False)
        return _run(batch, recognizer, as_json)


def _request(granularity: str, embedding: bool, formats: list[str], keep_audio: bool) -> "AnalysisRequest":
    from emotion.analysis import AnalysisRequest
    from emotion.outputs.exports import EXPORT_FORMATS, known_formats

    if granularity not in ("utterance", "frame"):
        raise typer.BadParameter(f"{granularity!r} is neither utterance nor frame.", param_hint="--granularity")
    for chosen in formats:
        if chosen not in (*EXPORT_FORMATS, "json"):
            raise typer.BadParameter(f"{chosen!r} is none of json, {', '.join(EXPORT_FORMATS)}.", param_hint="--format")
    exports = known_formats([chosen for chosen in formats if chosen != "json"])
    level: Granularity = "frame" if granularity == "frame" else "utterance"
    return AnalysisRequest(level, embedding, exports=exports, keep_audio=keep_audio)


def _find_sources(files: list[str]) -> "Iterator[Named]":
    """The recordings behind the words of the call; folders give their sound files in order of name."""
    from emotion.audio import sound_files
    from emotion.engine.batch import Named

    names = _short_names([word for word in files if word != _STANDARD_INPUT])
    for word in files:
        path = Path(word)
        if word == _STANDARD_INPUT:
            yield Named(sys.stdin.buffer.read(), "standard input")
        elif path.is_dir():
            folder = Path() if len(files) == 1 else Path(names[word])
            yield from (Named(found, (folder / found.relative_to(path)).as_posix()) for found in sound_files(path))
        else:
            yield Named(path, names[word])


def _short_names(words: list[str]) -> dict[str, str]:
    """Each word with as many of its last parts as tell it from the others: `a.wav`, or `a/x.wav` beside `b/x.wav`."""
    parts = {word: Path(os.path.abspath(word)).parts[1:] for word in words}  # noqa: PTH100 - links stay
    names: dict[str, str] = {}
    for count in range(1, max(map(len, parts.values()), default=0) + 1):
        endings = {word: own[-count:] for word, own in parts.items() if word not in names}
        common = Counter(own[-count:] for own in set(parts.values()))
        names |= {word: "/".join(ending) for word, ending in endings.items() if common[ending] == 1}
    return {word: names.get(word, word) for word in words}


def _run(batch: "Batch", recognizer: "Recognizer", as_json: bool) -> int:
    """Print the outcomes as they come; the number of recordings that failed."""
    begun = batch.snapshot()
    if begun.skipped:
        files = "1 file in the zips is" if begun.skipped == 1 else f"{begun.skipped} files in the zips are"
        terminal.say(f"{files} skipped: not sound by the name.")
    started_s = time.perf_counter()
    with (
        terminal.progress_bar(begun.total) as bar,
        closing(batch.run(lambda name, future: bar.follow(name, future, recognizer.progress))) as outcomes,
    ):
        for outcome in outcomes:
            _show(outcome, as_json)
    rows = batch.snapshot().rows
    if len(rows) > 1:
        sound_s = sum(row.duration_s or 0.0 for row in rows)
        terminal.say_times(sound_s, time.perf_counter() - started_s, recognizer.engine.stage_times)
    return sum(row.state != "done" for row in rows)


def _show(outcome: "Outcome", as_json: bool) -> None:
    if outcome.analysis is not None:
        terminal.show_analysis(outcome.analysis, outcome.folder, as_json)
    elif outcome.row.error is not None:
        terminal.show_failure(outcome.row.name, outcome.row.error, as_json)
