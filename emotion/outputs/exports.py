"""Exports: the segments of an analysis in the formats of editors, players and annotation tools."""

import csv
import html
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast, get_args
from urllib.parse import quote

import numpy as np
import orjson

from emotion.analysis import Analysis, ExportFormat, Segment
from emotion.errors import SettingsInvalid
from emotion.formatting import timestamp
from emotion.labels import SILENCE, emotion_of
from emotion.model import FRAME_RATE_HZ
from emotion.outputs.names import printable, without_extension

EXPORT_FORMATS: tuple[ExportFormat, ...] = get_args(ExportFormat)
# Rows that are rounded at once: 3 hours are 540,000 frames, which as Python numbers would fill 200 MB.
_BLOCK_FRAMES = 10_000
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
# `+49 170 1234567.wav`: a sign and a name call no function and start no program, so the cell keeps its text.
_HARMLESS = re.compile(r"[+-][\w .-]*", re.ASCII)


def write_export(analysis: Analysis, format: str, folder: Path) -> tuple[Path, ...]:
    """Write one format into an existing folder; the paths of its files.

    Raises SettingsInvalid for a format that is not in EXPORT_FORMATS.
    """
    written = []
    for name, pieces in _files_of(analysis, known_formats([format])[0]).items():
        path = folder / name
        with path.open("w", encoding="utf-8", newline="") as file:
            file.writelines(pieces)
        written.append(path)
    return tuple(written)


def found_exports(folder: Path) -> dict[ExportFormat, tuple[Path, ...]]:
    """The exports that lie in a folder of an earlier run."""
    found = {
        format: tuple(folder / name for name in files if (folder / name).is_file() and not (folder / name).is_symlink())
        for format, files in _FILES.items()
    }
    return {format: paths for format, paths in found.items() if paths}


def known_formats(names: Sequence[str]) -> tuple[ExportFormat, ...]:
    """These formats, each once; raises SettingsInvalid for an unknown one."""
    for name in names:
        if name not in EXPORT_FORMATS:
            raise SettingsInvalid(
                f"There is no export format {name!r}. Choose from {', '.join(EXPORT_FORMATS)}.", key="format"
            )
    return tuple(cast(ExportFormat, name) for name in dict.fromkeys(names))


def export_segments(analysis: Analysis) -> tuple[Segment, ...]:
    """The segments, which cover the clip; of a stored utterance, which keeps none, one over the whole clip."""
    if analysis.segments:
        return analysis.segments
    end_s = round(analysis.clip.duration_s, 3)
    return (Segment(0.0, end_s, analysis.emotion.key, analysis.confidence),)


def csv_line(cells: Iterable[object]) -> str:
    """One line of CSV (RFC 4180). Numbers stay numbers; text that a spreadsheet would run as a formula is quoted.

    A leading `= + - @`, tab or return gets an apostrophe in front (OWASP, "CSV Injection"), but for telephone numbers
    and other plain words behind a sign.
    """
    row = [_text_cell(cell) if isinstance(cell, str) else cell for cell in cells]
    return cast(str, csv.writer(_Line()).writerow(row))


def plain_cell(cell: str) -> str:
    """The text that `csv_line` wrote."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA_STARTS) else cell


def segments_csv(analysis: Analysis) -> Iterator[str]:
    """`start,end,emotion,confidence`, seconds, one row per segment."""
    yield csv_line(["start", "end", "emotion", "confidence"])
    for segment in export_segments(analysis):
        yield csv_line([segment.start_s, segment.end_s, segment.emotion, round(segment.confidence, 6)])


def frames_csv(analysis: Analysis) -> Iterator[str]:
    """`index,start,end,emotion,confidence` and one column of scores per label, one row per frame, six decimals."""
    labels = analysis.model.labels
    yield csv_line(["index", "start", "end", "emotion", "confidence", *labels])
    names = [_text_cell(label) for label in labels]
    # One writer for all rows: a writer per row, as csv_line has it, takes five times as long.
    row_line = csv.writer(_Line()).writerow
    for index, row in enumerate(_rounded_rows(analysis)):
        confidence = max(row)
        start_s, end_s = index / FRAME_RATE_HZ, (index + 1) / FRAME_RATE_HZ
        yield cast(str, row_line([index, start_s, end_s, names[row.index(confidence)], confidence, *row]))


def srt(analysis: Analysis) -> Iterator[str]:
    """SubRip: number, `00:00:00,000 --> 00:00:03,200`, text, empty line (Matroska, "Subtitles: SRT")."""
    for number, segment in enumerate(export_segments(analysis), start=1):
        start, end = timestamp(segment.start_s, ","), timestamp(segment.end_s, ",")
        yield f"{number}\n{start} --> {end}\n{_caption(segment)}\n\n"


def vtt(analysis: Analysis) -> Iterator[str]:
    """WebVTT (W3C, "WebVTT: The Web Video Text Tracks Format"): `&`, `<` and `>` of the text are escaped."""
    yield "WEBVTT\n"
    for number, segment in enumerate(export_segments(analysis), start=1):
        start, end = timestamp(segment.start_s, "."), timestamp(segment.end_s, ".")
        yield f"\n{number}\n{start} --> {end}\n{html.escape(_caption(segment), quote=False)}\n"


def textgrid(analysis: Analysis) -> Iterator[str]:
    """Praat's long text format with one interval tier `emotion` (Praat manual, "TextGrid file formats")."""
    segments = export_segments(analysis)
    end_s = segments[-1].end_s
    yield 'File type = "ooTextFile"\nObject class = "TextGrid"\n\n'
    yield f"xmin = 0\nxmax = {end_s}\ntiers? <exists>\nsize = 1\nitem []:\n"
    yield '    item [1]:\n        class = "IntervalTier"\n        name = "emotion"\n'
    yield f"        xmin = 0\n        xmax = {end_s}\n        intervals: size = {len(segments)}\n"
    for number, segment in enumerate(segments, start=1):
        text = segment.emotion.replace('"', '""')
        yield f"        intervals [{number}]:\n            xmin = {segment.start_s}\n"
        yield f'            xmax = {segment.end_s}\n            text = "{text}"\n'


