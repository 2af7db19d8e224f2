import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from emotion.audio import wav_bytes, write_wav
from emotion.bulk import Listing, ManifestInvalid, PlaceRefused, Recording, StorageMissing
from emotion.bulk.errors import SourceMissing
from emotion.bulk.listing import Seen
from emotion.bulk.storage import beside, canonical, fetch, name_of
from emotion.errors import ClipNotFound, ClipUnreadable, NothingInside
from tests.fakes import loud_clip


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "calls" / "b").mkdir(parents=True)
    for name in ("2.wav", "1.mp3", "b/3.flac", "b/notes.doc"):
        (tmp_path / "calls" / name).write_bytes(b"x")
    return tmp_path / "calls"


@pytest.fixture
def web():
    """A web server of two files; the addresses that were asked for are in `asked`."""
    content = {"/a.wav": wav_bytes(loud_clip()), "/list.txt": b"a.wav\nhttp://127.0.0.1:1/b.wav\n"}
    content["/evil.txt"] = b"file:///etc/passwd\n"

    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            path = self.path.split("?")[0]
            found = content.get(path)
            self.send_response({"/secret.wav": 403}.get(path, 200 if found else 404))
            self.send_header("Content-Length", str(len(found or b"")))
            self.end_headers()
            self.wfile.write(found or b"")

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def entries(*words: object) -> list[str]:
    return [recording.entry for recording in Listing([str(word) for word in words])]


def found(*words: object) -> list[str]:
    return [recording.path for recording in Listing([str(word) for word in words])]


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_folder_gives_its_sound_files_by_name_and_those_of_its_folders(folder):
    assert entries(folder) == ["1.mp3", "2.wav", "b/3.flac"]
    assert found(folder)[2] == str(folder / "b" / "3.flac")


def test_a_listing_is_a_stream(folder, monkeypatch):
    monkeypatch.setattr("emotion.bulk.listing._SORTED_FILES", 1)
    assert isinstance(next(iter(Listing([str(folder)]))), Recording)
    assert sorted(entries(folder)) == ["1.mp3", "2.wav", "b/3.flac"]


@pytest.mark.parametrize("column", ["path", "file", "url", "Path"])
def test_a_csv_names_recordings_in_a_column(tmp_path, column):
    text = f'\ufefflabel,{column}\r\nangry,a.wav\r\n"sad, or not","b, c.wav"\r\n'
    assert entries(written(tmp_path / "list.csv", text)) == ["a.wav", "b, c.wav"]


def test_relative_paths_start_at_the_manifest_and_absolute_ones_stay(tmp_path):
    (tmp_path / "lists").mkdir()
    list_of_two = written(tmp_path / "lists" / "list.txt", "../calls/a.wav\n\n/data/b.wav\n")
    assert found(list_of_two) == [str(tmp_path / "calls" / "a.wav"), "/data/b.wav"]


def test_json_lines_are_read_as_nemo_writes_them(tmp_path):
    text = '{"audio_filepath": "a.wav", "duration": 1.5}\n{"path": "b.wav"}\n'
    assert entries(written(tmp_path / "list.jsonl", text)) == ["a.wav", "b.wav"]
    assert entries(written(tmp_path / "manifest.json", text)) == ["a.wav", "b.wav"]


def test_a_tsv_and_a_parquet_file_are_manifests_too(tmp_path):
    assert entries(written(tmp_path / "list.tsv", "file\tlabel\na.wav\tsad\n")) == ["a.wav"]
    parquet.write_table(pyarrow.table({"label": ["sad"], "path": ["a.wav"]}), tmp_path / "list.parquet")
    assert entries(tmp_path / "list.parquet") == ["a.wav"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("list.csv", "name\na.wav\n", "none of the columns path, file, url"),
        ("list.csv", "path,label\n,sad\n", "line 2 names no recording"),
        ("list.jsonl", "[1]\n", "line 1 is no JSON object"),
        ("list.jsonl", '{"text": "hello"}\n', "none of the columns"),
        ("list.parquet", "PAR1 and no more", "no Parquet file"),
    ],
)
def test_a_manifest_that_cannot_be_meant_is_refused_with_the_place(tmp_path, name, text, said):
    with pytest.raises(ManifestInvalid, match=said):
        entries(written(tmp_path / name, text))


