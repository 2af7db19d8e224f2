"""The scripts of the page, as its server gives them."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from emotion.access.gate import AccessGate
from emotion.access.keys import Keyring, hash_key
from emotion.access.sessions import Sessions
from emotion.settings import Settings
from emotion.ui import scripts
from tests.page_server import FakeRecognizer, page_app

ASSETS = Path(scripts.__file__).parent / "assets"
HEAD = scripts.head(Settings())
FOLDER = re.search(r'src="([^"]+)/page.js"', HEAD)[1]
TOLD = json.loads(re.search(r"const studio = (.*?);</script>", HEAD)[1])
ADDRESSES = [f"{FOLDER}/{name}" for name in TOLD["modules"]]


def served(**flags: str) -> TestClient:
    app = FastAPI()
    scripts.serve_scripts(app)
    app.add_middleware(AccessGate, Keyring.of(Settings(**flags)), Sessions())
    return TestClient(app, base_url="http://studio")


def test_every_script_is_known_to_the_page_and_kept_for_ever():
    assert [address.rpartition("/")[2] for address in ADDRESSES] == sorted(path.name for path in ASSETS.glob("*.js"))
    client = served()
    for address in ADDRESSES:
        answer = client.get(address)
        assert answer.content == (ASSETS / address.rpartition("/")[2]).read_bytes()
        assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
        assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"


def test_what_the_page_begins_with_is_fetched_at_once():
    early = re.findall(r'<link rel="modulepreload" href="[^"]+/(\w+\.js)">', HEAD)
    waiting, imported = ["page.js"], set()
    while waiting:
        found = re.findall(r'from "\./(\w+\.js)"', (ASSETS / waiting.pop()).read_text(encoding="utf-8"))
        waiting += [name for name in found if name not in imported]
        imported.update(found)
    assert sorted(early) == sorted(imported)


def test_an_address_is_relative_and_changes_with_what_the_scripts_say(monkeypatch):
    assert all(re.fullmatch(r"scripts/[0-9a-f]{16}/\w+\.js", address) for address in ADDRESSES)
    monkeypatch.setattr(scripts, "_modules", lambda: {"page.js": b"changed"})
    assert scripts._address.__wrapped__() not in ADDRESSES[0]


@pytest.mark.parametrize("name", ["page.css", "..%2fscripts.py", "nothing.js", ""])
def test_nothing_but_scripts_is_served_there(name):
    assert served().get(f"{FOLDER}/{name}").status_code == 404


def test_whoever_is_not_let_in_gets_no_script_either():
    client = served(api_keys=f"ann:{hash_key('emo_ann')}")
    assert client.get(ADDRESSES[0]).status_code == 401
    assert client.get(ADDRESSES[0], headers={"X-API-Key": "emo_ann"}).status_code == 200


def test_what_scripts_are_told_cannot_end_the_script_that_tells_it(monkeypatch):
    monkeypatch.setattr(scripts.Words, "group", lambda *_: {"gone": "</script><b>"})
    assert "</script><b>" not in scripts.head(Settings())


def test_every_component_is_drawn_by_a_function_that_there_is(tmp_path):
    recognizer = FakeRecognizer(Settings(outputs=tmp_path))
    config = TestClient(asyncio.run(page_app(recognizer)), base_url="http://127.0.0.1").get("/config").json()
    recognizer.close()
    drawn = {component["props"].get("js_on_load") for component in config["components"]}
    calls = [re.search(r"/(\w+\.js)'.*module\.(\w+)\(", script) for script in drawn if script and "import" in script]
    assert len(calls) > 10
    for found in calls:
        assert f"export function {found[2]}(" in (ASSETS / found[1]).read_text(encoding="utf-8")
