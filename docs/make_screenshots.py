"""Makes the pictures of the READMEs from the running app: a sample, frame by frame, in English and in Chinese.

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

from PIL import Image
from playwright.sync_api import Browser, expect, sync_playwright

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
LOCALES = {"en": "en-US", "zh": "zh-CN"}
WIDTH, HEIGHT = 1280, 900
START_S, RESULT_MS = 180, 180_000
MAX_BYTES = 300_000


def main() -> None:
    arguments = _arguments()
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("There is no Chromium here. Install it, or name it in CHROMIUM.")
    with running_app(arguments.model) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for language, locale in LOCALES.items():
            target = DOCS / f"page.{language}.png"
            photograph(browser, url, locale, arguments.recording, target)
            shrink(target)
            sys.stdout.write(f"{target.relative_to(ROOT)} {target.stat().st_size // 1000} kB\n")


def photograph(browser: Browser, url: str, locale: str, recording: Path | None, target: Path) -> None:
    """One page with its result; `recording` None takes the cheerful sample."""
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, locale=locale)
    page.goto(url)
    expect(page.locator("#model .model")).to_be_visible(timeout=RESULT_MS)
    if recording is None:
        page.locator("#samples button").nth(1).click()
    else:
        page.set_input_files("#recording input[type=file]", recording)
    page.locator("#recording a[download]").first.wait_for(timeout=RESULT_MS)
    page.locator("#granularity label").nth(1).click()
    page.locator("#embedding input").check()
    page.locator("#recognise").click()
    expect(page.locator("#downloads a")).to_have_count(3, timeout=RESULT_MS)
    page.locator(".timeline canvas").hover()
    page.evaluate("document.activeElement.blur()")
    page.wait_for_timeout(1_000)  # the bars take half a second to grow
    page.screenshot(path=target, full_page=True)
    page.close()


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
