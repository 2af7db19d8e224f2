"""Runs as a zip that is sent while it is made: no more of it is in memory than one piece."""

import os
import zipfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path

_PIECE_BYTES = 1 << 20
_SEND_BYTES = 1 << 18
# Sound and floats hardly get smaller and cost a second per 30 MB.
_STORED_SUFFIXES = frozenset({".wav", ".npy", ".npz"})


def zip_chunks(folders: Sequence[Path]) -> Iterator[bytes]:
    """The zip of all files of some folders, each under its folder's name; links are left out.

    An OSError of a file that goes meanwhile passes through: half a zip must not look whole.
    """
    outlet = _Outlet()
    # Over an outlet that cannot seek, zipfile writes sizes behind the content; beyond 2 GB it is ZIP64 by itself.
    with zipfile.ZipFile(outlet, "w", strict_timestamps=False) as archive:
        # All of them now: a walk passes over what goes meanwhile.
        for path, home in [(path, folder.parent) for folder in folders for path in _files(folder)]:
            # Closed, since a reader who goes leaves it half way, and zipfile insists on an end.
            with closing(_pack(archive, path, path.relative_to(home).as_posix())) as steps:
                for _ in steps:
                    if outlet.size_bytes >= _SEND_BYTES:
                        yield outlet.take()
    yield outlet.take()


class _Outlet:
    """Takes what zipfile writes and hands it on; has neither `tell` nor `seek`."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.size_bytes = 0

    def write(self, piece: bytes) -> int:
        self._pieces.append(bytes(piece))
        self.size_bytes += len(piece)
        return len(piece)

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """Nothing to close."""

    def take(self) -> bytes:
        taken = b"".join(self._pieces)
        self._pieces.clear()
        self.size_bytes = 0
        return taken


def _files(folder: Path) -> Iterator[Path]:
    """Files in the order of their names, those of the run before those of its clips."""
    for parent, subs, names in os.walk(folder):
        subs.sort()
        yield from (path for name in sorted(names) if (path := Path(parent, name)).is_file() and not path.is_symlink())


def _pack(archive: zipfile.ZipFile, path: Path, name: str) -> Generator[None]:
    """Write one file, with a stop after each piece."""
    entry = zipfile.ZipInfo.from_file(path, name, strict_timestamps=False)
    entry.compress_type = zipfile.ZIP_STORED if path.suffix in _STORED_SUFFIXES else zipfile.ZIP_DEFLATED
    with path.open("rb") as source, archive.open(entry, "w") as target:
        while piece := source.read(_PIECE_BYTES):
            target.write(piece)
            yield
    yield
