import re
import shutil
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest

from emotion.analysis import Analysis
from emotion.audio import Clip
from emotion.errors import FolderNotWritable
from emotion.outputs import BatchRun, History, write_run
from emotion.outputs import history as history_room
from emotion.settings import Settings
from emotion.texts import Words
from emotion.ui import comparison_render, history_render, templates
from emotion.ui.file_links import FileLinks
from emotion.ui.history_render import MORE_CLIPS, PAGE_RUNS, HistoryQuery
from emotion.ui.page_context import PageContext
from emotion.ui.runs import Runs
from emotion.ui.tabs.history import HistoryHandlers
from emotion.ui.timeline_detail import TimelineDetails
from emotion.ui.workspace import Workspaces
from tests.fakes import NOON, analyze, loud_clip, soft, tone, turning_clip
from tests.page_server import text_of

ENGLISH, CHINESE = Words("en"), Words("zh")
TODAY = NOON.date()
NOON_RUN = "outputs_20261122_120000"
MARKUP = "<img src=x onerror=alert(1)>\"'.wav"
READER = SimpleNamespace(cookies={}, headers={"accept-language": "en"}, session_hash="reader", request=None)
VIEW = 6
COMPARISON = 10


def kept(outputs: Path, name: str = "call.wav", hours_ago: float = 0.0, **words: Any) -> str:
    """The name of a new run of one angry recording."""
    analysis = replace(analyze(loud_clip(name=name), **words), timestamp=NOON - timedelta(hours=hours_ago))
    return write_run(outputs, analysis).folder.name


def kept_batch(outputs: Path, *names: str, broken: tuple[str, ...] = (), hours_ago: float = 0.0) -> str:
    """The name of a new batch of angry recordings, and one sad one where the name says so."""
    with BatchRun(outputs, now=NOON - timedelta(hours=hours_ago)) as batch:
        for name in names:
            quiet = Clip(name, np.concatenate([tone(0.3), soft(2.0)]))
            batch.add(analyze(quiet if "sad" in name else loud_clip(name=name)))
        for name in broken:
            batch.add_failure(name, f"{name!r} is empty. Record or export it again.")
    return batch.folder.name


def listed(outputs: Path, query: HistoryQuery | None = None, words: Words = ENGLISH, today: date = TODAY) -> str:
    query = query or HistoryQuery()
    page = History(outputs).runs(query.search, query.emotion, query.limit)
    return history_render.run_list(page, query, words, today)


def said_above(outputs: Path, query: HistoryQuery | None = None, words: Words = ENGLISH, **settings: float) -> str:
    page = History(outputs).runs((query or HistoryQuery()).search)
    return sizeless(history_render.summary(page, query or HistoryQuery(), Settings(**settings), words))


def sizeless(html: str) -> str:
    """What a reader sees, without the number of kilobytes."""
    return re.sub(r"\d+ KB", "n KB", text_of(html))


def scored(**scores: float) -> Analysis:
    analysis = analyze(loud_clip())
    return replace(analysis, scores=np.array([scores.get(key, 0.0) for key in analysis.model.labels], np.float32))


@pytest.fixture
def handlers(tmp_path: Path) -> HistoryHandlers:
    recognizer: Any = SimpleNamespace(settings=Settings(outputs=tmp_path))
    nothing: Any = None
    runs, workspaces = Runs(recognizer), Workspaces(tmp_path)
    return HistoryHandlers(
        PageContext(recognizer, nothing, runs, workspaces, FileLinks(), TimelineDetails(0.5), nothing, nothing)
    )


def event(said: Any) -> gr.EventData:
    return gr.EventData(None, said)


# The list


def test_a_run_is_shown_with_its_time_emotion_duration_and_granularity(tmp_path: Path) -> None:
    kept(tmp_path, granularity="frame")
    english, chinese = text_of(listed(tmp_path)), text_of(listed(tmp_path, words=CHINESE))
    assert english.endswith(" Today call.wav 😠 Angry 87.2% 12:00 · 0:01.0 · Frame Compare")
    assert chinese.endswith(" 今天 call.wav 😠 愤怒 87.2% 12:00 · 0:01.0 · 逐帧 对比")


