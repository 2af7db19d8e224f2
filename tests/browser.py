"""A real Chromium on the page, and what tests do with it; its fixtures come to every test through conftest.py."""

import os
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect, sync_playwright

from emotion.audio import write_wav
from emotion.engine import EnginePlan
from emotion.settings import Settings
from tests.fakes import turning_clip

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]
WAIT_MS = 15_000
expect.set_options(timeout=WAIT_MS)

browser_marks = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
    # Gradio sums up its queue with pandas now and then, in ways that pandas 3 calls deprecated.
    pytest.mark.filterwarnings(
        "ignore:'future.no_silent_downcasting' is deprecated", "ignore:The copy keyword is deprecated"
    ),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    from tests.page_server import FakeRecognizer, serve_page  # gradio takes seconds, and most tests do without

    recognizer = FakeRecognizer(Settings(outputs=tmp_path_factory.mktemp("outputs")), EnginePlan(queue_size=2))
    with serve_page(recognizer) as url:
        yield recognizer, url


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def profiles(browser):
    """Browser profiles by language and reader, kept so that the files of the page are fetched once."""
    contexts: dict[tuple[str, str], BrowserContext] = {}

    def profile(language: str, reader: str) -> BrowserContext:
        if (language, reader) not in contexts:
            contexts[language, reader] = browser.new_context(locale=language, permissions=["microphone"])
            contexts[language, reader].set_default_timeout(WAIT_MS)
        return contexts[language, reader]

    yield profile
    for context in contexts.values():
        context.close()


@pytest.fixture
def opened(served, profiles):
    """Opens the page; afterwards nothing may have been asked of another host and no script may have failed."""
    recognizer, url = served
    pages, asked, faults = [], [], []

    def open_page(width: int = 1280, height: int = 900, language: str = "en-US", reader: str = "first") -> Page:
        page = profiles(language, reader).new_page()
        pages.append(page)
        page.set_viewport_size({"width": width, "height": height})
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(url)
        expect(page.locator("#model .model")).to_be_visible()
        return page

    yield open_page
    recognizer.model.gate.set()
    for page in pages:
        page.close()
    assert [address for address in asked if not address.startswith((url, "data:", "blob:"))] == []
    assert faults == []


@pytest.fixture
def turning(tmp_path) -> Path:
    """Two seconds of an angry tone, then two of a sad one."""
    write_wav(turning_clip(), tmp_path / "turning.wav")
    return tmp_path / "turning.wav"


def choose(page: Page, path: Path) -> None:
    page.set_input_files("#recording input[type=file]", path)
    expect(page.locator("#recording [aria-label='Clear'], #recording button[aria-label='清除']").first).to_be_visible()


def recognize(page: Page) -> None:
    page.locator("#recognise").click()


def headline(page: Page):
    return page.locator("#result .headline")


def download(page: Page, label: str) -> bytes:
    with page.expect_download() as started:
        page.locator("#downloads a", has_text=label).click()
    return Path(started.value.path()).read_bytes()


def serious_faults(page: Page) -> list[str]:
    """What axe-core finds serious or worse, each with the first place where it is."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    serious = [fault for fault in found if fault["impact"] in ("serious", "critical")]
    return [f"{fault['id']}: {fault['nodes'][0]['html']}" for fault in serious]
