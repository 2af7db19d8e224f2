"""What the README shows is what happens."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from emotion.audio import write_wav
from tests.fakes import turning_clip

HOUSE = Path(__file__).parent.parent
README = (HOUSE / "README.md").read_text(encoding="utf-8")
CHINESE = (HOUSE / "README.zh-CN.md").read_text(encoding="utf-8")
CONTRIBUTING = (HOUSE / "CONTRIBUTING.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("code", blocks(README, "python"))
def test_the_python_blocks_run(code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_wav(turning_clip(), tmp_path / "voice.wav")
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102 - the README's own code
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("text", [README, CHINESE], ids=["en", "zh"])
def test_the_help_block_is_the_real_help(text):
    (shown,) = [block for block in blocks(text, "text") if block.startswith("$ emotion --help")]
    code = "import sys; sys.argv[0] = 'emotion'; from emotion.cli import main; main(['--help'])"
    real = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=HOUSE).stdout
    assert shown.split("\n", 1)[1].split() == real.split()


@pytest.mark.parametrize("text", [README, CHINESE, CONTRIBUTING], ids=["en", "zh", "contributing"])
def test_links_and_pictures_lead_somewhere(text):
    targets = re.findall(r"\]\((?!http)([^)#]+)\)", text)
    assert targets
    assert [target for target in targets if not (HOUSE / target).exists()] == []


@pytest.mark.parametrize("text", [README, CHINESE], ids=["en", "zh"])
def test_the_two_commands_stand_first(text):
    first = blocks(text, "bash")[0]
    assert re.findall(r"^\./run\.sh\S*(?: test)?", first, re.MULTILINE) == ["./run.sh", "./run.sh test"]


def test_both_readmes_show_the_same_commands():
    assert [line.split("#")[0].strip() for line in "".join(blocks(README, "bash")).splitlines()] == [
        line.split("#")[0].strip() for line in "".join(blocks(CHINESE, "bash")).splitlines()
    ]


def test_contributors_are_told_of_every_marker_and_file_that_is_there(pytestconfig):
    markers = {line.split(":")[0] for line in pytestconfig.getini("markers") if ": " in line}
    ours = set(re.findall(r'^    "(\w+): ', (HOUSE / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE))
    table = re.search(r"\| marker .*?\n\n", CONTRIBUTING, re.DOTALL).group()
    assert set(re.findall(r"`(\w+)`", table)) == ours <= markers
    named = re.findall(r"`?((?:tests|docs|emotion|\.ci)/[\w./]*\w)", CONTRIBUTING)
    assert [path for path in named if not (HOUSE / path).exists() and "ROOM" not in path] == []
