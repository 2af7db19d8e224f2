import asyncio
import json
import threading
import zipfile
from contextlib import aclosing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import httpx
import pytest
from gradio.utils import get_upload_folder

from emotion.analysis import AnalysisRequest
from emotion.audio import write_wav
from emotion.engine import EnginePlan, Progress
from emotion.engine.batch import Batch
from emotion.engine.batch_rows import BatchView, Row
from emotion.errors import DiskFull, NotSound
from emotion.labels import EMOTION_BY_KEY, EMOTIONS
from emotion.settings import Settings
from emotion.texts import Words
from emotion.ui import batch_render
from emotion.ui.batches import Batches, BatchFilter, FollowedBatch
from emotion.ui.tabs.batch import BatchHandlers
from emotion.ui.uploads import Uploads
from emotion.ui.workspace import PageVisitor
from tests.fakes import loud_clip, wait_for
from tests.page_server import FakeRecognizer, page_context, quiet_pandas, serve_page, text_of, visitor_of
from tests.test_page_server import messages, on_click

pytestmark = quiet_pandas

ENGLISH, CHINESE = Words("en"), Words("zh")
ANGRY, SAD = EMOTION_BY_KEY["angry"], EMOTION_BY_KEY["sad"]


@pytest.fixture
def recognizer(tmp_path):
    recognizer = FakeRecognizer(Settings(outputs=tmp_path / "outputs"), EnginePlan(queue_size=8, decode_threads=1))
    yield recognizer
    recognizer.close()


@pytest.fixture
def context(recognizer):
    return page_context(recognizer)


@pytest.fixture
def recordings(tmp_path) -> list[str]:
    """Three loud recordings, the shortest first, as the engine takes them."""
    paths = [tmp_path / f"{name}.wav" for name in "abc"]
    for number, path in enumerate(paths):
        write_wav(loud_clip(0.5 + 0.2 * number), path)
    return [str(path) for path in paths]


def reader(session: str = "session", language: str = "en") -> Any:
    """What Gradio tells a handler of who asks."""
    return SimpleNamespace(session_hash=session, cookies={}, headers={"accept-language": language}, request=None)


def said(**words: object) -> gr.EventData:
    return gr.EventData(None, words)


def done(name: str, emotion=ANGRY, confidence: float = 0.853, **words: Any) -> Row:
    return Row(name, "done", emotion, confidence, duration_s=12.84, elapsed_ms=231.4, folder=f"run/{name}", **words)


def view_of(*rows: Row, working: Progress | None = None, elapsed_s: float = 12.3, skipped: int = 0) -> BatchView:
    return BatchView(rows, skipped, working, Path("/secret/outputs/outputs_20261122_120000"), elapsed_s)


def rows_shown(view: BatchView, batch_filter: BatchFilter | None = None, words: Words = ENGLISH) -> list[str]:
    pieces = batch_render.row_pieces(view, batch_filter or BatchFilter(), words)
    return [text_of(row) for piece in pieces for row in piece.split("\n")]


# What is shown


def test_a_row_says_what_came_of_a_recording():
    view = view_of(
        done("a.wav"),
        done("b.wav", SAD, 0.4, uncertain=True),
        Row("c.mp3", "failed", error=NotSound("c.mp3")),
        Row("d.wav", "recognising"),
        Row("e.wav", "decoding"),
        Row("f.wav"),
    )
    assert rows_shown(view) == [
        "✓ Done a.wav 😠 Angry 85.3% 0:12.8 231 ms Open",
        "✓ Done b.wav 😢 Sad uncertain 40.0% 0:12.8 231 ms Open",
        "⚠ Failed c.mp3 “c.mp3” holds no sound that can be read. Use WAV, MP3, M4A, FLAC, OGG, WEBM, AMR, AIFF, CAF "
        "or WMA.",
        "◑ Recognising d.wav",
        "◔ Reading e.wav",
        "○ Waiting f.wav",
    ]
    assert rows_shown(view, words=CHINESE)[0] == "✓ 完成 a.wav 😠 愤怒 85.3% 0:12.8 231 毫秒 打开"
    assert rows_shown(view_of(Row("a.wav", "cancelled")), words=CHINESE) == ["– 已取消 a.wav"]


