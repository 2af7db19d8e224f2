"""Process start to the first result of a 3 s clip: FunASR in a script of five lines, and our command line.

Both read the same WAV and the same random large checkpoint from the page cache; ours has converted it before, as it
does once.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import bench

from emotion.audio import Clip, write_wav

REFERENCE = """
import sys
from funasr import AutoModel
model = AutoModel(model=sys.argv[1], disable_update=True, disable_pbar=True)
print(model.generate(input=sys.argv[2], granularity="utterance")[0]["scores"])
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="timed starts of each side after one warm-up")
    wanted = parser.parse_args()
    with bench.large_checkpoint() as folder, tempfile.TemporaryDirectory() as place:
        clip = Path(place) / "clip.wav"
        write_wav(Clip("clip.wav", bench.speech_like(3)), clip)
        commands = {
            "funasr": [sys.executable, "-c", REFERENCE, str(folder), str(clip)],
            "ours": [sys.executable, "-m", "emotion", "recognize", str(clip), "--json", "--model", str(folder)],
            "ours, built-in model": [
                sys.executable,
                "-m",
                "emotion",
                "recognize",
                str(clip),
                "--json",
                "--model",
                "compact",
            ],
        }
        environment = {**os.environ, "EMOTION_CACHE": place}
        timings = bench.alternate(
            {name: lambda command=command: start(command, environment) for name, command in commands.items()},
            wanted.repeats,
        )
    theirs = timings["funasr"].median_s
    rows: list[tuple[object, ...]] = [
        (name, f"{timing.median_s:.2f}", f"{timing.minimum_s:.2f}", f"{theirs / timing.median_s:.1f}")
        for name, timing in timings.items()
    ]
    record = {name: timing.seconds for name, timing in timings.items()}
    bench.report("cold start", ("side", "median, s", "best, s", "times faster"), rows, {"seconds": record})


def start(command: list[str], environment: dict[str, str]) -> float:
    started_s = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, cwd=bench.HOUSE, env=environment)
    return time.perf_counter() - started_s


if __name__ == "__main__":
    main()
