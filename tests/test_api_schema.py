"""Asks the whole API what its description allows and what it does not, on the application as it is served."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
from fastapi import FastAPI

from emotion.engine.recognizer import Recognizer
from emotion.server import make_app
from tests.api_server import served

HOUSE = Path(__file__).parent.parent
# schemathesis has a plugin for pytest too, which does not load beside pytest 9; its command line does more anyway.
COMMAND = [
    str(Path(sys.executable).with_name("schemathesis")),
    "run",
    "--checks",
    "all",
    "--phases",
    "examples,coverage,fuzzing,stateful",
    "--max-examples",
    "15",
    "--generation-deterministic",
    "--no-color",
]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    # Hundreds of jobs in a few seconds fill a queue of the usual length, and a 503 counts as a fault there.
    outputs = tmp_path_factory.mktemp("outputs")
    recognizer = Recognizer("compact", outputs=outputs, offline=True, queue_size=10_000)

    async def made() -> FastAPI:
        # Inside a running loop: outside of one, Gradio opens a loop of its own and never closes it.
        return make_app(recognizer)

    with recognizer, served(asyncio.run(made())) as address:
        yield address


def test_no_answer_is_a_fault_or_undescribed(address, tmp_path):
    # The hooks know what a recording is.
    surroundings = os.environ | {"PYTHONPATH": str(HOUSE), "SCHEMATHESIS_HOOKS": "tests.schema_hooks"}
    told = subprocess.run(
        [*COMMAND, f"{address}/openapi.json"],
        capture_output=True,
        check=False,
        text=True,
        cwd=tmp_path,
        env=surroundings,
        timeout=120,
    )
    assert told.returncode == 0, told.stdout[-60_000:] + told.stderr[-2_000:]
    assert "Selected: 11/11" in told.stdout
    assert "Stateful (in" in told.stdout


def test_every_refusal_is_described_as_a_problem(address):
    with urlopen(f"{address}/openapi.json") as answer:  # noqa: S310 - our own address
        described = json.load(answer)
    operations = [operation for path in described["paths"].values() for operation in path.values()]
    assert len(operations) == 11
    for operation in operations:
        # A part of a file that is not there (416) is answered by the library that sends files.
        refusals = [answer for status, answer in operation["responses"].items() if status >= "400" and status != "416"]
        assert refusals
        assert all(list(answer["content"]) == ["application/problem+json"] for answer in refusals)
    assert described["components"]["schemas"]["AnalysisRecord"]["example"]["emotion"] == "happy"
