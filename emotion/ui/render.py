"""What the page says of a recording, of its way through the engine and of the model: values in, HTML out."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from emotion.analysis import Analysis
from emotion.analysis.speech import LEAST_S
from emotion.engine import Progress
from emotion.engine.recognizer import ModelState
from emotion.errors import command_line
from emotion.formatting import clock, size
from emotion.labels import EMOTIONS, Emotion, emotion_of
from emotion.model import BUILT_IN, ModelCard
from emotion.texts import Words
from emotion.ui.templates import render

GET_LARGE = command_line("models download emotion2vec_plus_large")


@dataclass(frozen=True)
class Download:
    """One file that the page offers: what the link says, the name it is saved under, and where it is served."""

    label: str
    file_name: str
    address: str


def result_card(analysis: Analysis, words: Words) -> str:
    """Emotion, confidence, how sure, which recording it is about, and the nine bars."""
    subject = words(
        "result.subject",
        file=analysis.clip.name,
        duration=clock(analysis.clip.duration_s),
        granularity=words(f"page.{analysis.request.granularity}"),
    )
    scores = dict(zip(analysis.model.labels, analysis.headline_scores.tolist(), strict=True))
    return render(
        "result.html",
        words,
        analysis=analysis,
        doubt=_doubt(analysis, words),
        notes=list(_notes(analysis, words)),
        subject=subject,
        bars=bars(scores, analysis.model.unsupported_labels),
    )


def empty_card(words: Words, busy: bool = False) -> str:
    """What stands in the place of a result before there is one, of the same size."""
    if busy:
        return _card("empty busy", "", words("empty.busy"), " ", words)
    return _card("empty", "", words("empty.title"), words("empty.hint"), words)


def notice_card(kind: str, title: str, text: str, words: Words) -> str:
    """A designed message in the place of a result: `kind` is `error`, `cancelled` or `hint`."""
    return _card(kind, "alert" if kind == "error" else "status", title, text, words)


def error_card(error: BaseException, words: Words) -> str:
    """What went wrong, in the place of a result."""
    return notice_card("error", words("result.error_title"), words.error(error), words)


def notice(text: str, words: Words) -> str:
    """A line that says what was not done, and why."""
    return render("notice.html", words, text=text)


def bars(scores: dict[str, float], unsupported_labels: Iterable[str]) -> list[tuple[Emotion, float | None, str]]:
    """Emotion, score and kind of each bar, the nine in their order before all others.

    A score is None before there is a result; the kind is `best`, or `untold` where the model cannot tell the emotion.
    """
    known = {emotion.key for emotion in EMOTIONS}
    untold = {*unsupported_labels} | (known - {*scores} if scores else set())
    best = max(scores, key=scores.__getitem__, default="")
    return [
        (emotion, scores.get(emotion.key), "untold" if emotion.key in untold else "best" if emotion.key == best else "")
        for emotion in (*EMOTIONS, *(emotion_of(label) for label in scores if label not in known))
    ]


def progress_line(progress: Progress, words: Words) -> str:
    """Stage in words and a bar that fills with the windows."""
    if progress.stage in ("waiting", "decoding", "ready"):
        return progress_bar(_waiting(progress, words), None, words)
    if progress.windows > 1:
        window = min(progress.windows_done + 1, progress.windows)
        text = words("progress.window", window=window, windows=progress.windows)
        return progress_bar(text, progress.windows_done / progress.windows, words)
    return progress_bar(words("progress.recognising"), None, words)


def progress_bar(text: str, share: float | None, words: Words) -> str:
    """A line of text over a thin bar; None moves without saying how far."""
    return render("progress.html", words, text=text, has_bar=True, share=share)


def progress_done(text: str, words: Words) -> str:
    """The line without a bar; an empty text keeps the room."""
    return render("progress.html", words, text=text, has_bar=False)


def model_line(state: ModelState, words: Words) -> str:
    """Name, device, precision and state of the model that answers now, and what becomes of the large one."""
    coming, share = "", state.done_bytes / state.total_bytes if state.total_bytes else 0.0
    if state.phase in ("asking", "loading"):
        coming = words(f"model.{state.phase}")
    elif state.phase == "downloading":
        coming = words("model.downloading", percent=f"{share * 100:.0f} %", total=size(state.total_bytes))
    card, name = state.card, model_name(state.card, words)
    return render("model_line.html", words, card=card, name=name, is_built_in=card.name == BUILT_IN, coming=coming)


def model_notice(state: ModelState, words: Words) -> str:
    """What the built-in model is and how to get the large one; nothing when another model answers."""
    if state.card.name != BUILT_IN:
        return ""
    told = len(set(state.card.labels) - set(state.card.unsupported_labels))
    what, how = [words("model.about_built_in", count=told)], []
    if state.phase in ("asking", "downloading", "loading"):
        what.append(words("model.meanwhile"))
    else:
        reason = [f"{words('model.why')}: {words.error(state.reason)}"] if state.reason else []
        how = [*reason, words("model.get_large")]
    more = words.joined([*accuracy(state.card, words), words("model.licence")])
    values = {"what": " ".join(what), "more": more, "how": words.joined(how), "command": GET_LARGE}
    return render("model_notice.html", words, **values)


def model_name(card: ModelCard, words: Words) -> str:
    """The name of a model as people say it."""
    return words("model.built_in") if card.name == BUILT_IN else card.name.replace("_plus_", "+ ")


def accuracy(card: ModelCard, words: Words) -> list[str]:
    """A sentence on how often the model is right; none where that was not measured."""
    if card.accuracy is None:
        return []
    low, high = (f"{share:.0%}" for share in card.accuracy.new_speakers)
    far_low, far_high = (f"{share:.0%}" for share in card.accuracy.new_corpora)
    return [words("model.accuracy", low=low, high=high, far_low=far_low, far_high=far_high)]


def downloads(title: str, files: Iterable[Download], words: Words) -> str:
    """Links to the files of a run."""
    return render("downloads.html", words, title=title, files=files)


def _card(kind: str, role: str, title: str, text: str, words: Words) -> str:
    symbol = {"error": "⚠️", "cancelled": "⏹️"}.get(kind, "🎙️")
    values = {"kind": kind, "role": role, "symbol": symbol, "title": title, "text": text}
    return render("card.html", words, bars=bars({}, ()), **values)


def _notes(analysis: Analysis, words: Words) -> Iterator[str]:
    """What has to be known of the sound behind the answer."""
    clip = analysis.clip
    if analysis.speech_scores is not None:
        yield words("result.from_speech", seconds=f"{analysis.speech_s:.1f}", duration=clock(clip.duration_s))
    if len(clip.mixed_from) == 1:
        yield words("result.one_channel", channel=clip.mixed_from[0], channels=clip.channels)
    elif clip.channels_differ:
        yield words("result.mixed", channels=clip.channels)


def _doubt(analysis: Analysis, words: Words) -> str:
    """Why the result says little; empty where it is clear."""
    if analysis.silent:
        return words("result.silent")
    if analysis.speech_s < LEAST_S:
        return words("result.too_short", seconds=f"{analysis.speech_s:.1f}")
    if not analysis.uncertain:
        return words("result.short", seconds=f"{analysis.speech_s:.1f}") if analysis.short else ""
    first, second = (emotion.name(words.language) for emotion in (analysis.emotion, analysis.runner_up))
    return words("result.uncertain", first=first, second=second)


def _waiting(progress: Progress, words: Words) -> str:
    if progress.position:
        place = progress.position + 1
        if progress.wait_s is None:
            return words("progress.waiting", place=place)
        return words("progress.waiting_about", place=place, seconds=f"{max(progress.wait_s, 1):.0f}")
    return words("progress.decoding") if progress.stage == "decoding" else words("progress.next")
