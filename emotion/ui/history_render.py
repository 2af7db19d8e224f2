"""The list of runs as HTML, each of which can be chosen, and what stands around it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from html import escape
from itertools import groupby

from emotion.formatting import clock, percent, size
from emotion.labels import EMOTIONS, emotion_of
from emotion.outputs import ClipEntry, ClipFiles, RunEntry, RunPage
from emotion.outputs.history import matching_clips
from emotion.settings import Settings
from emotion.texts import Words

PAGE_RUNS = 50
# A batch shows so many of its recordings, and so many more with each further click.
FEW_CLIPS, MORE_CLIPS = 4, 50
MOST_TYPED = 200
_BIN = (
    '<svg viewBox="0 0 24 24" width="18" height="18" fill="none" stroke="currentColor" stroke-width="1.7" '
    'stroke-linecap="round" aria-hidden="true">'
    '<path d="M4 7h16M9.5 7V4.5h5V7M6.5 7l.8 12.5h9.4L17.5 7M10 11v5M14 11v5"/></svg>'
)


@dataclass(frozen=True)
class Look:
    """What one reader sees of the history: what is searched, how many runs, how many further recordings of which
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


def tools(look: Look, words: Words) -> str:
    """What can be searched: a part of a file name, and an emotion."""
    chosen = [("", words("history.all"))]
    chosen += [(emotion.key, f"{emotion.emoji} {emotion.name(words.language)}") for emotion in EMOTIONS]
    options = "".join(
        f'<option value="{key}"{" selected" if key == look.emotion else ""}>{escape(name)}</option>'
        for key, name in chosen
    )
    return (
        f'<form class="history-tools" name="history" role="search"><label>{escape(words("history.search"))}'
        f'<input type="search" name="search" value="{escape(look.search)}" maxlength="{MOST_TYPED}" autocomplete="off" '
        f'placeholder="{escape(words("history.search_hint"))}"></label>'
        f'<label>{escape(words("history.emotion"))}<select name="emotion">{options}</select></label></form>'
    )


def run_list(page: RunPage, look: Look, words: Words, today: date) -> str:
    """The runs by day, newest first, each to be chosen, opened, compared and deleted; above them what can be done with
    those that are chosen.
    """
    if not page.runs:
        return _nothing_found(look, words) if page.kept_runs else _no_runs(words)
    days = "".join(
        f'<section class="day"><h2>{escape(day_name(day, words, today))}</h2>'
        f'<ol class="runs">{"".join(_run(run, look, words) for run in runs)}</ol></section>'
        for day, runs in groupby(page.runs, key=lambda run: run.started.date())
    )
    return _choice(words) + days + _more_button(page, words)


def summary(page: RunPage, look: Look, settings: Settings, words: Words, said: str = "") -> str:
    """One line above the list: what was just done, how much there is, and how long it stays."""
    if not page.kept_runs and not said:
        return ""
    many = words("history.found", count=page.total, kept=page.kept_runs) if look.is_search else ""
    many = many or words("history.kept", count=page.kept_runs)
    parts = [*([f"<b>{escape(said)}</b>"] if said else []), f"{escape(many)} · {size(page.kept_bytes)}"]
    return f'<p class="history-summary" role="status">{" ".join(parts)} · {escape(_retention(settings, words))}</p>'


def problem(error: BaseException, words: Words) -> str:
    """In the place of the summary: why something was not done."""
    return notice(words.error(error))


def notice(text: str) -> str:
    """In the place of the summary: what was not done."""
    return f'<p class="notice" role="alert">{escape(text)}</p>'


def nothing_open(words: Words) -> str:
    """What stands beside the list before a run is opened."""
    return (
        '<section class="result empty history-hint">'
        f'<h2 class="headline">{_emoji("🗂️")} {escape(words("history.hint_title"))}</h2>'
        f'<p class="confidence message">{escape(words("history.hint"))}</p></section>'
    )


def opened(files: ClipFiles, run: RunEntry, words: Words) -> str:
    """The line above an opened clip: when it was made, and what can be done."""
    not_kept = "" if files.audio else f'<span class="pill">{escape(words("history.no_sound"))}</span>'
    batch = f" · {name_of(run, words)}" if run.is_batch else ""
    return (
        f'<div class="opened">'
        f'<h2 tabindex="-1">{escape(moment_name(run.started, words) + batch)}</h2>{not_kept}'
        f'<button type="button" class="quiet back" data-back>{escape(words("history.back"))}</button>'
        f'<button type="button" class="quiet" data-close>{escape(words("history.close"))}</button></div>'
    )


