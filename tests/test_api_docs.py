"""What docs/api.md shows is what happens, on the application as it is served."""

import asyncio
import json
import os
import re
import subprocess
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from emotion.audio import write_wav
from emotion.client import Client
from emotion.engine.recognizer import Recognizer
from emotion.server import make_app
from tests.api_server import ApiRecognizer, asking, served
from tests.fakes import turning_clip

HOUSE = Path(__file__).parent.parent
GUIDE = (HOUSE / "docs" / "api.md").read_text(encoding="utf-8")
SHOWN = "http://127.0.0.1:7860"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    recognizer = Recognizer("compact", outputs=tmp_path_factory.mktemp("outputs"), offline=True)

    async def made() -> FastAPI:
        # Inside a running loop: outside of one, Gradio opens a loop of its own and never closes it.
        return make_app(recognizer)

    with recognizer, served(asyncio.run(made())) as address:
        yield address


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A folder with what the guide speaks of."""
    monkeypatch.chdir(tmp_path)
    write_wav(turning_clip(), tmp_path / "voice.wav")
    (tmp_path / "notes.txt").write_text("no sound")
    return tmp_path


def run_shell(code: str, folder: Path, address: str) -> str:
    code = code.replace(SHOWN, address)
    surroundings = os.environ | {"SERVER": address, "KEY": "none"}
    told = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        env=surroundings,
    )
    return told.stdout


def test_the_first_command_gives_a_record(address, desk):
    record = json.loads(run_shell(blocks("bash")[0], desk, address))
    assert record["file"] == "voice.wav"
    (shown, *_) = blocks("json")
    assert set(json.loads(shown)) <= set(record)


@pytest.mark.parametrize("code", blocks("bash"), ids=lambda code: code.splitlines()[0][:40])
def test_every_command_runs(address, desk, code):
    assert run_shell(code, desk, address).strip()


def test_the_commands_answer_what_the_guide_says(address, desk):
    by_start = {code: run_shell(code, desk, address) for code in blocks("bash")}
    jobs = next(told for code, told in by_start.items() if code.startswith("JOB="))
    assert "event: done" in jobs
    assert '"files":[{"name":"result.json"' in jobs
    several = next(told for code, told in by_start.items() if "-F file=@notes.txt" in code and "voice" in code)
    assert [entry["status"] for entry in json.loads(several)["analyses"]] == [200, 415]
    refused = next(told for code, told in by_start.items() if "-F file=@notes.txt" in code and "voice" not in code)
    (shown,) = [json.loads(block) for block in blocks("json") if block.startswith('{"type"')]
    assert {**json.loads(refused), "request_id": shown["request_id"]} == shown
    assert "-->" in next(told for code, told in by_start.items() if "emotion.srt" in code)
    assert '"status":"ready"' in next(told for code, told in by_start.items() if "readyz" in code)


@pytest.mark.parametrize("code", blocks("python"), ids=["client", "httpx", "stream"])
def test_the_python_blocks_run(address, desk, code, capsys):
    host = address.removeprefix("http://")
    exec(compile(code.replace("127.0.0.1:7860", host), "docs/api.md", "exec"), {})  # noqa: S102 - the guide's own code
    told = capsys.readouterr().out.split()
    with Client(address) as client:
        assert client.analyze(desk / "voice.wav")["emotion"] in told


def test_page_and_command_line_and_api_say_the_same(address, desk):
    with Recognizer("compact", offline=True, cache="off") as recognizer, Client(address) as client:
        expected = recognizer.recognize(desk / "voice.wav", "frame").record()
        told = client.analyze(desk / "voice.wav", granularity="frame")
    for record in (expected, told):
        for key in ("timestamp", "timings_ms", "cached"):
            del record[key]
    assert told == json.loads(json.dumps(expected))


def test_every_endpoint_is_in_the_guide(address):
    described = httpx.get(f"{address}/openapi.json").json()
    assert [path for path in described["paths"] if path not in GUIDE] == []


def test_the_page_of_the_description_loads_nothing_from_elsewhere():
    with asking(ApiRecognizer()) as client:
        page = client.get("/docs")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert re.findall(r"https?://[^\s\"'<]+|\bsrc=|@import", page.text) == []
    assert 'fetch("openapi.json")' in page.text