def test_names_cannot_bring_markup_or_further_rows_onto_the_page():
    hostile = '<img src=x onerror="alert(1)">\n<tr>.wav'
    view = view_of(done(hostile), Row(hostile, "failed", error=NotSound(hostile)), Row(hostile))
    for html in (*batch_render.row_pieces(view, BatchFilter(), ENGLISH), batch_render.progress(view, False, ENGLISH)):
        assert "<img" not in html
    assert len(rows_shown(view)) == 3


def test_a_row_without_a_folder_cannot_be_opened():
    (row,) = batch_render.row_pieces(view_of(Row("a.wav", "done", ANGRY, 0.8, False, 1.0, 9.0)), BatchFilter(), ENGLISH)
    assert "<button" not in row


def test_the_distribution_has_all_nine_with_counts_and_shares_and_the_failures_apart():
    view = view_of(done("a"), done("b"), done("c", SAD), Row("d", "failed", error=NotSound("d")), Row("e"))
    shown = text_of(batch_render.running_card(view, BatchFilter(), ENGLISH)).partition("How often")[2]
    names = [shown.index(emotion.english) for emotion in EMOTIONS]
    assert names == sorted(names)
    assert "Angry 2 · 66.7%" in shown
    assert "Sad 1 · 33.3%" in shown
    assert shown.endswith("Failed 1")


def test_the_card_says_how_a_batch_ended():
    def title(view: BatchView, error: BaseException | None = None, words: Words = ENGLISH) -> str:
        return text_of(batch_render.final_card(view, error, BatchFilter(), words))

    failed = Row("c", "failed", error=NotSound("c"))
    assert title(view_of(done("a"), done("b"))).startswith(
        "✅ 2 recordings recognised It took 12 s. Kept as outputs_2026"
    )
    assert title(view_of(done("a"), failed), words=CHINESE).startswith(
        "☑️ 完成 1 / 2 段，失败 1 段 用时 12 秒。已保存为"
    )
    assert title(view_of(failed)).startswith("⚠️ It could not be recognised")
    assert title(view_of(done("a"), Row("b", "cancelled"))).startswith("⏹️ Cancelled: 1 of 2 recognised Kept as")
    stopped = title(view_of(done("a"), Row("b", "cancelled")), DiskFull(10**9))
    assert stopped.startswith("⚠️ It had to stop: 1 of 2 recognised The disk of the server is full")
    assert "Something went wrong" in title(view_of(done("a")), ValueError("/secret/path"))
    assert "secret" not in title(view_of(done("a")), ValueError("/secret/path"))
    assert "2 other files in the zips are no sound" in title(view_of(done("a"), skipped=2))


@pytest.mark.parametrize(
    ("working", "elapsed_s", "shown"),
    [
        (Progress("recognising", 0, 0, 1), 1.0, "4 of 8 e.wav"),
        (Progress("recognising", 0, 2, 9), 1.0, "4 of 8 e.wav · Recognising window 3 of 9"),
        (Progress("recognising", 0, 0, 1), 90.0, "4 of 8 e.wav about 2 min left"),
    ],
)
def test_progress_counts_names_the_one_in_work_and_says_about_how_long(working, elapsed_s, shown):
    rest = [Row(f"{name}.wav", "recognising") for name in "efgh"]
    view = view_of(*(done(name) for name in "abcd"), *rest, working=working, elapsed_s=elapsed_s)
    assert text_of(batch_render.progress(view, False, ENGLISH)) == shown
    assert text_of(batch_render.progress(view, True, CHINESE)) == "4 / 8 正在停止……"


def test_a_batch_that_waits_behind_others_says_so():
    view = view_of(Row("a.wav"), working=Progress("waiting", 5, 0, 0))
    assert text_of(batch_render.progress(view, False, ENGLISH)) == "0 of 1 a.wav · waiting for others"


