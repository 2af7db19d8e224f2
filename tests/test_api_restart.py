"""What a client was told to come back for is there although the server was started again meanwhile."""

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from filelock import FileLock
from pydantic import TypeAdapter

from emotion.analysis import AnalysisRequest
from emotion.api.job import StoredJob
from emotion.api.job_store import DATABASE, FOLDER, JobStore
from emotion.api.uploads import Upload
from emotion.audio import wav_bytes
from emotion.errors import DiskFull, FolderNotWritable
from emotion.outputs import write_run
from emotion.outputs.replication import RunReplicator
from emotion.settings import Settings
from tests.api_server import LATER, LOUD, WAV, ApiRecognizer, asking
from tests.fakes import FakeModel, HeldModel, files_below, loud_clip, wait_for

ONE, OTHER = "0" * 31 + "1", "0" * 31 + "2"


@pytest.fixture
def settings(tmp_path):
    return Settings(outputs=tmp_path / "outputs", async_above_s=5.0)


@pytest.fixture
def serve(settings):
    """A client of a new server on the same outputs."""

    def start(model: FakeModel | None = None):
        return asking(ApiRecognizer(model, settings))

    return start


def begin(client: httpx.Client, query: str = "", content: bytes = LOUD, **headers: str) -> str:
    """The address of a job."""
    answer = client.post(f"/v1/analyses{query}", content=content, headers=LATER | headers)
    assert answer.status_code == 202
    return answer.headers["location"]


def end_of(client: httpx.Client, address: str, **headers: str) -> httpx.Response:
    wait_for(lambda: client.get(address, headers=headers).status_code != 202)
    return client.get(address, headers=headers)


def record(job_id: str = ONE, **fields: object) -> StoredJob:
    return StoredJob(job_id, "a.wav", AnalysisRequest(client="a"), "", f"/v1/analyses/{job_id}", **fields)


def crash(store: JobStore) -> None:
    """End a store as kill -9 does: nothing is noted, and the system ends its locks."""
    for home in store._homes:
        home.database.close()


def database(outputs: Path) -> sqlite3.Connection:
    """What a server wrote that has ended."""
    return sqlite3.connect(outputs / FOLDER / "store-0" / DATABASE, isolation_level=None)


def left_over(settings: Settings) -> list[str]:
    """The folders of jobs."""
    return [path.name for path in (settings.outputs / FOLDER).glob("store-*/*") if path.is_dir()]


def test_a_finished_job_can_be_fetched_from_the_next_server(serve):
    with serve() as client:
        address = begin(client, "?granularity=frame&embedding=npy&exports=srt&name=call.wav")
        before = end_of(client, address)
        names = [file["name"] for file in client.get(f"{address}/files").json()["files"]]
        contents = [client.get(f"{address}/files/{name}").content for name in names]
    with serve() as client:
        after = client.get(address)
        assert (after.status_code, after.content) == (200, before.content)
        assert after.json()["file"] == "call.wav"
        assert {file["name"] for file in client.get(f"{address}/files").json()["files"]} == set(names)
        assert [client.get(f"{address}/files/{name}").content for name in names] == contents
        assert client.get(f"{address}/events").text.startswith("event: done")


def test_what_was_not_finished_is_begun_again_by_the_next_server(serve, settings):
    with serve(HeldModel()) as client:
        addresses = [begin(client, f"?granularity={kind}") for kind in ("frame", "utterance")]
    with serve() as client:
        answers = [end_of(client, address) for address in addresses]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert [answer.json()["granularity"] for answer in answers] == ["frame", "utterance"]
        fresh = client.post("/v1/analyses", content=LOUD, headers=WAV).json()
        assert answers[1].json()["scores"] == fresh["scores"]
        wait_for(lambda: not files_below(settings.outputs, "recording"))


def test_a_recording_that_became_a_job_by_its_length_is_no_exception(serve):
    with serve(HeldModel()) as client:
        together = client.post(
            "/v1/analyses",
            files=[("file", ("a.wav", LOUD)), ("file", ("b.wav", wav_bytes(loud_clip(6.0))))],
            headers={"Prefer": "respond-async"},
        )
        alone = client.post("/v1/analyses", content=wav_bytes(loud_clip(6.0)), headers=WAV)
        assert alone.status_code == 202
        addresses = [alone.headers["location"], *(entry["location"] for entry in together.json()["analyses"])]
    with serve() as client:
        assert [end_of(client, address).status_code for address in addresses] == [200, 200, 200]


def test_a_client_sees_only_its_own_after_a_restart_too(serve):
    with serve(HeldModel()) as client:
        address = begin(client, **{"X-Client": "maria"})
    with serve() as client:
        assert end_of(client, address, **{"X-Client": "maria"}).status_code == 200
        for stranger in ({"X-Client": "jonas"}, {}):
            assert client.get(address, headers=stranger).status_code == 404


