"""From process start to the first result of a 3 s clip, and from `emotion serve` to the page and its first result.

FunASR runs in a script of five lines, ours as the command line with each runtime and with the built-in model. All read
the same WAV and the same checkpoint from the page cache; ours has converted it before, as it does once. The page is
polled until it answers; its first result comes through gradio_client's `/recognize`, whose own start counts.
"""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import bench
import sides

REFERENCE = """
import sys
from funasr import AutoModel
model = AutoModel(model=sys.argv[1], disable_update=True, disable_pbar=True, ncpu=int(sys.argv[3]))
print(model.generate(input=sys.argv[2], granularity="utterance")[0]["scores"])
"""
EMOTION = (sys.executable, "-m", "emotion")
PATIENCE_S = 300
_LOOK_S = 0.02
Start = Callable[[], dict[str, float]]


class Failed(Exception):
    """A start ended without a result; the message is the last line that it said."""


def main() -> None:
    parser = bench.arguments(__doc__, repeats=3)
    parser.add_argument("--clip", type=Path, help="recording to recognise instead of 3 s of noise")
    wanted = parser.parse_args()
    with bench.checkpoint(wanted.model) as folder, tempfile.TemporaryDirectory() as place:
        clip = wanted.clip or bench.write_recording(Path(place) / "clip.wav", 3)
        environment = {**os.environ, "EMOTION_OUTPUTS": place, "GRADIO_ANALYTICS_ENABLED": "False"}
        starts = {**commands(folder, clip, environment), **servers(folder, clip, environment)}
        seconds, away = alternate(starts, 1 if wanted.quick else wanted.repeats)
    theirs = bench.Timing(tuple(seconds["FunASR: first result"])).median_s
    rows = [row(name, bench.Timing(tuple(values)), theirs) for name, values in seconds.items()]
    rows += [(name, "not here", bench.NONE, bench.NONE) for name in away]
    header = ("start", "median, s", "best, s", "times faster")
    notes = [f"{name}: {reason}" for name, reason in away.items()]
    bench.report("cold start", header, rows, {"seconds": seconds}, notes)


def row(name: str, timing: bench.Timing, theirs_s: float) -> tuple[object, ...]:
    faster = f"{theirs_s / timing.median_s:.1f}" if name.endswith("first result") else bench.NONE
    return name, f"{timing.median_s:.2f}", f"{timing.minimum_s:.2f}", faster


def commands(folder: Path, clip: Path, environment: dict[str, str]) -> dict[str, Start]:
    """FunASR, ours in every way that a CPU can compute, ours as it chooses by itself, and the built-in model."""
    reference = (sys.executable, "-c", REFERENCE, str(folder), str(clip), str(bench.physical_cores()))
    large = (*EMOTION, "recognize", str(clip), "--json", "--model", str(folder))
    ours = [sides.Variant("auto", "auto"), *(v for v in sides.CPU_VARIANTS if v.runtime != "funasr")]
    starts = {"FunASR": command(reference, environment)}
    starts |= {variant.name: command(large, chosen(variant, environment)) for variant in ours}
    starts["built-in model"] = command((*large[:-1], "compact"), environment)
    return starts


def chosen(variant: sides.Variant, environment: dict[str, str]) -> dict[str, str]:
    if variant.runtime == "auto":
        return environment
    how = {"RUNTIME": variant.runtime, "PRECISION": variant.precision, "DEVICE": variant.device}
    return {**environment, **{f"EMOTION_{key}": value for key, value in how.items()}}


def command(words: tuple[str, ...], environment: dict[str, str]) -> Start:
    """A process that prints one result and ends."""

    def start() -> dict[str, float]:
        started_s = time.perf_counter()
        done = subprocess.run(words, check=False, capture_output=True, text=True, cwd=bench.HOUSE, env=environment)
        elapsed_s = time.perf_counter() - started_s
        if done.returncode:
            raise Failed((done.stderr.strip().splitlines() or ["it said nothing"])[-1])
        return {"first result": elapsed_s}

    return start


def servers(folder: Path, clip: Path, environment: dict[str, str]) -> dict[str, Start]:
    return {
        "serve": server(str(folder), clip, environment),
        "serve, built-in model": server("compact", clip, environment),
    }


def server(model: str, clip: Path, environment: dict[str, str]) -> Start:
    """A server that is asked for its page, then for one result, and ended."""
    from gradio_client import Client, handle_file

    def start() -> dict[str, float]:
        port = free_port()
        started_s = time.perf_counter()
        process = subprocess.Popen(
            [*EMOTION, "serve", "--port", str(port), "--model", model],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=bench.HOUSE, env=environment,
        )  # fmt: skip
        try:
            wait_for_page(process, f"http://127.0.0.1:{port}/")
            page_s = time.perf_counter() - started_s
            client = Client(f"http://127.0.0.1:{port}/", verbose=False, analytics_enabled=False)
            client.predict(handle_file(str(clip)), "utterance", False, api_name="/recognize")
            return {"page answers": page_s, "first result": time.perf_counter() - started_s}
        finally:
            process.terminate()
            process.wait(PATIENCE_S)

    return start


def wait_for_page(process: "subprocess.Popen[bytes]", address: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            raise Failed(f"the server ended with {process.returncode}")
        with contextlib.suppress(OSError), urllib.request.urlopen(address) as page:  # noqa: S310 - our own server
            if page.status == 200:
                return
        time.sleep(_LOOK_S)
    raise Failed(f"no page within {PATIENCE_S} s")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def alternate(starts: dict[str, Start], repeats: int) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Seconds of every start by name and moment, in turn after a warm-up, and why some could not start."""
    seconds: dict[str, list[float]] = {}
    away: dict[str, str] = {}
    for turn in range(repeats + 1):
        for name, start in starts.items():
            if name in away:
                continue
            try:
                moments = start()
            except Failed as reason:
                away[name] = str(reason)
                continue
            for moment, elapsed_s in moments.items() if turn else ():
                seconds.setdefault(f"{name}: {moment}", []).append(elapsed_s)
    return seconds, away


if __name__ == "__main__":
    main()
