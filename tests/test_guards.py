import asyncio
import re
from collections.abc import AsyncIterator
from concurrent.futures import Future
from typing import Any

import httpx
import pytest
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from emotion import errors
from emotion.access import problem_of
from emotion.access.limits import RateLimiter
from emotion.access.middleware import BodyLimit, ErrorMiddleware, KnownHosts, RateLimit, RequestId, host_name
from emotion.access.origins import known_hosts, known_origins
from emotion.engine import ConcurrencyLimit
from emotion.errors import EngineBusy, EngineClosed, SettingsInvalid, TooManyRequests
from emotion.logs import request_context
from emotion.server.drain import DrainMiddleware, DrainState
from emotion.settings import Settings
from tests.fakes import wait_for
from tests.guarded_app import application, ask, count_body

EVERYWHERE = "0.0.0.0"  # noqa: S104


# Limits


def test_so_many_requests_and_then_how_long_to_wait():
    app = application(Middleware(RateLimit, RateLimiter("3/minute")))
    assert [ask(app, path="/v1/labels").status_code for _ in range(4)] == [200, 200, 200, 429]
    answer = ask(app, path="/v1/labels")
    assert 55 <= int(answer.headers["retry-after"]) <= 60
    assert answer.json()["code"] == "too_many_requests"
    assert ask(app, path="/v1/labels", client=("10.0.0.8", 1)).status_code == 200


def test_what_makes_work_is_counted_and_what_the_page_fetches_by_itself_is_not():
    app = application(Middleware(RateLimit, RateLimiter("1/minute")))
    free = [("GET", "/"), ("GET", "/assets/index.js"), ("POST", "/gradio_api/run/predict"), ("GET", "/healthz")]
    assert all(ask(app, *wish).status_code == 200 for wish in free * 3)
    assert ask(app, "POST", "/gradio_api/queue/join").status_code == 200
    counted = [
        ("POST", "/gradio_api/queue/join"),
        ("POST", "/gradio_api/upload"),
        ("POST", "/gradio_api/call/recognize"),
    ]
    assert all(ask(app, *wish).status_code == 429 for wish in [*counted, ("DELETE", "/v1/analyses/1")])
    with pytest.raises(WebSocketDisconnect), TestClient(app, client=("10.0.0.7", 1)).websocket_connect("/live"):
        pass


def test_addresses_of_one_customer_are_one_where_addresses_cost_nothing():
    limiter = RateLimiter("1/minute")
    limiter.count("address:2001:db8::1")
    with pytest.raises(TooManyRequests):
        limiter.count("address:2001:db8::ffff")
    limiter.count("address:2001:db8:0:1::1")
    limiter.count("address:::ffff:10.0.0.1")
    limiter.count("address:::ffff:10.0.0.2")
    with pytest.raises(TooManyRequests):
        limiter.count("address:::ffff:10.0.0.2")


@pytest.mark.parametrize("limit", ["ten", "10", "10/fortnight", "/minute"])
def test_a_limit_that_is_none_stops_the_program(limit):
    with pytest.raises(SettingsInvalid, match="600/minute"):
        RateLimiter(limit)


def test_no_limit_is_no_limit():
    limiter = RateLimiter(" ")
    for _ in range(1000):
        limiter.count("anna")
        limiter.check("anna")


def test_a_client_has_so_many_turns_and_gets_them_back():
    turns = ConcurrencyLimit(2)
    turns.acquire("anna")
    with turns.slot("anna"):
        with pytest.raises(TooManyRequests):
            turns.acquire("anna")
        turns.acquire("ben", 2)
    turns.acquire("anna")
    assert (turns.taken("anna"), turns.taken("ben"), turns.taken("nobody")) == (2, 2, 0)


def test_turns_that_do_not_all_fit_are_not_taken():
    turns = ConcurrencyLimit(3)
    turns.acquire("anna", 2)
    with pytest.raises(TooManyRequests):
        turns.acquire("anna", 2)
    assert turns.taken("anna") == 2


def test_without_a_limit_turns_never_end_and_leave_nothing_behind():
    turns = ConcurrencyLimit(0)
    turns.acquire("anna", 100)
    turns.release("anna", 100)
    assert turns.taken("anna") == 0
    assert "anna" not in repr(vars(turns))


# Bodies


def test_a_body_up_to_the_limit_is_read():
    app = application(Middleware(BodyLimit, 1000), answer=count_body)
    assert ask(app, "POST", content=b"x" * 1000).text == "1000"


def test_a_length_that_is_too_large_is_refused_before_anything_is_read():
    async def never(_: Request) -> Response:
        raise AssertionError("it was let in")

    app = application(Middleware(BodyLimit, 1000), answer=never)
    answer = ask(app, "POST", content=b"x" * 1001)
    assert answer.status_code == 413
    assert answer.json()["code"] == "body_too_large"