def test_above_the_runs_stands_what_can_be_done_with_those_that_are_chosen(tmp_path: Path) -> None:
    run = kept(tmp_path)
    shown = listed(tmp_path)
    assert text_of(shown).startswith("Choose all Download ZIP Delete Today")
    assert text_of(listed(tmp_path, words=CHINESE)).startswith("全选 下载 ZIP 删除 今天")
    assert 'data-words="Chosen: {count}"' in shown
    assert (
        f'data-run="{run}"><label class="run-choose"><input type="checkbox" aria-label="Choose call.wav, 12:00">'
        in shown
    )
    assert "data-all" not in listed(tmp_path, HistoryQuery("nobody"))


def test_runs_stand_by_day_newest_first(tmp_path: Path) -> None:
    for name, hours_ago in (("old.wav", 300), ("new.wav", 0), ("eve.wav", 20), ("morning.wav", 3)):
        kept(tmp_path, name, hours_ago)
    shown = text_of(listed(tmp_path))
    places = [shown.index(part) for part in ("Today", "new", "morning", "Yesterday", "eve", "10 November 2026", "old")]
    assert places == sorted(places)
    assert "2026年11月10日" in listed(tmp_path, words=CHINESE)


def test_a_batch_shows_few_of_its_recordings_and_how_many_more_there_are(tmp_path: Path) -> None:
    run = kept_batch(tmp_path, *(f"{number}.wav" for number in range(8)), "sad.wav", broken=("broken.mp3",))
    shown = listed(tmp_path)
    assert shown.count("data-open=") == 4
    assert "Batch of 10 12:00" in text_of(shown)
    assert "😠 Angry 8 😢 Sad 1 ⚠ 1 failed" in text_of(shown)
    assert "Show 6 more" in text_of(shown)
    whole = listed(tmp_path, HistoryQuery(unfolded=((run, MORE_CLIPS),)))
    assert whole.count("data-open=") == 9
    assert "broken.mp3 ⚠ Failed: &#39;broken.mp3&#39; is empty." in text_of(whole)
    assert "data-unfold" not in whole


def test_one_recording_more_than_a_few_is_shown_and_not_announced(tmp_path: Path) -> None:
    kept_batch(tmp_path, *(f"{number}.wav" for number in range(5)))
    assert listed(tmp_path).count("data-open=") == 5


def test_a_search_shows_the_recordings_of_a_batch_that_it_found_and_folds_the_others(tmp_path: Path) -> None:
    kept_batch(tmp_path, *(f"{number}.wav" for number in range(6)), "sad.wav")
    shown = listed(tmp_path, HistoryQuery(emotion="sad"))
    assert shown.count("data-open=") == 1
    assert "/sad" in shown
    assert "Show 6 more" in text_of(shown)


def test_a_batch_that_is_being_written_says_so(tmp_path: Path) -> None:
    with BatchRun(tmp_path, now=NOON):
        assert "Batch of 0 being written 12:00" in text_of(listed(tmp_path))
        assert "正在写入" in text_of(listed(tmp_path, words=CHINESE))
    assert "being written" not in listed(tmp_path)


def test_older_runs_come_fifty_at_a_time(tmp_path: Path) -> None:
    for number in range(PAGE_RUNS + 2):
        folder = tmp_path / f"outputs_20261121_{number // 60:02d}{number % 60:02d}00"
        if number == 0:
            write_run(tmp_path, replace(analyze(loud_clip()), timestamp=NOON - timedelta(days=2)))
            (first,) = tmp_path.iterdir()
        shutil.copytree(first, folder)
    shown = listed(tmp_path)
    assert shown.count("data-open=") == PAGE_RUNS
    assert "Show older runs (3)" in text_of(shown)
    assert "data-more" not in listed(tmp_path, HistoryQuery(limit=2 * PAGE_RUNS))


