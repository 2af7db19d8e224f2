"""The recordings of a request: read as they come, in memory while they are few bytes, else in temporary files."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from emotion.audio import shown_name
from emotion.errors import ClipTooLarge, DiskFull, EmotionError, NotSound, RequestInvalid

PART = "file"
MOST_PARTS = 100
# Most recordings of some seconds are smaller, and a temporary file costs more than their decoding.
_HELD_BYTES = 1 << 20
_MULTIPART = "multipart/form-data"
_SOUND_TYPES = frozenset({"application/octet-stream", "application/ogg", "video/mp4", "video/webm", "video/ogg"})


class BodyNotSound(NotSound):
    """The type of a body says that it is no recording."""

    code = "body_not_sound"

    def __init__(self) -> None:
        EmotionError.__init__(
            self,
            "Send recordings as multipart/form-data with parts named 'file', or one recording as the body with its "
            "type: audio/..., video/mp4, video/webm or application/octet-stream.",
        )


@dataclass(frozen=True)
class Upload:
    """One recording as it came: its name without folders, and its bytes or a temporary file."""

    name: str
    source: bytes | Path

    def discard(self) -> None:
        """Delete the temporary file."""
        if isinstance(self.source, Path):
            self.source.unlink(missing_ok=True)


class Spool:
    """Takes the bytes of one recording, up to `limit_bytes`; beyond a megabyte they go to a file below `folder()`.

    Raises ClipTooLarge, and DiskFull.
    """

    def __init__(self, folder: Callable[[], Path], limit_bytes: int) -> None:
        self._folder, self._limit_bytes = folder, limit_bytes
        self._pieces: list[bytes] = []
        self._held_bytes = self._size_bytes = 0
        self._file: BinaryIO | None = None
        self._path: Path | None = None

    async def write(self, piece: bytes) -> None:
        self._size_bytes += len(piece)
        if self._size_bytes > self._limit_bytes:
            raise ClipTooLarge(self._limit_bytes)
        self._pieces.append(piece)
        self._held_bytes += len(piece)
        if self._held_bytes > _HELD_BYTES:
            await asyncio.to_thread(self._put_aside)

    async def finish(self, name: str) -> Upload:
        """The recording; from now on whoever has it discards it."""
        if self._path is None:
            return Upload(name, b"".join(self._pieces))
        await asyncio.to_thread(self._put_aside)
        path, self._path = self._path, None
        self._close()
        return Upload(name, path)

    def discard(self) -> None:
        """Delete what there is, unless it was finished."""
        self._close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _put_aside(self) -> None:
        try:
            if self._file is None:
                self._path = self._folder() / f"upload-{secrets.token_hex(8)}"
                self._file = self._path.open("xb")
            self._file.writelines(self._pieces)
            self._file.flush()
        except OSError as error:
            raise DiskFull(self._size_bytes) from error
        self._pieces.clear()
        self._held_bytes = 0

    def _close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # of what could not be flushed
                self._file.close()
            self._file = None


class Uploads:
    """The recordings of one request, in `finished`; those that were not handed over go at the end of the context."""

    def __init__(self, folder: Callable[[], Path], limit_bytes: int) -> None:
        self._folder, self._limit_bytes = folder, limit_bytes
        self.finished: list[Upload] = []
        self._spool: Spool | None = None

    def __enter__(self) -> "Uploads":
        return self

    def __exit__(self, *_: object) -> None:
        if self._spool is not None:
            self._spool.discard()
        for upload in self.finished:
            upload.discard()

    def hand_over(self, upload: Upload) -> None:
        """From now on somebody else discards it."""
        self.finished = [other for other in self.finished if other is not upload]

    async def read(self, request: Request, name: str | None) -> None:
        """Read the body; raises RequestInvalid, BodyNotSound, ClipTooLarge and DiskFull."""
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type == _MULTIPART:
            await self._read_parts(request)
        elif media_type in _SOUND_TYPES or media_type.startswith("audio/"):
            await self._read_whole(request, name)
        else:
            raise BodyNotSound

    async def _read_whole(self, request: Request, name: str | None) -> None:
        self._spool = Spool(self._folder, self._limit_bytes)
        async for piece in request.stream():
            await self._spool.write(piece)
        given = name or _disposition_name(request.headers.get("content-disposition", ""))
        await self._finish(given)

    async def _read_parts(self, request: Request) -> None:
        async with contextlib.aclosing(_parts(request)) as parts:
            async for part, piece in parts:
                if piece is None:
                    await self._finish(part.filename)
                else:
                    await self._begun(part).write(piece)
        if not self.finished:
            raise RequestInvalid("There is no recording in this request. Send parts named 'file'.")

    def _begun(self, part: "_Part") -> Spool:
        if self._spool is not None:
            return self._spool
        if part.name != PART or part.filename is None:
            raise RequestInvalid(
                f"The part {part.name[:40]!r} is no recording. Recordings are parts named 'file' with a filename."
            )
        if len(self.finished) >= MOST_PARTS:
            raise RequestInvalid(f"There are more than {MOST_PARTS} recordings in this request. Send fewer at once.")
        self._spool = Spool(self._folder, self._limit_bytes)
        return self._spool

    async def _finish(self, name: str | None) -> None:
        if self._spool is not None:
            self.finished.append(await self._spool.finish(shown_name(b"", name)))
            self._spool = None


@dataclass(frozen=True)
class _Part:
    name: str
    filename: str | None


_Event = tuple[_Part, bytes | None]


class _Reader:
    """Turns the callbacks of the parser into events: pieces of a part, the first of them empty, and None at its end."""

    def __init__(self, boundary: bytes) -> None:
        self.ended = False
        self._events: list[_Event] = []
        self._part = _Part("", None)
        self._field, self._value = b"", b""
        self._disposition = b""
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_part_data": self._on_part_data,
                "on_part_end": lambda: self._events.append((self._part, None)),
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_end": self._on_end,
            },
        )

    def feed(self, piece: bytes) -> list[_Event]:
        self._parser.write(piece)
        events, self._events = self._events, []
        return events

    def _on_part_begin(self) -> None:
        self._disposition = b""

    def _on_part_data(self, piece: bytes, start: int, end: int) -> None:
        self._events.append((self._part, piece[start:end]))

    def _on_header_field(self, piece: bytes, start: int, end: int) -> None:
        self._field += piece[start:end]

    def _on_header_value(self, piece: bytes, start: int, end: int) -> None:
        self._value += piece[start:end]

    def _on_header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value
        self._field, self._value = b"", b""

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        filename = options.get(b"filename")
        self._part = _Part(_text(options.get(b"name", b"")), None if filename is None else _text(filename))
        self._events.append((self._part, b""))

    def _on_end(self) -> None:
        self.ended = True


async def _parts(request: Request) -> AsyncGenerator[_Event, None]:
    _, options = parse_options_header(request.headers["content-type"])
    try:
        reader = _Reader(options[b"boundary"])
        async for piece in request.stream():
            for event in reader.feed(piece):
                yield event
    except (KeyError, FormParserError):
        raise RequestInvalid("The body is no multipart/form-data that can be read.") from None
    if not reader.ended:
        raise RequestInvalid("The multipart body breaks off. Send it again.")


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _disposition_name(header: str) -> str | None:
    """The `filename*` or `filename` of a Content-Disposition (RFC 6266)."""
    for piece in header.split(";"):
        key, _, value = piece.strip().partition("=")
        if key.lower() == "filename*" and value.lower().startswith("utf-8''"):
            return _text(unquote_to_bytes(value[7:]))
    _, options = parse_options_header(header)
    name = options.get(b"filename")
    return None if name is None else _text(name)
