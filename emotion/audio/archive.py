"""A zip of recordings: what is in it, and one file after the other, whatever a hostile one claims.

Names only ever become words to show: a member is unpacked into memory, and nothing of it into a folder.
"""

import io
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import PurePosixPath
from typing import BinaryIO

from emotion.audio.clip import DEFAULT_LIMITS, SOUND_SUFFIXES, DecodeLimits, Source
from emotion.audio.decoding import open_source, shown_name
from emotion.errors import ArchiveBroken, ArchiveTooLarge, ClipError, ClipLocked, ClipTooLarge, NothingInside

_PIECE_BYTES = 1 << 16
# A line of the directory has 46 bytes and a path; more than this is no honest average.
_LINE_BYTES = 4096
_LINE_START = b"PK\x01\x02"
_LITTER = (".DS_Store", "Thumbs.db", "desktop.ini")
_UTF8_FLAG, _LOCKED_FLAGS = 0x800, 0x41
# bzip2 and LZMA come out of zipfile in pieces of any size: 64 kB could become a gigabyte at once.
_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DAMAGES = (
    zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ValueError, ArithmeticError, LookupError,
    RuntimeError, MemoryError,
)  # fmt: skip


@dataclass(frozen=True)
class ArchiveLimits:
    """What an archive may cost.

    All its sound may unpack to `max_total_bytes`, and to no more than one largest member and `max_ratio` times the
    archive: sound seldom shrinks to half, and silence may.
    """

    max_files: int = 10_000
    max_member_bytes: int = DEFAULT_LIMITS.max_file_bytes
    max_total_bytes: int = 20_000_000_000
    max_ratio: int = 100


@dataclass(frozen=True)
class Member:
    """A recording in an archive; `name` is its path there, below the folder that all are in, fit to be shown."""

    name: str
    size_bytes: int
    entry: zipfile.ZipInfo = field(repr=False, compare=False)


@dataclass(frozen=True)
class Archive:
    """A zip whose directory was read: its recordings in order of their paths, several of one name included.

    `skipped` counts the files that are no sound by their name, other archives and links among them; folders and what
    systems add by themselves do not count.
    """

    source: Source = field(repr=False)
    name: str
    limits: ArchiveLimits
    members: tuple[Member, ...]
    skipped: int

    def contents(self) -> Iterator[bytes | ClipError]:
        """The file of each member, in their order and one at a time, or the error that says why there is none."""
        try:
            with _opened(self.source, self.name, self.limits) as archive:
                yield from (self._unpack(archive, member) for member in self.members)
        except ClipError as error:  # the archive went, or is another one now
            yield from [error] * len(self.members)

    def _unpack(self, archive: zipfile.ZipFile, member: Member) -> bytes | ClipError:
        if member.entry.flag_bits & _LOCKED_FLAGS:
            return ClipLocked(member.name)
        if member.size_bytes > self.limits.max_member_bytes:
            return ClipTooLarge(self.limits.max_member_bytes)
        if member.entry.compress_type not in _PACKINGS:
            return ArchiveBroken(member.name)
        content = io.BytesIO()
        try:
            with archive.open(member.entry) as file:
                # In pieces: zipfile stops at the size that the directory claims, but only after each of them.
                shutil.copyfileobj(file, content, _PIECE_BYTES)
        except _DAMAGES:
            return ArchiveBroken(member.name)
        return content.getvalue()


def is_archive(name: str) -> bool:
    """Whether a file of this name is taken for an archive."""
    return name.lower().endswith(".zip")


def read_archive(source: Source, name: str | None = None, limits: ArchiveLimits | None = None) -> Archive:
    """What is in a zip; unpacks nothing.

    Raises ArchiveBroken, ArchiveTooLarge, NothingInside, and ClipNotFound, ClipUnreadable or ClipEmpty.
    """
    name, limits = shown_name(source, name), limits or ArchiveLimits()
    with _opened(source, name, limits) as archive:
        entries = list(zip(_paths(archive.infolist()), archive.infolist(), strict=True))
        size_bytes = archive.fp.seek(0, io.SEEK_END) if archive.fp else 0
    files = [(path, entry) for path, entry in entries if not _is_litter(path, entry)]
    sounds = sorted((pair for pair in files if _is_sound(*pair)), key=lambda pair: pair[0].split("/"))
    if not sounds:
        raise NothingInside(name)
    # A folder that all lie in tells none from another.
    first, last = (path.split("/")[:-1] for path, _ in (sounds[0], sounds[-1]))
    shared = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))))
    names = [shown_name(b"", "/".join(path.split("/")[shared:])) for path, _ in sounds]
    members = tuple(Member(name, entry.file_size, entry) for name, (_, entry) in zip(names, sounds, strict=True))
    _hold_total(name, members, size_bytes, limits)
    return Archive(source, name, limits, members, len(files) - len(sounds))