def test_the_open_run_is_marked_and_the_others_can_be_compared(tmp_path: Path) -> None:
    first, second = kept(tmp_path), kept(tmp_path, "other.wav", 1)
    shown = listed(tmp_path, HistoryQuery(open_clip=first))
    assert f'data-open="{first}" aria-current="true"' in shown
    assert f'data-compare="{second}" aria-label="Compare with other.wav">' in shown
    assert f'data-compare="{first}" aria-label="Compare with call.wav" disabled>' in shown
    assert listed(tmp_path).count(" disabled>") == 2


def test_without_a_run_the_list_says_what_comes_here(tmp_path: Path) -> None:
    assert text_of(listed(tmp_path)).startswith("🗂️ No runs yet")
    assert said_above(tmp_path) == ""


def test_a_search_without_a_find_says_what_was_searched_and_how_to_clear_it(tmp_path: Path) -> None:
    kept(tmp_path)
    shown = listed(tmp_path, HistoryQuery("<nobody>", "happy"))
    assert "No run goes with “&lt;nobody&gt;” · 😊 Happy." in text_of(shown)
    assert "data-clear" in shown


def test_a_file_name_cannot_bring_markup_onto_the_page(tmp_path: Path) -> None:
    run = kept(tmp_path, MARKUP)
    kept_batch(tmp_path, MARKUP, broken=(MARKUP,), hours_ago=1)
    history = History(tmp_path)
    files, entry = history.open_clip(run), history.run(run)
    pieces = [
        listed(tmp_path, HistoryQuery(open_clip=run)),
        *(history_render.question([one], 0, ENGLISH) for one in history.runs().runs),
        history_render.question(history.runs().runs, 0, ENGLISH),
        templates.render("history/zip_link.html", ENGLISH, name=MARKUP, address=MARKUP),
        history_render.opened(files, entry, ENGLISH),
        history_render.summary(history.runs(), HistoryQuery(), Settings(), ENGLISH, said=MARKUP),
        history_render.tools(HistoryQuery(search=MARKUP), ENGLISH),
        templates.render("history/side.html", ENGLISH, letter="A", moment=MARKUP),
        comparison_render.head(files.analysis, files.analysis, ENGLISH),
    ]
    assert "<img" not in "".join(pieces)
    assert "wav\"'" not in "".join(pieces)


@pytest.mark.parametrize(
    ("settings", "english", "chinese"),
    [
        ({}, "kept until you delete them", "一直保留，直到您删除"),
        ({"keep_days": 1}, "each is kept for a day", "每条保留 1 天"),
        ({"keep_days": 2.5}, "each is kept for 2.5 days", "每条保留 2.5 天"),
        ({"keep_gb": 5}, "beyond 5 GB the oldest go", "超过 5 GB 时先删最旧的"),
        (
            {"keep_days": 30, "keep_gb": 5},
            "each is kept for 30 days and beyond 5 GB the oldest go",
            "每条保留 30 天，超过 5 GB 时先删最旧的",
        ),
    ],
)
def test_above_the_list_stands_how_much_is_kept_and_for_how_long(
    tmp_path: Path, settings: dict[str, float], english: str, chinese: str
) -> None:
    kept(tmp_path)
    assert said_above(tmp_path, **settings) == f"Runs: 1 · n KB · {english}"
    assert said_above(tmp_path, words=CHINESE, **settings) == f"共 1 条记录 · n KB · {chinese}"


def test_above_a_search_stands_how_many_of_all_were_found(tmp_path: Path) -> None:
    kept(tmp_path)
    kept(tmp_path, "other.wav")
    assert said_above(tmp_path, HistoryQuery("other")).startswith("Found: 1 of 2 runs · n KB")


