import re
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from emotion.audio import Clip
from emotion.outputs import write_run
from tests.browser import browser_marks, choose, recognize
from tests.fakes import NOON, analyze, tone

pytestmark = browser_marks
SERIOUS = ("serious", "critical")
# As the fake model makes them: eight numbers. The first three sound alike, the others do too.
VOICES = 5 + np.array([[1, 0], [0.9, 0.3], [0.8, -0.3], [-1, 0.1], [-0.8, -0.1], [-0.9, 0]], np.float32).repeat(4, 1)
MARKUP = "<img src=x onerror=document.title='hacked'>.wav"
NAMES = ("ann.wav", "bea.wav", "客户来电.m4a", "dan.wav", "eve.wav", MARKUP)


def write(outputs: Path, number: int, embedding: np.ndarray | None, name: str | None = None) -> str:
    """A run of its own, a minute after the one before; its folder."""
    analysis = analyze(Clip(name or NAMES[number], tone(1.0)), embedding=embedding is not None)
    files = write_run(outputs, replace(analysis, timestamp=NOON + timedelta(minutes=number)))
    if embedding is not None:
        np.save(files.embedding, embedding)
    return files.folder.name


@pytest.fixture
def outputs(served) -> Path:
    """No runs."""
    folder = served[0].settings.outputs
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


@pytest.fixture
def six(outputs) -> list[str]:
    """The folders of six runs with embeddings, the oldest first."""
    return [write(outputs, number, one) for number, one in enumerate(VOICES)]


def show_tab(page: Page) -> None:
    page.get_by_role("tab", name=re.compile("^(Similar|相似)$")).click()
    expect(page.locator(".sim-map")).to_be_visible()


def mark(page: Page, folder: str):
    return page.locator(f".sim-map [data-point={folder}]")


def find_similar(page: Page, folder: str) -> None:
    mark(page, folder).click()
    page.locator("#similar-card [data-near]").click()
    expect(page.locator(".sim-subject")).to_be_visible()


def test_a_recognised_recording_finds_those_like_it(opened, six, turning):
    page = opened()
    page.get_by_label("Keep embedding").check()
    choose(page, turning)
    recognize(page)
    expect(page.locator("#result .confidence")).to_contain_text("Confidence:")
    show_tab(page)
    expect(page.locator(".sim-subject")).to_contain_text("turning.wav")
    expect(page.locator(".sim-list li")).not_to_have_count(0)
    expect(page.locator(".sim-map [role=option]")).to_have_count(len(six) + 1)
    expect(page.locator(".sim-map .mark.open title")).to_have_text(re.compile("turning.wav .* open now"))


def test_the_nearest_come_first_with_their_similarity(opened, six):
    page = opened()
    show_tab(page)
    expect(page.locator("#similar-near")).to_contain_text("No recording is open")
    find_similar(page, six[0])
    expect(page.locator(".sim-subject")).to_contain_text("ann.wav")
    rows = page.locator(".sim-list li")
    expect(rows).to_have_count(3)
    expect(rows.nth(0)).to_contain_text(re.compile(r"(bea\.wav|客户来电\.m4a).*0\.9\d\d"))
    expect(rows.nth(2)).to_contain_text("−0.")
    expect(page.locator(".sim-map .mark.near")).to_have_count(3)
    expect(page.locator("#similar-map .sim-note")).to_contain_text("The two directions show")


def test_one_of_the_nearest_is_opened(opened, six):
    page = opened()
    show_tab(page)
    find_similar(page, six[0])
    page.get_by_role("button", name="Open bea.wav").click()
    expect(page.locator("#result .subject")).to_contain_text("bea.wav")
    expect(page.locator("#recognise")).to_be_visible()
    show_tab(page)
    expect(page.locator(".sim-subject")).to_contain_text("bea.wav")


def test_the_map_is_walked_with_the_keys(opened, six):
    page = opened()
    show_tab(page)
    stop = page.locator(".sim-map [tabindex='0']")
    expect(stop).to_have_count(1)
    stop.focus()
    page.keyboard.press("End")
    expect(mark(page, six[0])).to_be_focused()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".sim-map [role=option]:focus")).to_have_count(1)
    page.keyboard.press("End")
    expect(stop).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.locator(".sim-card")).to_contain_text("ann.wav")
    expect(mark(page, six[0])).to_have_attribute("aria-selected", "true")


