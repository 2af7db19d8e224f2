import io
import json
import re
import shutil
import zipfile
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from emotion.audio import Clip
from emotion.outputs import BatchRun, write_run
from tests.browser import browser_marks, choose, recognize
from tests.fakes import analyze, loud_clip, soft, tone, turning_clip

pytestmark = browser_marks

MARKUP = "<img src=x onerror=document.title='hacked'>.wav"
CHINESE = "客户来电.m4a"


def write(outputs: Path, clip: Clip, minutes_ago: float, exports: tuple[str, ...] = ()) -> str:
    analysis = analyze(clip, "frame", embedding=True)
    moment = datetime.now() - timedelta(minutes=minutes_ago)
    return write_run(outputs, replace(analysis, timestamp=moment), exports).folder.name


def sad_clip(name: str) -> Clip:
    return Clip(name, np.concatenate([tone(0.3), soft(2.7)]))


@pytest.fixture
def outputs(served) -> Path:
    """Five runs, from new to old: a batch, one that turns, one with a Chinese name, a sad one, one with markup."""
    folder = served[0].settings.outputs
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    write(folder, turning_clip("turning.wav"), 10, ("srt",))
    write(folder, loud_clip(2.0, CHINESE), 20)
    write(folder, sad_clip("sad.wav"), 30)
    write(folder, loud_clip(1.0, MARKUP), 40)
    with BatchRun(folder, now=datetime.now() - timedelta(minutes=5)) as batch:
        for number in range(6):
            batch.add(analyze(loud_clip(name=f"call {number}.wav")))
        batch.add_failure("broken.mp3", "“broken.mp3” holds no sound that can be read.")
    return folder


def show_history(page: Page) -> None:
    tab = page.get_by_role("tab", name=re.compile("^(History|历史)$"))
    if not tab.count():  # a phone has no room for all tabs
        page.get_by_label("More tabs").click()
        tab = page.locator(".overflow-dropdown button", has_text=re.compile("^(History|历史)$"))
    tab.click()
    expect(page.locator("#history-tools form")).to_be_visible()


@pytest.fixture
def history(outputs, opened):  # noqa: ARG001 - the runs are there before the page
    """Opens the page on the tab."""

    def show(*arguments: object, **words: object) -> Page:
        page = opened(*arguments, **words)
        show_history(page)
        return page

    return show


def row(page: Page, file: str) -> Locator:
    return page.locator("#history-list .run", has_text=file)


def open_run(page: Page, file: str) -> None:
    row(page, file).locator("[data-open]").first.click()
    expect(page.locator("#history-result .subject")).to_contain_text(file)


def compare(page: Page, file: str, other: str) -> None:
    open_run(page, file)
    row(page, other).locator("[data-compare]").first.click()
    expect(page.locator("#comparison-other-result .subject")).to_contain_text(other)


def ask_to_delete(page: Page, file: str) -> Locator:
    row(page, file).locator("[data-delete]").click()
    question = page.get_by_role("dialog")
    expect(question).to_be_visible()
    return question


def downloaded(page: Page, link: Locator) -> bytes:
    with page.expect_download() as started:
        link.click()
    return Path(started.value.path()).read_bytes()


def test_runs_are_listed_newest_first_with_what_is_known_of_them(history):
    page = history()
    runs = page.locator("#history-list .run")
    expect(runs).to_have_count(5)
    for place, text in enumerate(["Batch of 7", "turning.wav", CHINESE, "sad.wav", MARKUP]):
        expect(runs.nth(place)).to_contain_text(text)
    expect(runs.nth(2)).to_contain_text(re.compile(r"😠 Angry 8\d\.\d%.*\d\d:\d\d · 0:02\.0 · Frame"))
    expect(page.locator("#history-summary")).to_contain_text(
        re.compile(r"Runs: 5 · \d+ KB · kept until you delete them")
    )
    assert page.title() == "Emotion2Vec+ Studio"


def test_a_run_that_comes_meanwhile_is_there_when_the_tab_is_opened_again(history, outputs):
    page = history()
    write(outputs, loud_clip(name="new.wav"), 0)
    page.get_by_role("tab", name="Recognise").click()
    show_history(page)
    expect(page.locator("#history-list .run").first).to_contain_text("new.wav")


