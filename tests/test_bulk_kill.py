import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pyarrow import parquet

from emotion.audio import write_wav
from tests.fakes import loud_clip, wait_for

HOUSE = Path(__file__).parent.parent
COUNT = 150


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calls")
    write_wav(loud_clip(2.0), folder / "0.wav")
    for number in range(1, COUNT):
        os.link(folder / "0.wav", folder / f"{number}.wav")
    return folder


def started(calls: Path, results: Path) -> subprocess.Popen[str]:
    words = ["recognize", str(calls), "--results", str(results), "--model", "compact", "--json"]
    return subprocess.Popen(
        [sys.executable, "-m", "emotion", *words],
        env={**os.environ, "EMOTION_BULK_PART_ROWS": "5"},
        cwd=HOUSE, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def parts(results: Path) -> int:
    return len(list(results.glob("part-*.parquet")))


def all_paths(results: Path) -> list[str]:
    return parquet.read_table(results, columns=["path"]).column("path").to_pylist()


def test_after_three_kills_every_recording_is_in_the_results_once(calls, tmp_path):
    results = tmp_path / "out"
    for _ in range(3):
        before = parts(results)
        running = started(calls, results)
        wait_for(lambda: parts(results) >= before + 3 or running.poll() is not None)  # noqa: B023 - called here only
        assert running.poll() is None, "it was done before it could be killed"
        running.kill()
        running.communicate()
        assert len(all_paths(results)) < COUNT
    ended = started(calls, results)
    out, err = ended.communicate(timeout=120)
    assert ended.returncode == 0, err
    assert len(all_paths(results)) == COUNT
    assert set(all_paths(results)) == {str(path) for path in calls.iterdir()}
    assert json.loads(out)["recordings"] == COUNT
    assert json.loads(out)["done_now"] < COUNT


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(calls, tmp_path):
    running = started(calls, tmp_path / "out")
    wait_for(lambda: parts(tmp_path / "out") >= 2 or running.poll() is not None)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert "the same command goes on" in err
    assert "Traceback" not in err
    assert json.loads(out)["recordings"] == len(all_paths(tmp_path / "out")) < COUNT
    assert json.loads(out)["complete"] is False
