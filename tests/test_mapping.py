"""Arrays that are too large for memory: where they lie, and what a full disk does to them."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from emotion.analysis import AnalysisRequest
from emotion.audio import empty_array
from emotion.engine import Engine
from emotion.errors import DiskFull
from tests.fakes import FakeModel, loud_clip

HOUSE = Path(__file__).parent.parent
FRAMES = AnalysisRequest("frame", embedding=True)
PATIENCE_S = 20


@pytest.fixture
def nothing_is_held(monkeypatch):
    """Every array is too large for memory."""
    monkeypatch.setattr("emotion.audio.mapping._HELD_NUMBERS", 0)


def test_a_small_array_is_in_memory_and_a_large_one_in_a_file(monkeypatch):
    assert not isinstance(empty_array((10, 4)), np.memmap)
    monkeypatch.setattr("emotion.audio.mapping._HELD_NUMBERS", 39)
    array = empty_array((10, 4))
    assert isinstance(array, np.memmap)
    assert (array.shape, array.dtype) == ((10, 4), np.float32)
    array[:] = 7
    assert array.sum() == 280


def refuse(number: int):
    def posix_fallocate(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return posix_fallocate


@pytest.mark.usefixtures("nothing_is_held")
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_clip_whose_frames_find_no_room_fails_alone_and_says_that_the_disk_is_full(monkeypatch, number):
    monkeypatch.setattr("os.posix_fallocate", refuse(number))
    with Engine(FakeModel()) as engine:
        futures = [engine.submit(loud_clip(), request) for request in (AnalysisRequest(), FRAMES, AnalysisRequest())]
        before, failing, after = futures
        assert isinstance(failing.exception(PATIENCE_S), DiskFull)
        assert [future.result(PATIENCE_S).emotion.key for future in (before, after)] == ["angry", "angry"]


@pytest.mark.usefixtures("nothing_is_held")
@pytest.mark.parametrize("without", ["the call", "support of the file system"])
def test_where_blocks_cannot_be_reserved_by_a_call_they_are_written(monkeypatch, without):
    written = []
    write = os.write
    monkeypatch.setattr("os.write", lambda file, data: written.append(len(data)) or write(file, data))
    if without == "the call":
        monkeypatch.delattr("os.posix_fallocate")
    else:
        monkeypatch.setattr("os.posix_fallocate", refuse(errno.EOPNOTSUPP))
    array = empty_array((700_000, 3))
    assert sum(written) == array.nbytes
    assert not array.any()


IN_A_SMALL_FOLDER = """
import tempfile
tempfile.tempdir = "/mnt"
from tests.test_mapping import *
from emotion.audio import mapping
mapping._HELD_NUMBERS = 100
with Engine(FakeModel()) as engine:
    failing, neighbor = engine.submit(loud_clip(30.0), FRAMES), engine.submit(loud_clip())
    assert isinstance(failing.exception(20), DiskFull), failing.exception()
    assert neighbor.result(20).emotion.key == "angry"
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs Linux")
def test_a_temporary_folder_that_is_really_full_does_not_end_the_process():
    mount = "mount -t tmpfs -o size=16k none /mnt"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True, check=False).returncode:
        pytest.skip("no folder may be mounted here")
    command = ["unshare", "-rm", "sh", "-c", f'{mount} && exec "$0" -c "$1"', sys.executable, IN_A_SMALL_FOLDER]
    ended = subprocess.run(command, cwd=HOUSE, capture_output=True, text=True, check=False)
    assert ended.returncode != -signal.SIGBUS
    assert ended.returncode == 0, ended.stderr
