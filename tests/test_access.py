import asyncio
import logging
import re
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from emotion.access import Client
from emotion.access.gate import AccessGate
from emotion.access.keys import Keyring, hash_key, new_key
from emotion.access.login import SignIn, own_path
from emotion.access.sessions import COOKIE, IDLE_S, LIFETIME_S, Sessions, cookie_of
from tests.guarded_app import application, ask
from tests.test_keys import QUICK

KEY = new_key()
KEYRING = Keyring(f"anna:{hash_key(KEY)}", f"ben:{QUICK}")
PASSWORD = "quick"  # noqa: S105
BEARER = {"Authorization": f"Bearer {KEY}"}
WRONG = {"password": "wrong"}
HTML = {"Accept": "text/html,application/xhtml+xml"}


def guarded(keyring: Keyring = KEYRING, origins: frozenset[str] = frozenset()) -> Starlette:
    sessions = Sessions()
    app = application(Middleware(AccessGate, keyring, sessions, origins))
    app.router.routes[:0] = SignIn(keyring, sessions).routes()
    return app


@pytest.fixture
def knows_password(monkeypatch):
    """The quick hash, which fits one password."""
    from emotion.access.keys import PasswordHash

    monkeypatch.setattr(PasswordHash, "fits", lambda _, password: password == PASSWORD)


@pytest.fixture
def browser(knows_password):  # noqa: ARG001 - it only has to be there
    with TestClient(guarded(), base_url="http://studio", follow_redirects=False) as client:
        yield client


def sign_in(browser: TestClient, **fields: str) -> Any:
    return browser.post("/login", data={"name": "ben", "password": PASSWORD, **fields})


# The gate


def test_a_key_lets_in_and_says_who_asks():
    for headers in (BEARER, {"Authorization": f"bearer {KEY}"}, {"X-API-Key": KEY}):
        assert ask(guarded(), headers=headers).json() == {"name": "anna", "folder": "clients/anna"}


def test_a_program_without_a_key_is_refused_in_words_for_programs():
    answer = ask(guarded(), path="/v1/labels")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "not_allowed"


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer"},
        {"Authorization": f"Basic {KEY}"},
        {"X-API-Key": "wrong"},
        {"X-API-Key": ""},
        {"X-API-Key": hash_key(KEY)},
        {"Cookie": f"{COOKIE}={KEY}"},
        {"Cookie": f"{COOKIE}="},
    ],
)
def test_what_is_no_key_is_refused(headers):
    assert ask(guarded(), headers=headers).status_code == 401


def test_a_wrong_key_is_refused_and_not_sent_to_sign_in():
    assert ask(guarded(), headers={**HTML, "X-API-Key": "wrong"}).status_code == 401


def test_a_browser_without_a_key_is_sent_to_sign_in_and_comes_back():
    answer = ask(guarded(), path="/history?view=a&b=//c", headers=HTML)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?next=%2Fhistory%3Fview%3Da%26b%3D%2F%2Fc"
    assert ask(guarded(), headers=HTML).headers["location"] == "/login"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/login", "/logout"])
def test_what_needs_no_key(path):
    assert ask(guarded(), path=path).status_code in (200, 303)


@pytest.mark.parametrize("path", ["/login/", "/login/x", "/healthz/x", "/static/login", "//login", "/Login"])
def test_what_only_looks_like_it_needs_one(path):
    assert ask(guarded(), path="http://studio" + path).status_code == 401


def test_where_nobody_is_asked_for_a_key_everybody_is_an_address():
    assert ask(guarded(Keyring())).json() == {"name": "address:10.0.0.7", "folder": None}


def test_a_web_socket_without_a_key_is_closed():
    client = TestClient(guarded())
    with pytest.raises(WebSocketDisconnect) as caught, client.websocket_connect("/live"):
        pass
    assert caught.value.code == 1008
    with client.websocket_connect("/live", headers=BEARER) as socket:
        assert socket.receive_text() == "anna"


