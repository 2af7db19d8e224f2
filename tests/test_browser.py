import json
import re
from concurrent.futures import CancelledError
from contextlib import contextmanager

import numpy as np
import pytest
from playwright.sync_api import expect

from emotion.audio import Clip, write_wav
from emotion.engine.recognizer import ModelState
from tests.browser import browser_marks, choose, download, headline, recognize, serious_faults
from tests.fakes import FakeModel, loud_clip, tone
from tests.sounds import wide_amr_bytes

pytestmark = browser_marks


@contextmanager
def expect_no_upload(page):
    sent = []
    page.on("request", lambda request: sent.append(request.url) if "/upload" in request.url else None)
    yield
    assert sent == []


def test_an_uploaded_recording_shows_its_emotion_and_gives_its_files(opened, turning):
    page = opened()
    expect(headline(page)).to_contain_text("Drop a voice recording")
    choose(page, turning)
    page.get_by_label("Keep embedding").check()
    page.locator("#more > button").click()
    page.get_by_label("SRT subtitles").check()
    recognize(page)
    expect(page.locator("#result .confidence")).to_contain_text("Confidence:")
    expect(page.locator("#result .bar")).to_have_count(9)
    expect(page.locator("#result .subject")).to_contain_text("turning.wav · 0:04.0 · Utterance")
    expect(page.locator("#progress")).to_contain_text("Done in")
    assert json.loads(download(page, "JSON"))["file"] == "turning.wav"
    assert download(page, "Embedding").startswith(b"\x93NUMPY")
    assert download(page, "Processed audio").startswith(b"RIFF")
    assert b"-->" in download(page, "SRT")


def test_a_synthetic_voice_is_one_click_away(opened):
    page = opened()
    page.get_by_role("button", name="cheerful").click()
    expect(page.locator("#recording [aria-label='Clear']").first).to_be_visible()
    recognize(page)
    expect(page.locator("#result .subject")).to_contain_text("cheerful.flac")


def test_frames_draw_a_timeline_that_plays_from_where_it_is_clicked(opened, turning):
    page = opened()
    choose(page, turning)
    page.locator("#granularity label", has_text="Frame").click()
    recognize(page)
    canvas = page.locator(".timeline canvas")
    expect(canvas).to_be_visible()
    expect(page.locator(".tl-legend")).to_contain_text("Angry")
    place = canvas.bounding_box()
    page.mouse.move(place["x"] + place["width"] * 0.25, place["y"] + 30)
    expect(page.locator(".tl-tip")).to_contain_text(re.compile(r"0:01\.0.*Angry"))
    page.mouse.click(place["x"] + place["width"] * 0.5, place["y"] + 30)
    expect(page.locator(".tl-clock")).to_contain_text(re.compile(r"0:0[23]\.\d / 0:04\.0"))
    page.wait_for_function("document.querySelector('.timeline audio').currentTime > 2.1")
    canvas.focus()
    page.keyboard.press("Space")
    expect(page.locator(".tl-play")).to_have_attribute("aria-label", "Play")
    page.keyboard.press("Home")
    expect(page.locator(".tl-clock")).to_contain_text("0:00.0 / 0:04.0")


