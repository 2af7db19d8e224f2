import asyncio
import json
import tempfile
from contextlib import contextmanager
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from emotion.access import Client
from emotion.access.gate import AccessGate
from emotion.access.keys import Keyring, hash_key, new_key
from emotion.access.login import SignIn
from emotion.access.sessions import COOKIE, Sessions
from emotion.engine import ConcurrencyLimit, EnginePlan
from emotion.settings import Settings
from emotion.ui.live_socket import add_live_route
from tests.api_server import ApiRecognizer, api_app, served
from tests.fakes import HeldModel, files_below, tone, wait_for
from tests.page_server import FakeRecognizer

KEY = new_key()
HELLO = {"rate_hz": 16_000, "language": "en"}


class Clock:
    """A clock that stands until a test puts it forward."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def pcm(seconds: float) -> bytes:
    return np.rint(tone(seconds) * 32767).astype("<i2").tobytes()


def guarded(app: FastAPI, most: int = 10) -> SimpleNamespace:
    """The application behind the gate, with its sessions and their clock."""
    clock, keyring = Clock(), Keyring(f"anna:{hash_key(KEY)}")
    sessions = Sessions(clock, most)
    app.router.routes.extend(SignIn(keyring, sessions).routes())
    app.add_middleware(AccessGate, keyring, sessions)

    def sign_in(name: str = "ben") -> dict[str, str]:
        return {"Cookie": f"{COOKIE}={sessions.open_session(Client.named(name))}"}

    return SimpleNamespace(app=app, clock=clock, sessions=sessions, sign_in=sign_in)


@pytest.fixture
def recognizer(tmp_path):
    recognizer = FakeRecognizer(Settings(outputs=tmp_path / "outputs"), EnginePlan(queue_size=4))
    yield recognizer
    recognizer.close()


@pytest.fixture
def page(recognizer):
    """The page's microphone behind the gate, and a browser."""
    app = FastAPI()
    add_live_route(app, recognizer, ConcurrencyLimit(0))
    page = guarded(app)
    with TestClient(page.app, base_url="http://studio", follow_redirects=False) as page.browser:
        yield page


def send(socket, seconds: float) -> None:
    """A tenth of a second at a time, as a page does."""
    sound = pcm(seconds)
    for start in range(0, len(sound), 3_200):
        socket.send_bytes(sound[start : start + 3_200])


@contextmanager
def speaking(page: SimpleNamespace, headers: dict[str, str], **hello: object):
    """A microphone that was heard for two seconds."""
    with page.browser.websocket_connect("/live", headers=headers) as socket:
        socket.send_json(HELLO | hello)
        assert socket.receive_json()["ready"]
        for _ in range(4):
            send(socket, 0.5)
            assert "time_s" in socket.receive_json()
        yield socket


def closing_code(socket) -> int:
    """What is said when the server closes, after the last moments."""
    try:
        while True:
            socket.receive_json()
    except WebSocketDisconnect as closed:
        return closed.code


def is_open(socket) -> bool:
    """Whether it can still be spoken into to a good end."""
    send(socket, 0.5)
    socket.send_json({"stop": True})
    return closing_code(socket) == 1000


def runs(recognizer: FakeRecognizer, name: str) -> int:
    return len(list((recognizer.settings.outputs / "clients" / name).glob("outputs_*/result.json")))


def test_a_microphone_ends_when_its_person_signs_out_and_what_was_heard_is_kept(page, recognizer):
    ben = page.sign_in()
    with speaking(page, ben) as socket:
        assert page.browser.get("/logout", headers=ben).status_code == 303
        assert closing_code(socket) == 1008
        wait_for(lambda: runs(recognizer, "ben") == 1)


def test_nothing_is_kept_of_it_where_nothing_was_to_be_kept(page, recognizer):
    ben = page.sign_in()
    with speaking(page, ben, keep_audio=False) as socket:
        page.browser.get("/logout", headers=ben)
        assert closing_code(socket) == 1008
    with speaking(page, page.sign_in()) as socket:
        socket.send_json({"stop": True})
        assert closing_code(socket) == 1000
    assert runs(recognizer, "ben") == 1


def test_sound_that_is_sent_after_signing_out_is_not_heard(page, recognizer):
    ben = page.sign_in()
    with speaking(page, ben) as socket:
        page.browser.get("/logout", headers=ben)
        send(socket, 5.0)
        assert closing_code(socket) == 1008
    wait_for(lambda: runs(recognizer, "ben") == 1)
    (folder,) = (recognizer.settings.outputs / "clients" / "ben").glob("outputs_*")
    assert 1.0 < json.loads((folder / "result.json").read_text())["duration_s"] <= 2.0


def test_sockets_of_a_key_of_another_session_and_of_another_person_stay(page):
    ben, also_ben, carl, key = page.sign_in(), page.sign_in(), page.sign_in("carl"), {"X-API-Key": KEY}
    both = {**ben, **key}
    with (
        speaking(page, also_ben) as second,
        speaking(page, carl) as third,
        speaking(page, key) as fourth,
        speaking(page, both) as fifth,
    ):
        with speaking(page, ben) as socket:
            page.browser.get("/logout", headers=ben)
            assert closing_code(socket) == 1008
        assert all(is_open(other) for other in (second, third, fourth, fifth))