def test_a_manifest_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(ManifestInvalid, match="UTF-8"):
        entries(tmp_path / "list.txt")


@pytest.mark.parametrize(
    ("word", "error", "said"),
    [
        ("-", PlaceRefused, "Standard input"),
        ("calls.zip", PlaceRefused, "Unpack it"),
        ("nowhere", SourceMissing, "nowhere"),
        ("http://127.0.0.1/calls/", PlaceRefused, "cannot be listed"),
        ("ssh://host/calls", PlaceRefused, "not read"),
        ("simplecache::file:///etc", PlaceRefused, "not read"),
        ("s3://a::file:///etc/passwd", PlaceRefused, "not read"),
    ],
)
def test_words_that_are_not_read_are_refused_at_once(word, error, said):
    with pytest.raises(error, match=said):
        Listing([word])


def test_a_store_whose_package_is_missing_says_which(monkeypatch):
    def missing(*_: object, **__: object) -> None:
        raise ImportError

    monkeypatch.setattr("fsspec.filesystem", missing)
    with pytest.raises(StorageMissing, match="pip install s3fs"):
        Listing(["s3://bucket/calls"])


def test_an_empty_folder_is_said(tmp_path):
    with pytest.raises(NothingInside):
        entries(tmp_path)


def test_a_prefix_of_a_store_gives_what_is_below_it():
    import fsspec

    store = fsspec.filesystem("memory")
    store.pipe({"/list/calls/a.wav": b"x", "/list/calls/b/c.wav": b"x", "/list/calls/d.txt": b"x"})
    assert entries("memory://list/calls") == ["a.wav", "b/c.wav"]
    assert found("memory://list/calls/") == ["memory://list/calls/a.wav", "memory://list/calls/b/c.wav"]


def test_a_manifest_in_a_store_names_what_is_beside_it():
    import fsspec

    fsspec.filesystem("memory").pipe_file("/lists/x/list.txt", b"../a.wav\ns3://bucket/b.wav\n")
    assert found("memory://lists/x/list.txt") == ["memory://lists/a.wav", "s3://bucket/b.wav"]


def test_one_place_has_one_spelling(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert canonical("a.wav") == canonical(f"file://{tmp_path}/a.wav") == str(tmp_path / "a.wav")
    assert canonical("gcs://bucket/a.wav") == canonical("gs://bucket/a.wav")
    assert canonical("s3://bucket/a//b.wav") != canonical("s3://bucket/a/b.wav")


def test_a_manifest_on_the_web_names_recordings_on_the_web_only(web):
    assert found(f"{web}/list.txt") == [f"{web}/a.wav", "http://127.0.0.1:1/b.wav"]
    with pytest.raises(PlaceRefused, match="only name recordings on the web"):
        found(f"{web}/evil.txt")
    with pytest.raises(PlaceRefused):
        beside(f"{web}/list.txt", "s3://bucket/a.wav")


def test_a_recording_on_the_web_is_read_no_further_than_the_limit(web):
    assert len(fetch(f"{web}/a.wav", 1_000_000)) == len(wav_bytes(loud_clip()))
    assert len(fetch(f"{web}/a.wav", 1_000)) == 1_001
    with pytest.raises(ClipNotFound, match=r"'b\.wav'"):
        fetch(f"{web}/b.wav?signature=secret", 1_000)
    with pytest.raises(ClipUnreadable):
        fetch(f"{web}/secret.wav", 1_000)


def test_the_signature_of_an_address_is_in_no_message():
    assert name_of("https://host/calls/a.wav?X-Amz-Signature=secret") == "a.wav"


def test_file_facts_come_with_a_recording_that_is_there(tmp_path):
    write_wav(loud_clip(), tmp_path / "a.wav")
    with_facts = Recording(str(tmp_path / "a.wav"), "a.wav").with_file_facts()
    assert with_facts.size_bytes == (tmp_path / "a.wav").stat().st_size
    assert Recording(str(tmp_path / "b.wav"), "b.wav").with_file_facts().size_bytes is None


def test_what_was_seen_is_known():
    seen = Seen()
    assert seen.add("/a.wav")
    assert not seen.add("/a.wav")
    assert "/a.wav" in seen
    assert len(seen) == 1
