"""Many clients at once: the HTTP API against a plain Gradio page over FunASR, on the same checkpoint and processors.

Every client sends one recording after the other, each of another sound, and waits for its result; a client that is
told to come back later does. `web` is what a request of ours took beyond decoding, waiting in the queue and inference.
`again` sends the same recordings once more, which the cache answers. With --soak the built-in model answers so many
requests, and what the server holds before and after is compared.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import bench
import httpx
import psutil

LEVELS = (1, 8, 32, 100)
LENGTHS_S = (1.0, 2.0, 3.0, 3.0, 4.0, 5.0, 8.0, 12.0)
FORMATS = ("wav", "flac", "ogg", "mp3")
START_S, PATIENCE_S = 300.0, 1200.0
HEADER = (
    "side", "clients", "requests", "requests/s", "p50, s", "p95, s", "web p95, ms", "told to wait", "errors", "peak GB",
)  # fmt: skip


@dataclass
class Load:
    """What one level of clients met; seconds of each request from the first try to its result."""

    clients: int
    elapsed_s: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    web_ms: list[float] = field(default_factory=list)
    waits: int = 0
    errors: list[str] = field(default_factory=list)
    hits: int = 0
    peak_bytes: int = 0

    @property
    def rate(self) -> float:
        return len(self.latencies_s) / self.elapsed_s


class Failed(Exception):
    """A request was not answered as it should be."""


@dataclass(frozen=True)
class Reply:
    """Status, headers in small letters, and body of an answer."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """One kept connection with as little of a client as HTTP allows: a real one would take the processor of the server,
    on which both run here.
    """

    def __init__(self, url: str) -> None:
        self._host, _, port = url.removeprefix("http://").partition(":")
        self._port = int(port)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def post(self, target: str, content: bytes) -> Reply:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port, limit=1 << 24)
        head = (
            f"POST {target} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
            f"Content-Type: application/octet-stream\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        self._writer.write(head.encode() + content)
        await self._writer.drain()
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
        body = await self._reader.readexactly(int(headers["content-length"]))
        return Reply(int(lines[0].split()[1]), headers, body)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class Side(Protocol):
    """How one client of a server asks."""

    def command(self, folder: str, port: int) -> list[str]: ...

    def client(self, url: str) -> contextlib.AbstractAsyncContextManager[Any]: ...

    async def ask(self, client: Any, name: str, content: bytes, load: Load) -> None: ...


class Ours:
    """`POST /v1/analyses`, and again after as long as a 503 says."""

    def command(self, folder: str, port: int) -> list[str]:
        return [sys.executable, "-m", "emotion", "serve", "--offline", "--model", folder, "--port", str(port)]

    @contextlib.asynccontextmanager
    async def client(self, url: str) -> AsyncIterator[Connection]:
        with contextlib.closing(Connection(url)) as connection:
            yield connection

    async def ask(self, client: Connection, name: str, content: bytes, load: Load) -> None:
        while True:
            started_s = time.perf_counter()
            answer = await client.post(f"/v1/analyses?name={name}", content)
            if answer.status != 503:
                break
            load.waits += 1
            await asyncio.sleep(float(answer.headers["retry-after"]))
        elapsed_ms = (time.perf_counter() - started_s) * 1000
        if answer.status != 200:
            raise Failed(f"{answer.status} {answer.body[:200]!r}")
        record = json.loads(answer.body)
        load.web_ms.append(elapsed_ms - sum(record["timings_ms"][stage] for stage in ("decode", "queue", "inference")))
        load.hits += record["cached"]


class Usual:
    """Gradio's own API: upload the file, join the queue, read the events until the result."""

    def command(self, folder: str, port: int) -> list[str]:
        return [sys.executable, str(bench.HOUSE / "benchmarks" / "usual_page.py"), folder, str(port)]

    def client(self, url: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=url, timeout=PATIENCE_S)

    async def ask(self, client: httpx.AsyncClient, name: str, content: bytes, load: Load) -> None:
        del load
        uploaded = await client.post("/gradio_api/upload", files={"files": (name, content)})
        uploaded.raise_for_status()
        recording = {"path": uploaded.json()[0], "meta": {"_type": "gradio.FileData"}}
        called = await client.post("/gradio_api/call/recognize", json={"data": [recording, "utterance"]})
        called.raise_for_status()
        event = ""
        async with client.stream("GET", f"/gradio_api/call/recognize/{called.json()['event_id']}") as events:
            async for line in events.aiter_lines():
                if line.startswith("event: "):
                    event = line.removeprefix("event: ")
                elif line.startswith("data: ") and event in ("complete", "error"):
                    if event == "error":
                        raise Failed(line)
                    return
        raise Failed("the events ended without a result")