def whole_run(run: RunEntry, name: str, address: str, words: Words) -> str:
    """The link to the zip of a run."""
    label = words("history.zip", files=files_of([run], words))
    return (
        f'<nav class="downloads" aria-label="{escape(words("history.whole_run"))}">'
        f"<span>{escape(words('history.whole_run'))}</span>"
        f'<a href="{escape(address)}" download="{escape(name)}">{escape(label)}</a></nav>'
    )


def packed(name: str, address: str) -> str:
    """A link that the browser follows by itself."""
    return f'<a href="{escape(address)}" download="{escape(name)}" hidden></a>'


def name_of(run: RunEntry, words: Words) -> str:
    """What a run is called: by its recording, or how many it has."""
    if run.is_batch:
        return words("history.batch", count=len(run.clips))
    return run.clips[0].file


def day_name(day: date, words: Words, today: date) -> str:
    """`Today`, `Yesterday` or the date in words."""
    if day == today:
        return words("history.today")
    if day == today - timedelta(days=1):
        return words("history.yesterday")
    return _date(day, words)


def moment_name(moment: datetime, words: Words) -> str:
    """Date and time in words, whatever day it is."""
    return f"{_date(moment.date(), words)} {moment:%H:%M}"


def files_of(runs: Sequence[RunEntry], words: Words) -> str:
    """How many files some runs have, and what they take."""
    count, size_bytes = sum(run.file_count for run in runs), sum(run.size_bytes for run in runs)
    return words("history.one_file" if count == 1 else "history.files", count=count, size=size(size_bytes))


def _choice(words: Words) -> str:
    """What can be done with the runs that are chosen; the browser alone knows which, and fills it in."""
    count = words("history.chosen", count="{count}")
    return (
        f'<div class="choice" role="group" aria-label="{escape(words("history.choice"))}">'
        f'<label><input type="checkbox" data-all><span>{escape(words("history.choose_all"))}</span></label>'
        f'<span class="choice-count" role="status" data-words="{escape(count)}"></span>'
        f'<button type="button" class="quiet" data-pack="" hidden>{escape(words("history.pack"))}</button>'
        f'<button type="button" class="quiet danger" data-delete="" hidden>{escape(words("history.delete"))}</button>'
        "</div>"
    )


def _run(run: RunEntry, look: Look, words: Words) -> str:
    content = _batch(run, look, words) if run.is_batch else _clip(run.clips[0], look, words, f"{run.started:%H:%M}")
    name = escape(words("history.delete_it", name=name_of(run, words)))
    delete = (
        f'<button type="button" class="run-delete" data-delete="{escape(run.name)}" aria-label="{name}" '
        f'title="{name}">{_BIN}</button>'
    )
    choose = escape(words("history.choose_it", name=name_of(run, words), time=f"{run.started:%H:%M}"))
    box = f'<label class="run-choose"><input type="checkbox" aria-label="{choose}"></label>'
    return f'<li class="run" data-run="{escape(run.name)}">{box}<div class="run-body">{content}</div>{delete}</li>'


def _clip(clip: ClipEntry, look: Look, words: Words, time: str = "") -> str:
    """One recording: a button that opens it, and one that compares it with the open one."""
    emotion = emotion_of(clip.emotion)
    doubt = f" · {escape(words('history.uncertain'))}" if clip.uncertain else ""
    meta = [time] if time else []
    meta += [clock(clip.duration_s), words(f"page.{clip.granularity}")]
    is_open = clip.folder == look.open_clip
    open_button = (
        f'<button type="button" class="clip-open" data-open="{escape(clip.folder)}"'
        f"{' aria-current=true' if is_open else ''}>"
        f'<span class="clip-file" title="{escape(clip.file)}">{escape(clip.file)}</span> '
        f'<span class="clip-emotion" style="--colour:{emotion.color}">{_emoji(emotion.emoji)} '
        f"{escape(emotion.name(words.language))} <b>{percent(clip.confidence)}</b>{doubt}</span> "
        f'<span class="clip-meta">{escape(" · ".join(meta))}</span></button>'
    )
    compare = _compare_button(clip, bool(look.open_clip) and not is_open, words)
    return f'<div class="clip">{open_button}{compare}</div>'


def _compare_button(clip: ClipEntry, is_shown: bool, words: Words) -> str:
    """The button; while there is nothing to compare with, only its place, so that no line breaks anew later."""
    name = escape(words("history.compare_with", name=clip.file))
    return (
        f'<button type="button" class="quiet" data-compare="{escape(clip.folder)}" aria-label="{name}"'
        f"{'' if is_shown else ' disabled'}>{escape(words('history.compare'))}</button>"
    )