def test_the_question_names_what_would_be_deleted(tmp_path: Path) -> None:
    kept(tmp_path)
    kept_batch(tmp_path, "a.wav", "b.wav", "c.wav", "d.wav", hours_ago=24)
    runs = History(tmp_path).runs().runs
    one, batch = (sizeless(history_render.question([run], 0, ENGLISH)) for run in runs)
    assert "Delete this run? call.wav 22 November 2026 12:00 · 2 files, n KB" in one
    assert "Batch of 4 · a.wav · b.wav · c.wav · … 21 November 2026 12:00 · 10 files, n KB" in batch


def test_the_question_counts_one_file_as_one_and_large_runs_in_megabytes(tmp_path: Path) -> None:
    kept(tmp_path)
    run = replace(History(tmp_path).run(NOON_RUN), file_count=1, size_bytes=12_345_678)
    assert "1 file, 12 MB" in history_render.question([run], 0, ENGLISH)
    assert "1 个文件，12 MB" in history_render.question([run], 0, CHINESE)


def test_the_question_about_several_names_how_many_they_are_and_what_stays(tmp_path: Path) -> None:
    names = [kept(tmp_path, f"{number}.wav", hours_ago=number) for number in range(3)]
    names += [kept_batch(tmp_path, "a.wav", "b.wav", hours_ago=9)]
    runs = History(tmp_path).runs().runs
    asked = history_render.question(runs, 1, ENGLISH)
    assert (
        "Delete 4 runs? 0.wav · 1.wav · 2.wav · … 12 files, n KB Still being written, so not deleted: 1."
        in sizeless(asked)
    )
    assert f'data-delete="{" ".join(names)}">Delete 4</button>' in asked
    assert "删除这 3 条记录？ 0.wav · 1.wav · 2.wav 6 个文件，n KB 这些记录的" in sizeless(
        history_render.question(runs[:3], 0, CHINESE)
    )


# Two side by side


def test_the_differences_of_two_are_told_in_words_and_numbers() -> None:
    one, other = scored(neutral=0.734, sad=0.266), scored(neutral=0.1, happy=0.65, sad=0.25)
    said = text_of(comparison_render.head(one, other, ENGLISH))
    assert "In B, compared with A: more Happy (+0.650) and less Neutral (−0.634)." in said
    assert "B 与 A 相比：快乐更强（+0.650），中性更弱（−0.634）。" in comparison_render.head(one, other, CHINESE)
    table = text_of(comparison_render.table(one, other, ENGLISH))
    assert "Neutral 0.734 0.100 ▼ 0.634 weaker" in table
    assert "Happy 0.000 0.650 ▲ 0.650 stronger" in table
    assert "Angry 0.000 0.000 the same" in table


def test_equal_scores_are_called_equal() -> None:
    assert "Both have the same scores." in comparison_render.head(scored(sad=1.0), scored(sad=0.9999), ENGLISH)


def test_an_emotion_that_one_model_cannot_tell_has_no_difference() -> None:
    one, other = scored(sad=0.4, other=0.6), scored(sad=1.0)
    other = replace(
        other, model=replace(other.model, name="small", fingerprint="sha256:1", unsupported_labels=("other",))
    )
    assert "Other 0.600 not told –" in text_of(comparison_render.table(one, other, ENGLISH))
    head = text_of(comparison_render.head(one, other, ENGLISH))
    assert "more Sad (+0.600)." in head
    assert "Different models answered (A: fake, B: small)" in head


def test_labels_of_another_model_come_last() -> None:
    one, other = scored(sad=1.0), scored(sad=1.0)
    labels = ("sad", "amused")
    other = replace(other, model=replace(other.model, labels=labels), scores=np.array([0.25, 0.75], np.float32))
    changes = comparison_render.score_changes(one, other)
    assert [change.emotion.key for change in changes][-1] == "amused"
    assert {change.emotion.key: change.rise for change in changes if change.rise is not None} == {"sad": -0.75}


