"""Makes the pictures of the READMEs from the running app, in English and in Chinese: a sample frame by frame, the
microphone while the samples are spoken into it, and two of them compared in the history.

    python docs/make_screenshots.py [--model emotion2vec_plus_large] [--recording FILE]

Needs a Chromium (CHROMIUM names another one) with fonts for Chinese and for emoji; Debian has them as chromium,
fonts-wqy-zenhei and fonts-noto-color-emoji. The results of the runs go to a folder that is deleted afterwards.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
DOCS = ROOT / "docs"
LOCALES = {"en": "en-US", "zh": "zh-CN"}
WIDTH, HEIGHT = 1280, 900
START_S, RESULT_MS, LISTEN_MS = 180, 180_000, 9_000
MAX_BYTES = 300_000
SAMPLES = ("calm", "cheerful", "cross")


def main() -> None:
    arguments = _arguments()
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("There is no Chromium here. Install it, or name it in CHROMIUM.")
    with (
        running_app(arguments.model) as url,
        voices() as microphone,
        sync_playwright() as playwright,
    ):
        fakes = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        sound = f"--use-file-for-fake-audio-capture={microphone}"
        flags = ["--no-sandbox", "--disable-gpu", *fakes, sound]
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        for language, locale in LOCALES.items():
            for name in photograph(browser, url, locale, arguments.recording, language):
                target = DOCS / name
                shrink(target)
                sys.stdout.write(f"{target.relative_to(ROOT)} {target.stat().st_size // 1000} kB\n")


def photograph(browser: Browser, url: str, locale: str, recording: Path | None, language: str) -> list[str]:
    """The names of the pictures in one language; `recording` None takes the samples."""
    context = browser.new_context(
        viewport={"width": WIDTH, "height": HEIGHT}, locale=locale, permissions=["microphone"]
    )
    context.set_default_timeout(RESULT_MS)
    page = context.new_page()
    page.goto(url)
    expect(page.locator("#model .model")).to_be_visible(timeout=RESULT_MS)
    page.locator("#granularity label").nth(1).click()
    page.locator("#embedding input").check()
    recognize(page, "cross")
    recognize(page, "cheerful" if recording is None else recording)
    page.locator("#timeline canvas").hover()
    names = [picture(page, f"page.{language}.png"), live(page, language), history(page, language)]
    context.close()
    return names


def recognize(page: Page, sound: str | Path) -> None:
    """Take a sample by its name, or a recording, and wait for its result."""
    if page.locator("#recording a[download]").count():
        page.locator("#recording .icon-button-wrapper button").last.click()
    if isinstance(sound, Path):
        page.set_input_files("#recording input[type=file]", sound)
    else:
        page.locator("#samples button").nth(SAMPLES.index(sound)).click()
    page.locator("#recording a[download]").first.wait_for()
    page.locator("#recognise").click()
    name = sound.name if isinstance(sound, Path) else f"{sound}.flac"
    expect(page.locator("#result .subject")).to_contain_text(name, timeout=RESULT_MS)
    expect(page.locator("#downloads a")).to_have_count(3, timeout=RESULT_MS)


def live(page: Page, language: str) -> str:
    """The microphone after some seconds of speech."""
    tab(page, "live")
    page.locator(".lv-switch").click()
    page.wait_for_timeout(LISTEN_MS)
    name = picture(page, f"live.{language}.png")
    page.locator(".lv-switch").click()
    expect(page.locator("#live-result .bar").first).to_be_visible(timeout=RESULT_MS)
    return name


def history(page: Page, language: str) -> str:
    """Two results beside each other."""
    tab(page, "history")
    page.locator("[data-open]").nth(1).click()
    page.locator("[data-compare]").last.click()
    expect(page.locator("#history .timeline canvas").nth(1)).to_be_visible(timeout=RESULT_MS)
    return picture(page, f"history.{language}.png")


def tab(page: Page, name: str) -> None:
    page.locator(f"#tabs [role=tab][data-tab-id={name}]").click()


def picture(page: Page, name: str) -> str:
    page.evaluate("document.activeElement.blur()")
    page.wait_for_timeout(1_000)  # the bars take half a second to grow
    page.screenshot(path=DOCS / name, full_page=True)
    return name


@contextmanager
def voices() -> Iterator[Path]:
    """The samples one after the other, as Chromium takes them for a microphone."""
    from emotion.audio import Clip, decode, write_wav

    samples = [decode(path).samples for path in sorted((ROOT / "emotion/ui/assets/samples").glob("*.flac"))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "voices.wav"
        write_wav(Clip("voices.wav", np.concatenate(samples)), path)
        yield path


def shrink(picture: Path) -> None:
    """Keep 256 colours, which this page does not exceed by much."""
    Image.open(picture).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(picture, optimize=True)
    if picture.stat().st_size > MAX_BYTES:
        sys.exit(f"{picture.name} is larger than {MAX_BYTES // 1000} kB.")


@contextmanager
def running_app(model: str | None) -> Iterator[str]:
    """The app on a free port with a folder of outputs that goes away."""
    with tempfile.TemporaryDirectory() as outputs, socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
        probe.close()
        environment = os.environ | {"EMOTION_OUTPUTS": outputs}
        command = [sys.executable, str(ROOT / "app.py"), "--port", str(port), *(["--model", model] if model else [])]
        app = subprocess.Popen(command, env=environment, cwd=ROOT)  # noqa: S603 - our own app
        try:
            url = f"http://127.0.0.1:{port}/"
            _wait_for(url, app)
            yield url
        finally:
            app.terminate()
            app.wait(30)


def _wait_for(url: str, app: "subprocess.Popen[bytes]") -> None:
    give_up_s = time.monotonic() + START_S
    while time.monotonic() < give_up_s:
        if app.poll() is not None:
            sys.exit("The app ended before it served the page.")
        try:
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 - our own address
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    sys.exit(f"The app did not serve the page within {START_S} s.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", help="which model answers; by default the app's own choice")
    parser.add_argument("--recording", type=Path, help="a recording of your own instead of the synthetic voice")
    return parser.parse_args()


if __name__ == "__main__":
    main()
