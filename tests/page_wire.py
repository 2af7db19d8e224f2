"""What a browser says to the page's server, without a browser: calls that no client library has looked at."""

import json
from pathlib import Path
from typing import Any

import httpx

SESSION = "wire"


def upload(client: httpx.Client, recording: Path) -> dict[str, Any]:
    """A file as handlers are given it, after it was sent to the server."""
    (path,) = client.post("gradio_api/upload", files={"files": (recording.name, recording.read_bytes())}).json()
    return file_at(path)


def file_at(path: str) -> dict[str, Any]:
    """A file that lies on the server already."""
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def call(client: httpx.Client, index: int, *values: Any) -> dict[str, Any]:
    """The answer of a handler that does not queue."""
    answer = client.post("gradio_api/run/predict", json={"data": values, "fn_index": index, "session_hash": SESSION})
    answer.raise_for_status()
    return answer.json()


def messages(client: httpx.Client, index: int, values: list[Any]) -> list[dict[str, Any]]:
    """Everything that the server says to a call that no client library has looked at, its end last."""
    join(client, index, values).raise_for_status()
    return heard(client)


def join(client: httpx.Client, index: int, values: list[Any]) -> httpx.Response:
    """Put a call into the queue."""
    call = {"data": values, "fn_index": index, "session_hash": SESSION}
    return client.post("gradio_api/queue/join", json=call)


def heard(client: httpx.Client) -> list[dict[str, Any]]:
    """What the server says to the session, until a call of it ends or there is no such session."""
    said: list[dict[str, Any]] = []
    with client.stream("GET", "gradio_api/queue/data", params={"session_hash": SESSION}) as stream:
        for line in stream.iter_lines():
            said += [json.loads(line.removeprefix("data:"))] if line else []
            if said and said[-1]["msg"] in ("process_completed", "unexpected_error"):
                return said
    raise AssertionError("the server gave no answer")


def component(config: dict[str, Any], name: str) -> int:
    return next(c["id"] for c in config["components"] if c["props"].get("elem_id") == name)


def on_click(client: httpx.Client, name: str) -> int:
    """The handler of a button."""
    config = client.get("config").json()
    target = [component(config, name), "click"]
    return next(d["id"] for d in config["dependencies"] if target in d["targets"])


def endpoint(client: httpx.Client) -> int:
    return next(d["id"] for d in client.get("config").json()["dependencies"] if d["api_name"] == "recognize")