def test_two_clips_share_a_time_axis_unless_one_is_very_short() -> None:
    head = comparison_render.head(analyze(loud_clip(1.0)), analyze(turning_clip()), ENGLISH)
    assert 'data-one="0.2500" data-other="1.0000"' in head
    far = comparison_render.head(analyze(loud_clip(0.9)), analyze(turning_clip()), ENGLISH)
    assert 'data-one="1.0000" data-other="1.0000"' in far
    assert "a time axis of its own" in far


# What the tab answers


def test_opening_shows_the_clip_and_marks_it_in_the_list(tmp_path: Path, handlers: HistoryHandlers) -> None:
    run = kept(tmp_path, granularity="frame", embedding=True)
    _, runs, query, opened, card, timeline, downloads, whole, log, open_clip = handlers.open_clip(
        HistoryQuery(), event({"open": run}), READER
    )
    assert query.open_clip == open_clip == run
    assert "aria-current" in runs
    assert "22 November 2026 12:00" in opened
    assert "Angry" in card
    assert timeline["points"]
    assert downloads.count("<a ") == 3
    assert "ZIP (3 files, n KB)" in sizeless(whole)
    assert "Recording: call.wav" in log


def test_a_clip_of_a_batch_says_so_and_its_zip_is_that_of_the_batch(tmp_path: Path, handlers: HistoryHandlers) -> None:
    run = kept_batch(tmp_path, "a.wav", "b.wav")
    shown = handlers.open_clip(HistoryQuery(), event({"open": f"{run}/b"}), READER)
    assert "22 November 2026 12:00 · Batch of 2" in text_of(shown[3])
    assert f'download="{run}.zip"' in shown[7]
    assert shown[-1] == f"{run}/b"


def test_a_clip_whose_sound_was_not_kept_says_so(tmp_path: Path, handlers: HistoryHandlers) -> None:
    run = write_run(tmp_path, analyze(loud_clip(), "frame"), keep_audio=False).folder.name
    shown = handlers.open_clip(HistoryQuery(), event({"open": run}), READER)
    assert "sound not kept" in shown[3]
    assert "audio" not in shown[5]


@pytest.mark.parametrize("said", [{"open": "../outputs"}, {"open": ["x"]}, {"open": NOON_RUN}, {}, None, "open", [1]])
def test_what_is_no_clip_opens_nothing_and_says_why(handlers: HistoryHandlers, said: Any) -> None:
    shown = handlers.open_clip(HistoryQuery(open_clip="before"), event(said), READER)
    assert shown[2].open_clip == ""
    assert "This result is not there." in text_of(shown[4])


def test_a_search_keeps_what_is_open_and_begins_at_the_top(tmp_path: Path, handlers: HistoryHandlers) -> None:
    run = kept(tmp_path)
    _, shown, query = handlers.search("CALL", "angry", HistoryQuery(limit=500, open_clip=run, seen="x"), READER)
    assert query == HistoryQuery("CALL", "angry", open_clip=run, seen="x")
    assert "call.wav" in shown
    assert len(handlers.search("x" * 10_000, None, HistoryQuery(), READER)[2].search) == 200


def test_more_is_more_runs_or_more_of_a_batch(handlers: HistoryHandlers) -> None:
    more = handlers.show_more(HistoryQuery(), event({"more": ""}), READER)[2]
    assert more.limit == 2 * PAGE_RUNS
    query = handlers.show_more(more, event({"unfold": "x"}), READER)[2]
    assert handlers.show_more(query, event({"unfold": "x"}), READER)[2].unfolded == (("x", 2 * MORE_CLIPS),)


