"""Two clips side by side as HTML: what is said of the pair, and how the scores of the second differ."""

from dataclasses import dataclass
from html import escape

from emotion.analysis import Analysis
from emotion.labels import Emotion, emotion_of
from emotion.outputs import ClipFiles
from emotion.texts import Words
from emotion.ui.history_render import moment_name

# On a narrower strip than this nothing can be seen; the time axes then go their own ways, and a line says so.
_NARROWEST = 0.25
SIDES = ("A", "B")


@dataclass(frozen=True)
class ScoreChange:
    """The score of one emotion in two clips, to three decimals; None where the model cannot tell it."""

    emotion: Emotion
    one: float | None
    other: float | None

    @property
    def rise(self) -> float | None:
        """By how much the second is higher; None where one of them has no score."""
        return None if self.one is None or self.other is None else round(self.other - self.one, 3)


def score_changes(one: Analysis, other: Analysis) -> tuple[ScoreChange, ...]:
    """A row per emotion, in the order of the first model; what only the second tells comes last."""
    first, second = _scores(one), _scores(other)
    return tuple(ScoreChange(emotion_of(key), first.get(key), second.get(key)) for key in {**first, **second})


def head(one: Analysis, other: Analysis, words: Words) -> str:
    """What stands above the pair; the shares are how much of the time axis each clip takes."""
    shares = _shares(one.clip.duration_s, other.clip.duration_s)
    notes = [] if shares else [words("comparison.own_axes")]
    if one.model.fingerprint != other.model.fingerprint:
        notes.append(words("comparison.models", one=one.model.name, other=other.model.name))
    share_one, share_other = shares or (1.0, 1.0)
    return (
        f'<section class="comparison" data-one="{share_one:.4f}" data-other="{share_other:.4f}">'
        f'<div class="opened"><h2 tabindex="-1">{escape(words("comparison.title"))}</h2>'
        f'<button type="button" class="quiet" data-close>{escape(words("comparison.close"))}</button></div>'
        f'<p class="comparison-words" role="status">{escape(_in_words(score_changes(one, other), words))}</p>'
        f"{''.join(f'<p class=comparison-note>{escape(note)}</p>' for note in notes)}</section>"
    )


def side(letter: str, files: ClipFiles, words: Words) -> str:
    """Which of the two stands below, and when it was made."""
    return f'<p class="side-name"><b>{letter}</b>{escape(moment_name(files.analysis.timestamp, words))}</p>'


def table(one: Analysis, other: Analysis, words: Words) -> str:
    """The nine scores of both and their differences, in words and as a bar to the right or left."""
    titles = [words("comparison.emotion"), *SIDES, words("comparison.difference")]
    top = "".join(f'<th scope="col">{escape(title)}</th>' for title in titles)
    rows = "".join(_row(change, words) for change in score_changes(one, other))
    caption = escape(words("comparison.table"))
    return (
        f'<table class="changes"><caption>{caption}</caption><thead><tr>{top}</tr></thead><tbody>{rows}</tbody></table>'
    )


def _row(change: ScoreChange, words: Words) -> str:
    emotion = change.emotion
    name = f'<i class="emoji" aria-hidden="true">{emotion.emoji}</i> {escape(emotion.name(words.language))}'
    scores = "".join(f"<td>{_score(score, words)}</td>" for score in (change.one, change.other))
    return f'<tr><th scope="row">{name}</th>{scores}<td>{_difference(change, words)}</td></tr>'


def _score(score: float | None, words: Words) -> str:
    return f'<span class="untold">{escape(words("result.untold"))}</span>' if score is None else f"{score:.3f}"


def _difference(change: ScoreChange, words: Words) -> str:
    rise = change.rise
    if rise is None:
        return "–"
    if rise == 0:
        return f'<span class="shift">{_track("", 0.0)}{escape(words("comparison.same"))}</span>'
    name = "stronger" if rise > 0 else "weaker"
    text = words(f"comparison.{name}", by=f"{abs(rise):.3f}")
    return f'<span class="shift {name}">{_track(change.emotion.color, rise)}{escape(text)}</span>'


def _track(color: str, rise: float) -> str:
    fill = f'<i style="width:{abs(rise) * 50:.1f}%;--colour:{color}"></i>' if rise else ""
    return f'<span class="shift-track" aria-hidden="true">{fill}</span>'


def _in_words(changes: tuple[ScoreChange, ...], words: Words) -> str:
    """The largest rise and the largest fall as a sentence."""
    known = [(change.rise, change.emotion.name(words.language)) for change in changes if change.rise]
    parts = []
    rise, name = max(known, default=(0.0, ""), key=lambda pair: pair[0])
    if rise > 0:
        parts.append(words("comparison.more", emotion=name, by=f"{rise:.3f}"))
    fall, name = min(known, default=(0.0, ""), key=lambda pair: pair[0])
    if fall < 0:
        parts.append(words("comparison.less", emotion=name, by=f"{-fall:.3f}"))
    if not parts:
        return words("comparison.equal")
    return words("comparison.sentence", changes=words("history.and").join(parts))


def _scores(analysis: Analysis) -> dict[str, float | None]:
    unsupported_labels = analysis.model.unsupported_labels
    pairs = zip(analysis.model.labels, analysis.scores.tolist(), strict=True)
    return {label: None if label in unsupported_labels else round(score, 3) for label, score in pairs}


def _shares(one_s: float, other_s: float) -> tuple[float, float] | None:
    """The parts of one time axis that two clips take; None where one is too short beside the other."""
    longest_s = max(one_s, other_s)
    shares = one_s / longest_s, other_s / longest_s
    return shares if min(shares) >= _NARROWEST else None
