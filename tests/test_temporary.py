"""The private temporary folder of a server: nobody else's, and nothing of it stays behind."""

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from emotion.server.temporary import private_folder
from tests.fakes import files_below, wait_for
from tests.test_server import start  # noqa: F401 - a fixture

HOLD = """
import sys
from emotion.server.temporary import private_folder
with private_folder() as folder:
    (folder / "upload").write_bytes(bytes(1000))
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def own_temp(tmp_path, monkeypatch):
    """A folder of temporary files for this test and the processes that it starts."""
    folder = tmp_path / "temp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


def holding() -> tuple[subprocess.Popen[str], Path]:
    """Another process that has a private folder with something in it."""
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdin=-1, stdout=-1, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_what_is_put_aside_is_in_a_folder_of_ones_own_that_goes_at_the_end(own_temp, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "/elsewhere")
    with private_folder() as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        with tempfile.NamedTemporaryFile(delete=False) as file:
            assert Path(file.name).parent == folder
        assert Path(os.environ["GRADIO_TEMP_DIR"]).parent == folder
    assert not list(own_temp.iterdir())
    assert os.environ["GRADIO_TEMP_DIR"] == "/elsewhere"
    assert tempfile.gettempdir() == str(own_temp)


def test_what_a_killed_server_left_goes_at_the_next_start_and_what_a_running_one_uses_stays(own_temp):
    killed, left = holding()
    running, used = holding()
    killed.kill()
    killed.communicate()
    assert left.is_dir()
    with private_folder():
        assert not left.exists()
        assert (used / "upload").is_file()
    running.communicate("")
    assert not list(own_temp.iterdir())


def test_folders_of_others_and_links_are_left_alone(own_temp, tmp_path):
    (tmp_path / "precious").mkdir()
    (own_temp / "gradio").write_text("of another user")
    (own_temp / f"emotion2vec-studio-{os.getuid()}-link").symlink_to(tmp_path / "precious")
    with private_folder():
        pass
    assert (tmp_path / "precious").is_dir()
    assert (own_temp / "gradio").is_file()


@pytest.mark.parametrize("path", ["/gradio_api/upload", "/v1/analyses"])
def test_an_upload_that_breaks_off_leaves_no_file(start, own_temp, path):  # noqa: F811
    started = start()
    host, port = started.address.removeprefix("http://").split(":")
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        "Content-Length: 3000000\r\n\r\n"
        '--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    )
    before = files_below(own_temp)
    for _ in range(3):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head.encode() + bytes(2_000_000))
            wait_for(lambda: len(files_below(own_temp)) > len(before))
    wait_for(lambda: files_below(own_temp) == before)
    started.process.send_signal(signal.SIGTERM)
    assert started.process.wait(20) == 0
    assert not files_below(own_temp)