def test_a_batch_unfolds_and_shows_what_failed(history):
    page = history()
    batch = row(page, "Batch of 7")
    expect(batch.locator("[data-open]")).to_have_count(4)
    batch.get_by_role("button", name="Show 3 more").click()
    expect(batch.locator("[data-open]")).to_have_count(6)
    expect(batch.locator("[data-open]").nth(4)).to_be_focused()
    expect(batch.locator(".failed")).to_contain_text("“broken.mp3” holds no sound that can be read.")


def test_older_runs_come_when_they_are_asked_for(history, outputs):
    one = next(path.parent for path in outputs.glob("outputs_*/result.json"))
    for minute in range(50):
        shutil.copytree(one, outputs / f"outputs_20200101_12{minute:02d}00")
    page = history()
    runs = page.locator("#history-list .run")
    expect(runs).to_have_count(50)
    page.get_by_role("button", name="Show older runs (5)").click()
    expect(runs).to_have_count(55)
    expect(runs.nth(50).locator("[data-open]")).to_be_focused()


def test_a_part_of_a_chinese_name_finds_its_run_while_it_is_typed(history):
    page = history()
    search = page.get_by_label("Search")
    search.press_sequentially("客户")
    expect(page.locator("#history-list .run")).to_have_count(1)
    expect(page.locator("#history-list")).to_contain_text(CHINESE)
    expect(page.locator("#history-summary")).to_contain_text("Found: 1 of 5 runs")
    search.fill("")
    expect(page.locator("#history-list .run")).to_have_count(5)


def test_a_filter_by_emotion_and_a_name_that_find_nothing_can_be_cleared(history):
    page = history()
    page.get_by_role("combobox", name="Emotion").select_option(label="😢 Sad")
    expect(page.locator("#history-list .run")).to_have_count(1)
    expect(page.locator("#history-list")).to_contain_text("sad.wav")
    page.get_by_label("Search").fill("turning")
    expect(page.locator("#history-list")).to_contain_text("No run goes with “turning” · 😢 Sad.")
    page.get_by_role("button", name="Clear the search").click()
    expect(page.locator("#history-list .run")).to_have_count(5)
    expect(page.get_by_label("Search")).to_be_focused()
    expect(page.get_by_role("combobox", name="Emotion")).to_have_value("")


def test_a_run_is_opened_again_with_its_timeline_its_files_and_its_log(history):
    page = history()
    open_run(page, "turning.wav")
    expect(row(page, "turning.wav").locator("[data-open]")).to_have_attribute("aria-current", "true")
    expect(row(page, "turning.wav").locator("[data-open]")).to_be_focused()
    canvas = page.locator("#history-timeline canvas")
    place = canvas.bounding_box()
    page.mouse.click(place["x"] + place["width"] * 0.5, place["y"] + 30)
    page.wait_for_function("document.querySelector('#history-timeline audio').currentTime > 2.1")
    links = page.locator("#history-downloads a")
    assert json.loads(downloaded(page, links.filter(has_text="JSON")))["file"] == "turning.wav"
    assert downloaded(page, links.filter(has_text="Embedding")).startswith(b"\x93NUMPY")
    assert downloaded(page, links.filter(has_text="Processed audio")).startswith(b"RIFF")
    assert b"-->" in downloaded(page, links.filter(has_text="SRT"))
    page.locator("#history-log > button").click()
    expect(page.locator("#history-log textarea")).to_have_value(re.compile("Recording: turning.wav"))


def test_the_zip_of_a_batch_holds_every_file_of_it(history, outputs):
    page = history()
    row(page, "Batch of 7").locator("[data-open]").nth(1).click()
    expect(page.locator("#history-opened")).to_contain_text("Batch of 7")
    packed = downloaded(page, page.locator("#history-run a"))
    (run,) = (path.parent for path in outputs.glob("*/summary.csv"))
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.testzip() is None
        assert set(archive.namelist()) == {
            path.relative_to(outputs).as_posix() for path in run.rglob("*") if path.is_file()
        }


