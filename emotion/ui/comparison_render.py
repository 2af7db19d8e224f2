"""Two clips beside each other: what is said of the pair, and how the scores of the second differ, as HTML."""

from dataclasses import dataclass

from emotion.analysis import Analysis
from emotion.labels import Emotion, emotion_of
from emotion.texts import Words
from emotion.ui.templates import render

# On a narrower strip than this nothing can be seen; each clip then has a time axis of its own, and a line says so.
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
    longest_s = max(one.clip.duration_s, other.clip.duration_s)
    shares = one.clip.duration_s / longest_s, other.clip.duration_s / longest_s
    notes = []
    if min(shares) < _NARROWEST:
        shares, notes = (1.0, 1.0), [words("comparison.own_axes")]
    if one.model.fingerprint != other.model.fingerprint:
        notes.append(words("comparison.models", one=one.model.name, other=other.model.name))
    sentence = _in_words(score_changes(one, other), words)
    return render("history/comparison.html", words, shares=shares, sentence=sentence, notes=notes)


def table(one: Analysis, other: Analysis, words: Words) -> str:
    """The nine scores of both and their differences, in words and as a bar to the right or left."""
    titles = [words("comparison.emotion"), *SIDES, words("comparison.difference")]
    return render("history/changes.html", words, titles=titles, changes=score_changes(one, other))


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
