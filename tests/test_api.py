import base64
import io
import json
import tempfile
import threading

import httpx
import numpy as np
import pytest

from emotion.audio import wav_bytes
from emotion.cache import PredictionCache
from emotion.outputs import write_run
from emotion.settings import Settings
from tests.api_server import LATER, LOUD, WAV, ApiRecognizer, asking
from tests.fakes import FakeModel, HeldModel, files_below, loud_clip, turning_clip, wait_for

TURNING = wav_bytes(turning_clip())
PARTS = {"Content-Type": "multipart/form-data; boundary=x"}


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """Temporary files lie where a test can count them."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def recognizer():
    return ApiRecognizer()


@pytest.fixture
def ask(recognizer):
    with asking(recognizer) as client:
        yield client


@pytest.fixture
def held():
    """A client of an API whose model waits until it is let go."""
    recognizer = ApiRecognizer(HeldModel(), Settings(queue_size=2))
    with asking(recognizer) as client:
        yield client, recognizer
        recognizer.model.let_go()


def code_of(answer: httpx.Response) -> str:
    """The word for what was refused, of an answer that is a problem through and through."""
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert set(problem) == {"type", "title", "status", "detail", "code", "request_id"}
    return str(problem["code"])


def test_a_recording_is_answered_with_its_record(ask):
    answer = ask.post("/v1/analyses", files={"file": ("call.wav", LOUD)})
    assert answer.status_code == 200
    assert answer.json()["emotion"] == "angry"
    assert answer.json()["file"] == "call.wav"


@pytest.mark.parametrize("granularity", ["utterance", "frame"])
def test_the_record_is_that_of_result_json(ask, recognizer, tmp_path, granularity):
    answer = ask.post("/v1/analyses", params={"granularity": granularity}, files={"file": ("call.wav", TURNING)})
    analysis = recognizer.submit(TURNING, granularity, name="call.wav").result(10)
    written = json.loads(write_run(tmp_path / "outputs", analysis).result.read_text())
    told = answer.json()
    assert list(told) == list(written)
    for record in (told, written):
        del record["timestamp"], record["timings_ms"]
    assert told == written


def test_a_body_that_is_the_recording_is_named_by_the_query_or_by_its_disposition(ask):
    by_query = ask.post("/v1/analyses", params={"name": "a/b/call.wav"}, content=LOUD, headers=WAV)
    assert by_query.json()["file"] == "a/b/call.wav"
    disposition = WAV | {"Content-Disposition": "attachment; filename*=UTF-8''%E9%80%9A%E8%AF%9D.wav"}
    assert ask.post("/v1/analyses", content=LOUD, headers=disposition).json()["file"] == "通话.wav"
    plain = WAV | {"Content-Disposition": 'attachment; filename="../../etc/passwd"'}
    assert ask.post("/v1/analyses", content=LOUD, headers=plain).json()["file"] == "passwd"
    assert ask.post("/v1/analyses", content=LOUD, headers=WAV).json()["file"] == "recording"


def test_several_recordings_are_answered_in_their_order_each_with_its_own_status(ask):
    parts = [("call.wav", LOUD), ("notes.txt", b"no sound"), ("turning.wav", TURNING)]
    answer = ask.post("/v1/analyses", files=[("file", part) for part in parts])
    entries = answer.json()["analyses"]
    assert answer.status_code == 200
    assert [(entry["name"], entry["status"]) for entry in entries] == [
        ("call.wav", 200),
        ("notes.txt", 415),
        ("turning.wav", 200),
    ]
    assert entries[0]["record"]["emotion"] == "angry"
    assert entries[1]["problem"]["code"] == "not_sound"
    assert ask.get(entries[2]["location"]).json() == entries[2]["record"]


def test_more_recordings_than_the_queue_holds_are_answered_in_one_request():
    recognizer = ApiRecognizer(settings=Settings(queue_size=2))
    with asking(recognizer) as client:
        answer = client.post("/v1/analyses", files=[("file", (f"{number}.wav", LOUD)) for number in range(20)])
    assert [entry["status"] for entry in answer.json()["analyses"]] == [200] * 20


def test_headers_tell_where_the_record_stays_and_what_it_took(ask):
    answer = ask.post("/v1/analyses", content=LOUD, headers=WAV)
    assert answer.headers["cache-status"] == "emotion; fwd=miss"
    assert [part.split(";dur=")[0] for part in answer.headers["server-timing"].split(", ")] == [
        "decode",
        "queue",
        "inference",
    ]
    again = ask.get(answer.headers["content-location"])
    assert again.status_code == 200
    assert again.content == answer.content


def test_the_same_sound_is_a_hit_and_no_store_asks_the_model_again():
    recognizer = ApiRecognizer(cache=PredictionCache(1e8))
    with asking(recognizer) as client:
        first = client.post("/v1/analyses", content=LOUD, headers=WAV)
        second = client.post("/v1/analyses?granularity=frame", content=LOUD, headers=WAV)
        third = client.post("/v1/analyses", content=LOUD, headers=WAV | {"Cache-Control": "no-store"})
    answers = (first, second, third)
    assert [a.headers["cache-status"] for a in answers] == ["emotion; fwd=miss", "emotion; hit", "emotion; fwd=request"]
    assert [answer.json()["cached"] for answer in answers] == [False, True, False]
    assert len(recognizer.model.lengths) == 2
    assert first.json()["scores"] == second.json()["scores"]


def test_nobody_learns_from_the_cache_that_another_client_sent_the_same_sound():
    recognizer = ApiRecognizer(cache=PredictionCache(1e8))
    with asking(recognizer) as client:
        answers = [
            client.post("/v1/analyses", content=LOUD, headers=WAV | {"X-Client": name})
            for name in ("maria", "jonas", "maria")
        ]
    assert [answer.json()["cached"] for answer in answers] == [False, False, True]


@pytest.mark.parametrize("granularity", ["utterance", "frame"])
def test_an_embedding_comes_as_text_or_as_a_file_with_the_same_numbers(ask, recognizer, granularity):
    expected = recognizer.submit(TURNING, granularity, embedding=True).result(10).embedding
    query = {"granularity": granularity, "embedding": "base64"}
    text = ask.post("/v1/analyses", params=query, content=TURNING, headers=WAV).json()["embedding"]
    numbers = np.frombuffer(base64.b64decode(text["base64"]), text["dtype"]).reshape(text["shape"])
    np.testing.assert_array_equal(numbers, expected)
    query["embedding"] = "npy"
    named = ask.post("/v1/analyses", params=query, content=TURNING, headers=WAV).json()["embedding"]
    assert "base64" not in named
    np.testing.assert_array_equal(np.load(io.BytesIO(ask.get(named["file"]).content)), expected)


def test_exports_can_be_fetched_by_name_and_are_those_of_a_run(ask, recognizer, tmp_path):
    answer = ask.post("/v1/analyses?exports=srt,csv&exports=rttm&granularity=frame", content=TURNING, headers=WAV)
    files = answer.json()["files"]
    assert set(files) == {"result.json", "emotion.srt", "segments.csv", "frames.csv", "emotion.rttm"}
    analysis = recognizer.submit(TURNING, granularity="frame").result(10)
    run = write_run(tmp_path / "outputs", analysis, ["srt", "csv"])
    assert ask.get(files["segments.csv"]).content == (run.folder / "segments.csv").read_bytes()
    fetched = ask.get(files["emotion.srt"])
    assert fetched.content == (run.folder / "emotion.srt").read_bytes()
    assert fetched.headers["content-disposition"] == 'attachment; filename="recording.emotion.srt"'
    listed = ask.get(answer.headers["content-location"] + "/files").json()["files"]
    assert {file["name"]: file["href"] for file in listed} == files
    assert all(file["size_bytes"] == len(ask.get(file["href"]).content) for file in listed)


def test_a_recording_without_files_still_has_its_result_json(ask):
    answer = ask.post("/v1/analyses", content=LOUD, headers=WAV)
    location = answer.headers["content-location"]
    assert ask.get(f"{location}/files/result.json").json() == answer.json()
    for name in ("embedding.npy", "..%2Fresult.json", "%2e%2e%2f%2e%2e%2fetc%2fpasswd"):
        refused = ask.get(f"{location}/files/{name}")
        assert refused.status_code == 404
        assert code_of(refused) in ("file_not_found", "not_found")


def test_beyond_ten_minutes_the_frames_are_a_file(ask, monkeypatch):
    monkeypatch.setattr("emotion.analysis.analysis.MAX_FRAMES_IN_JSON", 100)
    monkeypatch.setattr("emotion.api.job_result.MAX_FRAMES_IN_JSON", 100)
    record = ask.post("/v1/analyses?granularity=frame", content=TURNING, headers=WAV).json()
    assert "frames" not in record
    frames = np.load(io.BytesIO(ask.get(record["files"][record["frames_file"]]).content))
    assert len(frames["scores"]) == record["num_frames"]


def test_an_embedding_that_is_too_large_for_text_is_a_file(ask, monkeypatch):
    monkeypatch.setattr("emotion.api.job_result.MAX_BASE64_BYTES", 1_000)
    query = {"granularity": "frame", "embedding": "base64"}
    embedding = ask.post("/v1/analyses", params=query, content=TURNING, headers=WAV).json()["embedding"]
    assert set(embedding) == {"dtype", "shape", "file"}
    assert np.load(io.BytesIO(ask.get(embedding["file"]).content)).shape == tuple(embedding["shape"])


@pytest.mark.parametrize(
    ("query", "body", "headers", "status", "code"),
    [
        ("", b"no sound at all", WAV, 415, "not_sound"),
        ("", LOUD, {"Content-Type": "application/json"}, 415, "body_not_sound"),
        ("", LOUD, {"Content-Type": "application/x-www-form-urlencoded"}, 415, "body_not_sound"),
        ("", b"", WAV, 422, "clip_empty"),
        ("", wav_bytes(loud_clip(0.02)), WAV, 422, "clip_too_short"),
        ("", LOUD + bytes(100_000), WAV, 413, "clip_too_large"),
        ("", LOUD, {"Content-Type": "multipart/form-data"}, 400, "request_invalid"),
        ("", b"--x\r\n", {"Content-Type": "multipart/form-data; boundary=x"}, 400, "request_invalid"),
        ("?granularity=word", LOUD, WAV, 400, "request_invalid"),
        ("?granularty=frame", LOUD, WAV, 400, "request_invalid"),
        ("?embedding=csv", LOUD, WAV, 400, "request_invalid"),
        ("?exports=pdf", LOUD, WAV, 400, "request_invalid"),
        ("?exports=srt,pdf", LOUD, WAV, 400, "request_invalid"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_its_status(query, body, headers, status, code, places):
    with asking(ApiRecognizer(settings=Settings(max_file_bytes=50_000))) as client:
        refused = client.post(f"/v1/analyses{query}", content=body, headers=headers)
        assert (refused.status_code, code_of(refused)) == (status, code)
        assert str(places) not in refused.text
    assert files_below(places) == []


@pytest.mark.parametrize(
    "parts",
    [
        [("sound", ("call.wav", LOUD))],
        [("file", (None, "text"))],
        [("file", ("call.wav", LOUD)), ("granularity", (None, "frame"))],
        [("file", (f"{number}.wav", b"x")) for number in range(101)],
    ],
    ids=["another name", "no filename", "a field", "too many"],
)
def test_parts_that_are_no_recordings_are_refused(ask, parts):
    assert code_of(ask.post("/v1/analyses", files=parts)) == "request_invalid"


def part(disposition: str, content: bytes = LOUD) -> bytes:
    head = f"--x\r\nContent-Disposition: form-data; {disposition}\r\nContent-Type: audio/wav\r\n\r\n"
    return head.encode() + content + b"\r\n--x--\r\n"


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('name="file"; filename="call.wav"', "call.wav"),
        ('name="file"; filename="通话.wav"', "通话.wav"),
        ("name=file; filename*=UTF-8''%E9%80%9A%E8%AF%9D.wav", "通话.wav"),
        ("name=file; filename=x.wav; filename*=utf-8''%E9%80%9A%E8%AF%9D.wav", "通话.wav"),
        ('name="file"; filename="../../etc/passwd"', "passwd"),
        ('name="file"; filename=""', "recording"),
    ],
)
def test_a_part_is_named_by_its_disposition(ask, disposition, name):
    answer = ask.post("/v1/analyses", content=part(disposition), headers=PARTS)
    assert answer.json()["file"] == name


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (part('name="file"; filename=""', b""), 422),
        (part("filename=call.wav"), 400),
        (part(""), 400),
        (part("name=file; filename=a")[:-20], 400),
        (b"", 400),
        (b"no multipart", 400),
        (b"--x\r\nno header\r\n\r\n", 400),
        (b"--x--\r\n", 400),
    ],
)
def test_a_body_of_parts_that_is_none_is_refused_and_leaves_nothing(ask, places, body, status):
    refused = ask.post("/v1/analyses", content=body, headers=PARTS)
    assert refused.status_code == status
    assert code_of(refused)
    assert files_below(places) == []


def test_addresses_that_are_none_and_methods_that_are_not_there_are_problems_too(ask):
    assert code_of(ask.get("/v1/nothing")) == "not_found"
    refused = ask.put("/v1/analyses", content=LOUD)
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
    assert code_of(refused) == "method_not_allowed"
    assert ask.post("/healthz").headers["allow"] == "GET"


def test_large_recordings_wait_on_the_disk_and_are_gone_when_they_are_answered(held, places):
    client, recognizer = held
    large = wav_bytes(loud_clip(60.0))
    assert len(large) > 1_500_000
    job = client.post("/v1/analyses", files={"file": ("long.wav", large)}, headers={"Prefer": "respond-async"}).json()
    assert [path.stat().st_size for path in files_below(places)] == [len(large)]
    recognizer.model.let_go()
    wait_for(lambda: client.get(job["links"]["self"]).status_code == 200)
    assert client.get(job["links"]["self"]).json()["duration_s"] == 60.0
    assert files_below(places) == []


def test_an_upload_that_is_refused_leaves_nothing_on_the_disk(places):
    with asking(ApiRecognizer(settings=Settings(max_file_bytes=3_000_000))) as client:
        parts = [("file", ("good.wav", wav_bytes(loud_clip(60.0)))), ("file", ("bad.wav", bytes(4_000_000)))]
        assert code_of(client.post("/v1/analyses", files=parts)) == "clip_too_large"
        assert files_below(places) == []


def test_a_full_queue_is_told_with_the_time_to_wait(held):
    client, _ = held
    for _ in range(2):
        assert client.post("/v1/analyses", content=LOUD, headers=LATER).status_code == 202
    refused = client.post("/v1/analyses", content=LOUD, headers=WAV)
    assert (refused.status_code, code_of(refused)) == (503, "engine_busy")
    assert int(refused.headers["retry-after"]) >= 1


def test_one_client_has_only_so_many_recordings_in_work():
    recognizer = ApiRecognizer(HeldModel(), Settings(jobs_per_client=1))
    with asking(recognizer) as client:
        first = client.post("/v1/analyses", content=LOUD, headers=LATER | {"X-Client": "one"}).json()
        refused = client.post("/v1/analyses", content=LOUD, headers=LATER | {"X-Client": "one"})
        assert (refused.status_code, code_of(refused)) == (429, "too_many_requests")
        assert client.post("/v1/analyses", content=LOUD, headers=LATER | {"X-Client": "two"}).status_code == 202
        recognizer.model.let_go()
        wait_for(lambda: client.get(first["links"]["self"], headers={"X-Client": "one"}).status_code == 200)
        assert client.post("/v1/analyses", content=LOUD, headers=WAV | {"X-Client": "one"}).status_code == 200


def test_a_client_that_hangs_up_cancels_its_recording(held):
    client, recognizer = held
    with pytest.raises(httpx.ReadTimeout):
        client.post("/v1/analyses", content=LOUD, headers=WAV, timeout=httpx.Timeout(10, read=0.3))
    wait_for(lambda: recognizer.engine.queue_length == 0)
    recognizer.model.let_go()
    assert client.post("/v1/analyses", content=LOUD, headers=WAV).status_code == 200


def test_a_client_that_hangs_up_cancels_all_recordings_of_its_request(held):
    client, recognizer = held
    parts = [("file", (f"{number}.wav", LOUD)) for number in range(5)]
    with pytest.raises(httpx.ReadTimeout):
        client.post("/v1/analyses", files=parts, timeout=httpx.Timeout(10, read=0.3))
    wait_for(lambda: recognizer.engine.queue_length == 0)


def test_a_fault_of_the_model_is_told_without_its_inside(caplog):
    class BrokenModel(FakeModel):
        def predict(self, _):
            raise ValueError("weights at /home/somebody are broken")

    with asking(ApiRecognizer(BrokenModel())) as client:
        refused = client.post("/v1/analyses", content=LOUD, headers=WAV)
    assert (refused.status_code, code_of(refused)) == (500, "unexpected")
    assert "somebody" not in refused.text
    assert "somebody" in caplog.text


def test_many_at_once_are_all_answered(ask):
    statuses = []

    def send(number: int) -> None:
        sound = wav_bytes(loud_clip(0.5 + number / 100))
        statuses.append(ask.post("/v1/analyses", content=sound, headers=WAV).status_code)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 30
