import json
import re

import numpy as np
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from emotion.analysis import AnalysisRequest
from emotion.audio import Clip, write_wav
from tests.browser import ARGUMENTS, CHROMIUM, browser_marks, serious_faults
from tests.fakes import tone, wait_for

pytestmark = browser_marks
ANGRY_PIXELS = """() => {
  const canvas = document.querySelector(".lv-curve canvas");
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let count = 0;
  for (let i = 0; i < pixels.length; i += 4) {
    count += pixels[i] === 0xd5 && pixels[i + 1] === 0x5e && pixels[i + 2] === 0;
  }
  return count;
}"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A browser whose microphone hears a loud tone of two seconds, then silence of two, again and again."""
    microphone = tmp_path_factory.mktemp("microphone") / "heard.wav"
    write_wav(Clip("heard.wav", np.concatenate([tone(2.0), np.zeros(32_000, np.float32)])), microphone)
    arguments = [argument for argument in ARGUMENTS if argument != "--use-fake-ui-for-media-stream"]
    arguments += [f"--use-file-for-fake-audio-capture={microphone}", "--deny-permission-prompts"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture
def live(opened):
    """Opens the page on the tab Live."""

    def open_tab(*arguments, **words) -> Page:
        page = opened(*arguments, **words)
        show_tab(page, "live")
        expect(switch(page)).to_be_enabled()
        return page

    return open_tab


def show_tab(page: Page, name: str) -> None:
    page.locator(f"#tabs [role=tab][data-tab-id={name}]").click()


def switch(page: Page):
    return page.locator(".lv-switch")


def says(page: Page):
    return page.locator(".lv-card .headline")


def listen(page: Page, heard: str = "Angry") -> None:
    switch(page).click()
    expect(says(page)).to_contain_text(heard)


def stop(page: Page) -> None:
    switch(page).click()
    expect(page.locator("#live-result .result .confidence")).to_be_visible()


def newest_run(recognizer):
    return max(recognizer.settings.outputs.glob("outputs_*"), key=lambda run: run.stat().st_mtime_ns)


def test_bars_and_curve_follow_the_voice_and_silence_is_no_emotion(live):
    page = live()
    listen(page)
    best = page.locator(".lv-card .bar.best")
    expect(best).to_contain_text("Angry")
    expect(page.locator(".lv-card .confidence")).to_contain_text(re.compile(r"Confidence: \d+\.\d%"))
    expect(page.locator(".lv-pace")).to_contain_text(re.compile(r"a result every \d\.\d s"))
    assert page.locator(".lv-level i").evaluate("bar => bar.style.width") != "0%"
    seen = page.evaluate(ANGRY_PIXELS)
    page.wait_for_function(f"({ANGRY_PIXELS})() > {seen + 1000}")
    expect(says(page)).to_have_text("Silence")
    expect(page.locator(".lv-card .bar-score").first).to_have_text("–")
    expect(best).to_have_count(0)
    expect(says(page)).to_contain_text("Angry")


def test_stop_saves_a_run_with_the_scores_of_uploading_its_sound(live, served):
    recognizer, _ = served
    page = live()
    expect(page.locator("#live-outcome")).to_be_hidden()
    listen(page)
    stop(page)
    run = newest_run(recognizer)
    expect(says(page)).to_have_text("Saved")
    expect(page.locator(".lv-card .confidence")).to_contain_text(run.name)
    record = json.loads((run / "result.json").read_text())
    upload = recognizer.engine.submit(run / "processed_audio.wav", AnalysisRequest("frame")).result(30)
    assert record["scores"] == pytest.approx(dict(zip(upload.model.labels, upload.scores.tolist(), strict=True)))
    assert len(record["frames"]) == len(upload.frame_scores)
    expect(page.locator("#live-result .subject")).to_contain_text(re.compile(r"live_.*\.wav · 0:0\d\.\d · Frame"))
    expect(page.locator("#live-timeline canvas")).to_be_visible()
    expect(page.locator("#live-timeline canvas")).to_be_in_viewport()
    with page.expect_download() as started:
        page.locator("#live-downloads a", has_text="JSON").click()
    assert json.loads(started.value.path().read_text()) == record
    page.locator("#live-log > button").click()
    expect(page.locator("#live-log textarea")).to_have_value(re.compile(run.name))
    show_tab(page, "recognise")
    expect(page.locator("#result .subject")).to_contain_text(record["file"])


def test_the_result_of_a_session_gives_way_to_the_next_and_outlives_a_change_of_language(live):
    page = live(reader="switching")
    listen(page)
    stop(page)
    listen(page)
    expect(page.locator("#live-outcome")).to_be_hidden()
    show_tab(page, "history")
    mark = page.locator("#tabs [role=tab][data-tab-id=live]")
    assert mark.evaluate("tab => getComputedStyle(tab, '::before').content") == '""'
    show_tab(page, "live")
    stop(page)
    assert mark.evaluate("tab => getComputedStyle(tab, '::before').content") == "none"
    subject = page.locator("#live-result .subject").inner_text().split(" · ")[0]
    page.get_by_role("button", name="中文").click()
    expect(switch(page)).to_have_text("开始聆听")
    expect(page.locator("#live-result .subject")).to_contain_text(f"{subject} · 0:0")
    expect(page.locator("#live-result .confidence")).to_contain_text("置信度")


def test_options_that_change_while_it_listens_hold(live, served):
    recognizer, _ = served
    page = live()
    listen(page)
    page.locator("#live-keep-audio input").uncheck()
    page.locator("#live-embedding input").check()
    page.locator("#live-granularity label", has_text="Utterance").click()
    stop(page)
    expect(page.locator("#live-result .subject")).to_contain_text("Utterance")
    assert {path.name for path in newest_run(recognizer).iterdir()} == {"result.json", "embedding.npy"}


def test_a_page_that_is_closed_leaves_its_recording_unless_it_is_not_to_be_kept(live, served):
    recognizer, _ = served
    runs = lambda: len(list(recognizer.settings.outputs.glob("outputs_*/processed_audio.wav")))  # noqa: E731
    before = runs()
    page = live()
    listen(page)
    page.wait_for_function("document.querySelector('.lv-clock').innerText >= '0:02'")
    page.close()
    wait_for(lambda: runs() == before + 1)
    page = live()
    listen(page)
    page.locator("#live-keep-audio input").uncheck()
    page.wait_for_function("document.querySelector('.lv-clock').innerText >= '0:02'")
    page.close()
    live()
    assert runs() == before + 1


def test_a_microphone_that_is_not_allowed_shows_what_to_do(live, profiles):
    profiles("en-US", "denied").clear_permissions()
    page = live(reader="denied")
    switch(page).click()
    expect(says(page)).to_have_text("The microphone is not allowed")
    expect(page.locator(".lv-card .confidence")).to_contain_text("choose Microphone, then start again")
    expect(switch(page)).to_have_text("Start listening")
    assert serious_faults(page) == []


@pytest.mark.parametrize(("language", "angry"), [("en-US", "Angry"), ("zh-CN", "愤怒 (Angry)")])
def test_a_phone_never_scrolls_sideways(live, language, angry):
    page = live(390, 844, language)
    listen(page, angry)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    small = [button for button in page.locator(".live button").all() if button.bounding_box()["height"] < 44]
    assert small == []
    stop(page)
    expect(page.locator("#live-timeline canvas")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_serious_stands_in_the_way_of_a_screen_reader(live, theme):
    page = live()
    page.goto(f"{page.url}?__theme={theme}")
    show_tab(page, "live")
    expect(switch(page)).to_be_enabled()
    page.locator("#live-more > button").click()
    assert serious_faults(page) == []
    listen(page)
    assert serious_faults(page) == []
    stop(page)
    page.locator("#live-log > button").click()
    assert serious_faults(page) == []
