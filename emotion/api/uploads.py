"""The recordings of a request: read as they come, in memory while they are few bytes, else in temporary files."""

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote_to_bytes

from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from emotion.audio import shown_name
from emotion.errors import ClipTooLarge, DiskFull, EmotionError, NotSound, RequestInvalid

PART = "file"
MAX_PARTS = 100
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


class Spool(UploadFile):
    """Takes the bytes of one recording, up to `limit_bytes`; beyond a megabyte they go to a file below `folder()`.

    Raises ClipTooLarge, and DiskFull.
    """

    def __init__(self, filename: str | None, folder: Callable[[], Path], limit_bytes: int) -> None:
        super().__init__(BytesIO(), size=0, filename=filename)
        self._folder, self._limit_bytes = folder, limit_bytes
        self._pieces: list[bytes] = []
        self._held_bytes = self._size_bytes = 0
        self._path: Path | None = None

    async def write(self, data: bytes) -> None:
        self._size_bytes += len(data)
        if self._size_bytes > self._limit_bytes:
            raise ClipTooLarge(self._limit_bytes)
        self._pieces.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > _HELD_BYTES:
            await asyncio.to_thread(self._move_to_disk)

    async def seek(self, offset: int) -> None:  # noqa: ARG002 - the signature of starlette
        """Finish the file; starlette calls this at the end of a part."""
        if self._path is not None:
            await asyncio.to_thread(self._move_to_disk)
            self.file.close()

    def upload(self) -> Upload:
        """The recording that was written."""
        return Upload(shown_name(b"", self.filename), self._path or b"".join(self._pieces))

    def discard(self) -> None:
        """Delete what was written."""
        with contextlib.suppress(OSError):  # of what could not be flushed
            self.file.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _move_to_disk(self) -> None:
        try:
            if self._path is None:
                path = self._folder() / f"upload-{secrets.token_hex(8)}"
                self.file, self._path = path.open("xb"), path
            self.file.writelines(self._pieces)
            self.file.flush()
        except OSError as error:
            raise DiskFull(self._size_bytes) from error
        self._pieces.clear()
        self._held_bytes = 0


class Uploads:
    """The recordings of one request, in `finished`; those not handed over are deleted at the end of the context."""

    def __init__(self, folder: Callable[[], Path], limit_bytes: int) -> None:
        self._folder, self._limit_bytes = folder, limit_bytes
        self.finished: list[Upload] = []
        self._spools: list[Spool] = []

    def __enter__(self) -> "Uploads":
        return self

    def __exit__(self, *_: object) -> None:
        for unfinished in self._spools:
            unfinished.discard()
        for upload in self.finished:
            upload.discard()

    def hand_over(self, upload: Upload) -> None:
        """Leave it to the caller to discard it."""
        self.finished = [other for other in self.finished if other is not upload]

    async def read_body(self, request: Request, name: str | None) -> None:
        """Read the body; raises RequestInvalid, BodyNotSound, ClipTooLarge and DiskFull."""
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type == _MULTIPART:
            await self._read_parts(request)
        elif media_type in _SOUND_TYPES or media_type.startswith("audio/"):
            await self._read_whole(request, name)
        else:
            raise BodyNotSound
        self.finished = [spool.upload() for spool in self._spools]
        self._spools = []

    def new_spool(self, name: str | None) -> Spool:
        """Room for one more recording."""
        spool = Spool(name, self._folder, self._limit_bytes)
        self._spools.append(spool)
        return spool

    async def _read_whole(self, request: Request, name: str | None) -> None:
        spool = self.new_spool(name or _disposition_name(request.headers.get("content-disposition", "")))
        async for piece in request.stream():
            await spool.write(piece)
        await spool.seek(0)

    async def _read_parts(self, request: Request) -> None:
        parser = _Parser(request, self)
        try:
            await parser.parse()
        except MultiPartException:
            raise RequestInvalid("The body is no multipart/form-data that can be read.") from None
        if not parser.is_whole:
            raise RequestInvalid("The multipart body breaks off. Send it again.")
        if not self._spools:
            raise RequestInvalid("There is no recording in this request. Send parts named 'file'.")


class _Parser(MultiPartParser):
    """Starlette's parser, which lets every part be written into a Spool, and takes only recordings."""

    def __init__(self, request: Request, uploads: Uploads) -> None:
        super().__init__(request.headers, request.stream())
        self._uploads = uploads
        self._num_parts = 0
        self.is_whole = False

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        part = self._current_part
        name = _extended_name((part.content_disposition or b"").decode("latin-1"))
        if part.file is not None:
            part.file.file.close()  # starlette's own
            name = name or part.file.filename
        if part.field_name != PART or name is None:
            raise RequestInvalid(
                f"The part {part.field_name[:40]!r} is no recording. Recordings are parts named 'file' with a filename."
            )
        self._num_parts += 1
        if self._num_parts > MAX_PARTS:
            raise RequestInvalid(f"There are more than {MAX_PARTS} recordings in this request. Send fewer at once.")
        part.file = self._uploads.new_spool(name)

    def on_end(self) -> None:
        self.is_whole = True


def _disposition_name(header: str) -> str | None:
    """The name in a Content-Disposition."""
    _, options = parse_options_header(header)
    name = options.get(b"filename")
    return _extended_name(header) or (None if name is None else name.decode("utf-8", "replace"))


def _extended_name(header: str) -> str | None:
    """The `filename*` of a Content-Disposition (RFC 6266), which some libraries send in parts too."""
    for piece in header.split(";"):
        key, _, value = piece.strip().partition("=")
        if key.lower() == "filename*" and value.lower().startswith("utf-8''"):
            return unquote_to_bytes(value[7:]).decode("utf-8", "replace")
    return None
