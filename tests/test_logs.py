import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from emotion.audio import wav_bytes
from emotion.errors import ClipEmpty
from emotion.logs import say, set_up_logs
from emotion.logs.request_context import request_scope
from tests.fakes import loud_clip

NAME = "Frau Meier, Kündigung.wav"


@contextmanager
def quiet_logs():
    """Puts logging back as it was."""
    root, house = logging.getLogger(), logging.getLogger("emotion")
    before = list(root.handlers), root.level, house.level
    try:
        yield
    finally:
        root.handlers[:] = before[0]
        root.setLevel(before[1])
        house.setLevel(before[2])


@pytest.fixture
def logs_of():
    """Sets logs up on a stream of its own."""
    stream = io.StringIO()

    def start(level="info", log_format="text"):
        set_up_logs(level, log_format, stream)
        return stream

    with quiet_logs():
        yield start


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_says_when_who_what_and_for_which_request(logs_of):
    stream = logs_of(log_format="json")
    with request_scope("3f2a"):
        logging.getLogger("emotion.engine").info("decoded", extra={"stage": "decoded", "elapsed_ms": 8.1})
    (line,) = lines(stream)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "info",
        "logger": "emotion.engine",
        "message": "decoded",
        "request_id": "3f2a",
        "stage": "decoded",
        "elapsed_ms": 8.1,
    }


def test_the_same_line_for_people(logs_of):
    stream = logs_of()
    with request_scope("3f2a"):
        logging.getLogger("emotion.engine").info("decoded", extra={"stage": "decoded", "elapsed_ms": 8.1})
    assert stream.getvalue().endswith("info    emotion.engine [3f2a] decoded stage=decoded elapsed_ms=8.1\n")


def test_a_thread_writes_the_id_that_it_was_handed(logs_of):
    stream = logs_of(log_format="json")

    def work(identity):
        with request_scope(identity):
            logging.getLogger("emotion.engine").info("recognised")

    threads = [threading.Thread(target=work, args=(f"id{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    logging.getLogger("emotion").info("at rest")
    assert {line["request_id"] for line in lines(stream)} == {f"id{number}" for number in range(8)} | {"-"}


def test_below_the_level_nothing_is_written(logs_of):
    stream = logs_of("warning")
    logging.getLogger("emotion.engine").info("decoded")
    assert stream.getvalue() == ""


def test_what_others_say_below_a_warning_is_never_written(logs_of):
    stream = logs_of("debug", "json")
    for name in ("websockets.server", "httpx", "httpcore"):
        logging.getLogger(name).debug("> Authorization: Bearer secret")
        logging.getLogger(name).info("GET https://host/?key=secret")
        logging.getLogger(name).warning("of note")
    assert [line["message"] for line in lines(stream)] == ["of note"] * 3


def test_setting_up_twice_writes_once(logs_of):
    logs_of()
    stream = logs_of(log_format="json")
    logging.getLogger("emotion").info("once")
    assert len(lines(stream)) == 1


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_an_exception_says_where_and_what_it_is_and_no_name(logs_of, log_format):
    stream = logs_of(log_format=log_format)
    log_failure()
    said = stream.getvalue()
    assert "Meier" not in said
    assert "emotion.errors.ClipEmpty" in said
    assert "FileNotFoundError" in said
    assert "tests/test_logs.py:" in said
    assert "which led to:" in said


def test_a_fault_of_the_code_says_its_message(logs_of):
    stream = logs_of()
    try:
        len(3)
    except TypeError:
        logging.getLogger("emotion.ui").exception("unexpected")
    assert "TypeError: object of type 'int' has no len()" in stream.getvalue()


def test_at_debug_an_exception_says_its_message(logs_of):
    stream = logs_of("debug")
    log_failure()
    assert stream.getvalue().count(NAME) == 2


def log_failure():
    try:
        try:
            raise FileNotFoundError(2, "No such file", f"/uploads/{NAME}")
        except OSError as reason:
            raise ClipEmpty(NAME) from reason
    except ClipEmpty:
        logging.getLogger("emotion.engine").exception("a recording failed")


def test_nobody_can_begin_a_line_of_their_own(logs_of):
    stream = logs_of()
    logging.getLogger("emotion").info("from %s", "x\n2026-01-01 info forged\x1b[2J")
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b" not in stream.getvalue()
    assert "\\x1b" in stream.getvalue()


def test_a_task_that_nobody_waits_for_tells_no_name(logs_of):
    import asyncio
    import gc

    async def fail():
        raise ClipEmpty(NAME)

    async def leave_alone():
        task = asyncio.ensure_future(fail())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del task
        gc.collect()

    stream = logs_of()
    asyncio.run(leave_alone())
    assert "Task exception was never retrieved" in stream.getvalue()
    assert "emotion.errors.ClipEmpty" in stream.getvalue()
    assert "Meier" not in stream.getvalue()


def test_a_line_of_the_program_itself_is_a_line_of_the_log(logs_of):
    stream = logs_of(log_format="json")
    say("Emotion2Vec+ Studio is on http://127.0.0.1:7860")
    assert lines(stream)[0]["logger"] == "emotion.server"


def test_what_is_no_json_value_is_written_as_text(logs_of):
    stream = logs_of(log_format="json")
    logging.getLogger("emotion").info("odd", extra={"odd": {1, 2}.__class__})
    assert lines(stream)[0]["odd"] == "<class 'set'>"


# The whole program


@pytest.fixture
def started(tmp_path):
    """The server as a person starts it, with logs as JSON; gives its address and what ends it and returns its lines."""
    words = ["serve", "--model", "compact", "--port", "0", "--offline"]
    process = subprocess.Popen(
        [sys.executable, "-m", "emotion", *words],
        cwd=Path(__file__).parent.parent,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "EMOTION_LOG_FORMAT": "json", "EMOTION_OUTPUTS": str(tmp_path)},
    )
    said: list[str] = []
    for line in process.stderr:
        said.append(line)
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            break
    else:
        pytest.fail("it did not start: " + "".join(said))

    def end():
        process.send_signal(signal.SIGINT)
        return [*said, *process.communicate(timeout=60)[1].splitlines()]

    yield found.group(), end
    process.kill()
    process.communicate()


def test_no_line_of_the_program_holds_a_name_a_key_or_a_query(started):
    address, end = started
    secret = {"headers": {"Authorization": "Bearer s3cret", "Cookie": "session=s3cret"}}
    sound = wav_bytes(loud_clip())
    with httpx.Client(base_url=address, timeout=60) as client:
        good = client.post("/v1/analyses", files={"file": (NAME, sound)}, **secret)
        bad = client.post("/v1/analyses", files={"file": (NAME, b"no sound" * 99)}, **secret)
        client.get(f"/{NAME}", params={"key": "s3cret"}, **secret)
        run = client.get("/gradio_api/file=/tmp/" + NAME, **secret)
    assert (good.status_code, bad.status_code) == (200, 415)
    assert run.status_code in (403, 404)
    told = [json.loads(line) for line in end()]
    text = json.dumps(told, ensure_ascii=False)
    assert not [word for word in ("Meier", "digung", "s3cret") if word in text]
    steps = [line for line in told if line["request_id"] == good.headers["x-request-id"]]
    assert [line["logger"] for line in steps][-1] == "emotion.requests"
    assert [line["stage"] for line in steps] == ["queue", "decode", "inference", "answered"]
    assert all(line["elapsed_ms"] >= 0 for line in steps)
    assert bad.json()["request_id"] in {line["request_id"] for line in told if line.get("status") == 415}
