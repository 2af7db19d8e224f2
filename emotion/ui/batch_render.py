"""A batch as HTML: how far it is, how often each emotion, and a row for each recording."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from emotion.engine.batch_rows import FAILED, BatchView, Row, distribution, rows_of
from emotion.formatting import clock, duration, percent
from emotion.labels import emotion_of
from emotion.texts import Words
from emotion.ui import render
from emotion.ui.batches import Look
from emotion.ui.render import Download

# A table of more rows is slow to draw; the others are a click away.
PART_ROWS = 500
_PIECE_ROWS = 25
_SYMBOLS = {"waiting": "○", "decoding": "◔", "recognising": "◑", "done": "✓", FAILED: "⚠", "cancelled": "–"}
_COLUMNS = ("state", "file", "emotion", "confidence", "duration", "elapsed", "open")


@dataclass(frozen=True)
class _Said:
    """What the head of a card says."""

    kind: str
    emoji: str
    title: str
    text: str


def empty_card(words: Words) -> str:
    """What stands in the place of the distribution before there is a batch."""
    return _bare_card(_Said("empty", "🗂️", words("batch.empty_title"), words("batch.empty")), words)


def no_files_card(words: Words) -> str:
    """What is said when nothing was chosen."""
    return _bare_card(_Said("hint", "🗂️", words("batch.none_title"), words("batch.none")), words)


def opening_card(words: Words) -> str:
    """What is shown while the zips are looked into."""
    return _bare_card(_Said("empty busy", "🎧", words("batch.opening"), words("batch.going_on")), words)


def problem_card(error: BaseException, words: Words) -> str:
    """Why a batch could not begin."""
    return _bare_card(_Said("error", "⚠️", words("result.error_title"), words.error(error)), words)


def running_card(view: BatchView, look: Look, words: Words) -> str:
    """How often each emotion so far, while more come."""
    text = words.joined([words("batch.going_on"), *_skipped(view, words)])
    return _card(_Said("running", "🎧", words.counted("batch.running", view.total), text), view.counts, look, words)


def final_card(view: BatchView, error: BaseException | None, look: Look, words: Words) -> str:
    """What became of a batch that is over; `error` says why it could not go on."""
    numbers = {"done": _recognized(view.counts), "total": view.total}
    kept = [words("batch.kept", run=view.folder.name)] if view.folder else []
    if error is not None:
        kind, emoji, title = "error", "⚠️", words("batch.stopped", **numbers)
        kept = [words.error(error), *kept]
    elif any(row.state == "cancelled" for row in view.rows):
        kind, emoji, title = "stopped", "⏹️", words("batch.was_cancelled", **numbers)
    else:
        kind, emoji, title = _outcome(view, words)
        kept = [words("batch.took", time=duration(view.elapsed_s, words.language)), *kept]
    text = words.joined([*kept, *_skipped(view, words)])
    return _card(_Said(kind, emoji, title, text), view.counts, look, words)


def progress(view: BatchView, is_stopping: bool, words: Words) -> str:
    """`12 of 40`, the recording in work and about how long the rest takes, over a bar."""
    counted = words("batch.progress", done=view.done, total=view.total)
    about = words("batch.stopping") if is_stopping else _in_work(view, words)
    is_known = view.left_s is not None and not is_stopping
    left = words("batch.left", time=duration(math.ceil(view.left_s or 0), words.language)) if is_known else ""
    windows = view.working.windows if view.working else 0
    part = view.working.windows_done / windows if view.working and windows else 0.0
    share = min(view.done + part, view.total) / max(view.total, 1)
    return (
        f'<div class="progress batch-progress"><p><b>{escape(counted)}</b><span>{escape(about)}</span>'
        f"<small>{escape(left)}</small></p>"
        f'<div class="progress-track" role="progressbar" aria-label="{escape(words("batch.progress_label"))}" '
        f'aria-valuemin="0" aria-valuemax="{view.total}" aria-valuenow="{view.done}" '
        f'aria-valuetext="{escape(counted)}"><i style="width:{share * 100:.1f}%"></i></div></div>'
    )


def downloads(summary: str, zipped: str, run: str, words: Words) -> str:
    """Links to the table of the run and to all of it."""
    files = [
        Download(words("batch.summary"), "summary.csv", summary),
        Download(words("batch.zip"), f"{run}.zip", zipped),
    ]
    return render.downloads(words("result.downloads"), files, words)


def note(view: BatchView, look: Look, words: Words) -> str:
    """The line above the table: which recordings it shows, and how to see others."""
    found = len(rows_of(view.rows, look.kind))
    parts = []
    if look.kind:
        name = words("batch.only", kind=_name_of(look.kind, words), count=found, total=view.total)
        parts.append(f"<span>{escape(name)}</span>{_button('kind', '', words('batch.all'))}")
    if found > PART_ROWS:
        first = look.part * PART_ROWS
        last = min(first + PART_ROWS, found)
        said = words("batch.part", first=f"{first + 1:,}", last=f"{last:,}", total=f"{found:,}")
        earlier = _button("part", str(look.part - 1), words("batch.earlier"), first > 0)
        later = _button("part", str(look.part + 1), words("batch.later"), last < found)
        parts.append(f"<span>{escape(said)}</span>{earlier}{later}")
    return f'<div class="batch-note" role="status">{"".join(parts)}</div>' if parts else ""


def problem_note(error: BaseException, words: Words) -> str:
    """In the place of that line: why a recording does not open."""
    return f'<p class="notice" role="alert">{escape(words.error(error))}</p>'


def columns(words: Words) -> str:
    """The row of headings."""
    cells = "".join(
        f'<th scope="col" role="columnheader" class="b-{name}">{escape(words(f"batch.{name}"))}</th>'
        for name in _COLUMNS[:-1]
    )
    return f'<tr role="row">{cells}<td role="cell" class="b-open"></td></tr>'


def chosen(view: BatchView, look: Look, kind: str, part: str) -> Look:
    """What a reader looks at after a click that says a kind, or else a part of the rows; whatever it says."""
    if part.isdecimal() and len(part) < 6:
        last = (len(rows_of(view.rows, look.kind)) - 1) // PART_ROWS
        return Look(look.kind, min(int(part), max(last, 0)))
    return Look(kind if kind in view.counts else "")


def row_pieces(view: BatchView, look: Look, words: Words) -> list[str]:
    """A table row for each recording that the look shows; a line for each, some lines to a piece."""
    first = look.part * PART_ROWS
    rows = [_row(row, words).replace("\n", " ") for row in rows_of(view.rows, look.kind)[first : first + PART_ROWS]]
    # Gradio sends the pieces that differ, and its page takes as long for a short text as for a long one.
    return ["\n".join(rows[start : start + _PIECE_ROWS]) for start in range(0, len(rows), _PIECE_ROWS)]


def _in_work(view: BatchView, words: Words) -> str:
    """The recording in work, and how far it is where it has several windows."""
    row, working = view.in_work, view.working
    if row is None:
        return ""
    if working is not None and working.windows > 1:
        window = min(working.windows_done + 1, working.windows)
        return f"{row.name} · {words('progress.window', window=window, windows=working.windows)}"
    return f"{row.name} · {words('batch.queued')}" if row.state == "waiting" else row.name


def _row(row: Row, words: Words) -> str:
    state = words(f"batch.{row.state}")
    return (
        f'<tr role="row" class="{row.state}">'
        f'<td role="cell" class="b-state"><i aria-hidden="true">{_SYMBOLS[row.state]}</i>{escape(state)}</td>'
        f'<th scope="row" role="rowheader" class="b-file"><span title="{escape(row.name)}">{escape(row.name)}</span>'
        f"</th>{_cells(row, words)}</tr>"
    )


def _cells(row: Row, words: Words) -> str:
    """What came of a recording, and nothing while that is open."""
    if row.error is not None:
        return f'<td role="cell" class="b-error" colspan="5">{escape(words.error(row.error))}</td>'
    if row.emotion is None or row.confidence is None or row.duration_s is None or row.elapsed_ms is None:
        return '<td role="cell" class="b-none" colspan="5"></td>'
    doubt = f" <small>{escape(words('batch.uncertain'))}</small>" if row.uncertain else ""
    bar = f'<i style="width:{row.confidence * 100:.1f}%;--colour:{row.emotion.color}"></i>'
    # On a phone there are no headings above these two.
    length, took = escape(words("batch.duration")), escape(words("batch.elapsed"))
    return (
        f'<td role="cell" class="b-emotion">{_emoji(row.emotion.emoji)} {escape(row.emotion.name(words.language))}'
        f'{doubt}</td><td role="cell" class="b-confidence"><span>{percent(row.confidence)}</span>'
        f'<span class="b-track" aria-hidden="true">{bar}</span></td>'
        f'<td role="cell" class="b-duration" data-label="{length}">{clock(row.duration_s)}</td>'
        f'<td role="cell" class="b-elapsed" data-label="{took}">{escape(_elapsed(row.elapsed_ms, words))}</td>'
        f'<td role="cell" class="b-open">{_open_button(row, words)}</td>'
    )


def _open_button(row: Row, words: Words) -> str:
    if row.folder is None:
        return ""
    name = escape(words("batch.open_clip", file=row.name))
    return (
        f'<button type="button" class="quiet" data-open="{escape(row.folder)}" aria-label="{name}">'
        f"{escape(words('batch.open'))}</button>"
    )


def _elapsed(elapsed_ms: float, words: Words) -> str:
    if elapsed_ms < 1000:
        return words("log.ms", ms=f"{elapsed_ms:.0f}")
    return duration(elapsed_ms / 1000, words.language)


def _bare_card(said: _Said, words: Words) -> str:
    return _card(said, distribution(()), Look(), words)


def _card(said: _Said, counts: Mapping[str, int], look: Look, words: Words) -> str:
    role = "alert" if said.kind == "error" else "status"
    return (
        f'<section class="result batch-card {said.kind}"><div role="{role}">'
        f'<h2 class="headline">{_emoji(said.emoji)} {escape(said.title)}</h2>'
        f'<p class="confidence message">{escape(said.text)}</p></div>{_distribution(counts, look, words)}</section>'
    )


def _distribution(counts: Mapping[str, int], look: Look, words: Words) -> str:
    """A bar for each emotion and one for what failed; those with recordings choose what the table shows."""
    title, hint = escape(words("batch.distribution")), escape(words("batch.choose"))
    bars = "".join(_bar(key, count, _recognized(counts), look, words) for key, count in counts.items())
    return (
        f'<p class="batch-chart-title"><b>{title}</b><small>{hint if any(counts.values()) else "&nbsp;"}</small></p>'
        f'<ul class="bars batch-bars" aria-label="{title}">{bars}</ul>'
    )


def _bar(key: str, count: int, recognized: int, look: Look, words: Words) -> str:
    failed = key == FAILED
    share = count / max(recognized + count if failed else recognized, 1)
    emoji, color = ("⚠️", "#8a94a3") if failed else (emotion_of(key).emoji, emotion_of(key).color)
    number = f"{count:,}" if failed or not count else f"{count:,} · {percent(share)}"
    inside = (
        f'<span class="bar-name">{_emoji(emoji)}{escape(_name_of(key, words))}</span>'
        f'<span class="bar-track" aria-hidden="true"><i style="width:{share * 100:.1f}%;--colour:{color}"></i></span>'
        f'<span class="bar-score">{number}</span>'
    )
    kind = f' class="{FAILED}"' if failed else ""
    if not count:
        return f'<li{kind}><div class="bar none">{inside}</div></li>'
    chosen = look.kind == key
    # A second click shows all again.
    said = f'data-kind="{"" if chosen else escape(key)}" aria-pressed="{"true" if chosen else "false"}"'
    return f'<li{kind}><button type="button" class="bar" {said}>{inside}</button></li>'


def _outcome(view: BatchView, words: Words) -> tuple[str, str, str]:
    """Kind, emoji and title for a batch that came to its end."""
    done, failed = _recognized(view.counts), view.counts[FAILED]
    if not done:
        return "error", "⚠️", words.counted("batch.all_failed", view.total)
    if failed:
        return "done", "☑️", words("batch.some_failed", done=done, total=view.total, failed=failed)
    return "done", "✅", words.counted("batch.all_done", done)


def _recognized(counts: Mapping[str, int]) -> int:
    return sum(count for key, count in counts.items() if key != FAILED)


def _skipped(view: BatchView, words: Words) -> list[str]:
    """A sentence on files in zips that are no sound by their names, if there were any."""
    return [words.counted("batch.skipped", view.skipped)] if view.skipped else []


def _name_of(key: str, words: Words) -> str:
    return words("batch.failed") if key == FAILED else emotion_of(key).name(words.language)


def _button(name: str, value: str, label: str, enabled: bool = True) -> str:
    off = "" if enabled else " disabled"
    return f'<button type="button" class="quiet" data-{name}="{escape(value)}"{off}>{escape(label)}</button>'


def _emoji(emoji: str) -> str:
    return f'<i class="emoji" aria-hidden="true">{emoji}</i>'