@pytest.mark.parametrize("length", ["", "5", "-1", "abc", "9" * 30, "٣"])
def test_a_body_that_comes_in_pieces_is_counted_whatever_its_headers_say(length):
    app = application(Middleware(BodyLimit, 1000), answer=count_body)
    read = []

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(100):
            read.append(number)
            yield b"x" * 100

    headers = {"Content-Length": length.encode()} if length else {}
    answer = ask(app, "POST", content=pieces(), headers=headers)
    assert answer.status_code == 413
    assert len(read) <= 12


def test_what_an_application_makes_of_a_body_that_was_cut_short_is_not_told():
    async def parse(request: Request) -> Response:
        try:
            await request.body()
        except Exception:
            return PlainTextResponse("There was an error parsing the body", 400)
        raise AssertionError("it was read")

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 100

    app = application(Middleware(BodyLimit, 1000), answer=parse)
    assert ask(app, "POST", content=pieces()).status_code == 413


def test_a_body_that_stalls_is_given_up():
    async def stalled() -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []
        messages = [{"type": "http.request", "body": b"x", "more_body": True}]

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop()
            return await asyncio.Future()

        async def send(message: Any) -> None:
            sent.append(message)

        app = application(Middleware(ErrorMiddleware), Middleware(BodyLimit, 1000, stall_s=0.05), answer=count_body)
        scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b""}
        await asyncio.wait_for(app(scope, receive, send), 10)
        return sent

    sent = asyncio.run(stalled())
    assert sent[0]["status"] == 408
    assert b"body_stalled" in sent[1]["body"]


# Ids, faults, names


def test_a_request_has_one_id_in_its_state_its_logs_and_its_answer():
    async def tell(request: Request) -> Response:
        return PlainTextResponse(f"{request.state.request_id} {request_context.request_id()}")

    app = application(Middleware(RequestId), answer=tell)
    answer = ask(app, headers={"X-Request-ID": "mine-1.2_3"})
    assert answer.text == "mine-1.2_3 mine-1.2_3"
    assert answer.headers["x-request-id"] == "mine-1.2_3"
    made = ask(app).headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{16}", made)
    assert made != ask(app).headers["x-request-id"]
    assert request_context.request_id() == request_context.NO_REQUEST


@pytest.mark.parametrize("wished", ["", "a b", "x" * 65, "a\tb", "<b>", "日本"])
def test_an_id_that_would_spoil_a_log_is_not_taken_over(wished):
    answer = ask(application(Middleware(RequestId)), headers={"X-Request-ID": wished.encode()})
    assert re.fullmatch("[0-9a-f]{16}", answer.headers["x-request-id"])


def test_a_fault_tells_nothing_of_the_inside_and_is_in_the_log(caplog):
    async def fail(_: Request) -> Response:
        raise ValueError("inside /secret/path")

    answer = ask(
        application(Middleware(RequestId), Middleware(ErrorMiddleware), answer=fail), headers={"X-Request-ID": "q1"}
    )
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.json()["request_id"] == "q1"
    assert "inside /secret/path" in caplog.text


def test_a_recording_that_the_end_of_the_engine_cancelled_is_no_fault(caplog):
    async def wait(_: Request) -> Response:
        cancelled: Future[None] = Future()
        cancelled.cancel()
        await asyncio.wrap_future(cancelled)
        raise AssertionError("it was not cancelled")

    answer = ask(application(Middleware(ErrorMiddleware), answer=wait))
    assert (answer.status_code, answer.json()["code"]) == (503, "engine_closed")
    assert not caplog.records


def test_a_client_that_leaves_is_no_fault(caplog):
    async def leave(_: Request) -> Response:
        raise ClientDisconnect

    assert ask(application(Middleware(ErrorMiddleware), answer=leave)).status_code == 408
    assert not caplog.records


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:7860", 200),
        ("LOCALHOST", 200),
        ("[::1]:7860", 200),
        ("Emotion.Example.org", 200),
        ("a.wild.example.org", 200),
        ("wild.example.org", 400),
        ("rebound.example.org", 400),
        ("127.0.0.1.example.org", 400),
        ("", 400),
    ],
)
def test_names_of_this_machine_and_those_in_the_settings_are_known(host, status):
    names = known_hosts(Settings(allowed_hosts="emotion.example.org, *.wild.example.org"), keys_are_asked_for=False)
    app = application(Middleware(KnownHosts, names))
    assert ask(app, headers={"Host": host}).status_code == status


def test_probes_ask_by_address():
    app = application(Middleware(KnownHosts, frozenset({"studio.example"})))
    assert ask(app, path="/healthz", headers={"Host": "10.1.2.3:7860"}).status_code == 200
    assert ask(app, path="/v1/labels", headers={"Host": "10.1.2.3:7860"}).status_code == 400


def test_a_web_socket_under_a_strange_name_is_closed():
    app = application(Middleware(KnownHosts, frozenset({"studio.example"})))
    with pytest.raises(WebSocketDisconnect), TestClient(app).websocket_connect("/live"):
        pass