def test_closing_leaves_the_list(history):
    page = history()
    open_run(page, "sad.wav")
    page.locator("#history-opened [data-close]").click()
    expect(page.locator("#history-result")).to_contain_text("Choose a recording")
    expect(page.locator("#history-timeline canvas")).to_be_hidden()
    expect(page.locator("#history-log")).to_be_hidden()
    expect(row(page, "sad.wav").locator("[data-open]")).to_be_focused()
    expect(page.locator("#history-list [data-compare]:enabled")).to_have_count(0)


def test_two_runs_stand_side_by_side_on_one_scale(history):
    page = history()
    compare(page, "turning.wav", "sad.wav")
    expect(page.locator("#history-list")).to_be_hidden()
    one, other = (page.locator(f"#comparison-{name}-result").bounding_box() for name in ("one", "other"))
    assert one["y"] == other["y"]
    assert one["x"] + one["width"] < other["x"]
    four_s, three_s = (page.locator(f"#comparison-{name}-timeline canvas").bounding_box() for name in ("one", "other"))
    assert three_s["width"] == pytest.approx(four_s["width"] * 3 / 4, abs=2)
    expect(page.locator(".comparison-words")).to_contain_text(
        re.compile(r"In B, compared with A: more Sad \(\+0\.\d{3}\) and less Angry \(−0\.\d{3}\)\.")
    )
    expect(page.locator(".changes tbody tr")).to_have_count(9)
    expect(page.locator(".changes tr", has_text="Sad")).to_contain_text(re.compile(r"▲ 0\.\d{3} stronger"))
    expect(page.locator("#comparison-head h2")).to_be_focused()
    page.get_by_role("button", name="Close the comparison").click()
    expect(page.locator(".comparison")).to_have_count(0)
    expect(row(page, "sad.wav").locator("[data-compare]")).to_be_focused()
    expect(page.locator("#history-result .subject")).to_contain_text("turning.wav")