def main() -> None:
    parser = bench.arguments(__doc__, repeats=1)
    parser.add_argument("--clients", type=int, nargs="+", default=list(LEVELS), help="clients at once")
    parser.add_argument(
        "--requests", type=int, default=0, help="requests of a level; 0: two of each client, 24 at least"
    )
    parser.add_argument("--only", choices=["ours", "usual"], help="one side alone")
    parser.add_argument("--built-in", action="store_true", help="ours with the built-in model and clips of 3 s")
    parser.add_argument("--queue", type=int, default=128, help="queue_size of ours")
    parser.add_argument("--soak", type=int, default=0, help="so many requests to the built-in model, and memory")
    wanted = parser.parse_args()
    os.environ["EMOTION_CACHE"] = (
        "memory"  # as it is without a word; sounds differ, so it answers only what is sent again
    )
    os.environ["EMOTION_QUEUE_SIZE"] = str(wanted.queue)
    if wanted.quick:
        wanted.clients, wanted.requests = [1, 4], 8
    if wanted.soak:
        soak(wanted)
        return
    with contextlib.ExitStack() as stack:
        folder = "compact" if wanted.built_in else str(stack.enter_context(bench.checkpoint(wanted.model)))
        loads = measure(folder, wanted)
    rows = [row(side, load) for side, level in loads.items() for load in level]
    record = {side: [vars(load) for load in level] for side, level in loads.items()}
    bench.report(f"the service, model {'built-in' if wanted.built_in else 'large'}", HEADER, rows, record, notes(loads))


def measure(folder: str, wanted: argparse.Namespace) -> dict[str, list[Load]]:
    """Each side's server in turn, all levels of clients on it."""
    chosen: dict[str, Ours | Usual] = {"usual": Usual(), "ours": Ours()}
    if wanted.built_in or wanted.only:
        chosen = {name: side for name, side in chosen.items() if name == (wanted.only or "ours")}
    loads: dict[str, list[Load]] = {}
    with tempfile.TemporaryDirectory() as place:
        for name, side in chosen.items():
            with server(side.command(folder, port := free_port()), port, place) as (url, process):
                asyncio.run(meet(side, url, recordings(4, wanted.built_in, seed=-1), 1, process))
                for clients in wanted.clients:
                    sounds = recordings(wanted.requests or max(24, 2 * clients), wanted.built_in, seed=clients)
                    loads.setdefault(name, []).append(asyncio.run(meet(side, url, sounds, clients, process)))
                    print(json.dumps({"side": name, **summary(loads[name][-1])}), file=sys.stderr, flush=True)
                    if name == "ours":
                        again = asyncio.run(meet(side, url, sounds, clients, process))
                        loads.setdefault("ours, again", []).append(again)
    return loads


def recordings(count: int, only_three_s: bool, seed: int) -> list[tuple[str, bytes]]:
    """So many recordings of different sound, of mixed lengths and formats, in a fixed order; names and contents."""
    found = []
    with tempfile.TemporaryDirectory() as place:
        for number in range(count):
            duration_s = 3.0 if only_three_s else LENGTHS_S[number % len(LENGTHS_S)]
            name = f"clip_{number}.{FORMATS[number % len(FORMATS)]}"
            found.append((name, _written(Path(place) / name, duration_s, 100_000 * (seed + 2) + number)))
    random.Random(seed).shuffle(found)  # noqa: S311 - an order, no secret
    return found


def _written(path: Path, duration_s: float, seed: int) -> bytes:
    import soundfile

    soundfile.write(path, bench.speech_like(duration_s, seed), 16_000)
    content = path.read_bytes()
    path.unlink()
    return content


async def meet(
    side: Side, url: str, sounds: list[tuple[str, bytes]], clients: int, process: "subprocess.Popen[bytes]"
) -> Load:
    """So many clients, who share the recordings among them."""
    load, waiting = Load(clients), list(reversed(sounds))

    async def act() -> None:
        async with side.client(url) as client:
            while waiting:
                name, content = waiting.pop()
                started_s = time.perf_counter()
                try:
                    await side.ask(client, name, content, load)
                except (Failed, httpx.HTTPError, OSError, asyncio.IncompleteReadError) as error:
                    load.errors.append(f"{type(error).__name__} {error}")
                else:
                    load.latencies_s.append(time.perf_counter() - started_s)

    with watched(process) as peak:
        started_s = time.perf_counter()
        await asyncio.gather(*(act() for _ in range(clients)))
        load.elapsed_s = time.perf_counter() - started_s
    load.peak_bytes = peak()
    return load