def test_deleting_closes_what_is_open_of_the_run_and_nothing_else(tmp_path: Path, handlers: HistoryHandlers) -> None:
    run, other = kept(tmp_path), kept(tmp_path, "other.wav", 1)
    question, *_ = handlers.ask_to_delete(HistoryQuery(), event({"delete": run}), READER)
    assert "call.wav" in question
    query = HistoryQuery(open_clip=run)
    emptied, summary, shown, query, *view, open_clip = handlers.delete_runs(
        query, other, event({"delete": run}), READER
    )
    assert emptied == ""
    assert text_of(summary).startswith("Deleted: call.wav. Runs: 1")
    assert "call.wav" not in shown
    assert (query.open_clip, view[0], view[2]) == ("", "", None)
    assert "Choose a recording" in view[1]
    assert open_clip == gr.skip()
    assert not (tmp_path / run).exists()
    assert (
        handlers.delete_runs(HistoryQuery(open_clip=other), "", event({"delete": other}), READER)[3] == HistoryQuery()
    )


def test_deleting_another_run_leaves_the_view_alone(tmp_path: Path, handlers: HistoryHandlers) -> None:
    run, other = kept(tmp_path), kept(tmp_path, "other.wav", 1)
    shown = handlers.delete_runs(HistoryQuery(open_clip=other), run, event({"delete": run}), READER)
    assert shown[3].open_clip == other
    assert shown[4:-1] == (gr.skip(),) * VIEW
    assert shown[-1] == ""


def test_a_run_that_is_being_written_is_not_deleted(tmp_path: Path, handlers: HistoryHandlers) -> None:
    with BatchRun(tmp_path, now=NOON) as batch:
        batch.add(analyze(loud_clip()))
        question, problem, *_ = handlers.ask_to_delete(HistoryQuery(), event({"delete": NOON_RUN}), READER)
        assert question == gr.skip()
        assert "This run is still being written." in problem
        emptied, problem, *_ = handlers.delete_runs(HistoryQuery(), "", event({"delete": NOON_RUN}), READER)
        assert (emptied, text_of(problem)) == ("", "Still being written, so not deleted: 1.")
        assert (batch.folder / "call" / "result.json").exists()


def test_several_runs_are_deleted_and_the_list_keeps_its_page_and_its_filters(
    tmp_path: Path, handlers: HistoryHandlers
) -> None:
    names = [kept(tmp_path, f"call {number}.wav", hours_ago=number) for number in range(4)]
    other = kept(tmp_path, "other.wav", hours_ago=9)
    query = HistoryQuery("call", "angry", limit=100, unfolded=(("x", 50),), open_clip=other)
    chosen = event({"delete": " ".join(names[:3])})
    assert "Delete 3 runs?" in handlers.ask_to_delete(query, chosen, READER)[0]
    emptied, summary, shown, after, *view, open_clip = handlers.delete_runs(query, names[1], chosen, READER)
    assert (emptied, after) == ("", query)
    assert text_of(summary).startswith("Deleted: 3 runs. Found: 1 of 2 runs")
    assert shown.count("data-open=") == 1
    assert f'data-open="{names[3]}"' in shown
    assert view == [gr.skip()] * VIEW
    assert open_clip == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([names[3], other])


def test_what_is_open_of_one_of_several_deleted_runs_is_closed(tmp_path: Path, handlers: HistoryHandlers) -> None:
    batch, run = kept_batch(tmp_path, "a.wav", "b.wav"), kept(tmp_path, hours_ago=1)
    shown = handlers.delete_runs(
        HistoryQuery(open_clip=f"{batch}/b"), f"{batch}/b", event({"delete": f"{run} {batch}"}), READER
    )
    assert (shown[3].open_clip, shown[-1]) == ("", "")
    assert "Choose a recording" in shown[5]


