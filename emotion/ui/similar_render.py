"""The nearest clips and the map of the history: values in, HTML and SVG out."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from emotion.formatting import percent
from emotion.labels import EMOTIONS, Emotion, emotion_of
from emotion.outputs.similar import LEAST_CLIPS, ClipMap, KnownClip, MapPoint, Neighborhood
from emotion.texts import Words
from emotion.ui.templates import render

Address = Callable[[str], str | None]
"""Where the sound of a clip is served, by the clip's folder; None where it was not kept."""

MOST_POINTS = 2_000
# Up to here each mark has its emoji in it; of more, the emoji would be smudges.
MOST_FACES = 60
# The map is so many times as wide as it is high, and has a margin in percent.
_ASPECT = 4 / 3
_MARGIN = 5.0
# A shape for each emotion, about 13 pixels wide around the origin, so that nobody needs the colour.
_SHAPES = {
    "angry": "M0-7 6.6 5.2H-6.6Z",
    "disgusted": "M-5.3-5.3H5.3V5.3H-5.3Z",
    "fearful": "M0 7-6.6-5.2H6.6Z",
    "happy": "M0-7.6 2-2.5 7.4-2.3 3.3 1.2 4.7 6.6 0 3.5-4.7 6.6-3.3 1.2-7.4-2.3-2-2.5Z",
    "neutral": "M-6 0A6 6 0 1 0 6 0 6 6 0 1 0-6 0Z",
    "other": "M-6.8 0-3.4-5.9H3.4L6.8 0 3.4 5.9H-3.4Z",
    "sad": "M0-7.6 5.9 0 0 7.6-5.9 0Z",
    "surprised": "M-2.3-6.8H2.3V-2.3H6.8V2.3H2.3V6.8H-2.3V2.3H-6.8V-2.3H-2.3Z",
    "unknown": "M-6.4-3.4-3.4-6.4 0-3 3.4-6.4 6.4-3.4 3 0 6.4 3.4 3.4 6.4 0 3-3.4 6.4-6.4 3.4-3 0Z",
}


@dataclass(frozen=True)
class Mark:
    """A clip on the map, in percent from the left and from the top; `kind` is `open`, `near` or nothing."""

    key: str
    emotion: Emotion
    shape: str
    label: str
    x: str
    y: str
    kind: str


@dataclass(frozen=True)
class _Row:
    """One clip of the list, and where its sound is served."""

    folder: str
    known: KnownClip
    audio: str | None
    similarity: float | None = None


def nearest(around: Neighborhood, folder: str, address: Address, words: Words) -> str:
    """The open clip and those most like it, or why there are none and what to do."""
    known, rows = around.clips.get(folder), []
    if around.view == "compared":
        rows = [_Row(one.key, around.clips[one.key], address(one.key), one.similarity) for one in around.neighbors]
    return render(
        "similar/nearest.html",
        words,
        view=around.view,
        subject=known and _Row(folder, known, address(folder)),
        rows=rows,
        reason={"count": around.comparable, "least": LEAST_CLIPS, "model": known.entry.model if known else ""},
    )


def clip_map(around: Neighborhood, folder: str, words: Words) -> str:
    """The map with its legend and what it shows; the open clip and its nearest are marked."""
    marks = _marks(around, folder, words)
    if not marks:
        return render("similar/no_map.html", words, count=around.embedded, least=LEAST_CLIPS)
    order = {emotion.key: place for place, emotion in enumerate(EMOTIONS)}
    counts = Counter((mark.emotion, mark.shape) for mark in marks)
    return render(
        "similar/map.html",
        words,
        marks=marks,
        shapes=_SHAPES,
        has_faces=len(marks) <= MOST_FACES,
        tab_stop=next((mark.key for mark in marks if mark.kind == "open"), marks[0].key),
        legend=sorted(counts.items(), key=lambda entry: order.get(entry[0][0].key, len(order))),
        rings=[kind for kind in ("open", "near") if any(mark.kind == kind for mark in marks)],
        caption=_caption(around, len(marks), words),
    )


def no_card(words: Words) -> str:
    """What stands in the place of a clip of the map before one is chosen."""
    return render("similar/no_card.html", words, text=words("similar.choose"), is_problem=False)


def problem(error: BaseException, words: Words) -> str:
    """In the place of the card, why something could not be done."""
    return render("similar/no_card.html", words, text=words.error(error), is_problem=True)


def card(folder: str, known: KnownClip, address: Address, words: Words) -> str:
    """The clip that was chosen on the map."""
    return render("similar/card.html", words, row=_Row(folder, known, address(folder)))


def _marks(around: Neighborhood, folder: str, words: Words) -> list[Mark]:
    """What is drawn, the open clip last and so above the others."""
    points = _drawn(around.map, folder)
    near = {one.key for one in around.neighbors}
    marks = []
    for point, (x, y) in zip(points, _positions(points), strict=True):
        known, emotion = around.clips[point.key], emotion_of(point.emotion)
        label = f"{emotion.name(words.language)} · {known.entry.file} · {known.started:%Y-%m-%d %H:%M}"
        kind = "open" if point.key == folder else "near" if point.key in near else ""
        label = words(f"similar.mark_{kind}", label=label) if kind else label
        shape = emotion.key if emotion.key in _SHAPES else "unknown"
        marks.append(Mark(point.key, emotion, shape, label, f"{x:.2f}", f"{y:.2f}", kind))
    return sorted(marks, key=lambda mark: ("", "near", "open").index(mark.kind))


def _drawn(clip_map: ClipMap, folder: str) -> list[MapPoint]:
    """The newest points, among them that of the open clip, however old it is."""
    points = list(clip_map.points[:MOST_POINTS])
    older = [point for point in clip_map.points[MOST_POINTS:] if point.key == folder]
    return [*points[: MOST_POINTS - len(older)], *older]


def _positions(points: Sequence[MapPoint]) -> list[tuple[float, float]]:
    """Percent from the left and from the top, with one scale for both axes."""
    if not points:
        return []
    xs, ys = [point.x for point in points], [point.y for point in points]
    center_x, center_y = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
    half = max((max(xs) - min(xs)) / 2, (max(ys) - min(ys)) / 2 * _ASPECT, 1e-9)
    scale = (50 - _MARGIN) / half
    # The y axis of the map points up; a percent of the height is shorter than one of the width.
    return [(50 + (x - center_x) * scale, 50 - (y - center_y) * scale * _ASPECT) for x, y in zip(xs, ys, strict=True)]


def _caption(around: Neighborhood, drawn: int, words: Words) -> str:
    """What the map shows, and what it leaves out."""
    said = [words("similar.map_note", percent=percent(around.map.shown))]
    if drawn < len(around.map.points):
        said.append(words("similar.map_newest", drawn=f"{drawn:,}", count=f"{len(around.map.points):,}"))
    left_out = len(around.clips) - len(around.map.points)
    if left_out:
        said.append(words("similar.map_left_out", count=f"{left_out:,}"))
    return words.joined(said)
