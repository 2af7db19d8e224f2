"""The far store on disk: a file for each sound, the longest unused goes first."""

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from emotion.cache.stores import StoreFailed, Tier

_SUFFIX = ".prediction"
_ASIDE = ".aside"
# The folder is looked through again when so much was written since; in between others may write too.
_LOOK_AFTER = 0.1
# What is left of a write that a kill cut short.
_LEFT_BEHIND_S = 3600.0


class DiskStore:
    """Files below `folder`, for this user only; of at most `limit_bytes` together, none older than `lifetime_s`.

    Several processes may share the folder: a file appears whole or not at all.
    """

    tier: Tier = "disk"

    def __init__(self, folder: Path, limit_bytes: float, lifetime_s: float) -> None:
        self._folder, self._limit_bytes, self._lifetime_s = folder, limit_bytes, lifetime_s
        self._written_bytes = limit_bytes  # so that the first write looks through what is there

    @property
    def most_bytes(self) -> int:
        return int(self._limit_bytes / 4)

    def get(self, key: str) -> bytes | None:
        path = self._path(key)
        try:
            if time.time() - path.stat().st_mtime > self._lifetime_s:
                return None
            content = path.read_bytes()
            os.utime(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreFailed(error.strerror or "it cannot be read") from None
        return content

    def put(self, key: str, content: bytes) -> None:
        path = self._path(key)
        aside = path.with_name(f"{key}.{secrets.token_hex(4)}{_ASIDE}")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            aside.write_bytes(content)
            aside.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
            raise StoreFailed(error.strerror or "it cannot be written") from None
        self._written_bytes += len(content)
        if self._written_bytes > self._limit_bytes * _LOOK_AFTER:
            self._written_bytes = 0
            self._make_room()

    def close(self) -> None:
        """Nothing is open."""

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}{_SUFFIX}"

    def _make_room(self) -> None:
        """Delete what is too old, and the longest unused of what is too much."""
        now_s, held_bytes = time.time(), 0
        for path, used_s, size_bytes in sorted(self._files(), key=lambda file: -file[1]):
            held_bytes += size_bytes
            lives_s = _LEFT_BEHIND_S if path.suffix == _ASIDE else self._lifetime_s
            if held_bytes > self._limit_bytes or now_s - used_s > lives_s:
                with contextlib.suppress(OSError):  # another process may have been quicker
                    path.unlink()

    def _files(self) -> Iterator[tuple[Path, float, int]]:
        """Each file, when it was used last, and its size."""
        for path in self._folder.glob(f"??/*{_SUFFIX}"):
            with contextlib.suppress(OSError):
                yield path, path.stat().st_mtime, path.stat().st_size
        for path in self._folder.glob(f"??/*{_ASIDE}"):
            with contextlib.suppress(OSError):
                yield path, path.stat().st_mtime, path.stat().st_size
