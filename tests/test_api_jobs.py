import json
import tempfile
from itertools import pairwise

import httpx
import pytest

from emotion.audio import wav_bytes
from emotion.settings import Settings
from tests.api_server import LATER, LOUD, WAV, ApiRecognizer, asking
from tests.fakes import HeldModel, files_below, loud_clip, wait_for


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """Temporary files lie where a test can count them."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def recognizer():
    return ApiRecognizer(HeldModel(), Settings(async_above_s=5.0, exact_limit_s=10.0, window_s=8.0, context_s=1.0))


@pytest.fixture
def ask(recognizer):
    with asking(recognizer) as client:
        yield client
        recognizer.model.let_go()


def begin(client: httpx.Client, query: str = "", **headers: str):
    answer = client.post(f"/v1/analyses{query}", content=LOUD, headers=LATER | headers)
    assert answer.status_code == 202
    return answer.json()


def events_of(client: httpx.Client, job) -> list[tuple[str, dict]]:
    """All events of a job until the last."""
    with client.stream("GET", job["links"]["events"]) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        return parsed("".join(answer.iter_text()))


def parsed(text: str) -> list[tuple[str, dict]]:
    events = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if lines:
            events.append((lines["event"], json.loads(lines["data"])))
    return events


def test_a_client_that_prefers_it_gets_a_job_and_later_its_record(ask, recognizer):
    answer = ask.post("/v1/analyses?name=call.wav", content=LOUD, headers=LATER)
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "respond-async"
    job = answer.json()
    assert answer.headers["location"] == job["links"]["self"] == f"/v1/analyses/{job['id']}"
    assert job["name"] == "call.wav"
    assert recognizer.model.began.acquire(timeout=10)
    in_work = ask.get(answer.headers["location"])
    assert (in_work.status_code, in_work.json()["status"]) == (202, "recognising")
    assert in_work.json()["progress"]["duration_s"] == 1.0
    assert int(in_work.headers["retry-after"]) >= 1
    recognizer.model.let_go()
    wait_for(lambda: ask.get(answer.headers["location"]).status_code == 200)
    assert ask.get(answer.headers["location"]).json()["emotion"] == "angry"


def test_a_long_recording_becomes_a_job_by_itself_and_short_ones_wait(ask, recognizer):
    long = ask.post("/v1/analyses", content=wav_bytes(loud_clip(20.0)), headers=WAV)
    assert long.status_code == 202
    assert "preference-applied" not in long.headers
    assert long.json()["progress"]["windows"] > 1
    recognizer.model.let_go()
    assert ask.post("/v1/analyses", content=LOUD, headers=WAV).status_code == 200
    wait_for(lambda: ask.get(long.headers["location"]).status_code == 200)
    # Also when it is done before anybody looked.
    assert ask.post("/v1/analyses", content=wav_bytes(loud_clip(6.0)), headers=WAV).status_code == 202


def test_among_several_recordings_a_long_one_is_a_job(ask, recognizer):
    recognizer.model.let_go()
    parts = [("file", ("short.wav", LOUD)), ("file", ("long.wav", wav_bytes(loud_clip(20.0))))]
    entries = ask.post("/v1/analyses", files=parts).json()["analyses"]
    assert entries[0]["status"] == 200
    wait_for(lambda: ask.get(entries[1]["location"]).status_code == 200)


def test_several_recordings_may_be_jobs_all(ask, recognizer):
    parts = [("file", (f"{number}.wav", LOUD)) for number in range(3)]
    answer = ask.post("/v1/analyses", files=parts, headers={"Prefer": "respond-async"})
    assert answer.headers["preference-applied"] == "respond-async"
    jobs = [entry["job"] for entry in answer.json()["analyses"]]
    assert [job["progress"]["position"] for job in jobs[1:]] == [1, 2]
    recognizer.model.let_go()
    for job in jobs:
        wait_for(lambda job=job: ask.get(job["links"]["self"]).status_code == 200)


def test_a_job_that_fails_is_answered_with_its_problem(ask):
    job = ask.post("/v1/analyses", content=b"no sound", headers=LATER).json()
    wait_for(lambda: ask.get(job["links"]["self"]).status_code == 415)
    refused = ask.get(job["links"]["self"])
    assert refused.json()["code"] == "not_sound"
    assert ask.get(job["links"]["files"]).json() == {"files": []}
    ((kind, problem),) = events_of(ask, job)
    assert (kind, problem["code"], problem["status"]) == ("failed", "not_sound", 415)


def test_events_tell_the_stages_and_last_the_record(ask, recognizer):
    sound = wav_bytes(loud_clip(20.0))
    job = ask.post("/v1/analyses", content=sound, headers=LATER).json()
    with ask.stream("GET", job["links"]["events"]) as answer:
        pieces = answer.iter_text()
        text = next(pieces)
        while '"recognising"' not in text:
            text += next(pieces)
        recognizer.model.let_go(1)
        while '"windows_done":1' not in text:
            text += next(pieces)
        recognizer.model.let_go()
        text += "".join(pieces)
    events = parsed(text)
    assert [kind for kind, _ in events[:-1]] == ["progress"] * (len(events) - 1)
    done = [event["progress"]["windows_done"] for _, event in events[:-1]]
    assert all(before <= after for before, after in pairwise(done))
    assert events[-1] == ("done", ask.get(job["links"]["self"]).json())


def test_who_joins_late_gets_the_end_at_once(ask, recognizer):
    recognizer.model.let_go()
    job = begin(ask)
    wait_for(lambda: ask.get(job["links"]["self"]).status_code == 200)
    again = ask.get(job["links"]["events"], headers={"Last-Event-ID": "7"})
    assert parsed(again.text) == [("done", ask.get(job["links"]["self"]).json())]


def test_events_of_a_job_that_is_deleted_end(ask, recognizer):
    job = begin(ask)
    with ask.stream("GET", job["links"]["events"]) as answer:
        pieces = answer.iter_text()
        next(pieces)
        assert httpx.delete(f"{ask.base_url}{job['links']['self']}").status_code == 204
        kind, problem = parsed("".join(pieces))[-1]
    assert (kind, problem["code"]) == ("failed", "job_not_found")
    assert recognizer.engine.queue_length == 0


def test_a_quiet_stream_of_events_is_kept_alive(ask, recognizer, monkeypatch):
    monkeypatch.setattr("emotion.api.job_endpoints._KEEP_ALIVE_S", 0.1)
    monkeypatch.setattr("emotion.api.job_endpoints._EVENT_EVERY_S", 0.05)
    job = begin(ask)
    assert recognizer.model.began.acquire(timeout=10)
    with ask.stream("GET", job["links"]["events"]) as answer:
        pieces, text = answer.iter_text(), ""
        while ": ping" not in text:
            text += next(pieces)


def test_deleting_cancels_and_forgets(ask, recognizer, places):
    job = begin(ask, "?exports=srt")
    assert ask.delete(job["links"]["self"]).status_code == 204
    wait_for(lambda: recognizer.engine.queue_length == 0)
    assert ask.get(job["links"]["self"]).status_code == 404
    recognizer.model.let_go()
    done = ask.post("/v1/analyses?exports=srt", content=LOUD, headers=WAV)
    assert files_below(places, "emotion.srt")
    assert ask.delete(done.headers["content-location"]).status_code == 204
    wait_for(lambda: not files_below(places))
    assert ask.delete(done.headers["content-location"]).status_code == 404


@pytest.mark.parametrize("suffix", ["", "/events", "/files", "/files/result.json"])
def test_what_belongs_to_one_client_is_not_there_for_another(ask, recognizer, suffix):
    recognizer.model.let_go()
    job = begin(ask, **{"X-Client": "one"})
    address = job["links"]["self"] + suffix
    wait_for(lambda: ask.get(job["links"]["self"], headers={"X-Client": "one"}).status_code == 200)
    assert ask.get(address, headers={"X-Client": "one"}).status_code == 200
    for stranger in ({"X-Client": "two"}, {}):
        refused = ask.get(address, headers=stranger)
        assert (refused.status_code, refused.json()["code"]) == (404, "job_not_found")
        assert ask.delete(job["links"]["self"], headers=stranger).status_code == 404


def test_a_finished_job_goes_when_its_time_is_over(places):
    recognizer = ApiRecognizer(settings=Settings(job_keep_s=0.3))
    with asking(recognizer) as client:
        done = client.post("/v1/analyses?exports=srt", content=LOUD, headers=WAV)
        assert client.get(done.headers["content-location"]).status_code == 200
        wait_for(lambda: client.get(done.headers["content-location"]).status_code == 404)
        wait_for(lambda: not files_below(places))


def test_only_so_many_finished_jobs_are_kept_and_the_client_with_most_loses_first():
    with asking(ApiRecognizer(), max_kept=3) as client:

        def send(name: str) -> str:
            return client.post("/v1/analyses", content=LOUD, headers=WAV | {"X-Client": name}).headers[
                "content-location"
            ]

        quiet, *loud = send("quiet"), *(send("loud") for _ in range(3))
        assert client.get(quiet, headers={"X-Client": "quiet"}).status_code == 200
        there = [client.get(address, headers={"X-Client": "loud"}).status_code for address in loud]
        assert there == [404, 200, 200]


def test_the_end_of_the_server_cancels_what_is_in_work_and_leaves_nothing(places):
    recognizer = ApiRecognizer(HeldModel())
    with asking(recognizer) as client:
        client.post("/v1/analyses", content=wav_bytes(loud_clip(60.0)), headers=LATER)
        assert any(places.iterdir())
        recognizer.model.let_go()
    assert list(places.iterdir()) == []
    assert recognizer.engine.queue_length == 0
