import asyncio
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from starlette.responses import PlainTextResponse

from emotion.access.keys import hash_key, new_key
from emotion.audio import Clip, write_wav
from emotion.engine.recognizer import ModelState
from emotion.errors import EmotionError, HubUnreachable, SettingsInvalid
from emotion.server import check_settings, describe, make_app, serve, web_config
from emotion.server import http_limits as wire
from emotion.server.drain import DrainState
from emotion.settings import Settings
from tests.fakes import FakeModel, tone, wait_for
from tests.page_server import FakeRecognizer, quiet_pandas
from tests.test_keys import QUICK

pytestmark = quiet_pandas

HOUSE = Path(__file__).parent.parent
EVERYWHERE = "0.0.0.0"  # noqa: S104
KEY = new_key()
KEYS = f"anna:{hash_key(KEY)}"
WITH_KEY = {"X-API-Key": KEY}


# The program as a person starts it


@dataclass
class Started:
    """A process, its address, and what it says on the terminal."""

    process: subprocess.Popen[str]
    address: str
    lines: list[str] = field(default_factory=list)

    def says(self, words: str) -> bool:
        return words in "".join(self.lines)

    def ask(self, method: str, path: str, **wish: object) -> httpx.Response:
        return httpx.request(method, self.address + path, timeout=60, trust_env=False, **wish)  # type: ignore[arg-type]

    def listen(self) -> None:
        assert self.process.stderr is not None
        self.lines.extend(self.process.stderr)