def test_of_one_kind_only_those_rows_are_shown_and_above_them_why():
    view = view_of(done("a"), done("b", SAD), done("c"), Row("d", "failed", error=NotSound("d")), Row("e"))
    assert [row.split()[2] for row in rows_shown(view, BatchFilter("angry"))] == ["a", "c"]
    assert text_of(batch_render.note(view, BatchFilter("angry"), ENGLISH)) == "Only Angry: 2 of 5 Show all"
    assert [row.split()[2] for row in rows_shown(view, BatchFilter("failed"))] == ["d"]
    assert rows_shown(view, BatchFilter("nonsense")) == []
    assert batch_render.note(view, BatchFilter(), ENGLISH) == ""


def test_of_a_thousand_rows_five_hundred_are_shown_at_a_time():
    view = view_of(*(done(f"{number}.wav") for number in range(1_020)))
    assert len(rows_shown(view)) == 500
    assert text_of(batch_render.note(view, BatchFilter(), ENGLISH)).startswith("Rows 1 to 500 of 1,020")
    assert rows_shown(view, BatchFilter(part=2))[0].split()[2] == "1000.wav"
    assert text_of(batch_render.note(view, BatchFilter(part=2), CHINESE)).startswith("第 1,001–1,020 行，共 1,020 行")
    assert rows_shown(view, BatchFilter(part=99)) == []


# Batches and who follows them


async def begun(batches: Batches, recordings: list[str], session: str = "session") -> FollowedBatch:
    return await batches.start_batch(who(batches, session), recordings, AnalysisRequest())


def who(batches: Batches, session: str, owner: str = "") -> PageVisitor:
    return visitor_of(batches.recognizer, session, owner)


async def ended(batches: Batches, followed: FollowedBatch) -> BatchView:
    return [view async for view in batches.views(followed)][-1]


def test_a_batch_is_followed_to_its_end(recognizer, recordings):
    async def follow() -> tuple[list[BatchView], FollowedBatch]:
        batches = Batches(recognizer, Uploads())
        followed = await begun(batches, recordings)
        return [view async for view in batches.views(followed)], followed

    views, followed = asyncio.run(follow())
    assert views[0].total == 3
    assert [row.emotion.key for row in views[-1].rows] == ["angry"] * 3
    assert followed.is_over
    assert followed.error is None


def test_a_session_has_one_batch_at_a_time_and_others_have_theirs(recognizer, recordings):
    async def begin_four() -> list[FollowedBatch]:
        batches = Batches(recognizer, Uploads())
        recognizer.model.gate.clear()
        first, again = await begun(batches, recordings), await begun(batches, recordings[:1])
        other = await begun(batches, recordings[:1], "another")
        recognizer.model.gate.set()
        await ended(batches, first)
        return [first, again, other, await begun(batches, recordings[:2])]

    first, again, other, next_one = asyncio.run(begin_four())
    assert first is again
    assert len({id(first), id(other), id(next_one)}) == 3
    assert len(next_one.batch.snapshot().rows) == 2


def test_a_page_that_comes_anew_finds_its_batch_by_the_token_and_nobody_else_does(recognizer, recordings):
    async def leave_and_come_back() -> BatchView:
        batches = Batches(recognizer, Uploads())
        recognizer.model.gate.clear()
        followed = await begun(batches, recordings)
        async with aclosing(batches.views(followed)) as views:
            await anext(views)
        assert batches.resume_batch(who(batches, "new"), followed.token) is followed
        assert batches.batch_of("new") is followed
        thief, stranger = who(batches, "thief"), who(batches, "stranger", "clients/bo")
        assert (
            batches.resume_batch(thief, "")
            is batches.resume_batch(thief, "x" * 22)
            is batches.batch_of("thief")
            is None
        )
        assert batches.resume_batch(stranger, followed.token) is batches.batch_of("stranger") is None
        recognizer.model.gate.set()
        return await ended(batches, followed)

    assert asyncio.run(leave_and_come_back()).counts["angry"] == 3


