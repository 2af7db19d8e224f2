"""Runs that are written to a second place too, on a file system and on a store without renames."""

import json
import logging
import threading
from itertools import count

import fsspec
import pytest

from emotion import Recognizer
from emotion.errors import SettingsInvalid
from emotion.outputs import BatchRun, write_run
from emotion.outputs.replication import RunReplicator, replicator_of
from tests.fakes import analyze, loud_clip, wait_for

_NUMBERS = count()


@pytest.fixture
def memory():
    """A store of its own in memory, and its address."""
    url = f"memory://runs-{next(_NUMBERS)}"
    store, root = fsspec.core.url_to_fs(url)
    yield store, root, url
    if store.exists(root):
        store.rm(root, recursive=True)


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_run_is_written_to_a_folder_too(tmp_path):
    outputs, second = tmp_path / "outputs", tmp_path / "second"
    mirror = RunReplicator(outputs, second.as_uri())
    files = write_run(outputs, analyze(loud_clip(), embedding=True))
    mirror.close()
    assert names(second) == names(outputs)
    assert (second / files.folder.name / "embedding.npy").read_bytes() == files.embedding.read_bytes()


def test_files_of_api_jobs_are_copied_nowhere(tmp_path):
    outputs, second = tmp_path / "outputs", tmp_path / "second"
    job = outputs / ".jobs" / "store-0" / "0f8fad5bd9cb469fa16570867728950e"
    job.mkdir(parents=True)
    mirror = RunReplicator(outputs, second.as_uri())
    write_run(job, analyze(loud_clip()))
    shown = write_run(outputs, analyze(loud_clip()))
    mirror.close()
    assert [path.name for path in second.iterdir()] == [shown.folder.name]


def test_a_run_is_written_to_a_store_with_result_json_at_the_end(tmp_path, memory, monkeypatch):
    store, root, url = memory
    order = []
    put = type(store).put_file
    monkeypatch.setattr(type(store), "put_file", lambda self, path, to: (order.append(to), put(self, path, to)))
    mirror = RunReplicator(tmp_path, url)
    folder = write_run(tmp_path, analyze(loud_clip())).folder
    mirror.close()
    assert order == [f"{root}/{folder.name}/processed_audio.wav", f"{root}/{folder.name}/result.json"]
    assert json.loads(store.cat_file(order[1]))["emotion"] == "angry"


def test_a_batch_is_copied_once_when_it_is_complete(tmp_path, memory):
    store, root, url = memory
    mirror = RunReplicator(tmp_path, url)
    with BatchRun(tmp_path) as batch:
        batch.add(analyze(loud_clip(name="one.wav")))
        batch.close()
    mirror.close()
    assert store.ls(root, detail=False) == [f"{root}/{batch.folder.name}"]
    assert store.exists(f"{root}/{batch.folder.name}/one/result.json")
    assert store.exists(f"{root}/{batch.folder.name}/summary.csv")


def test_the_folder_of_a_client_stays_its_own(tmp_path):
    mirror = RunReplicator(tmp_path / "outputs", str(tmp_path / "second"))
    write_run(tmp_path / "outputs" / "clients" / "ann", analyze(loud_clip()))
    write_run(tmp_path / "elsewhere", analyze(loud_clip()))
    mirror.close()
    assert [path.name for path in (tmp_path / "second").iterdir()] == ["clients"]
    assert len(names(tmp_path / "second" / "clients" / "ann")) == 2


def test_a_name_that_is_taken_there_is_not_written_over(tmp_path):
    run = write_run(tmp_path / "outputs", analyze(loud_clip())).folder
    (tmp_path / "second" / run.name).mkdir(parents=True)
    mirror = RunReplicator(tmp_path / "outputs", str(tmp_path / "second"))
    mirror.take(run)
    mirror.close()
    assert {path.name for path in (tmp_path / "second").iterdir()} == {run.name, f"{run.name}_2"}


def test_a_store_that_fails_is_tried_again_and_leaves_no_half_run(tmp_path, monkeypatch, caplog):
    outputs, second = tmp_path / "outputs", tmp_path / "second"
    mirror = RunReplicator(outputs, str(second), waits_s=(0.01, 0.01))
    store = type(fsspec.filesystem("file"))
    put, tries = store.put_file, count()

    def fails_twice(self, path, place):
        if path.endswith("result.json") and next(tries) < 2:
            raise OSError(28, "no space", "/a/secret/path")
        return put(self, path, place)

    monkeypatch.setattr(store, "put_file", fails_twice)
    with caplog.at_level(logging.WARNING):
        folder = write_run(outputs, analyze(loud_clip())).folder
        wait_for((second / folder.name / "result.json").is_file)
    mirror.close()
    assert [path.name for path in second.iterdir()] == [folder.name]
    assert [record.getMessage() for record in caplog.records] == [
        "a run could not be copied to results_url (OSError), and will be tried again"
    ] * 2


def test_a_store_that_stays_away_costs_a_line_and_not_the_run(tmp_path, monkeypatch, caplog):
    mirror = RunReplicator(tmp_path / "outputs", str(tmp_path / "second"), waits_s=(0.01,))

    def away(*_, **__):
        raise ConnectionError

    monkeypatch.setattr(type(fsspec.filesystem("file")), "put_file", away)
    with caplog.at_level(logging.WARNING):
        files = write_run(tmp_path / "outputs", analyze(loud_clip()))
        wait_for(lambda: len(caplog.records) == 2)
    mirror.close()
    assert files.result.is_file()
    assert caplog.records[-1].getMessage().endswith("and is given up")
    assert names(tmp_path / "second") == []


def test_closing_does_not_wait_for_ever(tmp_path, monkeypatch):
    mirror, held = RunReplicator(tmp_path / "outputs", str(tmp_path / "second")), threading.Event()
    monkeypatch.setattr(type(fsspec.filesystem("file")), "put_file", lambda *_, **__: held.wait(20))
    write_run(tmp_path / "outputs", analyze(loud_clip()))
    mirror.close(patience_s=0.05)
    held.set()


def test_a_recogniser_with_results_url_copies_what_any_face_writes(tmp_path):
    settings = {"outputs": tmp_path / "outputs", "results_url": str(tmp_path / "second")}
    with Recognizer("compact", **settings) as recognizer:
        write_run(recognizer.settings.outputs, recognizer.recognize(loud_clip()))
    assert len(names(tmp_path / "second")) == 2
    write_run(tmp_path / "outputs", analyze(loud_clip()))
    assert len(names(tmp_path / "second")) == 2


def test_an_address_that_cannot_be_opened_is_said_without_its_password(tmp_path):
    with pytest.raises(SettingsInvalid, match="results_url") as caught:
        replicator_of(tmp_path, "nosuchstore://user:secret@host/outputs")
    assert "secret" not in str(caught.value)