def test_a_neighbour_is_played_where_it_stands(opened, six, outputs):
    (outputs / six[1] / "processed_audio.wav").unlink()
    page = opened()
    show_tab(page)
    find_similar(page, six[0])
    play = page.locator(".sim-subject .sim-play")
    play.click()
    expect(play).to_have_attribute("aria-label", "Pause ann.wav")
    page.wait_for_function("document.querySelector('#similar-near audio').currentTime > 0.05")
    play.click()
    expect(play).to_have_attribute("aria-label", "Play ann.wav")
    expect(page.locator(".sim-list li", has_text="bea.wav").get_by_label("The recording was not kept")).to_be_visible()


def test_a_recording_without_its_embedding_says_what_to_do(opened, six, turning):  # noqa: ARG001 - they are there
    page = opened()
    choose(page, turning)
    recognize(page)
    expect(page.locator("#result .confidence")).to_contain_text("Confidence:")
    show_tab(page)
    expect(page.locator("#similar-near")).to_contain_text("Tick “Keep embedding” and recognise it again.")
    expect(page.locator("#similar-map .sim-note")).to_contain_text("Not on it: 1 without an embedding")


def test_too_few_recordings_are_counted(opened, outputs, turning):
    page = opened()
    show_tab(page)
    expect(page.locator("#similar-map")).to_contain_text("The map begins with 3 recordings")
    write(outputs, 0, VOICES[0])
    page.get_by_role("tab", name="Recognise").click()
    page.get_by_label("Keep embedding").check()
    choose(page, turning)
    recognize(page)
    expect(page.locator("#result .confidence")).to_contain_text("Confidence:")
    show_tab(page)
    expect(page.locator("#similar-near")).to_contain_text("there are 2 so far; at least 3 are needed.")


def test_what_was_deleted_meanwhile_is_said_to_be_gone(opened, six, outputs):
    page = opened()
    show_tab(page)
    find_similar(page, six[0])
    shutil.rmtree(outputs / six[1])
    mark(page, six[1]).click()
    expect(page.locator("#similar-card")).to_contain_text("This result is not there.")
    page.get_by_role("button", name="Open bea.wav").click()
    expect(page.locator("#similar-card").get_by_role("alert")).to_contain_text("This result is not there.")
    shutil.rmtree(outputs / six[0])
    page.get_by_role("tab", name="Recognise").click()
    show_tab(page)
    expect(page.locator("#similar-near")).to_contain_text("The open recording is gone")


def test_names_of_files_bring_no_markup(opened, six):
    page = opened()
    show_tab(page)
    find_similar(page, six[5])
    expect(page.locator(".sim-subject")).to_contain_text(MARKUP)
    assert page.title() != "hacked"
    assert page.locator("#similar img").count() == 0


@pytest.mark.parametrize("language", ["en-US", "zh-CN"])
def test_a_phone_never_scrolls_sideways(opened, six, language):
    page = opened(390, 844, language)
    show_tab(page)
    find_similar(page, six[5])
    mark(page, six[0]).click()
    expect(page.locator("#similar-card .sim-play")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    sizes = page.locator("#similar button:visible").evaluate_all("all => all.map((one) => one.offsetHeight)")
    assert min(sizes) >= 44
    if language == "zh-CN":
        expect(page.locator("#similar-near h2")).to_have_text("最相近的录音")
        expect(page.locator(".sim-legend")).to_contain_text("愤怒")
        expect(page.locator("#similar-map .sim-note")).to_contain_text("听起来相近的彼此靠近")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_screen_reader_finds_its_way(opened, six, theme):
    from axe_playwright_python.sync_playwright import Axe

    page = opened()
    page.goto(f"{page.url}?__theme={theme}")
    show_tab(page)
    find_similar(page, six[0])
    mark(page, six[1]).click()
    expect(page.locator("#similar-card .sim-play")).to_be_visible()
    found = Axe().run(page, context="#similar").response["violations"]
    assert [f"{fault['id']}: {fault['nodes'][0]['html']}" for fault in found if fault["impact"] in SERIOUS] == []