@contextmanager
def _opened(source: Source, name: str, limits: ArchiveLimits) -> Iterator[zipfile.ZipFile]:
    """The archive with its directory read."""
    too_large = ArchiveTooLarge(name, limits.max_files, limits.max_total_bytes)
    try:
        with open_source(source, DecodeLimits(max_file_bytes=limits.max_total_bytes), name) as file:
            yield _read_directory(file, name, limits.max_files, too_large)
    except ClipTooLarge:
        raise too_large from None


def _read_directory(file: BinaryIO, name: str, max_files: int, too_large: ArchiveTooLarge) -> zipfile.ZipFile:
    watched = _WatchedFile(file, max_files)
    try:
        archive = zipfile.ZipFile(watched)
    except _TooMuch:
        raise too_large from None
    except _DAMAGES:
        raise ArchiveBroken(name) from None
    watched.max_files = None
    return archive


class _TooMuch(Exception):
    """The directory of an archive is too long."""


class _WatchedFile:
    """A file whose directory is counted before zipfile makes an object of each of its lines: of 200 MB, 4 million."""

    def __init__(self, file: BinaryIO, max_files: int) -> None:
        self._file = file
        self.max_files: int | None = max_files
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        if self.max_files is not None and size > (self.max_files + 16) * _LINE_BYTES:
            raise _TooMuch
        piece = self._file.read(size)
        if self.max_files is not None and piece.count(_LINE_START) > self.max_files:
            raise _TooMuch
        return piece


def _hold_total(name: str, members: tuple[Member, ...], size_bytes: int, limits: ArchiveLimits) -> None:
    # Those that are too large by themselves are not unpacked.
    sizes = [member.size_bytes for member in members if member.size_bytes <= limits.max_member_bytes]
    room_bytes = min(limits.max_total_bytes, limits.max_member_bytes + limits.max_ratio * size_bytes)
    if sum(sizes) > room_bytes:
        raise ArchiveTooLarge(name, limits.max_files, room_bytes)


def _paths(entries: list[zipfile.ZipInfo]) -> list[str]:
    """The paths of entries as their authors saw them.

    Without the flag for UTF-8 zipfile takes names for cp437; macOS writes UTF-8 all the same, Chinese Windows GBK.
    """
    written = [None if entry.flag_bits & _UTF8_FLAG else entry.orig_filename.encode("cp437") for entry in entries]
    # Judged together, since a single name such as 一.wav can be both.
    all_utf8 = all(_decoded(name, "utf-8") is not None for name in written if name is not None)
    paths = [
        entry.orig_filename if name is None else _read_name(name, all_utf8)
        for entry, name in zip(entries, written, strict=True)
    ]
    return [path.replace("\\", "/") for path in paths]


def _read_name(written: bytes, all_utf8: bool) -> str:
    chinese = None if all_utf8 else _chinese(written)
    return chinese or _decoded(written, "utf-8") or written.decode("cp437")


def _chinese(written: bytes) -> str | None:
    """The name as GBK, if half of its foreign letters are common Chinese ones or their punctuation.

    The bytes of a German or French name are some letters of GBK too, but hardly ever common ones.
    """
    name = _decoded(written, "gb18030")
    if name is None:
        return None
    foreign = [letter for letter in name if not letter.isascii()]
    return name if 2 * sum(map(_is_common, foreign)) >= len(foreign) else None


def _is_common(letter: str) -> bool:
    try:
        row = letter.encode("gb2312")[0]
    except UnicodeEncodeError:
        return False
    return row in (0xA1, 0xA3) or row >= 0xB0  # punctuation, full-width ASCII, the 6,763 characters


def _decoded(written: bytes, encoding: str) -> str | None:
    try:
        return written.decode(encoding)
    except UnicodeDecodeError:
        return None


def _is_litter(path: str, entry: zipfile.ZipInfo) -> bool:
    """Whether nobody chose to put this here: folders, and what macOS and Windows add."""
    parts = path.split("/")
    base = parts[-1]
    return entry.is_dir() or not base or "__MACOSX" in parts or base.startswith("._") or base in _LITTER


def _is_sound(path: str, entry: zipfile.ZipInfo) -> bool:
    kind = stat.S_IFMT(entry.external_attr >> 16)  # 0 where the archive was not made on a Unix
    return kind in (0, stat.S_IFREG) and PurePosixPath(path).suffix.lower() in SOUND_SUFFIXES
