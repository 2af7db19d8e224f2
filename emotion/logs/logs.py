"""Logs of the program on the standard logging module: text for people, JSON lines for collectors.

Every line has time, level, logger, message, the id of its request, and the fields that were given as `extra`. File
names are said at debug only; so are the messages of exceptions, which often hold one.
"""

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from traceback import extract_tb
from typing import Any, Literal, TextIO

from emotion.logs.request_context import NO_REQUEST, request_id

HOUSE = "emotion"
_GIVEN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "request_id", "taskName"}
_MARK = "_emotion_logs"
# Their messages speak of types and attributes, not of what was uploaded; without them a fault could hardly be found.
_OF_THE_CODE = (TypeError, AttributeError, NameError, IndexError, ZeroDivisionError, RecursionError, MemoryError)
Format = Literal["text", "json"]


def set_up_logs(level: str = "info", log_format: Format = "text", stream: TextIO | None = None) -> None:
    """Send logs to `stream`, standard error by default; our own from `level` on, those of others from warning on.

    Others are never heard below that: web servers and clients write headers, keys among them, into their debug lines.
    Calling it again replaces what it set up before.
    """
    wanted = logging.getLevelNamesMapping()[level.upper()]
    names_are_said = wanted <= logging.DEBUG
    stream_handler = logging.StreamHandler(stream or sys.stderr)
    stream_handler.setFormatter(JsonLines(names_are_said) if log_format == "json" else TextLines(names_are_said))
    stream_handler.addFilter(_add_request_id)
    setattr(stream_handler, _MARK, True)
    root = logging.getLogger()
    for other in filter(is_ours, list(root.handlers)):
        root.removeHandler(other)
    root.addHandler(stream_handler)
    root.setLevel(max(wanted, logging.WARNING))
    logging.getLogger(HOUSE).setLevel(wanted)


def is_ours(handler: logging.Handler) -> bool:
    """Whether a handler was made by `set_up_logs`."""
    return hasattr(handler, _MARK)


def say(line: str) -> None:
    """Log a line of the program itself, such as where it listens, when a log collector reads the terminal."""
    logging.getLogger(f"{HOUSE}.server").info(line)


def _add_request_id(record: logging.LogRecord) -> bool:
    """A filter that gives every record the id of the request at hand."""
    if not hasattr(record, "request_id"):
        record.request_id = request_id()
    return True


class _Lines(logging.Formatter):
    """What both kinds of lines have in common."""

    def __init__(self, names_are_said: bool = False) -> None:
        super().__init__()
        self._names_are_said = names_are_said

    def _said(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        # asyncio writes the exception of a task, with its message, into lines of its own.
        return message.partition("\n")[0] if record.name == "asyncio" and not self._names_are_said else message

    def _exception(self, record: logging.LogRecord) -> list[str]:
        error = record.exc_info[1] if record.exc_info else None
        return [] if error is None else list(exception_lines(error, self._names_are_said))


class JsonLines(_Lines):
    """One JSON object a line; `time` is in UTC."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._said(record),
            "request_id": getattr(record, "request_id", NO_REQUEST),
            **_fields(record),
        }
        if exception := self._exception(record):
            line["exception"] = "\n".join(exception)
        return json.dumps(line, ensure_ascii=False, default=str)


class TextLines(_Lines):
    """`2026-11-22 10:00:00.123 info    emotion.engine [3f2a…] decoded stage=decoded elapsed_ms=8.1`"""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created).isoformat(" ", timespec="milliseconds")
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        identity = getattr(record, "request_id", NO_REQUEST)
        said = _one_line(f"{record.name} [{identity}] {self._said(record)}{fields}")
        exception = (f"  {_one_line(line)}" for line in self._exception(record))
        return "\n".join([f"{moment} {record.levelname.lower():<7} {said}", *exception])


def exception_lines(error: BaseException, names_are_said: bool) -> Iterator[str]:
    """Where it was raised and what it is, the cause first; its message only if it holds no name, or they are said."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None:
        yield from exception_lines(before, names_are_said)
        yield "which led to:"
    for place in extract_tb(error.__traceback__):
        # The last parts of a path, since the rest tells of the machine.
        yield f"{'/'.join(Path(place.filename).parts[-3:])}:{place.lineno} in {place.name}"
    kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    yield f"{kind}: {error}" if names_are_said or type(error) in _OF_THE_CODE else kind


def _fields(record: logging.LogRecord) -> Mapping[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _GIVEN and not name.startswith("_")}


def _one_line(text: str) -> str:
    """The text as one line: line breaks and control characters, which a terminal would obey, are escaped."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