@pytest.fixture
def start(tmp_path, monkeypatch) -> Iterator[Callable[..., Started]]:
    """Starts the server on any free port, with settings as environment."""
    running: list[tuple[Started, threading.Thread]] = []

    def begin(*words: str, **settings: object) -> Started:
        for name, value in {"outputs": tmp_path / "outputs", "cache": "off", **settings}.items():
            monkeypatch.setenv(f"EMOTION_{name.upper()}", str(value))
        command = [sys.executable, *(words or ("-m", "emotion", "serve")), "--port", "0", "--offline"]
        process = subprocess.Popen(command, cwd=HOUSE, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                started = Started(process, found.group(), lines)
                thread = threading.Thread(target=started.listen)
                thread.start()
                running.append((started, thread))
                return started
        pytest.fail("it did not start: " + "".join(lines))

    yield begin
    for started, thread in running:
        started.process.kill()
        started.process.wait()
        thread.join()
        assert started.process.stderr is not None
        started.process.stderr.close()


@pytest.fixture(scope="module")
def long_recording(tmp_path_factory) -> bytes:
    """Ten minutes, on which the built-in model works for some seconds."""
    path = tmp_path_factory.mktemp("long") / "long.wav"
    write_wav(Clip("long.wav", tone(600.0)), path)
    return path.read_bytes()


def recognize_beside(started: Started, recording: bytes, pool: ThreadPoolExecutor) -> Future[httpx.Response]:
    """A recording that is in work when this returns."""
    answer = pool.submit(
        started.ask, "POST", "/v1/analyses", files={"file": ("long.wav", recording)}, headers={"X-Request-ID": "long"}
    )
    wait_for(lambda: started.says("[long] decoded") or answer.done())
    assert not answer.done(), answer.result().text
    return answer


def test_the_page_answers_says_its_model_and_ends_cleanly(start):
    started = start("app.py")
    assert "Emotion2Vec+ Studio" in started.ask("GET", "/").text
    assert started.ask("GET", "/", headers={"Host": "rebound.example.org"}).json()["code"] == "unknown_host"
    assert started.says("the built-in one answers")
    started.process.send_signal(signal.SIGINT)
    assert started.process.wait(20) == 0
    assert not started.says("Traceback")
    assert not started.says("finishing"), "nothing was in work"


def test_a_server_that_is_killed_loses_no_job(start, long_recording):
    started = start()
    later = {"Prefer": "respond-async", "X-Request-ID": "long"}
    jobs = [
        started.ask("POST", "/v1/analyses", files={"file": (name, long_recording)}, headers=later).json()
        for name in ("one.wav", "two.wav")
    ]
    wait_for(lambda: started.says("[long] decoded"))
    started.process.kill()
    started.process.wait()

    again = start()
    wait_for(lambda: again.says("2 jobs were taken over, of which 0 are finished"))
    wait_for(lambda: again.says("[long] decoded"))
    for job in jobs:
        wait_for(lambda: again.ask("GET", job["links"]["self"]).status_code == 200)  # noqa: B023 - called at once
        record = again.ask("GET", job["links"]["self"]).json()
        assert (record["file"], record["duration_s"]) == (job["name"], 600.0)


def test_a_server_that_is_told_to_end_finishes_what_it_took_and_takes_nothing_new(start, long_recording):
    started = start(async_above_s=1e6)
    with ThreadPoolExecutor() as pool:
        answer = recognize_beside(started, long_recording, pool)
        started.process.send_signal(signal.SIGTERM)
        wait_for(lambda: started.says("finishing 1 recording, at most 30 s; again to stop at once"))
        for method, path in (("GET", "/readyz"), ("POST", "/v1/analyses")):
            refused = started.ask(method, path)
            assert refused.status_code == 503
            assert refused.json()["code"] == "engine_closed"
            assert int(refused.headers["retry-after"]) > 0
        assert answer.result(60).json()["duration_s"] == pytest.approx(600, abs=0.1)
    assert started.process.wait(20) == 0
    assert not started.says("Traceback")


@pytest.mark.parametrize(("signals", "shutdown_s"), [(1, 0.2), (2, 30)], ids=["its time is over", "asked again"])
def test_what_cannot_be_finished_is_cancelled_and_those_who_wait_are_told(start, long_recording, signals, shutdown_s):
    started = start(async_above_s=1e6, shutdown_s=shutdown_s)
    with ThreadPoolExecutor() as pool:
        answer = recognize_beside(started, long_recording, pool)
        started.process.send_signal(signal.SIGTERM)
        wait_for(lambda: started.says("finishing 1 recording"))
        if signals == 2:
            started.process.send_signal(signal.SIGTERM)
        assert answer.result(60).status_code == 503
    assert started.process.wait(20) == 0
    assert started.says("1 recording could not be finished")
    assert not started.says("Traceback")


# What stops it before it starts


def test_an_address_that_others_reach_needs_a_key_and_the_message_says_how():
    with pytest.raises(EmotionError, match=r"keys new NAME.*keys password NAME.*--insecure"):
        serve(Settings(host=EVERYWHERE), print)
    for allowed in ({"api_keys": KEYS}, {"page_logins": f"ben:{QUICK}"}, {"insecure": True}):
        check_settings(Settings(host=EVERYWHERE, **allowed))
    for host in ("127.0.0.1", "::1", "localhost"):
        check_settings(Settings(host=host))


@pytest.mark.parametrize(
    "broken", [{"api_keys": "anna:clear"}, {"page_logins": "ben:clear"}, {"rate_limit": "some"}, {"cors_origins": "x"}]
)
def test_settings_of_access_that_cannot_be_used_stop_the_program(broken):
    with pytest.raises(SettingsInvalid, match=next(iter(broken))):
        serve(Settings(**broken), print)


def test_a_port_in_use_is_said_at_once_with_another():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EmotionError, match=f"Port {port} is in use.*--port {port + 1}"):
            serve(Settings(port=port), print)


def test_an_address_that_is_not_of_this_machine_is_said():
    with pytest.raises(EmotionError, match=r"192\.0\.2\.1:7860 cannot be listened on"):
        serve(Settings(host="192.0.2.1", insecure=True), print)


# What stands before page and API, on a real web server


@contextmanager
def served(app: object, settings: Settings) -> Iterator[httpx.Client]:
    """A client of the application on a web server that is set up as ours is."""
    config = web_config(app, settings)  # type: ignore[arg-type]
    config.lifespan = "off"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            address = f"http://127.0.0.1:{listener.getsockname()[1]}"
            with httpx.Client(base_url=address, timeout=20, trust_env=False) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join(10)


@contextmanager
def studio(settings: Settings, ending: DrainState | None = None) -> Iterator[httpx.Client]:
    """A client of page and API behind all guards, over a fake model."""
    recognizer = FakeRecognizer(settings)

    async def made() -> FastAPI:
        # Inside a running loop: outside of one, Gradio opens a loop of its own and never closes it.
        return make_app(recognizer, ending=ending)  # type: ignore[arg-type]

    with served(asyncio.run(made()), settings) as client:
        yield client
    recognizer.close()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory) -> Iterator[httpx.Client]:
    settings = Settings(
        outputs=tmp_path_factory.mktemp("outputs"),
        api_keys=KEYS,
        page_logins=f"ben:{QUICK}",
        cors_origins="https://friend.example",
        max_body_bytes=100_000,
        rate_limit="1000/minute",
    )
    with studio(settings) as client:
        yield client