def test_all_sockets_of_one_session_end_with_it(page, recognizer):
    ben = page.sign_in()
    with speaking(page, ben) as first, speaking(page, ben) as second:
        page.browser.get("/logout", headers=ben)
        assert closing_code(first) == closing_code(second) == 1008
    wait_for(lambda: runs(recognizer, "ben") == 2)


@pytest.fixture
def idle_s(monkeypatch) -> float:
    """How long a session may lie idle, which is short here."""
    monkeypatch.setattr("emotion.access.sessions.IDLE_S", 0.1)
    return 0.1


def test_a_microphone_ends_when_the_time_of_its_session_is_over(page, recognizer, idle_s):
    with speaking(page, page.sign_in()) as socket:
        page.clock.now_s += idle_s
        assert closing_code(socket) == 1008
    wait_for(lambda: runs(recognizer, "ben") == 1)
    assert len(page.sessions) == 0


def test_a_session_that_is_used_meanwhile_goes_on(idle_s):
    clock = Clock()
    sessions = Sessions(clock)

    async def use_it() -> tuple[bool, bool]:
        token = sessions.open_session(Client.named("ben"))
        waiting = asyncio.ensure_future(sessions.wait_until_over(token))
        await asyncio.wait({waiting}, timeout=0)
        clock.now_s += 0.9 * idle_s
        sessions.client_of(token)
        clock.now_s += 0.9 * idle_s
        await asyncio.wait({waiting}, timeout=3 * idle_s)
        went_on = not waiting.done()
        clock.now_s += 0.2 * idle_s
        await asyncio.wait({waiting}, timeout=20)
        return went_on, waiting.done()

    assert asyncio.run(use_it()) == (True, True)


def test_a_session_that_goes_for_want_of_room_takes_its_microphone_along(page):
    ben = page.sign_in()
    with speaking(page, ben) as socket:
        for number in range(10):
            page.browser.portal.call(page.sign_in, f"other{number}")
        assert closing_code(socket) == 1008


def test_a_socket_that_ends_by_itself_leaves_nothing_that_waits(page):
    ben = page.sign_in()
    with speaking(page, ben) as socket:
        socket.send_json({"stop": True})
        assert closing_code(socket) == 1000
    with speaking(page, ben):
        pass  # the browser goes

    async def waiting() -> int:
        return sum("_close_when_over" in str(task.get_coro()) for task in asyncio.all_tasks())

    wait_for(lambda: page.browser.portal.call(waiting) == 0)


# Streams of the API, on a real web server


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Temporary files lie where a test can count them."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@contextmanager
def streaming(address: str, headers: dict[str, str]):
    with connect(address.replace("http", "ws") + "/v1/stream", additional_headers=headers, proxy=None) as socket:
        assert '"ready"' in socket.recv()
        yield socket


def code_at_the_end(socket) -> tuple[int | None, list[str]]:
    said = []
    try:
        while True:
            said.append(socket.recv(timeout=20))
    except ConnectionClosed as closed:
        return closed.rcvd and closed.rcvd.code, said


def test_a_stream_ends_with_its_session_and_leaves_nothing(places):
    studio = guarded(api_app(ApiRecognizer()))
    with served(studio.app) as address:
        ben = studio.sign_in()
        with streaming(address, ben) as socket, streaming(address, {"X-API-Key": KEY}) as other:
            socket.send(pcm(2.0))
            wait_for(lambda: bool(files_below(places, "stream-*")))
            httpx.get(f"{address}/logout", headers=ben, trust_env=False)
            assert code_at_the_end(socket)[0] == 1008
            other.send(pcm(1.0))
            other.send('{"stop": true}')
            code, said = code_at_the_end(other)
        assert code == 1000
        assert '"done"' in said[-1]
        wait_for(lambda: not files_below(places, "stream-*"))


def test_a_stream_that_is_stopped_is_finished_though_nobody_hears_it():
    model = HeldModel()
    recognizer = ApiRecognizer(model)
    studio = guarded(api_app(recognizer))
    with served(studio.app) as address:
        ben = studio.sign_in()
        with streaming(address, ben) as socket:
            socket.send(pcm(0.4))
            socket.send('{"stop": true}')
            assert model.began.acquire(timeout=20)
            httpx.get(f"{address}/logout", headers=ben, trust_env=False)
            code, said = code_at_the_end(socket)
        assert code == 1008
        assert not [message for message in said if '"done"' in message]
        model.let_go()
        job = next(json.loads(message)["job"] for message in said if '"progress"' in message)
        other = {"Authorization": f"Bearer {KEY}"}
        assert httpx.get(f"{address}/v1/analyses/{job['id']}", headers=other, trust_env=False).status_code == 404

        def is_done() -> bool:
            answer = httpx.get(f"{address}/v1/analyses/{job['id']}", headers=studio.sign_in(), trust_env=False)
            return answer.status_code == 200 and answer.json().get("emotion") == "angry"

        wait_for(is_done)