def audacity(analysis: Analysis) -> Iterator[str]:
    """A label track: start, end, label, separated by tabs (Audacity manual, "Importing and Exporting Labels")."""
    for segment in export_segments(analysis):
        yield f"{segment.start_s:.6f}\t{segment.end_s:.6f}\t{_caption(segment)}\n"


def rttm(analysis: Analysis) -> Iterator[str]:
    """NIST RTTM with the emotion in the speaker's field ("2009 Rich Transcription Evaluation Plan", appendix A).

    Silence is a line of the type NON-SPEECH.
    """
    file_id = _rttm_id(analysis.clip.name)
    for segment in export_segments(analysis):
        kind, subtype = ("NON-SPEECH", "other") if segment.is_silent else ("SPEAKER", "<NA>")
        span = f"{segment.start_s:.3f} {segment.end_s - segment.start_s:.3f}"
        yield f"{kind} {file_id} 1 {span} <NA> {subtype} {'_'.join(segment.emotion.split())} <NA> <NA>\n"


def labelstudio(analysis: Analysis) -> Iterator[str]:
    """One Label Studio task with its prediction (Label Studio, "Import pre-annotated data").

    `data.audio` holds the file's name: put the address in front under which Label Studio reaches the file. The
    project takes the configuration of `labelstudio_config`, to which `from_name` and `to_name` refer.
    """
    regions = [
        {
            "id": f"segment-{number}",
            "from_name": "emotion",
            "to_name": "audio",
            "type": "labels",
            "original_length": analysis.clip.duration_s,
            "value": {"start": part.start_s, "end": part.end_s, "channel": 0, "labels": [part.emotion]},
            "score": part.confidence,
        }
        for number, part in enumerate(export_segments(analysis), start=1)
    ]
    prediction = {"model_version": analysis.model.name, "score": analysis.confidence, "result": regions}
    task = {"data": {"audio": printable(analysis.clip.name)}, "predictions": [prediction]}
    yield orjson.dumps([task], option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def labelstudio_config(analysis: Analysis) -> Iterator[str]:
    """The labelling configuration that fits the task (Label Studio, tags Labels and Audio)."""
    yield '<View>\n  <Labels name="emotion" toName="audio">\n'
    for label in (*analysis.model.labels, SILENCE.key):
        yield f'    <Label value="{html.escape(label)}" background="{emotion_of(label).color}"/>\n'
    yield '  </Labels>\n  <Audio name="audio" value="$audio"/>\n</View>\n'


_Pieces = Callable[[Analysis], Iterator[str]]
_FILES: dict[ExportFormat, dict[str, _Pieces]] = {
    "csv": {"segments.csv": segments_csv, "frames.csv": frames_csv},
    "srt": {"emotion.srt": srt},
    "vtt": {"emotion.vtt": vtt},
    "textgrid": {"emotion.TextGrid": textgrid},
    "audacity": {"audacity_labels.txt": audacity},
    "rttm": {"emotion.rttm": rttm},
    "labelstudio": {"labelstudio.json": labelstudio, "labelstudio_config.xml": labelstudio_config},
}


class _Line:
    """A file for csv.writer that hands each line back."""

    def write(self, line: str) -> str:
        return line


def _files_of(analysis: Analysis, format: ExportFormat) -> dict[str, Iterator[str]]:
    """Name and content of each file of a format; utterance granularity has no frames and so no `frames.csv`."""
    wanted = {name for name in _FILES[format] if name != "frames.csv" or analysis.frame_scores is not None}
    return {name: pieces(analysis) for name, pieces in _FILES[format].items() if name in wanted}


def _rounded_rows(analysis: Analysis) -> Iterator[list[float]]:
    scores = analysis.frame_scores
    if scores is None:
        return
    for first in range(0, len(scores), _BLOCK_FRAMES):
        rows: Any = np.round(scores[first : first + _BLOCK_FRAMES].astype(np.float64), 6).tolist()
        yield from rows


def _caption(segment: Segment) -> str:
    """What a person reads: `😊 Happy 85%`, `🔇 No speech`."""
    headline = emotion_of(segment.emotion).headline("en")
    return headline if segment.is_silent else f"{headline} {segment.confidence:.0%}"


def _rttm_id(name: str) -> str:
    """The file's id: its name, with folders where it has some, without extension.

    Fields are separated by spaces, so white space is written as in a URL (RFC 3986); two names never share an id.
    """
    return re.sub(r"[\s%]", lambda letter: quote(letter[0]), printable(without_extension(name)))


def _text_cell(text: str) -> str:
    shown = printable(text)
    return f"'{shown}" if shown.startswith(_FORMULA_STARTS) and not _HARMLESS.fullmatch(shown) else shown