@pytest.mark.parametrize(
    "path",
    ["/", "/v1/labels", "/v1/analyses/1", "/metrics", "/docs", "/openapi.json", "/config", "/gradio_api/info", "/x"],
)
def test_without_a_key_nothing_is_shown(guarded, path):
    answer = guarded.get(path)
    assert (answer.status_code, answer.json()["code"]) == (401, "not_allowed")
    assert re.fullmatch("[0-9a-f]{16}", answer.headers["x-request-id"])
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize("path", ["/", "/metrics", "/config"])
def test_with_a_key_page_and_numbers_are_shown(guarded, path):
    assert guarded.get(path, headers=WITH_KEY).status_code == 200


@pytest.mark.parametrize("path", ["/", "/login", "/v1/labels", "/docs", "/gradio_api/info", "/nowhere"])
def test_no_other_site_frames_anything_and_head_is_answered_like_get(guarded, path):
    answer = guarded.get(path, headers=WITH_KEY)
    policies = [value for name, value in answer.headers.multi_items() if name == "content-security-policy"]
    assert sum("frame-ancestors" in policy for policy in policies) == 1
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"
    head = guarded.head(path, headers=WITH_KEY)
    assert (head.status_code, head.content) == (answer.status_code, b"")
    assert head.headers.get("content-type") == answer.headers.get("content-type")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/login"])
def test_probes_and_the_page_of_sign_in_need_no_key(guarded, path):
    assert guarded.get(path).status_code == 200


