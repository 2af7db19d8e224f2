"""Where a run or a clip lies: names that come from outside, checked before they touch the disk."""

import os
from collections.abc import Iterator
from pathlib import Path

from emotion.errors import RunNotFound
from emotion.outputs.names import is_safe_name, run_time
from emotion.settings import CLIENTS_FOLDER


def run_folder(outputs: Path, name: str) -> Path:
    """The folder of a run; raises RunNotFound for a name that is none, and for a link."""
    if run_time(name) is None:
        raise RunNotFound
    return _inside(outputs, name)


def clip_folder(outputs: Path, folder: str) -> Path:
    """The folder of a clip, `outputs_x` or `outputs_x/sub`; raises RunNotFound as `run_folder` does."""
    run, slash, sub = folder.partition("/")
    if run_time(run) is None or (slash and not is_safe_name(sub)):
        raise RunNotFound
    return _inside(outputs, folder)


def run_folders(outputs: Path) -> Iterator["os.DirEntry[str]"]:
    """Everything in outputs that could be a run, in no order: folders, no links, whose name is to be looked at."""
    try:
        with os.scandir(outputs) as entries:
            yield from (entry for entry in entries if entry.is_dir(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):  # nothing was written yet
        return


def all_outputs(outputs: Path) -> Iterator[Path]:
    """The folder of outputs that all share, then those of the clients in it, in no order."""
    yield outputs
    clients = outputs / CLIENTS_FOLDER
    if not clients.is_symlink():
        yield from (clients / entry.name for entry in run_folders(clients))


def file_sizes(folder: Path | str) -> dict[str, int]:
    """Name and size in bytes of the files of a folder, without links and sub-folders."""
    with os.scandir(folder) as entries:
        return {e.name: e.stat(follow_symlinks=False).st_size for e in entries if e.is_file(follow_symlinks=False)}


def tree_bytes(folder: Path) -> int:
    """Size of all files of a run; what goes meanwhile counts nothing."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(path, name)).st_size  # noqa: PTH118 - thousands of runs are counted
            except OSError:
                continue
    return total


def _inside(outputs: Path, folder: str) -> Path:
    path = outputs / folder
    try:
        # Equal, so that no part is a link that leads elsewhere.
        if path.resolve(strict=True) == outputs.resolve() / folder and path.is_dir():
            return path
    except (OSError, RuntimeError):  # RuntimeError: links in a circle
        pass
    raise RunNotFound
