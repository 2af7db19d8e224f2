import http.server
import json
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest

from emotion.cli import main
from emotion.cli.monitor import address_of, ask
from emotion.engine import ClipTimes
from emotion.formatting import size
from emotion.hardware import Gpu, Usage
from emotion.monitor import Advice, MachineStatus, StudioStatus
from tests.test_monitor import CPU, ENGINE, GIB, GPU

NOWHERE = "http://127.0.0.1:9"
MEDIAN = ClipTimes(9.0, 0.5, 200.0)
BUSY = replace(GPU, engine=replace(ENGINE, recent=(MEDIAN,)), uptime_s=8_000.0)
FULL_QUEUE = Advice("queue_nearly_full", {"queue_length": 60, "queue_size": 64})


@pytest.fixture
def call(capsys, monkeypatch):
    """Runs the command in a terminal of so many columns and gives exit code, standard output and standard error."""

    def run(*words, columns=80, locale="C.UTF-8"):
        monkeypatch.setattr("emotion.cli.monitor._FIRST_LOOK_S", 0)
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("LC_ALL", locale)
        with pytest.raises(SystemExit) as ending:
            main(["monitor", *words])
        captured = capsys.readouterr()
        return int(ending.value.code or 0), captured.out, captured.err

    return run


def told(status: StudioStatus, advice=(), cache=None):
    """What a server answers at /v1/status."""
    record = status.record()
    del record["engine"]["recent"]
    return {**record, "cache": cache, "advice": [one.record() for one in advice]}


