import asyncio
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import HTMLResponse, JSONResponse
from gradio.utils import get_upload_folder

from emotion.access import Client
from emotion.errors import RunNotFound
from emotion.ui.file_links import FileLinks
from emotion.ui.language import PageLanguage
from emotion.ui.uploads import Uploads


def get(app: FastAPI, address: str, **headers: str) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
            return await client.get(address, headers={name.replace("_", "-"): value for name, value in headers.items()})

    return asyncio.run(ask())


@pytest.fixture
def shelf():
    return FileLinks()


@pytest.fixture
def app(shelf):
    app = FastAPI()
    shelf.mount(app)
    return app


@pytest.fixture
def run(tmp_path) -> Path:
    folder = tmp_path / "outputs_20261122_120000"
    folder.mkdir()
    (folder / "processed_audio.wav").write_bytes(b"RIFF" + bytes(96))
    (folder / "result.json").write_text("{}")
    (tmp_path / "secret.txt").write_text("secret")
    return folder


def test_a_file_is_served_under_the_address_that_was_handed_out(app, shelf, run):
    answer = get(app, "/" + shelf.address(run / "result.json", ""))
    assert answer.text == "{}"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_download_is_saved_under_the_name_of_its_recording(app, shelf, run):
    answer = get(app, "/" + shelf.address(run / "result.json", "", save_as="interview_3min.result.json"))
    assert answer.headers["content-disposition"] == 'attachment; filename="interview_3min.result.json"'
    chinese = get(app, "/" + shelf.address(run / "result.json", "", save_as="../通话.result.json"))
    assert chinese.headers["content-disposition"].endswith("filename*=utf-8''%E9%80%9A%E8%AF%9D.result.json")


def test_sound_can_be_sought_and_plays_in_place(app, shelf, run):
    answer = get(app, "/" + shelf.address(run / "processed_audio.wav", ""), range="bytes=4-13")
    assert answer.status_code == 206
    assert len(answer.content) == 10
    assert answer.headers["content-disposition"].startswith("inline")


def test_a_folder_keeps_its_address_and_no_two_share_one(shelf, run, tmp_path):
    assert shelf.address(run / "a", "").split("/")[1] == shelf.address(run / "b", "").split("/")[1]
    assert shelf.address(run / "a", "").split("/")[1] != shelf.address(tmp_path / "a", "").split("/")[1]


@pytest.mark.parametrize("name", ["..", "%2e%2e", "..%2fsecret.txt", "../secret.txt", ".", "missing.json", "link"])
def test_nothing_beside_the_folder_is_served(app, shelf, run, name):
    (run / "link").symlink_to(run.parent / "secret.txt")
    token = shelf.address(run / "result.json", "").split("/")[1]
    assert get(app, f"/files/{token}/{name}").status_code == 404
    assert get(app, "/files/guessed/result.json").status_code == 404


def test_what_is_made_while_it_is_sent_arrives_whole(app, shelf):
    address = shelf.stream("录音.zip", lambda: iter([b"PK", b"more"]), "")
    answer = get(app, "/" + address)
    assert answer.content == b"PKmore"
    assert "filename*=UTF-8''%E5%BD%95%E9%9F%B3.zip" in answer.headers["content-disposition"]
    assert get(app, "/streams/guessed/x.zip").status_code == 404


def test_what_is_offered_to_one_client_is_not_found_by_another(app, shelf, run):
    mine = (
        shelf.address(run / "result.json", "clients/ann"),
        shelf.stream("x.zip", lambda: iter([b"PK"]), "clients/ann"),
    )
    for address in mine:
        assert get(app, "/" + address).status_code == 404
        assert get(asked_by(app, "bo"), "/" + address).status_code == 404
        assert get(asked_by(app, "ann"), "/" + address).status_code == 200
    assert shelf.address(run / "result.json", "clients/bo") != mine[0]


def asked_by(app: FastAPI, name: str):
    """The application as this client finds it."""

    async def ask(scope, receive, send) -> None:
        await app(scope | {"state": {"client": Client.named(name)}}, receive, send)

    return ask


def test_what_was_deleted_since_it_was_offered_is_not_found(app, shelf):
    def gone():
        raise RunNotFound

    assert get(app, "/" + shelf.stream("run.zip", gone, "")).status_code == 404


def page_in_two_languages() -> FastAPI:
    app = FastAPI()
    app.add_middleware(PageLanguage, chosen="auto")

    @app.get("/")
    def page() -> HTMLResponse:
        return HTMLResponse('<!doctype html><html lang="en"><head><title>x</title></head></html>')

    @app.get("/config")
    def config() -> JSONResponse:
        return JSONResponse({"html": '<html lang="en"><head>'})

    return app


def test_the_page_says_its_language_before_any_script_runs():
    chinese = get(page_in_two_languages(), "/", accept_language="zh-CN,zh;q=0.9")
    assert '<html lang="zh-CN"><head><script>' in chinese.text
    assert 'get:()=>"zh-CN"' in chinese.text
    assert int(chinese.headers["content-length"]) == len(chinese.content)
    english = get(page_in_two_languages(), "/", accept_language="zh", cookie="emotion_language=en")
    assert '<html lang="en"><head><script>' in english.text


def test_only_the_page_itself_is_given_a_language():
    assert get(page_in_two_languages(), "/config", accept_language="zh").json() == {"html": '<html lang="en"><head>'}


def upload(name: str) -> Path:
    path = Path(get_upload_folder()) / f"test-of-uploads-{name}" / "call.wav"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"RIFF")
    return path


def test_an_upload_goes_with_the_last_reader_who_used_it():
    uploads, path = Uploads(), upload("shared")
    uploads.add_user("", "first", path)
    uploads.add_user("", "second", path)
    uploads.release("", "first")
    assert path.exists()
    uploads.release("", "second")
    assert not path.parent.exists()


def test_an_upload_of_two_clients_goes_with_the_second():
    uploads, path = Uploads(), upload("of-two")
    for name in ("ann", "bo"):
        uploads.add_owner(name, [path])
        uploads.add_user(name, "session", path)
    assert uploads.is_owner("ann", path)
    assert not uploads.is_owner("stranger", path)
    uploads.release("ann", "session")
    assert path.exists()
    assert not uploads.is_owner("ann", path)
    uploads.release("bo", "session")
    assert not path.exists()


def test_no_path_is_an_upload_by_its_looks():
    uploads, mine = Uploads(), upload("mine")
    theirs = upload("theirs")
    uploads.add_owner("ann", [mine])
    for path in (f"{mine.parent}/../{theirs.parent.name}/call.wav", f"{mine}\0", "", "/", str(mine.parent)):
        assert not uploads.is_owner("ann", path)
    assert uploads.is_owner("ann", f"{mine.parent}/./call.wav")
    uploads.add_user("ann", "session", mine, theirs)
    uploads.release("ann", "session")


def test_what_is_no_upload_is_never_deleted(tmp_path):
    uploads, path = Uploads(), tmp_path / "folder" / "call.wav"
    path.parent.mkdir()
    path.write_bytes(b"RIFF")
    uploads.add_user("", "first", path)
    uploads.release("", "first")
    assert path.exists()