def test_a_browser_is_sent_to_sign_in(guarded):
    answer = guarded.get("/", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")


def test_a_friend_may_ask_before_it_has_a_key_and_a_stranger_may_not(guarded):
    question = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    friend = guarded.options("/v1/analyses", headers={"Origin": "https://friend.example", **question})
    assert friend.headers["access-control-allow-origin"] == "https://friend.example"
    assert "access-control-allow-credentials" not in friend.headers
    stranger = guarded.options("/v1/analyses", headers={"Origin": "https://stranger.example", **question})
    assert "access-control-allow-origin" not in stranger.headers


@pytest.mark.parametrize("path", ["/gradio_api/upload", "/v1/analyses", "/login"])
@pytest.mark.parametrize("in_pieces", [True, False], ids=["in pieces", "with its length"])
def test_a_body_that_is_too_large_is_refused_wherever_it_goes(guarded, path, in_pieces):
    # A part that is not expected would be refused before all of it is read.
    name = "file" if path == "/v1/analyses" else "files"

    def pieces() -> Iterator[bytes]:
        yield f"--x\r\nContent-Disposition: form-data; name={name}; filename=a.wav\r\n\r\n".encode()
        for _ in range(40):
            yield b"x" * 10_000

    headers = {**WITH_KEY, "Content-Type": "multipart/form-data; boundary=x"}
    content = pieces() if in_pieces else b"".join(pieces())
    assert guarded.post(path, content=content, headers=headers).status_code == 413


# What was refused is counted where it was meant to go


def counted(client: httpx.Client) -> Counter[tuple[str, str, str]]:
    """Requests by route, method and status."""
    text = client.get("/metrics", headers=WITH_KEY).text
    found = re.findall(r'emotion_http_requests_total\{method="(.*?)",route="(.*?)",status="(.*?)"\} (\S+)', text)
    return Counter({(route, method, status): int(float(times)) for method, route, status, times in found})


Refusal = tuple[str, str, dict[str, Any], tuple[str, str, str]]
PREFLIGHT = {"Origin": "https://friend.example", "Access-Control-Request-Method": "POST"}
REFUSALS: list[Refusal] = [
    ("GET", "/v1/labels", {}, ("/v1/labels", "GET", "401")),
    ("GET", "/v1/analyses/1", {}, ("/v1/analyses/{id}", "GET", "401")),
    ("GET", "/v1/analyses/1/files/a.srt?x=1", {}, ("/v1/analyses/{id}/files/{name}", "GET", "401")),
    ("PATCH", "/v1/analyses/1", {}, ("/v1/analyses/{id}", "PATCH", "401")),
    ("GET", "/metrics", {"headers": {"Accept": "text/html"}}, ("/metrics", "GET", "303")),
    ("POST", "/v1/analyses", {"headers": WITH_KEY, "content": b"x" * 200_000}, ("/v1/analyses", "POST", "413")),
    ("POST", "/login", {"headers": {"Origin": "https://stranger.example"}}, ("/login", "POST", "403")),
    ("OPTIONS", "/v1/analyses", {"headers": PREFLIGHT}, ("/v1/analyses", "OPTIONS", "200")),
    ("GET", "/files/secret/name.wav", {}, ("/files/{token}/{name}", "GET", "401")),
    ("GET", "/wp-admin/1.php", {}, ("unmatched", "GET", "401")),
    ("GET", "/v1/nowhere", {}, ("unmatched", "GET", "401")),
    ("GET", "/", {"headers": {"Accept": "text/html"}}, ("page", "GET", "303")),
    ("GET", "/", {"headers": WITH_KEY}, ("page", "GET", "200")),
    ("GET", "/wp-admin/1.php", {"headers": WITH_KEY}, ("page", "GET", "404")),
]


@pytest.mark.parametrize(("method", "path", "wish", "labels"), REFUSALS, ids=lambda part: str(part)[:40])
def test_a_request_is_counted_by_its_route_also_when_it_is_refused_before(guarded, method, path, wish, labels):
    before = counted(guarded)
    assert guarded.request(method, path, **wish).status_code == int(labels[-1])
    more = counted(guarded) - before
    more -= Counter({("/metrics", "GET", "200"): 1})  # the look itself
    assert more == {labels: 1}


def test_a_limited_and_an_ending_server_show_which_routes_they_refuse(tmp_path):
    ending = DrainState()
    with studio(Settings(outputs=tmp_path, rate_limit="1/minute"), ending) as client:
        assert [client.get("/v1/analyses/1").status_code for _ in range(3)] == [404, 429, 429]
        ending.begin_drain()
        assert client.post("/v1/analyses").status_code == 503
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz", headers={"Host": "rebound.example"}).status_code == 200
        assert client.get("/v1/labels", headers={"Host": "rebound.example"}).status_code == 400
        more = counted(client)
    assert more["/v1/analyses/{id}", "GET", "429"] == 2
    assert more["/v1/analyses", "POST", "503"] == more["/readyz", "GET", "503"] == 1
    assert more["/v1/labels", "GET", "400"] == 1
    assert not [labels for labels in more if labels[0] == "unmatched"]


def test_a_proxy_that_is_trusted_says_who_asks_and_how(guarded):
    form = {"name": "nobody", "password": "guess"}
    for number in range(11):
        guarded.post("/login", data=form, headers={"X-Forwarded-For": f"198.51.100.1, 10.9.8.{number}"})
    guess = guarded.post("/login", data=form, headers={"X-Forwarded-For": "198.51.100.1, 10.9.9.9"})
    assert guess.status_code == 401, "each address beyond the proxy counts by itself"
    key = {"password": KEY}
    assert "Secure" in guarded.post("/login", data=key, headers={"X-Forwarded-Proto": "https"}).headers["set-cookie"]
    assert "Secure" not in guarded.post("/login", data=key).headers["set-cookie"]


def test_a_proxy_that_is_not_trusted_says_nothing():
    async def who(scope, receive, send):
        await PlainTextResponse(f"{scope['client'][0]} {scope['scheme']}")(scope, receive, send)

    forged = {"X-Forwarded-For": "198.51.100.1", "X-Forwarded-Proto": "https"}
    with served(who, Settings(trusted_proxies="10.0.0.1")) as client:
        assert client.get("/", headers=forged).text == "127.0.0.1 http"
    with served(who, Settings()) as client:
        assert client.get("/", headers=forged).text == "198.51.100.1 https"


# Connections


def echo(sent: bytes, then: Callable[[socket.socket], None] = lambda _: None) -> bytes:
    """What our web server answers to raw bytes, until it closes the connection."""

    async def length(scope, receive, send):
        message = await receive()
        while message.get("more_body"):
            message = await receive()
        await PlainTextResponse("read", headers={"Connection": "close"})(scope, receive, send)

    with (
        served(length, Settings()) as client,
        socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=20) as connection,
    ):
        connection.sendall(sent)
        then(connection)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        return answer