def _batch(run: RunEntry, look: Look, words: Words) -> str:
    writing = f' <span class="pill doubt">{escape(words("history.writing"))}</span>' if run.is_open else ""
    found = matching_clips(run, look.search, look.emotion)
    known = set(found)
    clips = [*found, *(clip for clip in run.clips if clip not in known)]
    shown = min(len(found), FEW_CLIPS) if look.is_search else FEW_CLIPS
    shown += dict(look.unfolded).get(run.name, 0)
    if len(clips) - shown == 1:  # a button would take as much room
        shown += 1
    rows = "".join(f"<li>{_failed(c, words) if c.error else _clip(c, look, words)}</li>" for c in clips[:shown])
    return (
        f'<p class="batch-name"><b>{escape(name_of(run, words))}</b>{writing}'
        f'<span class="clip-meta">{run.started:%H:%M}</span></p>'
        f'{_distribution(run, words)}<ol class="clips">{rows}</ol>{_unfold_button(run, len(clips) - shown, words)}'
    )


def _distribution(run: RunEntry, words: Words) -> str:
    """How many recordings of a batch have which emotion: a strip for the eye, and the same in words."""
    counts = Counter(clip.emotion for clip in run.clips if not clip.error)
    failed = sum(bool(clip.error) for clip in run.clips)
    order = [emotion.key for emotion in EMOTIONS]
    keys = sorted(counts, key=lambda key: (order.index(key) if key in order else len(order), key))
    strip = "".join(f'<i style="flex:{counts[key]};--colour:{emotion_of(key).color}"></i>' for key in keys)
    parts = [
        f"<span>{_emoji(emotion_of(key).emoji)} {escape(emotion_of(key).name(words.language))} {counts[key]}</span>"
        for key in sorted(keys, key=lambda key: -counts[key])
    ]
    if failed:
        parts.append(f"<span>⚠ {escape(words('history.failed', count=failed))}</span>")
    if not parts:
        return ""
    bar = f'<span class="spread" aria-hidden="true">{strip}</span>' if strip else ""
    return f'{bar}<p class="spread-words">{"".join(parts)}</p>'


def _failed(clip: ClipEntry, words: Words) -> str:
    return (
        f'<div class="clip failed"><p><span class="clip-file">{escape(clip.file)}</span> '
        f'<span class="clip-error">⚠ {escape(words("history.failed_one"))}: {escape(clip.error)}</span></p></div>'
    )


def _unfold_button(run: RunEntry, left: int, words: Words) -> str:
    if left <= 0:
        return ""
    key = "history.unfold" if left > MORE_CLIPS else "history.unfold_all"
    label = words(key, count=min(left, MORE_CLIPS), left=left)
    return f'<button type="button" class="quiet" data-unfold="{escape(run.name)}">{escape(label)}</button>'


def _more_button(page: RunPage, words: Words) -> str:
    left = page.total - len(page.runs)
    if left <= 0:
        return ""
    label = words("history.more" if left > PAGE_RUNS else "history.more_all", count=min(left, PAGE_RUNS), left=left)
    return f'<button type="button" class="quiet more" data-more>{escape(label)}</button>'


def _no_runs(words: Words) -> str:
    button = f'<button type="button" class="quiet" data-recognise>{escape(words("history.go"))}</button>'
    return _note("🗂️", words("history.none_title"), words("history.none"), button)


def _nothing_found(look: Look, words: Words) -> str:
    wanted = [words("history.quoted", text=look.search.strip())] if look.search.strip() else []
    if look.emotion:
        emotion = emotion_of(look.emotion)
        wanted.append(f"{emotion.emoji} {emotion.name(words.language)}")
    button = f'<button type="button" class="quiet" data-clear>{escape(words("history.clear"))}</button>'
    return _note("🔍", words("history.not_found_title"), words("history.not_found", wanted=" · ".join(wanted)), button)


def _note(emoji: str, title: str, text: str, button: str) -> str:
    return f'<div class="history-note">{_emoji(emoji)}<h2>{escape(title)}</h2><p>{escape(text)}</p>{button}</div>'


def _retention(settings: Settings, words: Words) -> str:
    """How long runs stay, by the settings."""
    days, giga = settings.keep_days, settings.keep_gb
    rules = []
    if days:
        rules.append(words("history.keep_day") if days == 1 else words("history.keep_days", days=f"{days:g}"))
    if giga:
        rules.append(words("history.keep_size", size=f"{giga:g} GB"))
    return words("history.and").join(rules) or words("history.keep")


def _date(day: date, words: Words) -> str:
    month = words("history.months").split()[day.month - 1]
    return words("history.date", year=day.year, month=month, day=day.day)


def _emoji(emoji: str) -> str:
    return f'<i class="emoji" aria-hidden="true">{emoji}</i>'
