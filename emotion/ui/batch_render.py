"""A batch: how far it is, how often each emotion, and a row for each recording; values in, HTML out."""

import math
from collections.abc import Mapping
from functools import lru_cache

from emotion.engine.batch_rows import FAILED, BatchView, Row, distribution, rows_of
from emotion.formatting import duration
from emotion.labels import Language, emotion_of
from emotion.texts import Words
from emotion.ui.batches import BatchFilter
from emotion.ui.templates import render

# A table of more rows is slow to draw; the others are a click away.
PART_ROWS = 500
_PIECE_ROWS = 25
# While a batch is in work, its table is asked for twice a second, and most pieces are as they were.
_PIECES_HELD = 256
_SYMBOLS = {"waiting": "○", "decoding": "◔", "recognising": "◑", "done": "✓", FAILED: "⚠", "cancelled": "–"}


def empty_card(words: Words) -> str:
    """What stands in the place of the distribution before there is a batch."""
    return _empty_card("empty", "🗂️", words("batch.empty_title"), words("batch.empty"), words)


def no_files_card(words: Words) -> str:
    """What is said when nothing was chosen."""
    return _empty_card("hint", "🗂️", words("batch.none_title"), words("batch.none"), words)


def opening_card(words: Words) -> str:
    """What is shown while the zips are looked into."""
    return _empty_card("empty busy", "🎧", words("batch.opening"), words("batch.going_on"), words)


def problem_card(error: BaseException, words: Words) -> str:
    """Why a batch could not begin."""
    return _empty_card("error", "⚠️", words("result.error_title"), words.error(error), words)


def running_card(view: BatchView, chosen: BatchFilter, words: Words) -> str:
    """How often each emotion so far, while more come."""
    head = {"kind": "running", "symbol": "🎧", "title": words.counted("batch.running", view.total)}
    text = words.joined([words("batch.going_on"), *_skipped(view, words)])
    return _card(view.counts, chosen, words, text=text, **head)


def final_card(view: BatchView, error: BaseException | None, chosen: BatchFilter, words: Words) -> str:
    """What became of a batch that is over; `error` says why it could not go on."""
    done, failed, total = _recognized(view.counts), view.counts[FAILED], view.total
    said = [words("batch.took", time=duration(view.elapsed_s, words.language))]
    kind, symbol, title = "done", "✅", words.counted("batch.all_done", done)
    if error is not None:
        kind, symbol, title = "error", "⚠️", words("batch.stopped", done=done, total=total)
        said = [words.error(error)]
    elif any(row.state == "cancelled" for row in view.rows):
        kind, symbol, title = "stopped", "⏹️", words("batch.was_cancelled", done=done, total=total)
        said = []
    elif not done:
        kind, symbol, title = "error", "⚠️", words.counted("batch.all_failed", total)
    elif failed:
        symbol, title = "☑️", words("batch.some_failed", done=done, total=total, failed=failed)
    said += [words("batch.kept", run=view.folder.name)] if view.folder else []
    text = words.joined([*said, *_skipped(view, words)])
    return _card(view.counts, chosen, words, kind=kind, symbol=symbol, title=title, text=text)


def progress(view: BatchView, is_stopping: bool, words: Words) -> str:
    """`12 of 40`, the recording in work and about how long the rest takes, over a bar."""
    is_known = view.left_s is not None and not is_stopping
    left = words("batch.left", time=duration(math.ceil(view.left_s or 0), words.language)) if is_known else ""
    windows = view.working.windows if view.working else 0
    part = view.working.windows_done / windows if view.working and windows else 0.0
    return render(
        "batch/progress.html",
        words,
        view=view,
        counted=words("batch.progress", done=view.done, total=view.total),
        in_work=words("batch.stopping") if is_stopping else _in_work(view, words),
        left=left,
        share=min(view.done + part, view.total) / max(view.total, 1),
    )


def note(view: BatchView, chosen: BatchFilter, words: Words) -> str:
    """The line above the table: which recordings it shows, and how to see others."""
    found, first = len(rows_of(view.rows, chosen.kind)), chosen.part * PART_ROWS
    last, only, rows = min(first + PART_ROWS, found), "", ""
    if chosen.kind:
        name = words("batch.failed") if chosen.kind == FAILED else emotion_of(chosen.kind).name(words.language)
        only = words("batch.only", kind=name, count=found, total=view.total)
    if found > PART_ROWS:
        rows = words("batch.part", first=f"{first + 1:,}", last=f"{last:,}", total=f"{found:,}")
    values = {"part": chosen.part, "has_earlier": first > 0, "has_later": last < found}
    return render("batch/note.html", words, only=only, rows=rows, **values) if only or rows else ""


def columns(words: Words) -> str:
    """The row of headings."""
    return render("batch/columns.html", words)


def filter_of(view: BatchView, before: BatchFilter, kind: str, part: str) -> BatchFilter:
    """What a visitor sees after a click that says a kind, or else a part of the rows; whatever it says."""
    if part.isdecimal() and len(part) < 6:
        last = (len(rows_of(view.rows, before.kind)) - 1) // PART_ROWS
        return BatchFilter(before.kind, min(int(part), max(last, 0)))
    return BatchFilter(kind if kind in view.counts else "")


def row_pieces(view: BatchView, chosen: BatchFilter, words: Words) -> list[str]:
    """A table row for each recording that the filter lets through; a line for each, some lines to a piece."""
    first = chosen.part * PART_ROWS
    rows = rows_of(view.rows, chosen.kind)[first : first + PART_ROWS]
    # Gradio sends the pieces that differ, and its page takes as long for a short text as for a long one.
    starts = range(0, len(rows), _PIECE_ROWS)
    return [_piece(tuple(rows[start : start + _PIECE_ROWS]), words.language) for start in starts]


@lru_cache(_PIECES_HELD)
def _piece(rows: tuple[Row, ...], language: Language) -> str:
    return render("batch/rows.html", Words(language), rows=rows, symbols=_SYMBOLS)


def _in_work(view: BatchView, words: Words) -> str:
    """The recording in work, and how far it is where it has several windows."""
    row, working = view.in_work, view.working
    if row is None:
        return ""
    if working is not None and working.windows > 1:
        window = min(working.windows_done + 1, working.windows)
        return f"{row.name} · {words('progress.window', window=window, windows=working.windows)}"
    return f"{row.name} · {words('batch.queued')}" if row.state == "waiting" else row.name


def _empty_card(kind: str, symbol: str, title: str, text: str, words: Words) -> str:
    return _card(distribution(()), BatchFilter(), words, kind=kind, symbol=symbol, title=title, text=text)


def _card(counts: Mapping[str, int], chosen: BatchFilter, words: Words, **head: str) -> str:
    """What is said of a batch, and a bar for each emotion and one for what failed.

    Those with recordings choose what the table shows.
    """
    recognized = _recognized(counts)
    totals = {key: max(recognized + count if key == FAILED else recognized, 1) for key, count in counts.items()}
    bars = [(key, f"{count:,}", count / totals[key]) for key, count in counts.items()]
    values = {"counts": bars, "chosen": chosen.kind, "failed": FAILED, "has_recordings": any(counts.values())}
    return render("batch/card.html", words, **values, **head)


def _recognized(counts: Mapping[str, int]) -> int:
    return sum(count for key, count in counts.items() if key != FAILED)


def _skipped(view: BatchView, words: Words) -> list[str]:
    """A sentence on files in zips that are no sound by their names, if there were any."""
    return [words.counted("batch.skipped", view.skipped)] if view.skipped else []