def test_runs_that_went_meanwhile_are_no_fault(tmp_path: Path, handlers: HistoryHandlers) -> None:
    run, gone, more = kept(tmp_path), kept(tmp_path, "gone.wav", 1), kept(tmp_path, "more.wav", 2)
    for name in (gone, more):
        shutil.rmtree(tmp_path / name)
    chosen = event({"delete": f"{gone} {run} {more}"})
    assert "Delete this run?" in handlers.ask_to_delete(HistoryQuery(), chosen, READER)[0]
    _, summary, shown, query, *_ = handlers.delete_runs(HistoryQuery(open_clip=gone), "", chosen, READER)
    assert text_of(summary) == "Deleted: call.wav. Gone already: 2. Runs: 0 · 0 KB · kept until you delete them"
    assert query.open_clip == ""
    assert "No runs yet" in shown
    question, summary, shown, _ = handlers.ask_to_delete(HistoryQuery(), chosen, READER)
    assert question == gr.skip()
    assert text_of(summary).startswith("Gone already: 3.")
    assert "alert" not in summary
    assert "No runs yet" in shown


def test_of_several_runs_those_that_are_being_written_are_passed_over_and_said(
    tmp_path: Path, handlers: HistoryHandlers
) -> None:
    run = kept(tmp_path, hours_ago=1)
    with BatchRun(tmp_path, now=NOON) as batch, BatchRun(tmp_path, now=NOON) as second:
        chosen = event({"delete": f"{batch.folder.name} {run}"})
        asked = handlers.ask_to_delete(HistoryQuery(), chosen, READER)[0]
        assert "Still being written, so not deleted: 1." in asked
        assert f'data-delete="{run}"' in asked
        _, summary, shown, *_ = handlers.delete_runs(HistoryQuery(), "", chosen, READER)
        assert text_of(summary).startswith("Deleted: call.wav. Still being written, so not deleted: 1. Runs: 2")
        assert shown.count("being written") == 2
        both = event({"delete": f"{batch.folder.name} {second.folder.name}"})
        question, problem, *_ = handlers.ask_to_delete(HistoryQuery(), both, READER)
        assert question == gr.skip()
        assert "Still being written, so not deleted: 2." in problem
        assert batch.summary.exists()