def test_why_a_job_failed_is_told_by_the_next_server_too(serve):
    with serve() as client:
        address = begin(client, content=b"no sound at all")
        before = end_of(client, address).json()
    with serve() as client:
        after = client.get(address)
        assert after.status_code == before["status"] == 415
        assert (after.json()["code"], after.json()["detail"]) == (before["code"], before["detail"])


def test_what_was_answered_at_once_leaves_nothing(serve, settings):
    with serve() as client:
        assert client.post("/v1/analyses?exports=srt", content=LOUD, headers=WAV).status_code == 200
    assert left_over(settings) == []


@pytest.mark.parametrize("when", ["in work", "finished", "left over"])
def test_who_deletes_a_job_leaves_nothing_of_it(serve, settings, when):
    with serve(FakeModel() if when == "finished" else HeldModel()) as client:
        address = begin(client, "?exports=srt")
        if when == "finished":
            end_of(client, address)
        if when != "left over":
            assert client.delete(address).status_code == 204
            wait_for(lambda: left_over(settings) == [])
    with serve(HeldModel()) as client:
        assert client.delete(address).status_code == (204 if when == "left over" else 404)
        wait_for(lambda: left_over(settings) == [])
        assert client.get(address).status_code == 404


def test_the_time_that_a_job_is_kept_goes_on_while_no_server_runs(serve, settings):
    with serve() as client:
        address = begin(client)
        end_of(client, address)
    change = "UPDATE jobs SET record = json_set(record, '$.ended', json_extract(record, '$.ended') - ?)"
    left = database(settings.outputs)
    left.execute(change, (settings.job_keep_s,))
    left.close()
    with serve() as client:
        wait_for(lambda: client.get(address).status_code == 404)
        wait_for(lambda: left_over(settings) == [])


def test_a_recording_that_ended_the_server_twice_is_given_up_and_the_others_are_not(serve, settings):
    earlier = JobStore(settings.outputs)
    earlier.create_job(record(ONE, attempts=2), Upload("a.wav", LOUD))
    earlier.create_job(record(OTHER, attempts=1), Upload("a.wav", LOUD))
    crash(earlier)
    for _ in range(2):  # the next server knows it too
        with serve() as client:
            ends = [end_of(client, f"/v1/analyses/{identity}", **{"X-Client": "a"}) for identity in (ONE, OTHER)]
            assert [end.status_code for end in ends] == [422, 200]
            assert ends[0].json()["code"] == "given_up"


def test_of_what_was_left_the_most_often_begun_comes_last(tmp_path):
    earlier = JobStore(tmp_path)
    for number, attempts in enumerate((2, 1, 0)):
        earlier.create_job(record(f"{number:032x}", attempts=attempts), Upload("a.wav", LOUD))
    crash(earlier)
    later = JobStore(tmp_path)
    assert [kept.attempts for kept in later.restore_jobs()] == [0, 1, 2]
    later.close()


def test_an_ordered_end_is_not_held_against_a_recording(tmp_path):
    earlier = JobStore(tmp_path)
    earlier.create_job(record(), Upload("a.wav", LOUD))
    earlier.close()
    later = JobStore(tmp_path)
    (kept,) = later.restore_jobs()
    assert (kept.attempts, kept.state) == (0, "queued")
    later.close()


def test_results_of_jobs_are_not_copied_to_results_url(tmp_path, monkeypatch):
    settings = Settings(outputs=tmp_path / "outputs", results_url=str(tmp_path / "second"))
    copied: list[Path] = []
    monkeypatch.setattr(RunReplicator, "_try", lambda _, folder, **__: copied.append(folder) or True)
    model = HeldModel()  # so that the job is stored before it has a result
    recognizer = ApiRecognizer(model, settings)
    with asking(recognizer) as client:
        address = begin(client, "?exports=srt&embedding=npy")
        model.let_go()
        assert "emotion.srt" in end_of(client, address).json()["files"]
        run = write_run(settings.outputs, recognizer.recognize(loud_clip()))
        wait_for(lambda: run.folder in copied)  # runs are copied in their order
    assert copied == [run.folder]


def test_two_servers_on_one_folder_do_each_job_once(serve):
    with serve(HeldModel()) as client:
        addresses = [begin(client) for _ in range(3)]
    models = FakeModel(), FakeModel()
    with serve(models[0]) as first, serve(models[1]) as second:
        assert [end_of(first, address).status_code for address in addresses] == [200] * 3
        assert [second.get(address).status_code for address in addresses] == [404] * 3
        assert end_of(second, begin(second)).status_code == 200
    assert [len(model.lengths) for model in models] == [3, 1]


