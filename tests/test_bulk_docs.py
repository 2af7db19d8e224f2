"""What docs/bulk.md shows is what happens."""

import re
from pathlib import Path

import pytest
from pyarrow import parquet

from emotion.audio import write_wav
from emotion.cli import main
from tests.fakes import loud_clip

PAGE = (Path(__file__).parent.parent / "docs" / "bulk.md").read_text(encoding="utf-8")


@pytest.fixture
def labels(tmp_path, monkeypatch):
    """The results of a manifest of two recordings, one of which is not there."""
    monkeypatch.chdir(tmp_path)
    write_wav(loud_clip(), tmp_path / "a.wav")
    (tmp_path / "manifest.csv").write_text("path,speaker\na.wav,first\nb.wav,second\n")
    words = ["recognize", "manifest.csv", "--results", "labels", "--model", "compact", "--granularity", "frame"]
    with pytest.raises(SystemExit):
        main([*words, "--embedding"])
    return tmp_path / "labels"


@pytest.mark.usefixtures("labels")
def test_the_python_example_runs(capsys):
    pytest.importorskip("pandas")
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(code, "bulk.md", "exec"), {})  # noqa: S102 - the page's own code
    shown = capsys.readouterr().out
    assert "first" in shown
    assert "b.wav" in shown


def test_the_table_names_every_column(labels):
    (table,) = re.findall(r"\| column \| what it is \|\n(.*?)\n\n", PAGE, re.DOTALL)
    said = set(re.findall(r"`(\w+)`", table))
    there = set(parquet.read_table(labels).column_names)
    between = {name for name in there if name.startswith(("score_", "frames_"))}
    assert {"score_angry", "score_unknown", "frames_angry", "frames_unknown"} <= said & between
    assert there - between <= said
