"""Two people who sign in to one page, in a browser each."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from emotion.access.keys import PasswordHash
from emotion.settings import Settings
from tests.browser import WAIT_MS, browser_marks, choose, headline, recognize, serious_faults
from tests.page_server import FakeRecognizer, serve_page

pytestmark = browser_marks
LOGINS = ",".join(f"{name}:{PasswordHash.of(f'{name}-password')}" for name in ("ann", "bo"))
Visit = Callable[..., Page]


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FakeRecognizer, str]]:
    settings = Settings(outputs=tmp_path_factory.mktemp("outputs"), page_logins=LOGINS)
    recognizer = FakeRecognizer(settings)
    with serve_page(recognizer) as url:
        yield recognizer, url


@pytest.fixture
def visit(signed: tuple[FakeRecognizer, str], browser: Browser) -> Iterator[Visit]:
    """Opens the page in a browser of its own and signs in; no script may fail, and nothing may be missing."""
    contexts: list[BrowserContext] = []
    faults: list[str] = []

    def sign_in_as(name: str, language: str = "en-US", width: int = 1280) -> Page:
        context = browser.new_context(
            locale=language, viewport={"width": width, "height": 900}, permissions=["microphone"]
        )
        context.set_default_timeout(WAIT_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("response", lambda answer: faults.append(answer.url) if answer.status in (400, 403, 404) else None)
        page.goto(signed[1])
        sign_in(page, name)
        return page

    yield sign_in_as
    for context in contexts:
        context.close()
    assert faults == []


def sign_in(page: Page, name: str) -> None:
    page.fill("input[name=name]", name)
    page.fill("input[name=password]", f"{name}-password")
    page.press("input[name=password]", "Enter")
    expect(page.locator("#client")).to_contain_text(name)


def tab(page: Page, name: str) -> None:
    page.locator(f"#tabs [role=tab][data-tab-id={name}]").click()


def test_two_people_have_a_page_each_and_see_nothing_of_the_other(
    signed: tuple[FakeRecognizer, str], visit: Visit, turning: Path
) -> None:
    ann, bo = visit("ann"), visit("bo")
    expect(ann.locator("#client")).to_contain_text("Signed in as ann")
    choose(ann, turning)
    recognize(ann)
    expect(headline(ann)).to_contain_text("Angry")
    assert signed[0].latest.result().request.owner == "clients/ann"
    for page, shown in ((ann, "turning.wav"), (bo, "No runs yet")):
        tab(page, "history")
        expect(page.locator("#history-list")).to_contain_text(shown)
    expect(bo.locator("#history-list")).not_to_contain_text("turning.wav")


def test_a_batch_and_a_microphone_go_to_the_place_of_who_began_them(
    signed: tuple[FakeRecognizer, str], visit: Visit, turning: Path
) -> None:
    page, outputs = visit("bo"), signed[0].settings.outputs
    tab(page, "batch")
    page.set_input_files("#batch-files input[type=file]", [turning, turning])
    page.locator("#batch-start").click()
    expect(page.locator("#batch-table")).to_contain_text("Angry")
    expect(page.locator("#batch-progress a").first).to_be_visible()
    tab(page, "live")
    page.locator("#live [data-start], #live button").first.click()
    expect(page.locator("#live")).to_contain_text("a result every")
    page.get_by_role("button", name=re.compile("Stop")).click()
    expect(page.locator("#live-result .headline")).to_be_visible()
    assert signed[0].latest.result().request.owner == "clients/bo"
    assert len(list((outputs / "clients" / "bo").glob("outputs_*"))) == 2
    assert list(outputs.glob("outputs_*")) == []


def test_a_page_whose_sign_in_is_over_says_so_and_comes_back_with_what_was_shown(visit: Visit, turning: Path) -> None:
    page = visit("ann", "zh-CN", 390)
    choose(page, turning)
    recognize(page)
    expect(headline(page)).to_contain_text("愤怒")
    page.context.clear_cookies(name="emotion_session")
    recognize(page)
    expect(page.get_by_role("alert").filter(has_text="登录已失效")).to_be_visible()
    expect(page.locator(".toast-wrap")).to_be_hidden()
    page.get_by_role("button", name="重新登录").click()
    sign_in(page, "ann")
    expect(headline(page)).to_contain_text("愤怒")


def test_who_signs_out_is_asked_to_sign_in(visit: Visit) -> None:
    page = visit("ann")
    page.get_by_role("link", name="Sign out").click()
    expect(page.locator("input[name=password]")).to_be_visible()
    page.go_back()
    page.reload()
    expect(page.locator("input[name=password]")).to_be_visible()


def test_the_head_with_a_name_in_it_is_fit_for_everybody(visit: Visit) -> None:
    for language, width in (("en-US", 1280), ("zh-CN", 390)):
        page = visit("ann", language, width)
        assert serious_faults(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