def test_a_batch_that_nobody_follows_any_more_is_cancelled(recognizer, recordings, monkeypatch):
    monkeypatch.setattr("emotion.ui.batches.PATIENCE_S", 0.0)

    async def leave() -> tuple[bool, bool]:
        batches = Batches(recognizer, Uploads())
        recognizer.model.gate.clear()
        followed = await begun(batches, recordings)
        async with aclosing(batches.views(followed)) as first, aclosing(batches.views(followed)) as second:
            await anext(first), await anext(second)
            await first.aclose()
            await asyncio.sleep(0)
            while_one_looks = followed.batch.is_cancelled
        await asyncio.to_thread(followed.ended.result, 10)
        return while_one_looks, followed.batch.is_cancelled

    assert asyncio.run(leave()) == (False, True)


def test_the_uploads_stay_until_the_batch_is_over_though_the_page_is_gone(recognizer, recordings):
    async def leave_early() -> list[bool]:
        folder = Path(get_upload_folder()) / "batch-test"
        folder.mkdir(parents=True, exist_ok=True)
        path = Path(recordings[0]).rename(folder / "a.wav")
        uploads = Uploads()
        uploads.add_user("", "session", path)
        recognizer.model.gate.clear()
        batches = Batches(recognizer, uploads)
        followed = await begun(batches, [str(path)])
        uploads.release("", "session")
        there = [path.exists()]
        recognizer.model.gate.set()
        await ended(batches, followed)
        await asyncio.to_thread(wait_for, lambda: not path.exists())
        return [*there, path.exists()]

    assert asyncio.run(leave_early()) == [True, False]


def test_only_so_many_rows_of_batches_that_are_over_are_remembered(recognizer, recordings, monkeypatch):
    monkeypatch.setattr("emotion.ui.batches._MOST_ROWS_HELD", 5)

    async def begin_three() -> list[bool]:
        batches = Batches(recognizer, Uploads())
        tokens = []
        for _ in range(3):
            followed = await begun(batches, recordings)
            await ended(batches, followed)
            tokens.append(followed.token)
        return [batches.resume_batch(who(batches, "later"), token) is not None for token in tokens]

    assert asyncio.run(begin_three()) == [False, False, True]


# The tab


def run_tab(handlers: BatchHandlers, files: list[str] | None, who: Any = None) -> list[tuple[Any, ...]]:
    async def collect() -> list[tuple[Any, ...]]:
        return [step async for step in handlers.start(who or reader(), files, "utterance", False, True, [])]

    return asyncio.run(collect())


def test_the_tab_goes_from_progress_to_links(context, recordings):
    steps = run_tab(BatchHandlers(context, Uploads()), recordings)
    progress, start, cancel, card, note, table = steps[-1]
    assert "summary.csv" in progress
    assert (start["interactive"], cancel["interactive"]) == (True, False)
    assert "3 recordings recognised" in text_of(card)
    assert note == ""
    assert "".join(table["pieces"]).count("data-open") == 3
    assert all(not step[1]["interactive"] for step in steps[:-1])


def test_what_a_zip_holds_is_looked_into_and_what_cannot_begin_is_a_sentence(context, monkeypatch, caplog):
    def fail(*_: object) -> None:
        raise RuntimeError("/secret/path")

    monkeypatch.setattr("emotion.ui.batches.Batch", fail)
    step = run_tab(BatchHandlers(context, Uploads()), ["a.zip"])[-1]
    assert "Something went wrong" in text_of(step[3])
    assert "secret" not in str(step)
    assert "/secret/path" in caplog.text


