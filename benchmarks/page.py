"""How the page feels in a real Chromium: first paint, from drop to result, and the timeline of an hour.

The app is started as `app.py` with the built-in model (or --model FOLDER). `usable` is from asking for the page until
its button can be pressed, in a browser that has nothing of it yet. `over the engine` is from dropping a clip of 3 s
until its result stands on the page, less the stages of the engine that the log of the run tells. The hour is opened
again from its run; `drawn` is from the arrival of its lanes to the picture, `frame` the longest of 60 steps of zoom.
"""

import base64
import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bench
from playwright.sync_api import Browser, Page, sync_playwright

sys.path.insert(0, str(bench.HOUSE / "docs"))
from make_screenshots import running_app

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
CLIP_S, HOUR_S = 3.0, 3_600.0
PATIENCE_MS = 600_000
HEADER = ("what", "median", "worst", "bar")
BARS = {"usable, s": 2.0, "drop to result over the engine, ms": 150.0, "hour drawn, s": 1.0}
# Drops a file that lies behind an address, and presses the button as soon as the page has taken it.
DROP_AND_PRESS = """async (base64) => {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([bytes], "clip.wav", { type: "audio/wav" }));
    const started = performance.now();
    const box = document.querySelector("#recording .upload-container");
    box.dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer }));
    const until = (found) => new Promise((resolve) => {
        const look = () => (found() ? resolve() : requestAnimationFrame(look));
        look();
    });
    await until(() => document.querySelector("#recording [download]"));
    document.querySelector("#result section").dataset.old = "";
    document.querySelector("#recognise").click();
    await until(() => document.querySelector("#result section[class='result result']:not([data-old])"));
    return performance.now() - started;
}"""
# Draws the timeline anew with the style switched, which does all that a new analysis does but fetch its values.
DRAW = """() => {
    const styles = [...document.querySelectorAll("#timeline .tl-styles button")];
    const other = styles.find((button) => button.getAttribute("aria-pressed") === "false");
    const started = performance.now();
    other.click();
    return new Promise((resolve) => requestAnimationFrame(() => resolve(performance.now() - started)));
}"""
ZOOM = """() => new Promise((resolve) => {
    const canvas = document.querySelector("#timeline canvas");
    const place = canvas.getBoundingClientRect();
    const frames = [];
    let last = performance.now();
    const step = () => {
        const now = performance.now();
        frames.push(now - last);
        last = now;
        if (frames.length > 60) return resolve(frames.slice(1));
        const deltaY = frames.length <= 30 ? -120 : 120;
        const clientX = place.left + place.width / 3, clientY = place.top + 20;
        canvas.dispatchEvent(new WheelEvent("wheel", { deltaY, clientX, clientY, bubbles: true, cancelable: true }));
        requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
})"""


def main() -> None:
    wanted = bench.arguments(__doc__, repeats=5).parse_args()
    hour_s = 120.0 if wanted.quick else HOUR_S
    repeats = 2 if wanted.quick else wanted.repeats
    model = str(wanted.model.resolve()) if wanted.model else "compact"
    with running_app(model) as url, chromium() as browser:
        seconds = {"usable, s": [usable_s(browser, url) for _ in range(repeats)]}
        page = opened(browser, url)
        over = [over_the_engine(page, repeat) for repeat in range(repeats + 1)][1:]
        seconds["drop to result, ms"] = [total_ms for total_ms, _ in over]
        seconds["drop to result over the engine, ms"] = [total_ms - engine_ms for total_ms, engine_ms in over]
        page.close()
        seconds |= hour(opened(browser, url), hour_s, repeats)
    rows = [row(name, values) for name, values in seconds.items()]
    bench.report(f"the page, model {model if model == 'compact' else 'large'}", HEADER, rows, {"values": seconds}, [])


@contextmanager
def chromium() -> Iterator[Browser]:
    if CHROMIUM is None:
        sys.exit("There is no Chromium here. Install it, or name it in CHROMIUM.")
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


def opened(browser: Browser, url: str) -> Page:
    page = browser.new_page(viewport={"width": 1280, "height": 900}, locale="en-US")
    page.set_default_timeout(PATIENCE_MS)
    page.goto(url)
    page.wait_for_selector("#recognise:not([disabled])")
    page.wait_for_selector("#model .model")
    return page


def usable_s(browser: Browser, url: str) -> float:
    """Seconds until the button can be pressed, with an empty cache."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    started_s = time.perf_counter()
    page.goto(url, wait_until="commit")
    page.wait_for_selector("#recognise:not([disabled])")
    elapsed_s = time.perf_counter() - started_s
    context.close()
    return elapsed_s


def over_the_engine(page: Page, seed: int) -> tuple[float, float]:
    """Milliseconds from the drop of a clip to its result, and how many of them the engine took."""
    with tempfile.TemporaryDirectory() as folder:
        recording = bench.write_recording(Path(folder) / "clip.wav", CLIP_S + seed / 100)
        total_ms = float(page.evaluate(DROP_AND_PRESS, _base64(recording)))
    log = page.locator("#log textarea").input_value() if page.locator("#log textarea").count() else ""
    if not log:
        page.locator("#log > button").click()
        log = page.locator("#log textarea").input_value()
    stages = [float(ms) for ms in re.findall(r"(?:Decode|Queue|Inference): ([\d.]+) ms", log)]
    page.locator("#recording [aria-label='Clear']").first.click()
    page.wait_for_selector("#recording .upload-container")
    return total_ms, sum(stages)


def hour(page: Page, duration_s: float, repeats: int) -> dict[str, list[float]]:
    """A long recording, recognised once by frames; then how fast it is opened, drawn and zoomed."""
    with tempfile.TemporaryDirectory() as folder:
        recording = bench.write_recording(Path(folder) / "hour.flac", duration_s)
        page.set_input_files("#recording input[type=file]", recording)
        page.wait_for_selector("#recording [download]")
    page.locator("#granularity label").nth(1).click()
    page.locator("#recognise").click()
    page.wait_for_selector("#timeline canvas", state="visible")
    return {
        "hour drawn, s": [float(page.evaluate(DRAW)) / 1000 for _ in range(repeats)],
        "hour, reload to timeline, s": [_reload_s(page) for _ in range(repeats)],
        "hour, frame while zooming, ms": [max(page.evaluate(ZOOM)) for _ in range(repeats)],
    }


def _reload_s(page: Page) -> float:
    started_s = time.perf_counter()
    page.reload(wait_until="commit")
    page.wait_for_selector("#timeline canvas", state="visible")
    return time.perf_counter() - started_s


def row(name: str, values: list[float]) -> tuple[object, ...]:
    digits = 0 if name.endswith("ms") else 2
    bar = BARS.get(name)
    return (
        name,
        f"{statistics.median(values):.{digits}f}",
        f"{max(values):.{digits}f}",
        bench.NONE if bar is None else f"{bar:g}",
    )


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


if __name__ == "__main__":
    main()