def test_cancel_and_escape_keep_the_run(history, outputs):
    page = history()
    question = ask_to_delete(page, "sad.wav")
    expect(question).to_contain_text(re.compile(r"sad.wav.*3 files, \d+ KB"))
    expect(question.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Enter")
    expect(question).to_have_count(0)
    expect(row(page, "sad.wav").locator("[data-delete]")).to_be_focused()
    ask_to_delete(page, "sad.wav")
    page.keyboard.press("Escape")
    expect(question).to_have_count(0)
    ask_to_delete(page, "sad.wav")
    page.keyboard.press("Escape")
    expect(page.locator("#history-list .run")).to_have_count(5)
    assert len(list(outputs.iterdir())) == 5


def test_a_deleted_run_is_gone_and_its_view_is_closed(history, outputs):
    page = history()
    open_run(page, "turning.wav")
    ask_to_delete(page, "turning.wav").get_by_role("button", name="Delete").click()
    expect(page.locator("#history-list .run")).to_have_count(4)
    expect(page.locator("#history-summary")).to_contain_text("Deleted: turning.wav. Runs: 4")
    expect(page.locator("#history-result")).to_contain_text("Choose a recording")
    expect(row(page, CHINESE).locator("[data-open]")).to_be_focused()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert len(list(outputs.iterdir())) == 4


def box(page: Page, file: str) -> Locator:
    return row(page, file).get_by_role("checkbox")


def test_several_runs_are_chosen_counted_packed_and_deleted(history, outputs):
    page = history()
    bar, count = page.get_by_role("group", name="Chosen runs"), page.locator(".choice-count")
    expect(bar.get_by_role("button")).to_have_count(0)
    box(page, "turning.wav").click()
    open_run(page, MARKUP)
    expect(box(page, "turning.wav")).to_be_checked()
    box(page, "sad.wav").focus()
    page.keyboard.press("Space")
    expect(count).to_have_text("Chosen: 2")
    assert bar.get_by_role("checkbox").evaluate("box => box.indeterminate")
    packed = downloaded(page, bar.get_by_role("button", name="Download ZIP"))
    names = {row(page, file).get_attribute("data-run") for file in ("turning.wav", "sad.wav")}
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.testzip() is None
        assert {name.partition("/")[0] for name in archive.namelist()} == names
    expect(page.locator("#history-summary")).to_contain_text("The download begins. Runs: 2, 7 files")
    bar.get_by_role("button", name="Delete").click()
    question = page.get_by_role("dialog", name="Delete 2 runs?")
    expect(question.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    expect(count).to_have_text("Chosen: 2")
    bar.get_by_role("button", name="Delete").click()
    question.get_by_role("button", name="Delete 2").click()
    expect(page.locator("#history-summary")).to_contain_text("Deleted: 2 runs. Runs: 3")
    expect(page.locator("#history-list .run")).to_have_count(3)
    expect(bar.get_by_role("checkbox", name="Choose all")).to_be_focused()
    expect(page.locator("#history-list :checked")).to_have_count(0)
    expect(page.locator("#history-result .subject")).to_contain_text(MARKUP)
    assert not names & {path.name for path in outputs.iterdir()}


def test_all_in_the_list_are_chosen_at_once_and_what_a_search_hides_is_not_among_them(history, outputs):
    page = history()
    everything, count = page.get_by_role("checkbox", name="Choose all"), page.locator(".choice-count")
    everything.check()
    expect(count).to_have_text("Chosen: 5")
    page.get_by_label("Search").fill("sad")
    expect(count).to_have_text("Chosen: 1")
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("dialog", name="Delete this run?").get_by_role("button", name="Delete").click()
    expect(page.locator("#history-list")).to_contain_text("No run goes with “sad”.")
    expect(page.get_by_role("button", name="Clear the search")).to_be_focused()
    page.get_by_role("button", name="Clear the search").click()
    expect(count).to_have_text("Chosen: 4")
    everything.uncheck()
    expect(count).to_have_text("")
    box(page, "Batch of 7").click()
    box(page, CHINESE).click(modifiers=["Shift"])
    expect(count).to_have_text("Chosen: 3")
    expect(box(page, MARKUP)).not_to_be_checked()
    assert len(list(outputs.iterdir())) == 4


def test_a_long_list_stays_where_it_is_when_runs_go_from_it_and_what_went_meanwhile_is_no_fault(history, outputs):
    one = next(path.parent for path in outputs.glob("outputs_*/result.json"))
    for minute in range(60):
        shutil.copytree(one, outputs / f"outputs_20200101_12{minute:02d}00")
    page = history()
    page.get_by_role("button", name="Show older runs (15)").click()
    runs = page.locator("#history-list .run")
    expect(runs).to_have_count(65)
    for place in (1, 60, 62):
        runs.nth(place).get_by_role("checkbox").check()
    shutil.rmtree(outputs / runs.nth(60).get_attribute("data-run"))
    scroll = "document.querySelector('#history-list').scrollTop"
    before = page.evaluate(scroll)
    assert before > 1000
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("dialog", name="Delete 2 runs?").get_by_role("button", name="Delete 2").click()
    expect(page.locator("#history-summary")).to_contain_text("Deleted: 2 runs. Runs: 62")
    expect(runs).to_have_count(62)
    assert page.evaluate(scroll) > before - 300


def test_a_run_that_is_being_written_is_marked_and_not_deleted(outputs, opened):
    with BatchRun(outputs) as batch:
        page = opened()
        show_history(page)
        expect(row(page, "Batch of 0")).to_contain_text("being written")
        row(page, "Batch of 0").locator("[data-delete]").click()
        expect(page.get_by_role("alert").last).to_contain_text("This run is still being written.")
        expect(page.get_by_role("dialog")).to_have_count(0)
    assert batch.summary.exists()
    ask_to_delete(page, "Batch of 0").get_by_role("button", name="Delete").click()
    expect(page.locator("#history-list .run")).to_have_count(5)
    assert not batch.folder.exists()


def test_a_run_that_another_reader_deleted_is_said_to_be_gone(history, outputs):
    page = history()
    shutil.rmtree(outputs / row(page, "sad.wav").get_attribute("data-run"))
    row(page, "sad.wav").locator("[data-open]").click()
    expect(page.locator("#history-result")).to_contain_text("This result is not there.")
    expect(row(page, "sad.wav")).to_have_count(0)


def test_before_the_first_run_the_list_leads_to_the_first_tab(served, opened):
    shutil.rmtree(served[0].settings.outputs, ignore_errors=True)
    page = opened()
    show_history(page)
    expect(page.locator("#history-list")).to_contain_text("No runs yet")
    page.get_by_role("button", name="Recognise a recording").click()
    expect(page.locator("#recognise")).to_be_visible()


def test_what_was_just_recognised_is_open_and_can_be_compared(outputs, opened, turning):  # noqa: ARG001
    page = opened()
    choose(page, turning)
    recognize(page)
    expect(page.locator("#result .subject")).to_contain_text("turning.wav · 0:04.0 · Utterance")
    show_history(page)
    expect(page.locator("#history-result .subject")).to_contain_text("turning.wav · 0:04.0 · Utterance")
    row(page, "sad.wav").locator("[data-compare]").click()
    expect(page.locator("#comparison-other-result .subject")).to_contain_text("sad.wav")


def test_what_was_open_is_open_after_the_page_was_loaded_anew(history):
    page = history()
    open_run(page, "sad.wav")
    page.wait_for_function("sessionStorage.getItem('clip')")
    page.reload()
    expect(page.locator("#history-result .subject")).to_contain_text("sad.wav")
    expect(page.locator("#history-list .run")).to_have_count(5)


def test_the_history_speaks_chinese(history):
    page = history(language="zh-CN")
    expect(page.locator("#history-summary")).to_contain_text(re.compile(r"共 5 条记录 · \d+ KB · 一直保留，直到您删除"))
    expect(page.get_by_role("combobox", name="情绪").locator("option").first).to_have_text("全部情绪")
    compare(page, "turning.wav", "sad.wav")
    expect(page.locator(".comparison-words")).to_contain_text("B 与 A 相比：悲伤更强")
    page.get_by_role("button", name="结束对比").click()
    question = ask_to_delete(page, CHINESE)
    expect(question).to_contain_text("删除这条记录？")
    expect(question.get_by_role("button", name="取消")).to_be_focused()
    page.keyboard.press("Escape")


@pytest.mark.parametrize("language", ["en-US", "zh-CN"])
def test_a_phone_shows_the_history_without_scrolling_sideways(history, language):
    page = history(390, 844, language)

    def is_wide() -> bool:
        return page.evaluate("document.documentElement.scrollWidth") > 390

    assert not is_wide()
    open_run(page, "turning.wav")
    expect(page.locator("#history-opened h2")).to_be_focused()
    expect(page.locator("#history-opened h2")).to_be_in_viewport()
    assert not is_wide()
    page.locator("#history-opened [data-back]").click()
    expect(row(page, "turning.wav").locator("[data-open]")).to_be_in_viewport()
    box(page, "sad.wav").check()
    expect(page.locator(".choice-count")).to_be_in_viewport()
    for target in (row(page, "sad.wav").locator("label"), *page.locator(".choice :is(label, button)").all()):
        place = target.bounding_box()
        assert min(place["width"], place["height"]) >= 44
    assert not is_wide()
    row(page, "sad.wav").locator("[data-compare]").click()
    expect(page.locator("#comparison-other-result .subject")).to_contain_text("sad.wav")
    assert not is_wide()
    one, other = (page.locator(f"#comparison-{name}-result").bounding_box() for name in ("one", "other"))
    assert one["x"] == other["x"]
    assert other["y"] > one["y"] + one["height"]


def serious_faults(page: Page) -> list[str]:
    """What axe-core finds serious or worse in this tab."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, context="#history").response["violations"]
    serious = [fault for fault in found if fault["impact"] in ("serious", "critical")]
    return [f"{fault['id']}: {fault['nodes'][0]['html']}" for fault in serious]


@pytest.mark.parametrize("width", [1280, 390])
def test_nobody_is_shut_out_of_the_history(history, width):
    page = history(width, 844)
    row(page, "Batch of 7").locator("[data-unfold]").click()
    open_run(page, "turning.wav")
    assert serious_faults(page) == []
    ask_to_delete(page, "sad.wav")
    assert serious_faults(page) == []
    page.keyboard.press("Escape")
    page.get_by_role("checkbox", name="Choose all").check()
    expect(page.locator(".choice-count")).to_have_text("Chosen: 5")
    assert serious_faults(page) == []
    row(page, "sad.wav").locator("[data-compare]").click()
    expect(page.locator(".changes")).to_be_visible()
    assert serious_faults(page) == []
