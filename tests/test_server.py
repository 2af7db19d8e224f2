import asyncio
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import httpx
import pytest
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse

from emotion.errors import HubUnreachable
from emotion.recognizer import ModelState
from emotion.server import _known_hosts, describe
from emotion.settings import Settings
from tests.fakes import FakeModel

HOUSE = Path(__file__).parent.parent


@pytest.fixture
def started():
    """The app as a person starts it, on any free port; gives the process and its address."""
    process = subprocess.Popen(
        [sys.executable, "app.py", "--port", "0", "--offline"], cwd=HOUSE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            yield process, found.group(), lines
            break
    else:
        pytest.fail("it did not start: " + "".join(lines))
    process.kill()
    process.communicate()


def test_the_page_answers_says_its_model_and_ends_cleanly(started):
    process, address, said = started
    with urllib.request.urlopen(address, timeout=20) as answer:  # noqa: S310 - our own address
        assert b"Emotion2Vec+ Studio" in answer.read()
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=20)[1]
    assert "Traceback" not in rest
    assert "the built-in one answers" in "".join(said) + rest
    assert process.returncode in (0, 130)


def test_a_name_that_a_stranger_points_at_this_machine_is_refused(started):
    _, address, _ = started
    strange = urllib.request.Request(address, headers={"Host": "rebound.example.org"})  # noqa: S310 - our own address
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(strange, timeout=20)  # noqa: S310


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost", "[::1]:7860", "Emotion.Example.org"])
def test_names_of_this_machine_and_those_in_the_settings_are_known(host):
    known = _known_hosts(Settings(allowed_hosts="emotion.example.org, other.example.org"))
    app = TrustedHostMiddleware(PlainTextResponse("there"), allowed_hosts=known, www_redirect=False)

    async def ask() -> str:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
            return (await client.get("http://page/", headers={"host": host})).text

    assert asyncio.run(ask()) == "there"


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
