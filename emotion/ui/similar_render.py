"""The nearest clips and the map of the history as HTML and SVG; whatever comes from a file is escaped."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from emotion.formatting import clock, percent
from emotion.labels import EMOTIONS, Emotion, emotion_of
from emotion.outputs.similar import LEAST_CLIPS, ClipMap, KnownClip, MapPoint, Neighborhood
from emotion.texts import Words

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
    label: str
    x: float
    y: float
    kind: str


def nearest(around: Neighborhood, folder: str, address: Address, words: Words) -> str:
    """The open clip and those most like it, or why there are none."""
    known = around.clips.get(folder)
    subject = "" if known is None else _subject(row(folder, known, address, words), words)
    if around.view == "compared":
        rows = "".join(
            f"<li>{row(one.key, around.clips[one.key], address, words, one.similarity)}</li>"
            for one in around.neighbors
        )
        note = f'<p class="sim-note">{words("similar.similarity_note")}</p>'
        return _panel("near", f'{subject}<ol class="sim-list">{rows}</ol>{note}', words)
    return _panel("near", subject + _reason(around, folder, words), words)


def row(folder: str, known: KnownClip, address: Address, words: Words, similarity: float | None = None) -> str:
    """One clip: play, emotion, file, date, similarity, and a button to open it."""
    file = escape(known.entry.file)
    date = f"{known.started:%Y-%m-%d %H:%M}"
    amount = "" if similarity is None else _similarity(similarity, emotion_of(known.entry.emotion), words)
    return (
        f'<div class="sim-row">{_play(known, address(folder), words)}'
        f'<span class="sim-clip"><b>{file}</b><span>{_emotion(known, words)}</span> <time>{date}</time></span>{amount}'
        f"{_button('open', folder, known, words)}</div>"
    )


def clip_map(around: Neighborhood, folder: str, words: Words) -> str:
    """The map with its legend and what it shows; the open clip and its nearest are marked."""
    marks = _marks(around, folder, words)
    if not marks:
        text = words("similar.no_map", count=around.embedded, least=LEAST_CLIPS)
        return _panel("map", f'<div class="sim-map empty"><p>{text}</p></div>', words)
    stop = next((mark.key for mark in marks if mark.kind == "open"), marks[0].key)
    has_faces = len(marks) <= MOST_FACES
    drawn = "".join((_face if has_faces else _shape)(mark, 0 if mark.key == stop else -1) for mark in marks)
    svg = (
        f'<svg class="sim-map" role="listbox" aria-label="{escape(words("similar.map_label"))}">'
        f"<defs>{_definitions()}</defs>{drawn}</svg>"
    )
    return _panel("map", f"{svg}{_legend(marks, words)}{_caption(around, len(marks), words)}", words)


def no_card(words: Words) -> str:
    """What stands in the place of a clip of the map before one is chosen."""
    return f'<section class="panel sim-card empty"><p>{words("similar.choose")}</p></section>'


def card(folder: str, known: KnownClip, address: Address, words: Words) -> str:
    """The clip that was chosen on the map."""
    entry = known.entry
    file = escape(entry.file)
    date = f'<span class="nobreak">{known.started:%Y-%m-%d %H:%M}</span>'
    facts = " · ".join([clock(entry.duration_s), percent(entry.confidence), date])
    return (
        f'<section class="panel sim-card" role="status">{_play(known, address(folder), words)}'
        f'<span class="sim-clip"><b>{file}</b><span>{_emotion(known, words)} · {facts}</span></span>'
        f"{_button('near', folder, known, words)}{_button('open', folder, known, words)}</section>"
    )


def problem(text: str) -> str:
    """In the place of the card, why something could not be done."""
    return f'<section class="panel sim-card empty" role="alert"><p>{escape(text)}</p></section>'


# The list


def _panel(name: str, content: str, words: Words) -> str:
    return f'<section class="panel similar"><h2>{words(f"similar.{name}_title")}</h2>{content}</section>'


def _subject(row: str, words: Words) -> str:
    return f'<div class="sim-subject"><p>{words("similar.open_now")}</p>{row}</div>'


def _reason(around: Neighborhood, folder: str, words: Words) -> str:
    """Why the open clip cannot be compared, and what to do."""
    known = around.clips.get(folder)
    model = "" if known is None else known.entry.model
    values = {"count": around.comparable, "least": LEAST_CLIPS, "model": model}
    title, text = words(f"similar.{around.view}_title"), words(f"similar.{around.view}", **values)
    return f'<div class="sim-reason"><h3>{title}</h3><p>{escape(text)}</p></div>'


def _button(action: str, folder: str, known: KnownClip, words: Words) -> str:
    name = escape(words(f"similar.{action}_clip", file=known.entry.file))
    return (
        f'<button type="button" class="sim-button" data-{action}="{escape(folder)}" aria-label="{name}">'
        f"{words(f'similar.{action}')}</button>"
    )


def _play(known: KnownClip, address: str | None, words: Words) -> str:
    """A button that plays, or the same room where the sound was not kept."""
    if address is None:
        title = words("similar.no_sound")
        return f'<span class="sim-play none" role="img" aria-label="{title}" title="{title}">–</span>'
    play, pause = (escape(words(f"similar.{name}", file=known.entry.file)) for name in ("play", "pause"))
    return (
        f'<button type="button" class="sim-play" data-audio="{escape(address)}" data-play="{play}" '
        f'data-pause="{pause}" aria-label="{play}">▶</button>'
    )


def _emotion(known: KnownClip, words: Words) -> str:
    emotion = emotion_of(known.entry.emotion)
    emoji = f'<i class="emoji" aria-hidden="true">{escape(emotion.emoji)}</i>'
    return f"{emoji} {escape(emotion.name(words.language))}"


def _similarity(similarity: float, emotion: Emotion, words: Words) -> str:
    """A number and a bar that begins at 0; below 0 there is none."""
    fill = f'<i style="width:{max(similarity, 0.0):.1%};--colour:{emotion.color}"></i>'
    number = f"{similarity:.3f}".replace("-", "−")
    return (
        f'<span class="sim-amount"><span class="bar-track" aria-hidden="true">{fill}</span>'
        f'<b title="{words("similar.similarity")}">{number}</b></span>'
    )


# The map


def _marks(around: Neighborhood, folder: str, words: Words) -> list[Mark]:
    """What is drawn, the open clip last and so above the others."""
    points = _drawn(around.map, folder)
    near = {one.key for one in around.neighbors}
    marks = []
    for point, (x, y) in zip(points, _places(points), strict=True):
        known, emotion = around.clips[point.key], emotion_of(point.emotion)
        label = f"{emotion.name(words.language)} · {known.entry.file} · {known.started:%Y-%m-%d %H:%M}"
        kind = "open" if point.key == folder else "near" if point.key in near else ""
        marks.append(
            Mark(point.key, emotion, words(f"similar.mark_{kind}", label=label) if kind else label, x, y, kind)
        )
    return sorted(marks, key=lambda mark: ("", "near", "open").index(mark.kind))


def _drawn(clip_map: ClipMap, folder: str) -> list[MapPoint]:
    """The newest points, among them that of the open clip, however old it is."""
    points = list(clip_map.points[:MOST_POINTS])
    older = [point for point in clip_map.points[MOST_POINTS:] if point.key == folder]
    return [*points[: MOST_POINTS - len(older)], *older]


def _places(points: Sequence[MapPoint]) -> list[tuple[float, float]]:
    """Percent from the left and from the top, with one scale for both axes."""
    if not points:
        return []
    xs, ys = [point.x for point in points], [point.y for point in points]
    center_x, center_y = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
    half = max((max(xs) - min(xs)) / 2, (max(ys) - min(ys)) / 2 * _ASPECT, 1e-9)
    scale = (50 - _MARGIN) / half
    # The y axis of the map points up; a percent of the height is shorter than one of the width.
    return [(50 + (x - center_x) * scale, 50 - (y - center_y) * scale * _ASPECT) for x, y in zip(xs, ys, strict=True)]


def _definitions() -> str:
    return "".join(f'<path id="mark-{name}" d="{path}"/>' for name, path in _SHAPES.items())


def _face(mark: Mark, tab_stop: int) -> str:
    """A disc with the emoji in it."""
    x, y = f"{mark.x:.2f}%", f"{mark.y:.2f}%"
    emoji = f'<text x="{x}" y="{y}" aria-hidden="true">{escape(mark.emotion.emoji)}</text>'
    return _option(mark, f'<circle cx="{x}" cy="{y}" r="14"/>{emoji}', tab_stop)


def _shape(mark: Mark, tab_stop: int) -> str:
    """The shape of the emotion, which the legend explains, with a ring where the mark is a special one."""
    x, y = f"{mark.x:.2f}%", f"{mark.y:.2f}%"
    ring = f'<circle cx="{x}" cy="{y}" r="11" class="ring"/>' if mark.kind else ""
    return _option(mark, f'{ring}<use href="#mark-{_shape_of(mark.emotion)}" x="{x}" y="{y}"/>', tab_stop)


def _option(mark: Mark, drawn: str, tab_stop: int) -> str:
    return (
        f'<g role="option" aria-selected="false" tabindex="{tab_stop}" class="mark {mark.kind}" '
        f'style="--colour:{mark.emotion.color}" data-point="{escape(mark.key)}" data-at="{mark.x:.2f} {mark.y:.2f}">'
        f"<title>{escape(mark.label)}</title>{drawn}</g>"
    )


def _shape_of(emotion: Emotion) -> str:
    return emotion.key if emotion.key in _SHAPES else "unknown"


def _legend(marks: Sequence[Mark], words: Words) -> str:
    """The emotions of the map, in the fixed order, each with its shape, its word and how often it is there."""
    counts = Counter(mark.emotion for mark in marks)
    order = [emotion.key for emotion in EMOTIONS]
    found = sorted(counts, key=lambda emotion: order.index(emotion.key) if emotion.key in order else len(order))
    entries = "".join(
        f'<li style="--colour:{emotion.color}"><svg viewBox="-9 -9 18 18" width="18" height="18" class="mark" '
        f'aria-hidden="true"><use href="#mark-{_shape_of(emotion)}"/></svg>'
        f'<i class="emoji" aria-hidden="true">{escape(emotion.emoji)}</i> {escape(emotion.name(words.language))} '
        f"<b>{counts[emotion]}</b></li>"
        for emotion in found
    )
    return f'<ul class="sim-legend">{entries}{_rings(marks, words)}</ul>'


def _rings(marks: Sequence[Mark], words: Words) -> str:
    """What the rings of single marks mean, where there are any."""
    kinds = {mark.kind for mark in marks}
    return "".join(
        f'<li><svg viewBox="-9 -9 18 18" width="18" height="18" class="mark {kind}" aria-hidden="true">'
        f'<circle r="6.5" class="ring"/></svg>{words(f"similar.ring_{kind}")}</li>'
        for kind in ("open", "near")
        if kind in kinds
    )


def _caption(around: Neighborhood, drawn: int, words: Words) -> str:
    """What the map shows, and what it leaves out."""
    said = [words("similar.map_note", percent=percent(around.map.shown))]
    if drawn < len(around.map.points):
        said.append(words("similar.map_newest", drawn=f"{drawn:,}", count=f"{len(around.map.points):,}"))
    left_out = len(around.clips) - len(around.map.points)
    if left_out:
        said.append(words("similar.map_left_out", count=f"{left_out:,}"))
    return f'<p class="sim-note">{words.joined(said)}</p>'
