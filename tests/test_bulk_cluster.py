import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from pyarrow import parquet

from emotion.audio import write_wav
from tests.fakes import loud_clip, wait_for

HOUSE = Path(__file__).parent.parent
COUNT = 60
PATIENCE_S = 100.0
pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calls")
    write_wav(loud_clip(2.0), folder / "0.wav")
    for number in range(1, COUNT):
        os.link(folder / "0.wav", folder / f"{number}.wav")
    (folder / "broken.wav").write_bytes(b"no sound at all" * 50)
    return folder


@pytest.fixture
def start(calls, tmp_path):
    """Starts `emotion recognize --cluster`; whatever is left of it at the end is ended."""
    begun: list[psutil.Process] = []

    def run(*words: str) -> psutil.Popen:
        command = [sys.executable, "-m", "emotion", "recognize", str(calls), "--results", str(tmp_path / "out")]
        running = psutil.Popen(
            [*command, "--cluster", "--model", "compact", "--json", *words],
            env={**os.environ, "EMOTION_BULK_PART_ROWS": "5", "EMOTION_CLUSTER_MAX_REPLICAS": "1"},
            cwd=HOUSE, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        begun.append(running)
        return running

    def kill(running: psutil.Popen) -> None:
        """What `kill -9` does to the command; its workers find out by themselves."""
        begun.extend(running.children(recursive=True))
        running.kill()
        running.communicate()

    run.kill = kill
    yield run
    for process in begun:
        if process.is_running():
            process.kill()


def parts(results: Path) -> int:
    return len(list(results.glob("part-*.parquet")))


def replica_of(running: psutil.Popen) -> psutil.Process:
    """The process that holds the model."""
    (found,) = [child for child in running.children(recursive=True) if "MapWorker" in "".join(child.cmdline()[:1])]
    return found


def test_a_killed_replica_and_a_killed_command_leave_every_recording_in_the_results_once(start, tmp_path):
    results = tmp_path / "out"
    running = start()
    wait_for(lambda: parts(results) >= 2 or running.poll() is not None, PATIENCE_S)
    replica = replica_of(running)
    replica.kill()
    wait_for(lambda: parts(results) >= 5 or running.poll() is not None, PATIENCE_S)
    assert running.poll() is None, "it was done before it could be killed"
    start.kill(running)
    assert parts(results) < 13

    again = start()
    out, err = again.communicate(timeout=PATIENCE_S)
    record = json.loads(out)
    assert again.returncode == 1, err  # for the broken one
    assert (record["recordings"], record["failed"]) == (COUNT + 1, 1)
    assert record["done_now"] < COUNT
    rows = parquet.read_table(results).to_pylist()
    assert len(rows) == len({row["path"] for row in rows}) == COUNT + 1
    assert [row["entry"] for row in rows if row["error_code"]] == ["broken.wav"]
