"""The runs of the history, what can be searched and what is asked before some are deleted: values in, HTML out."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby

from emotion.errors import RunIsOpen, RunNotFound
from emotion.formatting import size
from emotion.labels import EMOTIONS, Emotion, emotion_of
from emotion.outputs import ClipEntry, ClipFiles, RunEntry, RunPage
from emotion.outputs.history import Deletion, matching_clips
from emotion.settings import Settings
from emotion.texts import Words
from emotion.ui.templates import render

PAGE_RUNS = 50
# A batch shows so many of its recordings, and so many more with each further click.
FEW_CLIPS, MORE_CLIPS = 4, 50
MOST_TYPED = 200
_MOST_NAMES = 3


@dataclass(frozen=True)
class HistoryQuery:
    """What one visitor sees of the history: what is searched, how many runs, how many further recordings of which
    batches, and the folder of the clip that is open; `seen` is that of the clip which was opened last on any tab.
    """

    search: str = ""
    emotion: str = ""
    limit: int = PAGE_RUNS
    unfolded: tuple[tuple[str, int], ...] = ()
    open_clip: str = ""
    seen: str = ""

    @property
    def is_search(self) -> bool:
        return bool(self.search.strip() or self.emotion)


@dataclass(frozen=True)
class _RunView:
    """A run as the list shows it; of a batch also the recordings that are shown, how many are left, and how often each
    emotion is among all.
    """

    run: RunEntry
    name: str
    clips: Sequence[ClipEntry] = ()
    left: int = 0
    counts: Sequence[tuple[Emotion, int]] = ()
    failed: int = 0

    @property
    def time(self) -> str:
        return f"{self.run.started:%H:%M}"

    @property
    def ranked(self) -> list[tuple[Emotion, int]]:
        """The counts, the largest first."""
        return sorted(self.counts, key=lambda pair: -pair[1])


def tools(query: HistoryQuery, words: Words) -> str:
    """What can be searched: a part of a file name, and an emotion."""
    return render("history/tools.html", words, query=query, emotions=EMOTIONS, longest=MOST_TYPED)


def run_list(page: RunPage, query: HistoryQuery, words: Words, today: date) -> str:
    """The runs by day, newest first, each to be chosen, opened, compared and deleted; above them what can be done with
    those that are chosen.
    """
    if not page.runs:
        wanted = [words("history.quoted", text=query.search.strip())] if query.search.strip() else []
        if query.emotion:
            emotion = emotion_of(query.emotion)
            wanted.append(f"{emotion.emoji} {emotion.name(words.language)}")
        return render("history/nothing.html", words, is_search=page.kept_runs > 0, wanted=" · ".join(wanted))
    by_day = groupby(page.runs, key=lambda run: run.started.date())
    days = [(_day_name(day, words, today), [_view_of(run, query, words) for run in runs]) for day, runs in by_day]
    left = page.total - len(page.runs)
    return render(
        "history/list.html", words, days=days, query=query, left=left, page_runs=PAGE_RUNS, more_clips=MORE_CLIPS
    )


def summary(page: RunPage, query: HistoryQuery, settings: Settings, words: Words, said: str = "") -> str:
    """One line above the list: what was just done, how much there is, and how long it stays."""
    if not page.kept_runs and not said:
        return ""
    count = words("history.found", count=page.total, kept=page.kept_runs) if query.is_search else ""
    count = count or words("history.kept", count=page.kept_runs)
    values = {"page": page, "said": said, "count": count, "retention": _retention(settings, words)}
    return render("history/summary.html", words, **values)


def opened(files: ClipFiles, run: RunEntry, words: Words) -> str:
    """The line above an opened clip: when it was made, and what can be done."""
    title = moment_name(run.started, words) + (f" · {name_of(run, words)}" if run.is_batch else "")
    return render("history/opened.html", words, title=title, has_sound=files.audio is not None)


def question(runs: Sequence[RunEntry], open_count: int, words: Words) -> str:
    """A dialog that says what would be deleted and asks; the way back has the focus.

    `open_count` further runs were chosen too and are being written.
    """
    is_one, count, files = len(runs) == 1, len(runs), files_of(runs, words)
    return render(
        "history/question.html",
        words,
        runs=runs,
        title=words("history.ask_title") if is_one else words("history.ask_many_title", count=count),
        names=" · ".join(_names(runs, words)),
        files=f"{moment_name(runs[0].started, words)} · {files}" if is_one else files,
        open_count=open_count,
        warning=words("history.ask_warning" if is_one else "history.ask_many_warning"),
        button=words("history.delete") if is_one else words("history.delete_many", count=count),
    )


def deletion_text(deletion: Deletion, words: Words) -> str:
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


def name_of(run: RunEntry, words: Words) -> str:
    """What a run is called: by its recording, or how many it has."""
    return words("history.batch", count=len(run.clips)) if run.is_batch else run.clips[0].file


def moment_name(moment: datetime, words: Words) -> str:
    """Date and time in words, whatever day it is."""
    return f"{_date(moment.date(), words)} {moment:%H:%M}"


def files_of(runs: Sequence[RunEntry], words: Words) -> str:
    """How many files some runs have, and what they take."""
    count, size_bytes = sum(run.file_count for run in runs), sum(run.size_bytes for run in runs)
    return words("history.one_file" if count == 1 else "history.files", count=count, size=size(size_bytes))


def _view_of(run: RunEntry, query: HistoryQuery, words: Words) -> _RunView:
    name = name_of(run, words)
    if not run.is_batch:
        return _RunView(run, name)
    clips, shown = run.clips, FEW_CLIPS
    if query.is_search:
        found = matching_clips(run, query.search, query.emotion)
        known = set(found)
        clips, shown = (*found, *(clip for clip in clips if clip not in known)), min(len(found), FEW_CLIPS)
    shown += dict(query.unfolded).get(run.name, 0)
    if len(clips) - shown == 1:  # a button would take as much room
        shown += 1
    failed = sum(bool(clip.error) for clip in run.clips)
    return _RunView(run, name, clips[:shown], len(clips) - shown, _counts(run), failed)


def _counts(run: RunEntry) -> list[tuple[Emotion, int]]:
    """How many recordings of a batch have which emotion, the nine in their order before all others."""
    counts = Counter(clip.emotion for clip in run.clips if not clip.error)
    known = [emotion.key for emotion in EMOTIONS if emotion.key in counts]
    return [(emotion_of(key), counts[key]) for key in (*known, *sorted(counts.keys() - known))]


def _names(runs: Sequence[RunEntry], words: Words) -> list[str]:
    """The first few runs by name; a single batch with the first few of its recordings."""
    names = [name_of(run, words) for run in runs[:_MOST_NAMES]]
    left = len(runs) > _MOST_NAMES
    if len(runs) == 1 and runs[0].is_batch:
        names += [clip.file for clip in runs[0].clips[:_MOST_NAMES]]
        left = len(runs[0].clips) > _MOST_NAMES
    return [*names, "…"] if left else names


def _retention(settings: Settings, words: Words) -> str:
    """How long runs stay, by the settings."""
    days, giga = settings.keep_days, settings.keep_gb
    rules = []
    if days:
        rules.append(words("history.keep_day") if days == 1 else words("history.keep_days", days=f"{days:g}"))
    if giga:
        rules.append(words("history.keep_size", size=f"{giga:g} GB"))
    return words("history.and").join(rules) or words("history.keep")


def _day_name(day: date, words: Words, today: date) -> str:
    """`Today`, `Yesterday` or the date in words."""
    if day == today:
        return words("history.today")
    return words("history.yesterday") if day == today - timedelta(days=1) else _date(day, words)


def _date(day: date, words: Words) -> str:
    month = words("history.months").split()[day.month - 1]
    return words("history.date", year=day.year, month=month, day=day.day)
