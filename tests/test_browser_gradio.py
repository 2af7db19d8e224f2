"""The parts of Gradio's page that it does not promise to keep: each is held against the page in a real browser."""

import re

import pytest
from playwright.sync_api import Page, expect

from emotion.ui.gradio_adapter import GRADIO_VERSION
from tests.browser import browser_marks, choose

pytestmark = browser_marks
ADAPTER = """() => import(document.querySelector("link[href$='gradio_adapter.js']").href)
    .then(({ GRADIO_VERSION, HOOKS }) => ({ version: GRADIO_VERSION, hooks: HOOKS }))"""


@pytest.fixture
def page(opened) -> Page:
    return opened()


@pytest.fixture
def hooks(page) -> dict[str, str]:
    return page.evaluate(ADAPTER)["hooks"]


def test_the_scripts_are_for_the_same_gradio_as_the_server(page):
    assert page.evaluate(ADAPTER)["version"] == GRADIO_VERSION


def test_a_recording_is_chosen_in_a_field_and_is_stored_when_it_can_be_downloaded(page, hooks, turning):
    box = page.locator("#recording")
    expect(box.locator(hooks["fileInput"])).to_have_count(1)
    expect(box.locator(hooks["chosenFile"])).to_have_count(0)
    expect(box.locator(hooks["storedFile"])).to_have_count(0)
    choose(page, turning)
    expect(box.locator(hooks["chosenFile"]).first).to_be_visible()
    expect(box.locator(hooks["storedFile"])).to_have_count(1)


def test_the_open_tab_says_which_it_is(page, hooks):
    expect(page.locator(hooks["openTab"])).to_have_attribute("data-tab-id", "recognise")
    page.locator("#tabs [role=tab][data-tab-id=system]").click()
    expect(page.locator(hooks["openTab"])).to_have_attribute("data-tab-id", "system")


def test_a_list_of_files_has_the_parts_that_get_names(page, hooks, turning):
    page.locator("#tabs [role=tab][data-tab-id=batch]").click()
    box = page.locator("#batch-files")
    expect(box.locator(hooks["listLabel"])).to_have_text(re.compile(r"\w"))
    expect(box.locator(hooks["listUpload"])).to_have_count(1)
    files = [{"name": f"{name}.wav", "mimeType": "audio/wav", "buffer": turning.read_bytes()} for name in ("a", "b")]
    page.set_input_files(f"#batch-files {hooks['fileInput']}", files)
    rows = box.locator(hooks["listFile"])
    expect(rows.locator(hooks["listFileName"]).last).to_contain_text("b")
    expect(rows.locator(hooks["listFileClear"]).last).to_have_attribute("aria-label", re.compile(r"Clear b.*\.wav"))
    around = box.locator(hooks["listUploadAround"])
    expect(around).to_have_attribute("role", "group")
    assert around.evaluate("(around) => around.nextElementSibling.getAttribute('aria-label')") == "Clear"


def test_the_dark_theme_is_a_class_of_the_body(page, hooks):
    expect(page.locator(hooks["dark"])).to_have_count(0)
    page.goto(f"{page.url}?__theme=dark")
    expect(page.locator(hooks["dark"])).to_have_count(1)


def test_gradio_asks_its_server_by_the_fetch_of_the_window(page):
    page.evaluate("""() => {
        const plain = window.fetch;
        window.asked = [];
        window.fetch = (...request) => {
            window.asked.push(String(request[0].url ?? request[0]));
            return plain(...request);
        };
    }""")
    page.get_by_role("button", name="calm").click()
    page.wait_for_function("window.asked.some((address) => address.includes('/gradio_api/'))")
