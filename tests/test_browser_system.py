import re

import pytest
from playwright.sync_api import Page, expect

from emotion.monitor import Advice, StudioWatch
from tests.browser import browser_marks, choose, recognize
from tests.fakes import wait_for

pytestmark = browser_marks
SERIOUS = ("serious", "critical")


def show_tab(page: Page) -> None:
    page.get_by_role("tab", name=re.compile("^(System|系统)$")).click()
    expect(page.locator(".system")).to_be_visible()


def faults_in(page: Page, place: str) -> list[str]:
    """What axe-core finds serious or worse in a part of the page."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, context=place).response["violations"]
    return [f"{fault['id']}: {fault['nodes'][0]['html']}" for fault in found if fault["impact"] in SERIOUS]


def reading(page: Page) -> str | None:
    """Tells one reading from the next."""
    return page.locator(".system").get_attribute("data-read")


def let_time_pass(page: Page) -> bool:
    page.clock.run_for(2_000)
    return True


def until_the_next_reading(page: Page) -> None:
    before = reading(page)
    wait_for(lambda: let_time_pass(page) and reading(page) != before)


@pytest.fixture
def watched(opened):
    """The page on the tab, with a clock that a test moves, and what it asks the server for."""

    def open_page(**words: str) -> tuple[Page, list[str]]:
        page, asked = opened(**words), []
        page.clock.install()
        show_tab(page)
        page.on("request", lambda request: asked.append(request.url))
        return page, asked

    return open_page


def test_the_values_move_while_the_tab_is_open_and_rest_when_it_is_not(watched):
    page, asked = watched()
    expect(page.locator(".machine")).to_contain_text("no GPU; the model works on the processor")
    until_the_next_reading(page)
    until_the_next_reading(page)
    page.get_by_role("tab", name="Recognise").click()
    expect(page.locator(".system")).to_be_hidden()
    asked.clear()
    page.clock.run_for(60_000)
    assert asked == []
    show_tab(page)
    until_the_next_reading(page)


def test_the_values_rest_while_the_window_is_hidden(watched):
    page, asked = watched()
    until_the_next_reading(page)
    page.evaluate("Object.defineProperty(document, 'hidden', { value: true })")
    asked.clear()
    page.clock.run_for(60_000)
    assert asked == []


def test_only_the_values_change_and_nothing_jumps(watched):
    page, _ = watched()
    until_the_next_reading(page)
    page.evaluate("document.querySelectorAll('.system *').forEach((node) => { node.kept = true; })")
    before = page.locator("#free-memory").bounding_box()
    until_the_next_reading(page)
    assert page.locator("#free-memory").bounding_box() == before
    assert page.evaluate("[...document.querySelectorAll('.system *')].every((node) => node.kept)")


def test_a_recording_shows_in_the_counts_and_in_the_times(opened, served, turning):
    recognizer, _ = served
    page = opened()
    choose(page, turning)
    recognize(page)
    expect(page.locator("#result .confidence")).to_contain_text("Confidence:")
    show_tab(page)
    expect(page.locator(".system")).to_contain_text(f"Recordings done{recognizer.engine.clips_done}")
    expect(page.locator(".stage-bars")).to_contain_text(re.compile(r"Inference\d+\.\d ms"))
    expect(page.locator(".system")).to_contain_text("0 of 2 places")


def test_advice_shows_where_there_is_some(opened, monkeypatch):
    page = opened()
    show_tab(page)
    expect(page.locator(".advice")).to_have_text("Nothing stands out: there is nothing to change.")
    found = (Advice("swap_in_use", {"swap_bytes": 3 * 10**9, "process_bytes": 10**9}),)
    monkeypatch.setattr(StudioWatch, "advice", lambda _watch: found)
    expect(page.locator(".advice")).to_contain_text("Memory is short: 3.00 GB of it lie on the disk")


def test_memory_is_freed_as_soon_as_nothing_waits(opened, served, turning):
    recognizer, _ = served
    page = opened()
    choose(page, turning)
    recognizer.model.gate.clear()
    recognize(page)
    expect(page.locator("#progress")).to_contain_text("Recognising")
    show_tab(page)
    expect(page.locator("#chore-note")).to_contain_text("Free memory gives back what is only cached")
    freed = recognizer.model.times_freed
    page.locator("#free-memory").click()
    expect(page.locator("#chore-note")).to_contain_text("as soon as nothing waits")
    expect(page.locator("#warm-up")).to_be_disabled()
    assert recognizer.model.times_freed == freed
    recognizer.model.gate.set()
    expect(page.locator("#chore-note")).to_contain_text(re.compile(r"Done: .*[Tt]his program h(eld|olds) "))
    expect(page.locator("#warm-up")).to_be_enabled()
    assert recognizer.model.times_freed == freed + 1


def test_the_model_is_warmed_by_a_click(opened, served):
    recognizer, _ = served
    page, before = opened(), len(recognizer.model.batches)
    show_tab(page)
    page.locator("#warm-up").click()
    expect(page.locator("#chore-note")).to_contain_text(re.compile(r"Warm, in \d+\.\d s\. Batches"))
    assert len(recognizer.model.batches) > before


def test_the_model_tells_what_it_is(opened):
    page = opened()
    show_tab(page)
    expect(page.locator(".model-card")).to_contain_text("The model: fake")
    expect(page.locator(".model-card")).to_contain_text("It is no lie detector and no diagnosis")
    expect(page.locator(".model-card")).to_contain_text("sha256:0")


@pytest.mark.parametrize("language", ["en-US", "zh-CN"])
def test_a_phone_never_scrolls_sideways(opened, language):
    page = opened(390, 844, language)
    show_tab(page)
    expect(page.locator(".model-card")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    if language == "zh-CN":
        expect(page.locator(".machine")).to_contain_text("没有 GPU，由处理器运行模型")
        expect(page.locator("#free-memory")).to_have_text("释放内存")
        expect(page.locator(".model-card")).to_contain_text("不是测谎，也不是诊断")


@pytest.mark.parametrize("width", [1280, 390])
def test_a_screen_reader_finds_its_way(opened, width):
    page = opened(width)
    show_tab(page)
    expect(page.locator(".model-card")).to_be_visible()
    assert faults_in(page, "#system") == []
