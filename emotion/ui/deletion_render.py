"""What is asked before runs are deleted, and what is said afterwards."""

from collections.abc import Sequence
from html import escape

from emotion.errors import RunIsOpen, RunNotFound
from emotion.outputs import RunEntry
from emotion.outputs.history import Deletion
from emotion.texts import Words
from emotion.ui.history_render import files_of, moment_name, name_of

_NAMED = 3


def question(runs: Sequence[RunEntry], open_count: int, words: Words) -> str:
    """A dialog that says what would be deleted and asks; the way back has the focus.

    `open_count` further runs were chosen too and are being written.
    """
    is_one, count = len(runs) == 1, len(runs)
    when = f"{moment_name(runs[0].started, words)} · " if is_one else ""
    stays = f"<p>{escape(words('history.being_written', count=open_count))}</p>" if open_count else ""
    title = words("history.ask_title") if is_one else words("history.ask_many_title", count=count)
    button = words("history.delete") if is_one else words("history.delete_many", count=count)
    return (
        '<dialog class="ask" aria-labelledby="ask-title" aria-describedby="ask-text">'
        f'<h2 id="ask-title">{escape(title)}</h2>'
        f'<div id="ask-text"><p class="ask-name">{escape(" · ".join(_names(runs, words)))}</p>'
        f"<p>{escape(when)}{escape(files_of(runs, words))}</p>{stays}"
        f"<p>{escape(words('history.ask_warning' if is_one else 'history.ask_many_warning'))}</p></div>"
        f'<div class="ask-buttons"><button type="button" data-cancel autofocus>{escape(words("page.cancel"))}</button>'
        f'<button type="button" class="danger" data-delete="{escape(" ".join(run.name for run in runs))}">'
        f"{escape(button)}</button></div></dialog>"
    )


def outcome(deletion: Deletion, words: Words) -> str:
    """What became of the runs; that nothing is there, where there were none."""
    count = len(deletion.deleted)
    many = {"deleted_many": count if count > 1 else 0, "gone": len(deletion.gone)}
    many |= {"being_written": len(deletion.open), "not_deleted": len(deletion.failed)}
    said = [words("history.deleted", name=name_of(deletion.deleted[0], words))] if count == 1 else []
    said += [words(f"history.{key}", count=number) for key, number in many.items() if number]
    if deletion.error is not None:
        said.append(words.error(deletion.error))
    return words.joined(said) or words.error(RunNotFound())


def all_open(runs: Sequence[RunEntry], words: Words) -> str:
    """Why none of these runs can be deleted."""
    return words.error(RunIsOpen(runs[0].name)) if len(runs) == 1 else words("history.being_written", count=len(runs))


def _names(runs: Sequence[RunEntry], words: Words) -> list[str]:
    """The first few runs by name; a single batch with the first few of its recordings."""
    names = [name_of(run, words) for run in runs[:_NAMED]]
    left = len(runs) > _NAMED
    if len(runs) == 1 and runs[0].is_batch:
        names += [clip.file for clip in runs[0].clips[:_NAMED]]
        left = len(runs[0].clips) > _NAMED
    return [*names, "…"] if left else names