def pour(connection: socket.socket) -> None:
    """Send without an end, until the other side has had enough."""
    with suppress(OSError):
        for _ in range(50):
            connection.sendall(b"x" * 1_000_000)
        pytest.fail("50 MB were taken")


@pytest.mark.parametrize(
    "beginning",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nX-A: ",
        b"GET /",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-A: ",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;",
    ],
    ids=["head", "address", "trailer", "chunk"],
)
def test_a_request_whose_head_has_no_end_is_cut(beginning):
    with suppress(OSError):  # the answer may be lost when a connection is cut
        assert b"200 OK" not in echo(beginning, pour)


def test_a_request_whose_head_does_not_come_is_closed(monkeypatch):
    monkeypatch.setattr(wire, "HEAD_S", 0.1)
    assert echo(b"") == b""
    assert echo(b"GET / HTTP/1.1\r\nHost:") == b""


def test_many_small_pieces_are_no_head_without_an_end():
    body = b"".join(b"1\r\nx\r\n" for _ in range(50_000)) + b"0\r\n\r\n"
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert echo(head + body).endswith(b"read")


# The files for running it for real


def test_systemd_and_docker_wait_longer_than_accepted_work_may_take():
    unit = (HOUSE / "config" / "emotion.service").read_text()
    patience_s = int(re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)[1])
    assert patience_s >= Settings().shutdown_s + 10
    assert f"--stop-timeout {patience_s}" in (HOUSE / "Dockerfile").read_text()


def test_nginx_lets_through_what_the_server_takes_and_keeps_connections_for_less_time():
    proxy = (HOUSE / "config" / "nginx.conf").read_text()
    largest_bytes = int(re.search(r"client_max_body_size (\d+)m;", proxy)[1]) * 2**20
    assert Settings().max_body_bytes <= largest_bytes < 1.1 * Settings().max_body_bytes
    keep_s = int(re.search(r"keepalive_timeout (\d+)s;", proxy)[1])
    assert keep_s < web_config(FastAPI(), Settings()).timeout_keep_alive
    assert f"server 127.0.0.1:{Settings().port};" in proxy


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not here")
def test_nginx_takes_its_file(tmp_path):
    folders = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; {folders} include {HOUSE}/config/nginx.conf; }}"
    )
    tried = subprocess.run(["nginx", "-t", "-c", tmp_path / "nginx.conf"], capture_output=True, text=True, check=False)
    assert tried.returncode == 0, tried.stderr


def test_the_image_copies_what_is_there_and_what_is_ignored_by_none_of_it():
    wanted = {name for line in _lines("Dockerfile", "COPY ") if "--from" not in line for name in line.split()[:-1]}
    ignored = (HOUSE / ".dockerignore").read_text().splitlines()
    assert all((HOUSE / name).exists() for name in wanted)
    assert {f"!{name.removeprefix('./')}" for name in wanted} == {line for line in ignored if line.startswith("!")}


def test_every_variable_of_the_files_is_a_setting():
    known = {f"EMOTION_{name.upper()}" for name in Settings.model_fields}
    for name in ("Dockerfile", "config/emotion.service"):
        assert set(re.findall(r"EMOTION_[A-Z_]+", (HOUSE / name).read_text())) <= known


def _lines(name: str, beginning: str) -> list[str]:
    lines = (HOUSE / name).read_text().splitlines()
    return [line.removeprefix(beginning) for line in lines if line.startswith(beginning)]


# Words for the terminal


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"phase": "ready"}, "model: fake, fake fp32 on cpu"),
        ({"phase": "asking"}, "model: asking the hub for large"),
        ({"phase": "loading"}, "model: loading large"),
        ({"phase": "downloading", "done_bytes": 349, "total_bytes": 1000}, "downloading large, 30 %"),
        ({"phase": "downloading"}, "downloading large, 0 %"),
        ({"phase": "built_in", "reason": HubUnreachable("The hub is away.")}, "less accurate). The hub is away."),
    ],
)
def test_every_phase_of_the_model_has_a_line(changes, line):
    assert line in describe(ModelState(card=FakeModel().card, wanted="large", **changes))
