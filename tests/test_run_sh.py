"""run.sh in a house of stubs: what it installs, sets and starts."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent
APP = """
import os, sys
print("app", sys.argv[1:], *(os.environ[name + "_NUM_THREADS"] for name in ("OMP", "MKL", "NUMEXPR")))
"""
COMMANDS = "import os, sys; print('emotion', sys.argv[1:], os.getcwd())"
PYTEST = "import sys; print('pytest', sys.argv[1:])"


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    folder = tmp_path_factory.mktemp("house with a space")
    shutil.copy(HOUSE / "run.sh", folder)
    (folder / "requirements.txt").write_text("# nothing\n")
    (folder / "requirements-dev.txt").write_text("# nothing for tests\n")
    (folder / "app.py").write_text(APP)
    for package, code in (("emotion", COMMANDS), ("pytest", PYTEST)):
        (folder / package).mkdir()
        (folder / package / "__init__.py").touch()
        (folder / package / "__main__.py").write_text(code)
    return folder


def start(house: Path, *words: str, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    bare = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    bare.pop("PYTHONPATH", None)
    command = [str(house / "run.sh"), *words]
    environment = {**bare, **variables}
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=cwd or house, env=environment)


def test_the_first_start_installs_and_starts_the_page(house):
    done = start(house, "--port", "8000")
    assert "Installing requirements.txt" in done.stderr
    assert done.stdout.startswith("app ['--port', '8000']")


def test_the_second_start_installs_nothing_and_a_changed_file_is_installed_again(house):
    start(house)
    assert "Installing" not in start(house).stderr
    (house / "requirements.txt").write_text("# changed\n")
    assert "Installing requirements.txt" in start(house).stderr


def test_threads_are_set_for_every_library_and_can_be_overridden(house):
    physical = start(house).stdout.split()[-3:]
    assert len(set(physical)) == 1
    assert 1 <= int(physical[0]) <= (os.cpu_count() or 1)
    assert start(house, OMP_NUM_THREADS="7", MKL_NUM_THREADS="3").stdout.split()[-3:] == ["7", "3", "7"]


def test_beside_a_graphics_card_half_the_logical_cores_are_taken(house, tmp_path):
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "nproc").write_text("#!/bin/sh\necho 12\n")
    for stub in tmp_path.iterdir():
        stub.chmod(0o755)
    done = start(house, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.stdout.split()[-3:] == ["6", "6", "6"]


def test_test_installs_what_tests_need_and_passes_words_on(house):
    done = start(house, "test", "-k", "audio")
    assert done.stdout.strip() == "pytest ['-k', 'audio']"
    assert (house / ".venv" / ".installed-requirements-dev.txt").exists()


def test_every_other_word_goes_to_the_command_line_where_it_was_called(house, tmp_path):
    done = start(house, "recognize", "a file.wav", "--json", cwd=tmp_path)
    assert done.stdout.strip() == f"emotion ['recognize', 'a file.wav', '--json'] {tmp_path}"