def test_servers_that_run_at_the_same_time_leave_each_other_alone(tmp_path):
    first, second = JobStore(tmp_path), JobStore(tmp_path)
    first.create_job(record(ONE), Upload("a.wav", LOUD))
    second.create_job(record(OTHER), Upload("b.wav", LOUD))
    third = JobStore(tmp_path)
    assert third.restore_jobs() == []
    first.close()
    second.close()
    fourth = JobStore(tmp_path)
    assert {kept.id for kept in fourth.restore_jobs()} == {ONE, OTHER}
    third.close()
    fourth.close()


def test_servers_that_start_at_once_share_what_was_left_and_none_does_it_twice(tmp_path):
    """Real processes, of which one is killed while it holds jobs."""
    earlier = JobStore(tmp_path)
    for number in range(3):
        earlier.create_job(record(f"{number:032x}"), Upload("a.wav", LOUD))
    code = """
import sys
from pathlib import Path
from emotion.api.job_store import JobStore
store = JobStore(Path(sys.argv[1]))
input()
print(len(store.restore_jobs()), flush=True)
input()
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    servers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], **pipes) for _ in range(4)]
    crash(earlier)
    for server in servers:
        server.stdin.write("\n")
        server.stdin.flush()
    taken = [int(server.stdout.readline()) for server in servers]
    assert sorted(taken) == [0, 0, 0, 3]
    late = JobStore(tmp_path)
    assert late.restore_jobs() == []
    late.close()
    servers[taken.index(3)].send_signal(signal.SIGKILL)
    servers[taken.index(3)].wait()
    next_one = JobStore(tmp_path)
    assert [kept.state for kept in next_one.restore_jobs()] == ["running"] * 3
    next_one.close()
    for server in servers:
        server.communicate("\n")


def test_what_cannot_be_read_is_deleted_and_said(tmp_path, caplog):
    earlier = JobStore(tmp_path)
    for job_id in (ONE, OTHER):
        earlier.create_job(record(job_id), Upload("a.wav", LOUD))
    earlier.close()
    left = database(tmp_path)
    left.execute("UPDATE jobs SET record = ? WHERE id = ?", ('{"id": "../../etc"}', ONE))
    left.close()
    (tmp_path / FOLDER / "store-0" / "unwritten").mkdir()
    later = JobStore(tmp_path)
    assert [kept.id for kept in later.restore_jobs()] == [OTHER]
    assert "cannot be understood" in caplog.text
    later.close()
    assert sorted(path.name for path in (tmp_path / FOLDER / "store-0").iterdir()) == [OTHER, DATABASE]


@pytest.mark.parametrize("damage", ["header", "middle"])
def test_a_damaged_database_is_moved_aside_and_said_and_hinders_no_start(serve, settings, damage, caplog):
    earlier = JobStore(settings.outputs)
    for number in range(200):
        earlier.create_job(record(f"{number:032x}"), Upload("a.wav", b"x"))
    earlier.close()
    with (settings.outputs / FOLDER / "store-0" / DATABASE).open("r+b") as file:
        file.seek(0 if damage == "header" else 4096)
        file.write(b"damaged!" * 2_000)
    with serve() as client:
        assert end_of(client, begin(client)).status_code == 200
    assert "database is damaged" in caplog.text
    (aside,) = (settings.outputs / FOLDER).glob("damaged-*")
    assert len(files_below(aside, "recording")) == 200


def test_a_database_of_a_newer_version_is_left_alone(tmp_path, caplog):
    earlier = JobStore(tmp_path)
    earlier.create_job(record(), Upload("a.wav", LOUD))
    earlier.close()
    left = database(tmp_path)
    left.execute("PRAGMA user_version = 99")
    left.close()
    today = JobStore(tmp_path)
    assert today.restore_jobs() == []
    assert "newer version" in caplog.text
    today.create_job(record(OTHER), Upload("a.wav", LOUD))
    today.close()
    assert database(tmp_path).execute("SELECT id FROM jobs").fetchall() == [(ONE,)]


def test_a_full_disk_is_told_as_one(tmp_path):
    store = JobStore(tmp_path)
    store.create_job(record(ONE), Upload("a.wav", LOUD))
    (pages,) = store._homes[0].database.execute("PRAGMA page_count").fetchone()
    store._homes[0].database.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(DiskFull):
        store.create_job(record(OTHER, message="x" * 100_000), Upload("a.wav", LOUD))
    store.delete_job(ONE)
    store.close()
    assert files_below(tmp_path, "recording") == []


def test_a_job_whose_files_somebody_took_away_is_gone_and_hinders_no_start(serve, settings):
    with serve() as client:
        gone, there = begin(client), begin(client)
        assert [end_of(client, address).status_code for address in (gone, there)] == [200, 200]
    shutil.rmtree(settings.outputs / FOLDER / "store-0" / gone.rpartition("/")[2])
    with serve() as client:
        assert [client.get(address).status_code for address in (gone, there)] == [404, 200]


def test_what_a_disk_cannot_read_today_is_left_for_the_next_start(tmp_path, caplog):
    earlier = JobStore(tmp_path)
    earlier.create_job(record(), Upload("a.wav", LOUD))
    earlier.close()
    file = tmp_path / FOLDER / "store-0" / DATABASE
    file.rename(file.with_name("aside"))
    file.mkdir()  # what no file can be read from
    today = JobStore(tmp_path)
    assert today.restore_jobs() == []
    assert "cannot be read" in caplog.text
    today.close()
    file.rmdir()
    file.with_name("aside").rename(file)
    later = JobStore(tmp_path)
    assert [kept.id for kept in later.restore_jobs()] == [ONE]
    later.close()


def test_a_promise_that_finds_no_room_leaves_nothing(tmp_path):
    store = JobStore(tmp_path)
    with pytest.raises(FolderNotWritable):
        store.create_job(record(), Upload("a.wav", tmp_path / "nowhere.wav"))
    assert files_below(tmp_path, "recording") == []
    assert not (tmp_path / FOLDER / "store-0" / ONE).exists()
    store.close()


def test_a_disk_that_takes_no_promise_costs_a_line_and_no_job(tmp_path, caplog):
    (tmp_path / "outputs").write_text("a file and no folder")
    settings = Settings(outputs=tmp_path / "outputs")
    with pytest.raises(FolderNotWritable):
        JobStore(settings.outputs).create_job(record(), Upload("a.wav", LOUD))
    with asking(ApiRecognizer(settings=settings)) as client:
        assert end_of(client, begin(client)).status_code == 200
    assert "could not be written down" in caplog.text


def old_job(outputs: Path, job_id: str, **fields: object) -> Path:
    """A job as version 0.4 wrote it."""
    folder = outputs / FOLDER / "server-3" / job_id
    folder.mkdir(parents=True)
    old = {
        "identity": job_id,
        "client": {"name": "maria", "folder": "clients/maria"},
        "name": "call.wav",
        "wish": {"granularity": "frame", "embedding": "none", "exports": ["srt"], "cache": True},
        "created": "2026-11-20 10:00:00",
        "path": f"/v1/analyses/{job_id}",
        "request_id": "8c1f0b7a4d2e9653",
        "beginnings": 1,
        "outcome": None,
    }
    (folder / "job.json").write_text(json.dumps({**old, **fields}))
    (folder.parent / "lock").touch()
    return folder


def test_jobs_of_version_0_4_are_taken_over_and_what_cannot_be_is_said(serve, settings, caplog):
    unfinished, done, failed, broken = (f"{number:032x}" for number in range(4))
    (old_job(settings.outputs, unfinished) / "recording").write_bytes(LOUD)
    over = {"ended": time.time(), "cached": False, "duration_s": 1.0, "timings_ms": {}, "code": "", "message": ""}
    folder = old_job(settings.outputs, done, outcome=over)
    (folder / "files").mkdir()
    (folder / "record.json").write_text('{"emotion": "sad"}')
    old_job(settings.outputs, failed, outcome={**over, "code": "not_sound", "message": "No sound."})
    old_job(settings.outputs, broken, wish=None)
    maria = {"X-Client": "maria"}
    for _ in range(2):
        with serve() as client:
            again = end_of(client, f"/v1/analyses/{unfinished}", **maria)
            assert (again.status_code, again.json()["granularity"]) == (200, "frame")
            assert "emotion.srt" in again.json()["files"]
            assert client.get(f"/v1/analyses/{done}", headers=maria).json() == {"emotion": "sad"}
            assert client.get(f"/v1/analyses/{failed}", headers=maria).json()["detail"] == "No sound."
            assert client.get(f"/v1/analyses/{broken}", headers=maria).status_code == 404
    assert caplog.text.count("version 0.4 left cannot be understood") == 1
    assert not (settings.outputs / FOLDER / "server-3").exists()


def test_a_server_of_version_0_4_that_still_runs_keeps_its_jobs(tmp_path):
    folder = old_job(tmp_path, ONE)
    with FileLock(folder.parent / "lock"):
        store = JobStore(tmp_path)
        assert store.restore_jobs() == []
        store.close()
    assert (folder / "job.json").exists()


def test_a_record_comes_back_as_it_was_stored():
    whole = record(request_id="abc", state="given_up", timings_ms={"decode": 1.0}, code="given_up", message="twice")
    adapter = TypeAdapter(StoredJob)
    assert adapter.validate_json(adapter.dump_json(whole)) == whole
