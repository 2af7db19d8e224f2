import csv
import io
import re
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from emotion.audio import Clip, wav_bytes
from emotion.engine import EnginePlan
from emotion.settings import Settings
from tests.browser import browser_marks, serious_faults
from tests.fakes import loud_clip, soft, wait_for

pytestmark = browser_marks

NO_SOUND = b"no sound at all" * 100
# In the order in which the engine takes them, the shortest first.
LOUD, SAD, LONG = wav_bytes(loud_clip(0.5)), wav_bytes(Clip("sad.wav", soft(0.7))), wav_bytes(loud_clip(0.9))


def zip_bytes(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    from tests.page_server import FakeRecognizer, serve_page  # gradio takes seconds, and most tests do without

    # One thread decodes, so that recordings come to the model in their order.
    plan = EnginePlan(queue_size=8, decode_threads=1)
    recognizer = FakeRecognizer(Settings(outputs=tmp_path_factory.mktemp("outputs")), plan)
    with serve_page(recognizer) as url:
        yield recognizer, url


@pytest.fixture
def batch(opened):
    """Opens the page on the tab."""

    def show(*arguments: object, **words: object) -> Page:
        page = opened(*arguments, **words)
        show_batch(page)
        return page

    return show


@pytest.fixture
def recordings(tmp_path):
    """Writes files by their names, and gives their paths."""

    def written(**files: bytes) -> list[Path]:
        paths = [tmp_path / name.replace("_", ".") for name in files]
        for path, content in zip(paths, files.values(), strict=True):
            path.write_bytes(content)
        return paths

    return written


@pytest.fixture
def held(served):
    """The model of the page, which lets nothing through but what a test lets through."""
    model = served[0].model
    model.gate.clear()
    yield model
    model.gate.set()
    while model.passes.acquire(blocking=False):
        pass


def show_batch(page: Page) -> None:
    tab = page.get_by_role("tab", name=re.compile("^(Batch|批量)$"))
    if not tab.count():  # a phone has no room for all tabs
        page.get_by_label("More tabs").click()
        tab = page.locator(".overflow-dropdown button", has_text=re.compile("^(Batch|批量)$"))
    tab.click()
    expect(title(page)).to_be_visible()


def choose_all(page: Page, paths: list[Path]) -> None:
    page.set_input_files("#batch-files input[type=file]", paths)
    expect(page.locator("#batch-files tr.file")).to_have_count(len(paths))


def start(page: Page, paths: list[Path]) -> None:
    choose_all(page, paths)
    page.locator("#batch-start").click()


def title(page: Page) -> Locator:
    return page.locator("#batch-card .headline")


def rows(page: Page) -> Locator:
    return page.locator("#batch-table tbody tr")


def downloaded(page: Page, label: str) -> bytes:
    with page.expect_download() as started:
        page.locator("#batch-progress a", has_text=label).click()
    return Path(started.value.path()).read_bytes()


def table_of(content: bytes) -> list[tuple[str, str, str]]:
    return [
        (row["file"], row["emotion"], row["error"]) for row in csv.DictReader(io.StringIO(content.decode("utf-8-sig")))
    ]


def sideways(page: Page) -> int:
    return page.evaluate("document.documentElement.scrollWidth - innerWidth")


def test_a_broken_recording_among_good_ones_stops_none_and_all_are_in_the_files(batch, recordings):
    page = batch()
    expect(title(page)).to_contain_text("Many recordings at once")
    start(page, recordings(a_wav=LOUD, broken_mp3=NO_SOUND, c_wav=SAD, d_wav=LOUD))
    expect(title(page)).to_contain_text("3 of 4 recognised, 1 failed")
    expect(rows(page)).to_have_text(
        [
            re.compile(r"Done\s*a\.wav\s*😠 Angry\s*8\d\.\d%\s*0:00\.5\s*\d+ ms\s*Open"),
            re.compile(r"Failed\s*broken\.mp3\s*“broken\.mp3” holds no sound that can be read"),
            re.compile(r"Done\s*c\.wav\s*😢 Sad\s*8\d\.\d%\s*0:00\.7"),
            re.compile(r"Done\s*d\.wav\s*😠 Angry"),
        ]
    )
    expect(page.locator("#batch-card .bar", has_text="Angry")).to_contain_text("2 · 66.7%")
    expect(page.locator("#batch-card .bar", has_text="Failed")).to_contain_text("1")
    expect(page.locator("#batch-card .bar")).to_have_count(10)
    listed = table_of(downloaded(page, "CSV"))
    assert [(file, emotion) for file, emotion, _ in listed] == [
        ("a.wav", "angry"), ("broken.mp3", ""), ("c.wav", "sad"), ("d.wav", "angry"),
    ]  # fmt: skip
    assert "holds no sound" in listed[1][2]
    packed = zipfile.ZipFile(io.BytesIO(downloaded(page, "ZIP"))).namelist()
    run = packed[0].partition("/")[0]
    assert {f"{run}/summary.csv", f"{run}/a/result.json", f"{run}/a/processed_audio.wav", f"{run}/c/result.json"} <= {
        *packed
    }
    expect(page.locator("#batch-card .message")).to_contain_text(f"Kept as {run}.")


def test_what_is_wished_is_written_and_what_is_not_is_not(batch, recordings):
    page = batch()
    page.locator("#batch-options > button").click()
    page.locator("#batch-embedding input").check()
    page.locator("#batch-keep-audio input").uncheck()
    page.locator("#batch-more > button").click()
    page.locator("#batch-exports").get_by_label("SRT subtitles").check()
    start(page, recordings(a_wav=LOUD))
    expect(title(page)).to_contain_text("One recording recognised")
    names = {Path(name).name for name in zipfile.ZipFile(io.BytesIO(downloaded(page, "ZIP"))).namelist()}
    assert {"result.json", "embedding.npy", "emotion.srt", "summary.csv"} <= names
    assert "processed_audio.wav" not in names


def test_a_zip_with_chinese_names_gives_the_recordings_in_it(batch, tmp_path):
    packed = zip_bytes({"会议/一.wav": LOUD, "会议/二.wav": SAD, "说明.txt": b"notes"})
    (tmp_path / "客户来电.zip").write_bytes(packed)
    page = batch()
    start(page, [tmp_path / "客户来电.zip"])
    expect(title(page)).to_contain_text("2 recordings recognised")
    expect(rows(page).locator(".b-file")).to_have_text(["一.wav", "二.wav"])
    expect(page.locator("#batch-card .message")).to_contain_text("One other file in the zips is no sound")


def test_a_broken_zip_and_an_empty_one_each_give_their_sentence(batch, recordings):
    page = batch()
    start(page, recordings(broken_zip=b"PK\x03\x04" + b"x" * 200, empty_zip=zip_bytes({"a.txt": b"x"})))
    expect(title(page)).to_contain_text("None of 2 could be recognised")
    expect(rows(page).nth(0)).to_contain_text("“broken.zip” cannot be unpacked: it is damaged")
    expect(rows(page).nth(1)).to_contain_text("“empty.zip” holds no sound file")


def test_without_a_file_it_says_what_to_do(batch):
    page = batch()
    page.locator("#batch-start").click()
    expect(title(page)).to_contain_text("No recordings yet")
    expect(page.locator("#batch-table table")).to_be_hidden()


def test_rows_fill_one_by_one_and_neither_focus_nor_choice_goes(batch, held, recordings):
    page = batch()
    held.passes.release()
    start(page, recordings(a_wav=LOUD, b_wav=SAD, c_wav=LONG))
    expect(rows(page).nth(0)).to_contain_text("Angry")
    expect(rows(page).nth(1)).to_contain_text("Recognising")
    expect(page.locator("#batch-progress")).to_contain_text(re.compile(r"1 of 3\s*b\.wav"))
    expect(page.get_by_role("progressbar", name="Recordings done")).to_have_attribute("aria-valuenow", "1")
    opener = page.get_by_role("button", name="Open a.wav")
    opener.focus()
    held.passes.release()
    expect(rows(page).nth(1)).to_contain_text("Sad")
    expect(opener).to_be_focused()
    page.locator("#batch-card button.bar", has_text="Angry").click()
    expect(rows(page)).to_have_count(1)
    held.gate.set()
    expect(title(page)).to_contain_text("3 recordings recognised")
    expect(rows(page).locator(".b-file")).to_have_text(["a.wav", "c.wav"])
    expect(page.locator("#batch-note")).to_contain_text("Only Angry: 2 of 3")
    page.get_by_role("button", name="Show all").click()
    expect(rows(page)).to_have_count(3)


def test_cancelling_in_the_middle_keeps_what_is_done(batch, held, served, recordings):
    page = batch()
    held.passes.release()
    start(page, recordings(a_wav=LOUD, b_wav=SAD, c_wav=LONG))
    expect(rows(page).nth(0)).to_contain_text("Done")
    expect(page.locator("#batch-start")).to_be_disabled()
    page.locator("#batch-cancel").click()
    expect(title(page)).to_contain_text("Cancelled: 1 of 3 recognised")
    expect(rows(page).nth(1)).to_contain_text("Cancelled")
    assert served[0].engine.queue_length == 0
    assert [row[:2] for row in table_of(downloaded(page, "CSV"))] == [("a.wav", "angry"), ("b.wav", ""), ("c.wav", "")]
    held.gate.set()
    expect(page.locator("#batch-cancel")).to_be_disabled()
    page.locator("#batch-start").click()
    expect(title(page)).to_contain_text("3 recordings recognised")


def test_a_row_opens_on_the_first_tab_while_others_are_in_work(batch, held, recordings):
    page = batch()
    held.passes.release()
    start(page, recordings(a_wav=SAD, b_wav=LONG))
    page.get_by_role("button", name="Open a.wav").click()
    expect(page.locator("#result .subject")).to_contain_text("a.wav · 0:00.7")
    expect(page.locator("#result .headline")).to_contain_text("Sad")
    held.gate.set()
    show_batch(page)
    expect(title(page)).to_contain_text("2 recordings recognised")


def test_a_row_whose_run_was_deleted_says_so(batch, served, recordings):
    page = batch()
    start(page, recordings(a_wav=LOUD))
    expect(title(page)).to_contain_text("One recording recognised")
    history = served[0].settings.outputs
    newest = max(history.iterdir())
    newest.rename(history.parent / newest.name)
    page.get_by_role("button", name="Open a.wav").click()
    expect(page.locator("#batch-note")).to_contain_text("This result is not there")


def test_the_language_can_be_switched_in_the_middle(batch, held, recordings):
    page = batch(reader="switches")
    held.passes.release()
    start(page, recordings(a_wav=LOUD, broken_mp3=NO_SOUND, c_wav=LONG))
    expect(rows(page).nth(0)).to_contain_text("Done")
    page.locator("[data-language=zh]").click()
    expect(title(page)).to_contain_text("正在识别 3 段录音")
    expect(rows(page).nth(0)).to_contain_text(re.compile(r"完成\s*a\.wav\s*😠 愤怒"))
    held.gate.set()
    expect(title(page)).to_contain_text("完成 2 / 3 段，失败 1 段")
    expect(rows(page).nth(1)).to_contain_text("“broken.mp3”中没有可以读取的声音")
    expect(page.locator("#batch-progress")).to_contain_text("汇总表")
    page.reload()
    expect(title(page)).to_contain_text("完成 2 / 3 段，失败 1 段")


def test_closing_the_page_stops_the_batch_and_keeps_what_is_done(batch, held, served, recordings, monkeypatch):
    monkeypatch.setattr("emotion.ui.batches.PATIENCE_S", 0.0)
    page = batch()
    held.passes.release()
    start(page, recordings(a_wav=LOUD, b_wav=SAD, c_wav=LONG))
    expect(rows(page).nth(0)).to_contain_text("Done")
    page.close()
    wait_for(lambda: served[0].engine.queue_length == 0)
    summary = max(served[0].settings.outputs.iterdir()) / "summary.csv"
    wait_for(lambda: len(table_of(summary.read_bytes())) == 3)
    assert [row[1] for row in table_of(summary.read_bytes())] == ["angry", "", ""]


def test_two_readers_have_batches_of_their_own_at_once(batch, held, recordings):
    first, second = batch(reader="first"), batch(reader="second")
    start(first, recordings(a_wav=LOUD, b_wav=SAD))
    start(second, recordings(c_wav=SAD, d_wav=LOUD, e_wav=SAD))
    expect(rows(first)).to_have_count(2)
    expect(rows(second)).to_have_count(3)
    held.gate.set()
    expect(title(first)).to_contain_text("2 recordings recognised")
    expect(title(second)).to_contain_text("3 recordings recognised")
    expect(rows(first).locator(".b-file")).to_have_text(["a.wav", "b.wav"])
    expect(rows(second).locator(".b-file")).to_have_text(["c.wav", "d.wav", "e.wav"])


def test_of_very_many_rows_a_part_is_shown_and_the_rest_is_a_click_away(batch, recordings):
    page = batch()
    start(page, recordings(many_zip=zip_bytes({f"{number:04}.wav": b"no sound" for number in range(520)})))
    expect(title(page)).to_contain_text("None of 520 could be recognised")
    expect(rows(page)).to_have_count(500)
    expect(page.locator("#batch-note")).to_contain_text("Rows 1 to 500 of 520")
    page.get_by_role("button", name="Later rows").click()
    expect(rows(page)).to_have_count(20)
    expect(rows(page).first).to_contain_text("0500.wav")
    expect(page.get_by_role("button", name="Later rows")).to_be_disabled()


def test_a_phone_shows_it_without_sideways_scrolling(batch, recordings):
    page = batch(390, 844, language="zh-CN")
    expect(title(page)).to_contain_text("一次识别多段录音")
    assert sideways(page) <= 0
    long = "a very long name of a call without any place to break " * 2
    start(page, recordings(**{"a_wav": LOUD, f"{long}b_mp3": NO_SOUND, "客户来电第二次投诉_wav": SAD}))
    expect(title(page)).to_contain_text("完成 2 / 3 段，失败 1 段")
    expect(rows(page).nth(0)).to_contain_text("愤怒")
    assert sideways(page) <= 0
    assert all(button.bounding_box()["height"] >= 44 for button in page.locator("#batch-table button").all())


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_screen_reader_finds_nothing_serious_in_its_way(opened, held, recordings, served, theme):
    page = opened()
    page.goto(f"{served[1]}?__theme={theme}")
    expect(page.locator("#model .model")).to_be_visible()
    show_batch(page)
    page.locator("#batch-options > button").click()
    expect(page.locator("#batch-embedding")).to_be_visible()
    assert serious_faults(page) == []
    held.passes.release()
    start(page, recordings(a_wav=LOUD, broken_mp3=NO_SOUND, c_wav=LONG))
    expect(rows(page).nth(0)).to_contain_text("Done")
    assert serious_faults(page) == []
    held.gate.set()
    expect(title(page)).to_contain_text("2 of 3 recognised")
    page.locator("#batch-card button.bar", has_text="Failed").click()
    expect(rows(page)).to_have_count(1)
    assert serious_faults(page) == []
