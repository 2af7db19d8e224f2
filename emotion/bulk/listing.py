"""The recordings behind the words of a call, as a stream: nothing holds them all."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from itertools import islice
from pathlib import Path

from emotion.audio import SOUND_SUFFIXES, is_archive
from emotion.bulk.errors import PlaceRefused, SourceMissing
from emotion.bulk.manifests import entries_of, is_manifest
from emotion.bulk.storage import WEB, canonical, is_local, modified, name_of, protocol_of, storage
from emotion.errors import NothingInside

# A folder comes in order of name; one of more files than these in pieces, each in order.
_SORTED_FILES = 10_000
_DIGEST_BYTES = 15


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording to be: `path` is what it is known by, absolute or a URL; `entry` what the list says of it, the
    line of a manifest or the path in the folder.
    """

    path: str
    entry: str
    size_bytes: int | None = None
    modified: datetime | None = None

    @property
    def name(self) -> str:
        return name_of(self.path)

    def with_file_facts(self) -> "Recording":
        """The same with size and time of change, where it is a file of this machine that is there."""
        if self.size_bytes is not None or not is_local(self.path):
            return self
        try:
            facts = Path(self.path).stat()
        except (OSError, ValueError):
            return self
        return Recording(self.path, self.entry, facts.st_size, datetime.fromtimestamp(facts.st_mtime, UTC))


class Seen:
    """Which paths were met; about 100 bytes for each, however long it is."""

    def __init__(self) -> None:
        self._digests: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._digests)

    def __contains__(self, path: str) -> bool:
        return _digest(path) in self._digests

    def add(self, path: str) -> bool:
        """Note a path; False if it was met before."""
        before = len(self._digests)
        self._digests.add(_digest(path))
        return len(self._digests) > before


class Listing:
    """What a person named: files, folders, manifests, URLs. Can be gone through again, and sent to another machine.

    Raises SourceMissing, PlaceRefused or StorageMissing at once for a word that cannot be meant.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._sources = [_checked(word) for word in words]

    @property
    def is_cheap(self) -> bool:
        """Whether going through it once more, to count, costs next to nothing."""
        return all(is_local(source) or is_manifest(source) for source in self._sources)

    def __iter__(self) -> Iterator[Recording]:
        """Every recording in turn, also those that are named twice; raises NothingInside for an empty source."""
        for source in self._sources:
            found = False
            for recording in _recordings(source):
                found = True
                yield recording
            if not found:
                raise NothingInside(name_of(source))


def escaped(path: str) -> str:
    """A path as a table can hold it: bytes of a name that are not UTF-8 become `\\xff`."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _digest(path: str) -> bytes:
    return blake2b(escaped(path).encode(), digest_size=_DIGEST_BYTES).digest()


def _checked(word: str) -> str:
    """The place that a word of the call names."""
    if word == "-":
        raise PlaceRefused("Standard input cannot be resumed. Name files, folders or a manifest.")
    source = canonical(word)
    if is_archive(name_of(source)):
        raise PlaceRefused(f"{name_of(source)!r} is a zip. Unpack it, and name the folder.")
    if is_local(source):
        if not Path(source).exists():
            raise SourceMissing(name_of(source))
    elif protocol_of(source) in WEB:
        if not is_manifest(source) and Path(name_of(source)).suffix.lower() not in SOUND_SUFFIXES:
            raise PlaceRefused("A folder on the web cannot be listed. Give a manifest of the addresses.")
    else:
        storage(source)
    return source


def _recordings(source: str) -> Iterator[Recording]:
    if is_local(source) and Path(source).is_dir():
        for path in _files_under(source):
            yield Recording(path, Path(path).relative_to(source).as_posix())
    elif is_manifest(source):
        for entry, place in entries_of(source):
            yield Recording(place, entry)
    elif is_local(source) or _is_sound(source):
        yield Recording(source, source)
    else:
        yield from _files_in_store(source)


def _is_sound(name: str) -> bool:
    return Path(name).suffix.lower() in SOUND_SUFFIXES


def _files_under(folder: str) -> Iterator[str]:
    """Sound files by name, one folder after the other; links to folders are not followed."""
    waiting = [folder]
    while waiting:
        here, inner = waiting.pop(), []
        try:
            with os.scandir(here) as found:
                while piece := sorted(islice(found, _SORTED_FILES), key=lambda entry: entry.name):
                    inner += [entry.path for entry in piece if entry.is_dir(follow_symlinks=False)]
                    yield from (entry.path for entry in piece if _is_sound(entry.name) and entry.is_file())
        except OSError:
            raise SourceMissing(name_of(here)) from None
        waiting += sorted(inner, reverse=True)


def _files_in_store(source: str) -> Iterator[Recording]:
    """Sound files below a URL, one folder of it at a time."""
    system, root = storage(source)
    protocol = protocol_of(source)
    for _, _, files in system.walk(root, detail=True, on_error="raise"):
        for name, details in sorted(files.items()):
            if _is_sound(name):
                path = str(details["name"])
                place = canonical(f"{protocol}://{path.lstrip('/')}")
                entry = path.strip("/").removeprefix(root.strip("/")).lstrip("/")
                yield Recording(place, entry, details.get("size"), modified(details))