@contextmanager
def studio(record, key=None, seen=None):
    """A server with this status, for those who have the key; `seen` collects the requests."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if seen is not None:
                seen.append(self)
            is_known = key is None or self.headers.get("Authorization") == f"Bearer {key}"
            body = json.dumps(record).encode() if isinstance(record, dict) else record
            self.send_response(200 if is_known else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_one_look_tells_machine_engine_and_advice(call):
    with studio(told(BUSY, [FULL_QUEUE], {"hits": 3, "misses": 9, "entries": 7})) as address:
        code, out, _ = call(address, "--once")
    assert code == 0
    for said in (
        f"{address} · up 2 h 13 min",
        "emotion2vec_plus_large, torch fp16 on cuda:0",
        "20% of 8 cores",
        "1.0 of 8 cores",
        f"{size(5 * GIB)} of {size(16 * GIB)}",
        "Card: 80%, 60 °C",
        "20 of 64 places",
        "100 done",
        "decode 9.0 · queue 0.5 · inference 200 ms",
        "Inference at work  90%",
        "2 decode, 4 network",
        "3 hits, 9 misses, 7 kept",
        "60 of 64 places in the queue are taken",
    ):
        assert said in out


@pytest.mark.parametrize("columns", [80, 120])
def test_no_line_is_wider_than_the_terminal_and_all_fit_on_one_of_24(call, columns):
    with studio(told(BUSY, cache={"hits": 3, "misses": 9, "entries": 7})) as address:
        lines = call(address, "--once", columns=columns)[1].splitlines()
    assert max(map(len, lines)) <= columns
    assert len(lines) <= 24


def test_the_same_in_chinese(call):
    with studio(told(BUSY, [FULL_QUEUE])) as address:
        _, out, _ = call(address, "--once", locale="zh_CN.UTF-8")
    for said in ("处理器", "已运行 2 小时 13 分钟", "解码 9.0 · 排队 0.5 · 推理 200 毫秒", "队列已占 60/64"):
        assert said in out


def test_before_the_first_recording_and_without_a_card(call):
    with studio(told(CPU)) as address:
        _, out, _ = call(address, "--once")
    assert "no recording yet" in out
    assert "none; the processor does the work" in out
    assert "Nothing stands out" in out


def test_without_a_server_this_machine_is_shown_and_that_is_said(call):
    code, out, _ = call(NOWHERE, "--once")
    assert code == 1
    assert f"No server answers at {NOWHERE}" in out
    assert "serve" in out
    assert "Memory" in out
    assert "Queue" not in out


def test_the_address_of_the_settings_is_asked(call, monkeypatch):
    monkeypatch.setenv("EMOTION_PORT", "9")
    assert f"No server answers at {NOWHERE}" in call("--once")[1]


def test_a_key_is_sent_and_its_lack_is_said(call, monkeypatch):
    with studio(told(BUSY), key="emo_1") as address:
        code, out, _ = call(address, "--once")
        assert code == 1
        assert "asks for a key: --key KEY" in out
        assert call(address, "--once", "--key", "emo_1")[0] == 0
        monkeypatch.setenv("EMOTION2VEC_KEY", "emo_1")
        assert call(address, "--once")[0] == 0


def changed(part, **values):
    return {**told(BUSY), part: {**told(BUSY)[part], **values}}


@pytest.mark.parametrize(
    "answer",
    [
        *(b"<html>", b"[]", b"{}", {"machine": None}, {**told(BUSY), "engine": {}}, {**told(BUSY), "advice": 7}),
        *(changed("machine", cpu_percent="much"), changed("engine", queue_length=[1]), changed("model", name=None)),
        *(changed("machine", memory={"used_bytes": {}, "total_bytes": 1}), changed("machine", gpus=[{"name": 3}])),
    ],
)
def test_another_program_is_told_from_a_server_of_ours(call, answer):
    with studio(answer) as address:
        code, out, _ = call(address, "--once")
    assert code == 1
    assert "no server of this program" in out


def test_a_newer_server_may_tell_more(call):
    record = told(BUSY, [Advice("disk_nearly_full", {"free_bytes": 5})])
    record["engine"]["lanes"] = 3
    record["machine"]["npus"] = []
    with studio(record) as address:
        code, out, _ = call(address, "--once")
    assert code == 0
    assert "disk nearly full" in out


def test_a_name_of_another_machine_sends_no_orders_to_the_terminal(call):
    card = Gpu("[red]Card\x1b[2J\n", 16_000, 4_000, 80, 60, "cuda:0")
    with studio(told(replace(BUSY, machine=replace(BUSY.machine, gpus=(card,))))) as address:
        out = call(address, "--once")[1]
    assert "\x1b" not in out
    assert "[red]Card" in out


def test_a_reading_as_json_is_what_the_server_said(call):
    with studio(told(BUSY, [FULL_QUEUE])) as address:
        record = json.loads(call(address, "--once", "--json")[1])
    assert record["answer"] == "status"
    assert record["engine"]["queue_length"] == 20
    assert record["advice"] == [FULL_QUEUE.record()]


def test_this_machine_as_json(call):
    code, out, _ = call(NOWHERE, "--once", "--json")
    assert code == 1
    record = json.loads(out)
    assert record["answer"] == "nobody"
    assert record["machine"]["memory"]["total_bytes"] > 0


def test_in_a_pipe_it_goes_on_line_after_line_until_it_is_interrupted(call, monkeypatch):
    waits = []

    def wait(seconds):
        waits.append(seconds)
        if len(waits) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", wait)
    with studio(told(BUSY)) as address:
        code, out, _ = call(address, "--every", "0.5", "--json")
    assert code == 0
    assert len(out.splitlines()) == 3
    assert waits == [0.5] * 3


def test_the_live_view_is_drawn_in_place(monkeypatch, capsys):
    """On a terminal: the other screen is opened, drawn and closed again."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")

    def wait(_seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", wait)
    with studio(told(BUSY)) as address, pytest.raises(SystemExit) as ending:
        main(["monitor", address])
    out = capsys.readouterr().out
    assert not ending.value.code
    assert out.index("\x1b[?1049h") < out.index("20 of 64 places") < out.index("\x1b[?1049l")


@pytest.mark.parametrize(
    ("typed", "address"),
    [
        ("127.0.0.1:7860", "http://127.0.0.1:7860"),
        ("https://emotion.example.org/", "https://emotion.example.org"),
        ("http://[::1]:7860", "http://[::1]:7860"),
    ],
)
def test_an_address_may_be_short(typed, address):
    assert address_of(typed) == address


@pytest.mark.parametrize("typed", ["ftp://host", "http://", "http://host:port", "file:///etc/passwd"])
def test_what_is_no_address_is_refused(call, typed):
    code, _, err = call(typed, "--once")
    assert code == 1
    assert "no address of a server" in err


def test_a_key_follows_no_redirection():
    seen = []

    class NotFound(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(302)
            self.send_header("Location", target)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with studio(told(BUSY), seen=seen) as address:
        target = f"{address}/v1/status"
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), NotFound) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.02,))
            thread.start()
            assert ask(f"http://127.0.0.1:{server.server_address[1]}", "emo_1").answer == "stranger"
            server.shutdown()
            thread.join()
    assert seen == []


def test_a_status_survives_its_record():
    status = replace(BUSY, machine=replace(BUSY.machine, container=Usage(1, 2)))
    again = StudioStatus.from_record(json.loads(json.dumps(status.record())))
    assert again.machine == status.machine
    assert again.engine.median == status.engine.median
    assert again.engine.shares == status.engine.shares
    assert again.model.name == status.model.name
    assert isinstance(again.machine, MachineStatus)
