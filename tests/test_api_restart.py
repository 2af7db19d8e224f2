"""What a client was told to come back for is there although the server was started again meanwhile."""

import json
import shutil

import httpx
import pytest

from emotion.access import Client
from emotion.api.bodies import Upload
from emotion.api.promises import FOLDER, Promise, Promises
from emotion.api.wishes import Wish
from emotion.audio import wav_bytes
from emotion.errors import FolderNotWritable
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


def promise(identity: str = ONE, **fields: object) -> Promise:
    whole = {"client": Client("a"), "name": "a.wav", "wish": Wish(), "created": "", "path": f"/v1/analyses/{identity}"}
    return Promise.model_validate({"identity": identity, **whole, **fields})


def left_over(settings: Settings) -> list[str]:
    return [str(path.relative_to(settings.outputs)) for path in files_below(settings.outputs, "*.json")]


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
    (file,) = files_below(settings.outputs, "job.json")
    record = json.loads(file.read_text())
    record["outcome"]["ended"] -= settings.job_keep_s
    file.write_text(json.dumps(record))
    with serve() as client:
        wait_for(lambda: client.get(address).status_code == 404)
        wait_for(lambda: left_over(settings) == [])


def test_a_recording_that_ended_the_server_twice_is_given_up_and_the_others_are_not(serve, settings):
    earlier = Promises(settings.outputs)
    earlier.keep(promise(ONE, beginnings=2), Upload("a.wav", LOUD))
    earlier.keep(promise(OTHER, beginnings=1), Upload("a.wav", LOUD))
    del earlier  # as in a crash, which notes nothing
    for _ in range(2):  # the next server knows it too
        with serve() as client:
            ends = [end_of(client, f"/v1/analyses/{identity}", **{"X-Client": "a"}) for identity in (ONE, OTHER)]
            assert [end.status_code for end in ends] == [422, 200]
            assert ends[0].json()["code"] == "given_up"


def test_of_what_was_left_the_most_often_begun_comes_last(tmp_path):
    earlier = Promises(tmp_path)
    for number, beginnings in enumerate((2, 1, 0)):
        earlier.keep(promise(f"{number:032x}", beginnings=beginnings), Upload("a.wav", LOUD))
    del earlier
    restored = Promises(tmp_path).restore()
    assert [kept.beginnings for kept in restored] == [0, 1, 2]


def test_an_ordered_end_is_not_held_against_a_recording(tmp_path):
    earlier = Promises(tmp_path)
    earlier.keep(promise(), Upload("a.wav", LOUD))
    earlier.close()
    later = Promises(tmp_path)
    (kept,) = later.restore()
    assert kept.beginnings == 0
    assert later.begin(kept)


def test_servers_that_run_at_the_same_time_leave_each_other_alone(tmp_path):
    first, second = Promises(tmp_path), Promises(tmp_path)
    first.keep(promise(ONE), Upload("a.wav", LOUD))
    second.keep(promise(OTHER), Upload("b.wav", LOUD))
    third = Promises(tmp_path)
    assert third.restore() == []
    first.close()
    second.close()
    assert {kept.identity for kept in Promises(tmp_path).restore()} == {ONE, OTHER}
    third.close()


def test_what_cannot_be_read_is_deleted_and_said(tmp_path, caplog):
    earlier = Promises(tmp_path)
    for identity in (ONE, OTHER):
        earlier.keep(promise(identity), Upload("a.wav", LOUD))
    earlier.close()
    (tmp_path / FOLDER / "server-0" / ONE / "job.json").write_text('{"identity": "../../etc"}')
    (tmp_path / FOLDER / "server-0" / "unwritten").mkdir()
    assert [kept.identity for kept in Promises(tmp_path).restore()] == [OTHER]
    assert "cannot be understood" in caplog.text
    assert sorted(path.name for path in (tmp_path / FOLDER / "server-0").iterdir()) == [OTHER, "lock"]


def test_a_job_whose_files_somebody_took_away_is_gone_and_hinders_no_start(serve, settings):
    with serve() as client:
        gone, there = begin(client), begin(client)
        assert [end_of(client, address).status_code for address in (gone, there)] == [200, 200]
    shutil.rmtree(settings.outputs / FOLDER / "server-0" / gone.rpartition("/")[2] / "files")
    with serve() as client:
        assert [client.get(address).status_code for address in (gone, there)] == [404, 200]


def test_what_a_disk_cannot_read_today_is_left_for_the_next_start(tmp_path, caplog):
    earlier = Promises(tmp_path)
    earlier.keep(promise(), Upload("a.wav", LOUD))
    earlier.close()
    file = tmp_path / FOLDER / "server-0" / ONE / "job.json"
    file.rename(file.with_name("aside"))
    file.mkdir()  # what no file can be read from
    today = Promises(tmp_path)
    assert today.restore() == []
    assert "cannot be read" in caplog.text
    today.close()
    file.rmdir()
    file.with_name("aside").rename(file)
    assert [kept.identity for kept in Promises(tmp_path).restore()] == [ONE]


def test_a_promise_that_finds_no_room_leaves_nothing(tmp_path):
    promises = Promises(tmp_path)
    with pytest.raises(FolderNotWritable):
        promises.keep(promise(), Upload("a.wav", tmp_path / "nowhere.wav"))
    assert files_below(tmp_path, "recording") == []
    assert not (tmp_path / FOLDER / "server-0" / ONE).exists()
    promises.close()


def test_a_disk_that_takes_no_promise_costs_a_line_and_no_job(tmp_path, caplog):
    (tmp_path / "outputs").write_text("a file and no folder")
    settings = Settings(outputs=tmp_path / "outputs")
    with pytest.raises(FolderNotWritable):
        Promises(settings.outputs).keep(promise(), Upload("a.wav", LOUD))
    with asking(ApiRecognizer(settings=settings)) as client:
        assert end_of(client, begin(client)).status_code == 200
    assert "could not be written down" in caplog.text