def test_the_timeline_zooms_switches_to_lines_and_lists_its_segments(opened, turning):
    page = opened()
    choose(page, turning)
    page.locator("#granularity label", has_text="Frame").click()
    recognize(page)
    page.locator(".timeline canvas").hover()
    expect(page.locator(".tl-whole")).to_be_hidden()
    page.mouse.wheel(0, -300)
    expect(page.locator(".tl-whole")).to_be_visible()
    page.locator(".tl-whole").click()
    expect(page.locator(".tl-whole")).to_be_hidden()
    page.get_by_role("button", name="Lines").click()
    expect(page.get_by_role("button", name="Lines")).to_have_attribute("aria-pressed", "true")
    page.locator(".tl-segments summary").click()
    rows = page.locator(".tl-segments tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(1)).to_contain_text("Sad")
    rows.nth(1).get_by_role("button").click()
    page.wait_for_function("document.querySelector('.timeline audio').currentTime > 1.5")


def test_cancel_ends_a_waiting_recording_and_the_page_goes_on(opened, served, turning):
    recognizer, _ = served
    page = opened()
    choose(page, turning)
    recognizer.model.gate.clear()
    recognize(page)
    expect(page.locator("#progress")).to_contain_text("Recognising")
    expect(page.locator("#recognise")).to_be_disabled()
    page.locator("#cancel").click()
    expect(headline(page)).to_contain_text("Cancelled")
    recognizer.model.gate.set()
    recognize(page)
    expect(page.locator("#result .confidence")).to_contain_text("Confidence:")


def test_closing_the_page_cancels_what_it_waited_for(opened, served, turning):
    recognizer, _ = served
    page = opened()
    choose(page, turning)
    recognizer.model.gate.clear()
    recognize(page)
    expect(page.locator("#progress")).to_contain_text("Recognising")
    page.close()
    with pytest.raises(CancelledError):
        recognizer.latest.result(timeout=10)


def test_two_readers_wait_side_by_side_and_see_their_own_results(opened, served, tmp_path):
    recognizer, _ = served
    write_wav(loud_clip(1.0), tmp_path / "first.wav")
    write_wav(Clip("x", np.tile(tone(0.1), 20)), tmp_path / "second.wav")
    first, second, third = (opened(reader=reader) for reader in ("first", "second", "third"))
    for page, name in ((first, "first"), (second, "second"), (third, "second")):
        choose(page, tmp_path / f"{name}.wav")
    recognizer.model.gate.clear()
    recognize(first)
    expect(first.locator("#progress")).to_contain_text("Recognising")
    recognize(second)
    expect(second.locator("#progress")).to_contain_text("place 2 in the queue")
    recognize(third)
    expect(headline(third)).to_contain_text("This did not work")
    expect(third.locator("#result .message")).to_contain_text("Try again in")
    recognizer.model.gate.set()
    expect(first.locator("#result .subject")).to_contain_text("first.wav · 0:01.0")
    expect(second.locator("#result .subject")).to_contain_text("second.wav · 0:02.0")


def test_what_is_no_sound_gets_a_sentence_and_the_page_goes_on(opened, tmp_path, turning):
    broken = tmp_path / "broken.mp3"
    broken.write_bytes(b"no sound at all" * 100)
    page = opened()
    recognize(page)
    expect(headline(page)).to_contain_text("No recording yet")
    choose(page, broken)
    recognize(page)
    expect(page.get_by_role("alert")).to_contain_text("“broken.mp3” holds no sound that can be read")
    expect(page.locator("body")).not_to_contain_text("Traceback")
    page.locator("#recording [aria-label='Clear']").first.click()
    choose(page, turning)
    recognize(page)
    expect(page.locator("#result .confidence")).to_contain_text("Confidence:")


def test_sound_that_the_browser_does_not_know_can_be_chosen(opened, tmp_path):
    (tmp_path / "memo.awb").write_bytes(wide_amr_bytes())
    page = opened()
    choose(page, tmp_path / "memo.awb")
    recognize(page)
    expect(page.locator("#result .subject")).to_contain_text("memo.awb · 0:01.0")


def test_sound_that_the_browser_does_not_know_can_be_dropped(opened):
    page = opened()
    dropped = page.evaluate_handle(
        """bytes => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "memo.amr"));
            return transfer;
        }""",
        list(wide_amr_bytes()),
    )
    page.locator("#recording .upload-container").dispatch_event("drop", {"dataTransfer": dropped})
    expect(page.locator("#recording [aria-label='Clear']").first).to_be_visible()
    recognize(page)
    expect(page.locator("#result .subject")).to_contain_text("memo.amr")


def test_a_chinese_browser_gets_a_chinese_page(opened, turning):
    page = opened(language="zh-CN")
    expect(page.locator("#recognise")).to_have_text("开始识别")
    expect(headline(page)).to_contain_text("拖入一段语音")
    choose(page, turning)
    page.locator("#granularity label", has_text="逐帧").click()
    recognize(page)
    expect(headline(page)).to_have_text(re.compile(r"(愤怒 \(Angry\)|悲伤 \(Sad\))"))
    expect(page.locator("#result .confidence")).to_contain_text("置信度:")
    page.locator("#log > button").click()
    expect(page.locator("#log textarea")).to_have_value(re.compile("推理: .* 毫秒"))
    expect(page.locator(".tl-segments summary")).to_have_text("片段（2）")
    expect(page.locator("#downloads")).to_contain_text("处理后的音频")


@pytest.mark.parametrize("language", ["en-US", "zh-CN"])
def test_a_phone_never_scrolls_sideways(opened, turning, language):
    page = opened(390, 844, language)
    choose(page, turning)
    page.locator("#granularity label").nth(1).click()
    recognize(page)
    expect(page.locator(".timeline canvas")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    button, result = (page.locator(name).bounding_box() for name in ("#recognise", "#result"))
    assert result["y"] > button["y"] + button["height"]


def test_the_result_stands_where_the_empty_one_stood(opened, turning):
    page = opened()
    choose(page, turning)
    before = page.locator("#result .bars").bounding_box()
    recognize(page)
    expect(page.locator("#result .confidence")).to_contain_text("Confidence:")
    after = page.locator("#result .bars").bounding_box()
    assert before == after


def test_a_spoken_recording_is_recognised(opened):
    page = opened()
    page.get_by_label("Record audio").click()
    page.get_by_role("button", name="Record", exact=True).click()
    stop = page.get_by_role("button", name="Stop", exact=True)
    expect(stop).to_be_visible()
    page.wait_for_function("/0:0[1-9]/.test(document.querySelector('#recording').innerText)")
    stop.click()
    expect(page.locator("#recording [aria-label='Clear']").first).to_be_visible()
    recognize(page)
    expect(page.locator("#result .confidence")).to_contain_text("Confidence:")


def test_recognise_waits_for_a_recording_that_is_still_on_its_way(opened):
    page = opened()
    uploads = []
    page.route(re.compile("/gradio_api/upload"), lambda route: uploads.append(route))  # noqa: PLW0108 - no builtins there
    page.get_by_label("Record audio").click()
    page.get_by_role("button", name="Record", exact=True).click()
    page.wait_for_function("/0:0[1-9]/.test(document.querySelector('#recording').innerText)")
    with page.expect_request(re.compile("/gradio_api/upload")):
        page.get_by_role("button", name="Stop", exact=True).click()
        expect(page.locator("#recording [aria-label='Clear']").first).to_be_visible()
        recognize(page)
    expect(headline(page)).to_contain_text("Drop a voice recording")
    uploads[0].continue_()
    expect(page.locator("#result .confidence")).to_contain_text("Confidence:")


def test_the_page_follows_a_model_that_is_on_its_way(opened, served):
    recognizer, _ = served
    ready, small = recognizer.state, FakeModel("compact").card
    recognizer.state = ModelState(small, "emotion2vec_plus_large", "downloading", 661, 1_945)
    try:
        page = opened()
        expect(page.locator("#model")).to_contain_text("emotion2vec+ large: 34 %")
        expect(page.locator("#notice")).to_contain_text("The built-in model answers meanwhile.")
    finally:
        recognizer.state = ready
    expect(page.locator("#model")).to_contain_text("fake · cpu · fp32 · ready")
    expect(page.locator("#notice")).to_be_hidden()


def test_the_example_of_the_model_is_offered_where_there_is_one(opened, served, turning):
    recognizer, _ = served
    expect(opened().get_by_role("button", name="example of the model")).to_have_count(0)
    recognizer.sample = turning
    try:
        page = opened()
        page.get_by_role("button", name="example of the model").click()
        recognize(page)
        expect(page.locator("#result .subject")).to_contain_text("turning.wav")
    finally:
        recognizer.sample = None


def test_the_language_can_be_switched_is_remembered_and_keeps_what_is_shown(opened, turning):
    page = opened(reader="switching")
    choose(page, turning)
    page.locator("#granularity label", has_text="Frame").click()
    recognize(page)
    expect(page.locator("#result .subject")).to_contain_text("turning.wav · 0:04.0 · Frame")
    page.get_by_role("button", name="中文").click()
    expect(page.locator("#recognise")).to_have_text("开始识别")
    expect(page.locator("#result .subject")).to_contain_text("turning.wav · 0:04.0 · 逐帧")
    expect(page.locator(".timeline canvas")).to_be_visible()
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(page.get_by_role("button", name="中文")).to_have_attribute("aria-pressed", "true")
    again = opened(reader="switching")
    expect(again.locator("#recognise")).to_have_text("开始识别")
    again.get_by_role("button", name="EN").click()
    expect(again.locator("#recognise")).to_have_text("Recognise")


def test_a_recording_that_is_not_kept_plays_now_and_is_not_in_the_run(opened, served, turning):
    recognizer, _ = served
    page = opened()
    choose(page, turning)
    page.get_by_label("Keep the recording").uncheck()
    recognize(page)
    expect(page.locator("#progress")).to_contain_text("Done in")
    run = max(recognizer.settings.outputs.iterdir())
    assert {path.name for path in run.iterdir()} == {"result.json"}
    place = page.locator(".timeline canvas").bounding_box()
    page.mouse.click(place["x"] + place["width"] * 0.5, place["y"] + 30)
    page.wait_for_function("document.querySelector('.timeline audio').currentTime > 2.1")


def test_a_closer_look_at_a_long_recording_fetches_finer_lanes(opened, tmp_path):
    write_wav(Clip("x", np.tile(tone(1.0), 120)), tmp_path / "long.wav")
    page = opened()
    choose(page, tmp_path / "long.wav")
    page.locator("#granularity label", has_text="Frame").click()
    recognize(page)
    expect(page.locator(".timeline canvas")).to_be_visible()
    page.locator(".timeline canvas").hover()
    with page.expect_response(re.compile("/details/")) as answered:
        for _ in range(14):
            page.mouse.wheel(0, -300)
    assert answered.value.json()["point_s"] == 0.02


def test_nothing_serious_stands_in_the_way_of_a_screen_reader(opened, turning):
    page = opened()
    assert serious_faults(page) == []
    choose(page, turning)
    page.locator("#granularity label", has_text="Frame").click()
    page.locator("#log > button").click()
    page.locator("#more > button").click()
    recognize(page)
    expect(page.locator(".timeline canvas")).to_be_visible()
    page.locator(".tl-segments summary").click()
    assert serious_faults(page) == []
    page.goto(f"{page.url}?__theme=dark")
    expect(page.locator(".timeline canvas")).to_be_visible()
    assert serious_faults(page) == []


def test_a_file_that_is_too_large_is_refused_before_it_is_sent(opened):
    page = opened()
    page.evaluate("studio.max_file_bytes = 1_000_000")
    with expect_no_upload(page):
        page.set_input_files(
            "#recording input[type=file]", {"name": "long.wav", "mimeType": "audio/wav", "buffer": bytes(2_000_000)}
        )
        expect(page.get_by_role("alert")).to_contain_text("“long.wav” has 2 MB, and a file may have 1 MB.")
    page.get_by_role("button", name="Close").click()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_server_that_is_gone_is_said_and_the_page_comes_back_with_it(opened):
    page = opened()
    page.route("**/*", lambda route: route.abort())
    page.get_by_role("button", name="calm").click()
    expect(page.get_by_role("alert").filter(has_text="The program does not answer")).to_be_visible()
    page.unroute("**/*")
    expect(page.get_by_role("alert").filter(has_text="The program does not answer")).to_have_count(0)
    expect(page.locator("#model .model")).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_tab_can_be_used_on_a_phone_with_a_screen_reader(opened, theme):
    page = opened(390, 844)
    page.goto(f"{page.url}?__theme={theme}")
    expect(page.locator("#model .model")).to_be_visible()
    for name in ("recognise", "batch", "live", "history", "similar", "system"):
        page.locator(f"#tabs [role=tab][data-tab-id={name}]").click()
        expect(page.locator(f"#tabs [role=tab][data-tab-id={name}]")).to_have_attribute("aria-selected", "true")
        assert serious_faults(page) == [], name
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