def test_a_browser_that_is_signed_in_opens_web_sockets_by_its_cookie(browser):
    sign_in(browser)
    with browser.websocket_connect("ws://studio/live", headers={"Origin": "http://studio"}) as socket:
        assert socket.receive_text() == "ben"
    stranger = {"Origin": "http://stranger.example"}
    with pytest.raises(WebSocketDisconnect), browser.websocket_connect("ws://studio/live", headers=stranger):
        pass


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://studio"}, 200),
        ({}, 200),
        ({"Origin": "https://public.example", "X-Forwarded-Host": "public.example"}, 200),
        ({"Origin": "http://stranger.example"}, 403),
        ({"Origin": "http://studio:8080"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://[broken"}, 403),
        ({"Origin": ""}, 403),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_page_of_another_web_site_gets_nothing_by_the_cookie_of_a_person(browser, method, headers, status):
    sign_in(browser)
    answer = browser.request(method, "/", headers=headers)
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["code"] == "foreign_origin"


def test_a_page_of_another_web_site_gets_nothing_where_nobody_is_asked_for_a_key():
    stranger = {"Origin": "https://stranger.example"}
    assert ask(guarded(Keyring()), "POST", headers=stranger).status_code == 403
    welcome = guarded(Keyring(), frozenset({"https://stranger.example"}))
    assert ask(welcome, "POST", headers=stranger).status_code == 200


def test_a_page_of_another_web_site_may_use_a_key():
    assert ask(guarded(), headers={**BEARER, "Origin": "https://friend.example"}).status_code == 200


# Signing in


def test_who_signs_in_is_let_in_until_they_sign_out(browser):
    answer = sign_in(browser, next="/history")
    assert (answer.status_code, answer.headers["location"]) == (303, "/history")
    assert browser.get("/").json() == {"name": "ben", "folder": "clients/ben"}
    token = browser.cookies[COOKIE]
    assert browser.get("/logout").headers["location"] == "/login?ended"
    assert COOKIE not in browser.cookies
    assert ask(browser.app, headers={"Cookie": f"{COOKIE}={token}"}).status_code == 401
    assert "You are signed out" in browser.get("/login?ended").text


def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_web_sites(browser):
    assert re.fullmatch(COOKIE + r"=[\w-]{43}; HttpOnly; Path=/; SameSite=Lax", sign_in(browser).headers["set-cookie"])
    secure = TestClient(browser.app, base_url="https://studio", follow_redirects=False)
    assert "; Secure" in sign_in(secure).headers["set-cookie"]


def test_a_key_signs_in_too(browser):
    assert sign_in(browser, name="", password=f" {KEY} ").status_code == 303
    assert browser.get("/").json()["name"] == "anna"


@pytest.mark.parametrize("fields", [{"password": "wrong"}, {"name": "anna"}, {"password": ""}, {"password": KEY + "x"}])
def test_what_does_not_fit_is_said_without_saying_which(browser, fields):
    answer = sign_in(browser, **fields)
    assert answer.status_code == 401
    assert "do not fit" in answer.text
    assert "set-cookie" not in answer.headers
    assert browser.get("/").status_code == 401


def test_guessing_ends_soon_and_even_the_right_password_waits_then(browser):
    statuses = [sign_in(browser, **WRONG).status_code for _ in range(11)]
    assert statuses == [401] * 10 + [429]
    answer = sign_in(browser)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 300
    assert "Too many attempts" in answer.text


def test_guesses_at_the_same_time_are_not_more():
    keyring = Keyring(page_logins=f"ben:{QUICK}")
    app = application()
    app.router.routes[:0] = SignIn(keyring, Sessions()).routes()

    async def guess_at_once() -> list[int]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://studio") as client:
            form = {"name": "ben", "password": "guess"}
            answers = await asyncio.gather(*(client.post("/login", data=form) for _ in range(40)))
            return [answer.status_code for answer in answers]

    assert asyncio.run(guess_at_once()).count(401) == 10


def test_what_was_typed_cannot_become_html(browser):
    answer = sign_in(browser, name='"><script>alert(1)</script>', next='/"><script>')
    assert "<script" not in answer.text
    assert "script-src" not in answer.headers["content-security-policy"]
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")


def test_the_page_speaks_the_language_of_the_reader(browser):
    assert 'lang="zh-CN"' in browser.get("/login", headers={"Accept-Language": "zh-CN,zh;q=0.9"}).text
    assert 'lang="en"' in browser.get("/login", headers={"Accept-Language": "de"}).text
    assert "登录" in browser.get("/login?language=zh").text
    assert 'lang="zh-CN"' in browser.get("/login").text, "the choice is kept"


def test_the_form_can_be_used_without_seeing_it(browser):
    page = browser.get("/login").text
    for name in ("name", "password"):
        assert f'<label for="{name}">' in page
        assert f'id="{name}"' in page
    assert 'role="alert"' in sign_in(browser, **WRONG).text


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        ("/history?a=1", "/history?a=1"),
        ("", "/"),
        ("//stranger.example", "/"),
        ("/\\stranger.example", "/"),
        ("/\t/stranger.example", "/"),
        ("https://stranger.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/a\r\nSet-Cookie: x=y", "/"),
        ("/login?next=/login", "/"),
        ("/logout", "/"),
    ],
)
def test_a_link_to_sign_in_leads_to_this_server_only(wanted, path):
    assert own_path(wanted) == path


def test_a_form_that_is_far_too_large_is_not_read(browser):
    assert browser.post("/login", content=b"password=" + b"x" * 10_000).status_code == 413
    assert browser.post("/login", content=b"&" * 8_000).status_code == 401
    assert browser.post("/login", content=b"\xff\xfe=%ff&password=%00").status_code == 401


# Sessions


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_a_session_ends_when_it_is_not_used_and_after_a_week_in_any_case():
    clock = Clock()
    sessions = Sessions(clock)
    idle, used = sessions.open_session(Client.named("ben")), sessions.open_session(Client.named("ben"))
    for _ in range(int(LIFETIME_S / IDLE_S)):
        clock.now_s += IDLE_S - 1
        assert sessions.client_of(used) == Client.named("ben")
    assert sessions.client_of(idle) is None
    clock.now_s += IDLE_S - 1
    assert sessions.client_of(used) is None


def test_sessions_do_not_fill_the_memory_and_hold_no_token():
    sessions = Sessions(most=3)
    tokens = [sessions.open_session(Client.named("ben")) for _ in range(5)]
    assert len(sessions) == 3
    assert [sessions.client_of(token) is not None for token in tokens] == [False, False, True, True, True]
    assert not any(token in repr(vars(sessions)) for token in tokens)


def test_sessions_that_are_over_go_when_somebody_signs_in():
    clock = Clock()
    sessions = Sessions(clock)
    sessions.open_session(Client.named("ben"))
    clock.now_s += IDLE_S
    sessions.open_session(Client.named("anna"))
    assert len(sessions) == 1


def test_signing_out_takes_the_cookie_away():
    assert "Max-Age=0" in cookie_of("", is_secure=True, path="/")


def test_the_log_of_the_gate_says_no_key(caplog):
    caplog.set_level(logging.DEBUG)
    ask(guarded(), headers={"X-API-Key": "emo_wrong"})
    ask(guarded(), headers=BEARER)
    assert "emo_" not in "".join(record.getMessage() for record in caplog.records if record.name.startswith("emotion"))