def test_where_keys_are_asked_for_any_name_will_do_unless_the_settings_say_which():
    assert known_hosts(Settings(host=EVERYWHERE), keys_are_asked_for=True) == frozenset()
    named = known_hosts(Settings(host=EVERYWHERE, allowed_hosts="studio.example"), keys_are_asked_for=True)
    assert {"studio.example", "127.0.0.1"} <= named
    assert known_hosts(Settings(insecure=True, allowed_hosts="studio.example"), keys_are_asked_for=False) == frozenset()


def test_the_name_in_a_host_header():
    assert [host_name(host) for host in ("A:1", "[::1]:1", "[::1]", " a ")] == ["a", "[::1]", "[::1]", "a"]


def test_web_sites_are_named_as_web_sites():
    assert known_origins(Settings(cors_origins="https://A.example/, http://b:8080"), keys_are_asked_for=False) == {
        "https://a.example",
        "http://b:8080",
    }
    assert known_origins(Settings(cors_origins="*"), keys_are_asked_for=True) == {"*"}
    for broken in ("*", "a.example", "https://a.example/path", "ftp://a"):
        with pytest.raises(SettingsInvalid, match="cors_origins"):
            known_origins(Settings(cors_origins=broken), keys_are_asked_for=False)


# The end


def test_a_server_that_ends_takes_nothing_new_and_still_gives_results():
    ending = DrainState()
    app = application(Middleware(DrainMiddleware, ending))
    assert ask(app, path="/readyz").status_code == 200
    ending.begin_drain()
    for method, path in (("GET", "/readyz"), ("POST", "/v1/analyses"), ("POST", "/gradio_api/queue/join")):
        answer = ask(app, method, path)
        assert (answer.status_code, answer.json()["code"]) == (503, "engine_closed")
        assert int(answer.headers["retry-after"]) > 0
    assert ask(app, path="/healthz").status_code == 200
    assert ask(app, path="/v1/analyses/1").status_code == 200
    with pytest.raises(WebSocketDisconnect), TestClient(app).websocket_connect("/live"):
        pass


def test_requests_that_are_open_are_counted_and_streams_without_an_end_are_cut():
    async def stream(request: Request) -> Response:
        async def beats() -> AsyncIterator[bytes]:
            yield b"beat"
            await asyncio.Future()

        return StreamingResponse(beats()) if "heartbeat" in request.url.path else await hold(request)

    async def hold(_: Request) -> Response:
        await released.wait()
        return PlainTextResponse("done")

    released = asyncio.Event()
    ending = DrainState()

    async def end() -> None:
        app = application(Middleware(DrainMiddleware, ending), answer=stream)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://studio") as client:
            beating = asyncio.create_task(client.get("/gradio_api/heartbeat/abc"))
            held = asyncio.create_task(client.get("/v1/analyses/1"))
            while ending.open_requests != 1:
                await asyncio.sleep(0)
            ending.begin_drain()
            beat = await asyncio.wait_for(beating, 10)
            assert (beat.status_code, beat.text) == (200, "beat")
            released.set()
            assert (await held).text == "done"
            assert ending.open_requests == 0

    asyncio.run(end())


# Problems


@pytest.mark.parametrize(
    ("error", "status", "retry_s"),
    [
        (errors.RequestInvalid("no"), 400, None),
        (errors.NotAllowed(), 401, None),
        (errors.JobNotFound(), 404, None),
        (errors.RunNotFound(), 404, None),
        (errors.BodyTooLarge(1), 413, None),
        (errors.ClipTooLarge(1), 413, None),
        (errors.ClipTooLong(1), 413, None),
        (errors.ArchiveTooLarge("a", 1, 1), 413, None),
        (errors.NotSound("a"), 415, None),
        (errors.ClipTooShort(0.1, 0.2), 422, None),
        (errors.TooManyChannels(9, 2), 422, None),
        (errors.RateOutOfRange(1, 2, 3), 422, None),
        (errors.ClipEmpty("a"), 422, None),
        (TooManyRequests(2.2), 429, 3),
        (EngineBusy(3), 503, 3),
        (EngineBusy(3, 4.2), 503, 5),
        (EngineClosed(), 503, 15),
        (errors.LiveFull(8), 503, 60),
        (errors.OutOfMemory("cpu"), 503, 10),
        (errors.DiskFull(1), 507, None),
        (errors.CheckpointBroken("inside /secret/path"), 500, None),
        (SettingsInvalid("inside /secret/path"), 500, None),
        (ValueError("inside /secret/path"), 500, None),
    ],
)
def test_every_error_has_its_status(error, status, retry_s):
    problem = problem_of(error, "q1")
    assert problem.status == problem.body["status"] == status
    assert problem.headers.get("Retry-After") == (None if retry_s is None else str(retry_s))
    assert set(problem.body) == {"type", "title", "status", "detail", "code", "request_id"}
    assert problem.body["request_id"] == "q1"
    assert "secret" not in str(problem.body)
    if status != 500:
        assert problem.body["detail"] == str(error)


def test_limits_end_no_thread_of_the_program():
    import threading

    RateLimiter("1/second").count("anna")
    wait_for(lambda: not any(isinstance(thread, threading.Timer) for thread in threading.enumerate()))