def test_a_page_that_is_closed_while_the_zips_are_looked_into_starts_nothing(context, recordings, monkeypatch):
    looked_into = threading.Event()

    def slow_batch(*words: Any) -> Batch:
        assert looked_into.wait(20)
        return Batch(*words)

    monkeypatch.setattr("emotion.ui.batches.Batch", slow_batch)

    async def close_early() -> tuple[str, FollowedBatch | None]:
        handlers = BatchHandlers(context, Uploads())
        steps = handlers.start(reader(), recordings, "utterance", False, True, [])
        shown = text_of((await anext(steps))[3])
        await steps.aclose()
        looked_into.set()
        await asyncio.sleep(0)
        return shown, handlers._batches.batch_of("session")

    shown, followed = asyncio.run(close_early())
    assert shown.startswith("🎧 Looking into the files")
    assert followed is None
    assert not context.settings.outputs.exists()


def test_a_row_opens_only_if_it_is_of_this_readers_batch(context, recordings):
    handlers = BatchHandlers(context, Uploads())
    table = run_tab(handlers, recordings)[-1][5]
    folder = table["pieces"][0].partition('data-open="')[2].partition('"')[0]

    def opened(wanted: object, session: str) -> tuple[Any, ...]:
        return asyncio.run(handlers.open(said(open=wanted), reader(session)))

    note, clip, tabs = opened(folder, "session")
    assert (clip, note) == (folder, gr.skip())
    assert tabs.selected == "recognise"
    for wanted, session in [(folder, "thief"), ("../x", "session"), (["x"], "session"), ("", "session")]:
        note, clip, _ = opened(wanted, session)
        assert "This result is not there" in text_of(note)
        assert clip == gr.skip()


@pytest.mark.parametrize(
    "choice", [{"part": "-1"}, {"part": "9999"}, {"part": "9" * 99}, {"part": "²"}, {"kind": "<b>"}, {}, {"kind": 3}]
)
def test_a_choice_that_makes_no_sense_shows_all(context, recordings, choice):
    handlers = BatchHandlers(context, Uploads())
    shown = run_tab(handlers, recordings)[-1][3:]
    assert handlers.choose(said(**choice), reader()) == shown
    assert handlers.choose(said(**choice), reader("nobody")) == (gr.skip(),) * 3


def test_cancelling_without_a_batch_does_nothing(context):
    assert BatchHandlers(context, Uploads()).cancel(reader()) is None


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    recognizer = FakeRecognizer(Settings(outputs=tmp_path_factory.mktemp("outputs")))
    with serve_page(recognizer) as url:
        yield recognizer, url


@pytest.mark.parametrize("path", ["/etc/passwd", "http://127.0.0.1:9/x.wav", "https://example.org/x.zip"])
def test_a_path_of_the_server_and_a_url_are_refused_among_uploads_too(served, path):
    recognizer, url = served
    with httpx.Client(base_url=url, timeout=10, trust_env=False) as client:
        (upload,) = client.post("gradio_api/upload", files={"files": ("a.wav", b"sound")}).json()
        files = [{"path": given, "meta": {"_type": "gradio.FileData"}} for given in (upload, path)]
        (*_, answer) = messages(client, on_click(client, "batch-start"), [files, "utterance", False, True, []])
    assert answer["success"] is False
    assert "passwd" not in json.dumps(answer["output"])
    assert recognizer.engine.queue_length == 0


def test_a_zip_comes_over_the_wire_and_neither_a_path_goes_back_nor_an_empty_file_stays(served, tmp_path):
    recognizer, url = served
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for number in range(200):
            archive.writestr(f"{number:03}.wav", b"no sound")
    before = {*Path(get_upload_folder()).glob("tmp*")}
    with httpx.Client(base_url=url, timeout=10, trust_env=False) as client:
        content = (tmp_path / "many.zip").read_bytes()
        (path,) = client.post("gradio_api/upload", files={"files": ("many.zip", content)}).json()
        files = [{"path": path, "meta": {"_type": "gradio.FileData"}}]
        steps = messages(client, on_click(client, "batch-start"), [files, "utterance", False, True, []])
    assert steps[-1]["success"] is True
    shown = json.dumps(steps, ensure_ascii=False)
    assert "None of 200 could be recognised" in shown
    assert str(recognizer.settings.outputs) not in shown
    assert {*Path(get_upload_folder()).glob("tmp*")} == before