def test_runs_that_the_disk_keeps_are_said_with_the_reason(
    tmp_path: Path, handlers: HistoryHandlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, other = kept(tmp_path), kept(tmp_path, "other.wav", 1)
    delete_run = history_room.delete_run

    def refuse(outputs: Path, name: str) -> None:
        if name == other:
            raise FolderNotWritable(outputs.name, "Permission denied")
        delete_run(outputs, name)

    monkeypatch.setattr(history_room, "delete_run", refuse)
    for names, said in ((f"{other} {run}", "Deleted: call.wav. Could not"), (other, "Could not")):
        _, summary, shown, *_ = handlers.delete_runs(HistoryQuery(), "", event({"delete": names}), READER)
        assert text_of(summary).startswith(f"{said} be deleted: 1. The results cannot be written into outputs/")
        assert "other.wav" in shown
        assert str(tmp_path) not in summary


def test_several_runs_come_in_one_zip_without_those_that_went(tmp_path: Path, handlers: HistoryHandlers) -> None:
    run, batch, gone = kept(tmp_path), kept_batch(tmp_path, "a.wav", "b.wav", hours_ago=1), kept(tmp_path, hours_ago=2)
    shutil.rmtree(tmp_path / gone)
    link, summary, shown, query = handlers.zip_runs(HistoryQuery("a"), event({"pack": f"{run} {batch} {gone}"}), READER)
    assert re.fullmatch(
        r'<a href="streams/[\w-]{20,}/outputs_2_runs.zip" download="outputs_2_runs.zip" hidden></a>', link
    )
    assert sizeless(summary).startswith("The download begins. Runs: 2, 8 files, n KB. Gone already: 1. Found: 2 of 2")
    assert (query, "data-run" in shown) == (HistoryQuery("a"), True)
    assert f"{run}.zip" in handlers.zip_runs(HistoryQuery(), event({"pack": run}), READER)[0]
    assert handlers.zip_runs(HistoryQuery(), event({"pack": gone}), READER)[0] == ""


@pytest.mark.parametrize(
    "said", [{"pack": "../x"}, {"pack": ""}, {"pack": ["x"]}, {"pack": f"{NOON_RUN}/.."}, {}, None]
)
def test_what_is_no_run_is_not_packed(tmp_path: Path, handlers: HistoryHandlers, said: Any) -> None:
    kept(tmp_path)
    link, problem, *_ = handlers.zip_runs(HistoryQuery(), event(said), READER)
    assert link == ""
    assert "This result is not there." in problem


@pytest.mark.parametrize(
    "said",
    [
        {"delete": "../x"},
        {"delete": ""},
        {"delete": {"a": 1}},
        {"delete": [NOON_RUN]},
        {"delete": f" {NOON_RUN}/"},
        {"delete": f"clients/ann/{NOON_RUN} ../{NOON_RUN} {NOON_RUN}\n{NOON_RUN}"},
        {},
        None,
    ],
)
def test_what_is_no_run_is_neither_asked_about_nor_deleted(
    tmp_path: Path, handlers: HistoryHandlers, said: Any
) -> None:
    kept(tmp_path)
    for answer in (
        handlers.ask_to_delete(HistoryQuery(), event(said), READER),
        handlers.delete_runs(HistoryQuery(), "", event(said), READER),
    ):
        assert "This result is not there." in answer[1]
    assert [path.name for path in tmp_path.iterdir()] == [NOON_RUN]


def test_a_comparison_holds_the_open_clip_and_the_chosen_one(tmp_path: Path, handlers: HistoryHandlers) -> None:
    run, other = kept(tmp_path), kept(tmp_path, "other.wav", 1)
    shown = handlers.compare_clips(HistoryQuery(open_clip=run), event({"compare": other}), READER)
    assert len(shown) == COMPARISON + 1
    assert "call.wav" in shown[2]
    assert "other.wav" in shown[6]
    assert shown[-1] == gr.skip()


@pytest.mark.parametrize("query", [HistoryQuery(), HistoryQuery(open_clip=NOON_RUN)])
def test_a_comparison_with_what_is_not_there_says_so(
    tmp_path: Path, handlers: HistoryHandlers, query: HistoryQuery
) -> None:
    kept(tmp_path)
    shown = handlers.compare_clips(query, event({"compare": "outputs_20260101_000000"}), READER)
    assert shown[0] == ""
    assert "This result is not there." in shown[-1]


def test_what_was_opened_on_another_tab_is_open_here_too(tmp_path: Path, handlers: HistoryHandlers) -> None:
    run = kept(tmp_path)
    tools, _, shown, query, opened, *_ = handlers.refresh(HistoryQuery(), run, READER)
    assert 'name="search"' in tools
    assert query == HistoryQuery(open_clip=run, seen=run)
    assert "aria-current" in shown
    assert "22 November 2026" in opened


def test_coming_back_to_the_tab_leaves_what_is_open_and_what_was_closed_as_it_is(
    tmp_path: Path, handlers: HistoryHandlers
) -> None:
    run, other = kept(tmp_path), kept(tmp_path, "other.wav", 1)
    query = handlers.open_clip(HistoryQuery(), event({"open": run}), READER)[2]
    shown = handlers.refresh(query, run, READER)
    assert shown[3].open_clip == run
    assert shown[4:] == (gr.skip(),) * VIEW
    query = handlers.close_clip(query, READER)[2]
    again = handlers.refresh(query, run, READER)
    assert again[3].open_clip == ""
    assert "Choose a recording" in again[5]
    assert handlers.refresh(query, other, READER)[3].open_clip == other


@pytest.mark.parametrize("folder", [NOON_RUN, "../../etc", f"{NOON_RUN}/x"])
def test_what_was_open_and_is_gone_is_closed(tmp_path: Path, handlers: HistoryHandlers, folder: str) -> None:
    kept(tmp_path, hours_ago=1)
    for query, open_clip in ((HistoryQuery(open_clip=folder), ""), (HistoryQuery(), folder)):
        shown = handlers.refresh(query, open_clip, READER)
        assert shown[3].open_clip == ""
        assert "Choose a recording" in shown[5]