@contextlib.contextmanager
def watched(process: "subprocess.Popen[bytes]") -> Iterator[Any]:
    """The most memory that the server held in the context."""
    own, ended, most = psutil.Process(process.pid), threading.Event(), [0]

    def look() -> None:
        while not ended.wait(0.1):
            most[0] = max(most[0], held_bytes(own))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield lambda: most[0]
    finally:
        ended.set()
        thread.join()


def held_bytes(process: psutil.Process) -> int:
    """Memory of a process and its children."""
    total = process.memory_info().rss
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += child.memory_info().rss
    return int(total)


@contextlib.contextmanager
def server(command: list[str], port: int, place: str) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """A server that answers on that port; its word goes to a file."""
    environment = os.environ | {"EMOTION_OUTPUTS": str(Path(place) / "outputs"), "PYTHONPATH": str(bench.HOUSE)}
    environment |= {"GRADIO_ANALYTICS_ENABLED": "False", "EMOTION_LOG_LEVEL": "warning"}
    with (Path(place) / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=bench.HOUSE, stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(url, process, Path(log.name))
            yield url, process
        finally:
            process.terminate()
            process.wait(60)


def _wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    give_up_s = time.monotonic() + START_S
    while time.monotonic() < give_up_s:
        if process.poll() is not None:
            sys.exit(f"The server ended before it answered:\n{log.read_text()[-2000:]}")
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, timeout=5).status_code == 200:
                return
        time.sleep(0.2)
    sys.exit(f"The server did not answer within {START_S:.0f} s.")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def soak(wanted: argparse.Namespace) -> None:
    """Memory of the server after a tenth of the requests and after all of them.

    The cache is so small that the first tenth fills it, since it is meant to grow up to its bound.
    """
    os.environ["EMOTION_CACHE_MB"] = "8"
    side, readings = Ours(), []
    port = free_port()
    with tempfile.TemporaryDirectory() as place:  # noqa: SIM117 - two names of one line would not fit on it
        with server(side.command("compact", port), port, place) as (url, process):
            own = psutil.Process(process.pid)
            for tenth in range(10):
                sounds = recordings(wanted.soak // 10, only_three_s=False, seed=tenth)
                load = asyncio.run(meet(side, url, sounds, 8, process))
                readings.append((tenth + 1, held_bytes(own), load))
                print(json.dumps({"held_bytes": readings[-1][1], **summary(load)}), file=sys.stderr, flush=True)
    # What is held moves by a few MB from moment to moment, and the cache fills at first: medians of three readings.
    early = statistics.median(held for _, held, _ in readings[1:4])
    late = statistics.median(held for _, held, _ in readings[-3:])
    rows = [
        (f"{tenth * wanted.soak // 10:,}", f"{held / 1e6:.0f}", f"{load.rate:.1f}") for tenth, held, load in readings
    ]
    change = f"{100 * (late / early - 1):+.1f} % from the first tenths to the last"
    errors = sum(len(load.errors) for _, _, load in readings)
    record = {"held_bytes": [held for _, held, _ in readings], "errors": errors}
    bench.report("memory of the service", ("requests", "MB", "requests/s"), rows, record, [change, f"{errors} errors"])


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(share * len(values)), len(values) - 1)] if values else float("nan")


def summary(load: Load) -> dict[str, Any]:
    return {
        "clients": load.clients, "rate": round(load.rate, 2), "p50_s": round(percentile(load.latencies_s, 0.5), 3),
        "p95_s": round(percentile(load.latencies_s, 0.95), 3), "web_p95_ms": round(percentile(load.web_ms, 0.95), 1),
        "waits": load.waits, "errors": len(load.errors), "hits": load.hits, "first": load.errors[:1],
    }  # fmt: skip


def row(side: str, load: Load) -> tuple[object, ...]:
    web = f"{percentile(load.web_ms, 0.95):.0f}" if load.web_ms else bench.NONE
    p50, p95 = (f"{percentile(load.latencies_s, share):.3f}" for share in (0.5, 0.95))
    rate, peak = f"{load.rate:.2f}", f"{load.peak_bytes / 1e9:.2f}"
    return side, load.clients, len(load.latencies_s), rate, p50, p95, web, load.waits, len(load.errors), peak


def notes(loads: dict[str, list[Load]]) -> list[str]:
    """How many times the requests per second of the usual page, for each number of clients."""
    pairs = zip(loads.get("usual", []), loads.get("ours", []), strict=False)
    return [
        f"{ours.clients} clients: {ours.rate / usual.rate:.1f} times the requests per second" for usual, ours in pairs
    ]


if __name__ == "__main__":
    main()
