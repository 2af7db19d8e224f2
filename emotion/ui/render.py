"""Pieces of the page as HTML, each from plain values; whatever comes from a person or a file is escaped."""

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

from emotion.analysis import Analysis
from emotion.engine import Progress
from emotion.engine.recognizer import ModelState
from emotion.errors import command_line
from emotion.formatting import clock, percent, size
from emotion.labels import EMOTIONS, Emotion, emotion_of
from emotion.model import BUILT_IN, ModelCard
from emotion.texts import Words

GET_LARGE = command_line("models download emotion2vec_plus_large")


@dataclass(frozen=True)
class Download:
    """One file that the page offers: what the link says, the name it is saved under, and where it is served."""

    label: str
    file_name: str
    address: str


def headline(analysis: Analysis, words: Words, heard: bool = True) -> str:
    """Emotion, confidence, how sure, and which recording it is about; `heard` is whether anything stands out of it."""
    subject = words(
        "result.subject",
        file=analysis.clip.name,
        duration=clock(analysis.clip.duration_s),
        granularity=words(f"page.{analysis.request.granularity}"),
    )
    return (
        f'<h2 class="headline">{_headline_words(analysis.emotion, words)}</h2>'
        f'<p class="confidence">{words("result.confidence", percent=percent(analysis.confidence))}'
        f"{_sureness(analysis, words, heard)}</p>"
        f'<p class="subject">{escape(subject)}</p>'
    )


def result_card(analysis: Analysis, words: Words, heard: bool = True) -> str:
    """Headline and the nine bars; `heard` is whether any sound stands out of the noise."""
    scores = dict(zip(analysis.model.labels, analysis.scores.tolist(), strict=True))
    return _card("result", headline(analysis, words, heard) + bars(scores, analysis.model.unsupported_labels, words))


def empty_card(words: Words, busy: bool = False) -> str:
    """What stands in the place of a result before there is one, of the same size."""
    title, hint = words("empty.title"), words("empty.hint")
    if busy:
        title, hint = words("empty.busy"), " "
    return _card("empty busy" if busy else "empty", _message("🎙️", title, hint) + bars({}, (), words))


def notice_card(kind: str, title: str, text: str, words: Words) -> str:
    """A designed message in the place of a result: `kind` is `error`, `cancelled` or `hint`."""
    emoji = {"error": "⚠️", "cancelled": "⏹️"}.get(kind, "🎙️")
    role = 'role="alert"' if kind == "error" else 'role="status"'
    return _card(kind, f"<div {role}>{_message(emoji, title, text)}</div>" + bars({}, (), words))


def error_card(error: BaseException, words: Words) -> str:
    return notice_card("error", words("result.error_title"), words.error(error), words)


def bars(scores: dict[str, float], unsupported_labels: Iterable[str], words: Words) -> str:
    """Nine bars in the fixed order with three decimals; no score yet is an empty bar, an untold label is muted."""
    others = [emotion_of(label) for label in scores if label not in {emotion.key for emotion in EMOTIONS}]
    silent = {*unsupported_labels} | ({emotion.key for emotion in EMOTIONS} - {*scores} if scores else set())
    best = max(scores, key=scores.__getitem__) if scores else None
    rows = [_bar(e, scores.get(e.key), e.key in silent, e.key == best, words) for e in (*EMOTIONS, *others)]
    return f'<ul class="bars" aria-label="{escape(words("result.scores"))}">{"".join(rows)}</ul>'


def progress_line(progress: Progress, words: Words) -> str:
    """Stage in words and a bar that fills with the windows."""
    if progress.stage in ("waiting", "decoding", "ready"):
        return progress_bar(_waiting(progress, words), None)
    if progress.windows > 1:
        window = min(progress.windows_done + 1, progress.windows)
        text = words("progress.window", window=window, windows=progress.windows)
        return progress_bar(text, progress.windows_done / progress.windows)
    return progress_bar(words("progress.recognising"), None)


def progress_bar(text: str, share: float | None) -> str:
    """A line of text over a thin bar; None moves without saying how far."""
    moving = ' class="moving"' if share is None else ""
    width = 100.0 if share is None else share * 100
    return (
        f'<div class="progress" role="status"><span>{escape(text)}</span>'
        f'<div class="progress-track"><i{moving} style="width:{width:.1f}%"></i></div></div>'
    )


def progress_done(text: str) -> str:
    """The line without a bar; an empty text keeps the room."""
    return f'<div class="progress" role="status"><span>{escape(text)}</span></div>'


def model_line(state: ModelState, words: Words) -> str:
    """Name, device, precision and state of the model that answers now."""
    card = state.card
    name = words("model.built_in") if card.name == BUILT_IN else card.name.replace("_plus_", "+ ")
    status = words("model.serving" if card.name == BUILT_IN else "model.ready")
    tone = "built-in" if card.name == BUILT_IN else "ready"
    parts = " · ".join(escape(part) for part in (name, card.device, card.precision, status))
    return f'<p class="model {tone}"><i aria-hidden="true"></i>{parts}{_coming(state, words)}</p>'


def model_notice(state: ModelState, words: Words) -> str:
    """What the built-in model is and how to get the large one; nothing when another model answers."""
    if state.card.name != BUILT_IN:
        return ""
    told = len(set(state.card.labels) - set(state.card.unsupported_labels))
    what = escape(words("model.about_built_in", count=told))
    more = [*_accuracy(state.card, words), escape(words("model.licence"))]
    if state.phase in ("asking", "downloading", "loading"):
        what = f"{what} {escape(words('model.meanwhile'))}"
    else:
        reason = [f"{escape(words('model.why'))}: {escape(words.error(state.reason))}"] if state.reason else []
        how = words.joined([*reason, escape(words("model.get_large"))])
        more.append(f"<br>{how} <code>{GET_LARGE}</code>")
    return f'<details class="notice"><summary>{what}</summary><p>{words.joined(more)}</p></details>'


def client_line(name: str | None, words: Words) -> str:
    """Who is signed in, and the way out; nothing where nobody is asked who they are."""
    if name is None:
        return ""
    return (
        f'<p class="client"><span>{escape(words("client.name", name=name))}</span>'
        f'<a href="logout">{escape(words("client.sign_out"))}</a></p>'
    )


def _accuracy(card: ModelCard, words: Words) -> list[str]:
    if card.accuracy is None:
        return []
    low, high = (f"{share:.0%}" for share in card.accuracy.new_speakers)
    far_low, far_high = (f"{share:.0%}" for share in card.accuracy.new_corpora)
    return [escape(words("model.accuracy", low=low, high=high, far_low=far_low, far_high=far_high))]


def downloads(files: Iterable[Download], words: Words) -> str:
    """Links to the files of a run."""
    links = [
        f'<a href="{escape(file.address)}" download="{escape(file.file_name)}">{escape(file.label)}</a>'
        for file in files
    ]
    title = words("result.downloads")
    return f'<nav class="downloads" aria-label="{title}"><span>{title}</span>{"".join(links)}</nav>'


def _headline_words(emotion: Emotion, words: Words) -> str:
    emoji, _, name = emotion.headline(words.language).partition(" ")
    return f"{_emoji(emoji)} {escape(name)}"


def _emoji(emoji: str) -> str:
    """In colour where the machine has such a font; a screen reader has the word beside it."""
    return f'<i class="emoji" aria-hidden="true">{emoji}</i>'


def _sureness(analysis: Analysis, words: Words, heard: bool) -> str:
    if analysis.silent or not heard:
        return f'<span class="pill doubt">{words("result.silent" if analysis.silent else "result.unheard")}</span>'
    if not analysis.uncertain:
        return f'<span class="pill clear">{words("result.clear")}</span>'
    first, second = (e.name(words.language) for e in (analysis.emotion, analysis.runner_up))
    return f'<span class="pill doubt">{escape(words("result.uncertain", first=first, second=second))}</span>'


def _bar(emotion: Emotion, score: float | None, silent: bool, best: bool, words: Words) -> str:
    name = f'<span class="bar-name">{_emoji(emotion.emoji)}{escape(emotion.name(words.language))}</span>'
    if silent:
        number = f'<span class="bar-score" title="{words("result.untold_title")}">{words("result.untold")}</span>'
    else:
        number = f'<span class="bar-score">{"–" if score is None else f"{score:.3f}"}</span>'
    width = 0.0 if silent or score is None else score * 100
    kind = "bar untold" if silent else "bar best" if best else "bar"
    fill = f'<i style="width:{width:.1f}%;--colour:{emotion.color}"></i>'
    return f'<li class="{kind}">{name}<span class="bar-track" aria-hidden="true">{fill}</span>{number}</li>'


def _waiting(progress: Progress, words: Words) -> str:
    if progress.position:
        place = progress.position + 1
        if progress.wait_s is None:
            return words("progress.waiting", place=place)
        return words("progress.waiting_about", place=place, seconds=f"{max(progress.wait_s, 1):.0f}")
    return words("progress.decoding") if progress.stage == "decoding" else words("progress.next")


def _coming(state: ModelState, words: Words) -> str:
    """What becomes of the large model while another answers."""
    if state.phase in ("asking", "loading"):
        text = words(f"model.{state.phase}")
    elif state.phase == "downloading":
        share = state.done_bytes / state.total_bytes if state.total_bytes else 0.0
        text = words("model.downloading", percent=f"{share * 100:.0f} %", total=size(state.total_bytes))
    else:
        return ""
    return f'<span class="coming">{escape(text)}</span>'


def _message(emoji: str, title: str, text: str) -> str:
    return (
        f'<h2 class="headline">{_emoji(emoji)} {escape(title)}</h2>'
        f'<p class="confidence message">{escape(text)}</p><p class="subject">&nbsp;</p>'
    )


def _card(kind: str, content: str) -> str:
    return f'<section class="result {kind}" aria-live="polite">{content}</section>'
