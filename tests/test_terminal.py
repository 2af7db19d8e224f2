from concurrent.futures import Future

import pytest

from emotion.cli import terminal
from emotion.engine import Progress


@pytest.fixture
def on_a_terminal(capfd, monkeypatch):
    monkeypatch.setattr(terminal, "watched", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then draws as on a terminal
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    return capfd


@pytest.mark.parametrize(("locale", "language"), [("zh_TW.UTF-8", "zh"), ("de_DE.UTF-8", "en"), ("C", "en")])
def test_the_language_is_that_of_the_terminal(monkeypatch, locale, language):
    monkeypatch.setenv("LC_ALL", locale)
    assert terminal.language() == language


def answer_later(future):
    """A progress that resolves its future when it is asked the second time."""
    asked = []

    def progress(_):
        asked.append(1)
        if len(asked) == 2:
            future.set_result(None)
        return Progress("recognising", 0, 12, 300)

    return progress


def test_a_bar_follows_the_windows_of_a_long_file(on_a_terminal):
    future = Future()
    with terminal.progress_bar(1) as bar:
        bar.follow("long.wav", future, answer_later(future))
    assert "12/300" in on_a_terminal.readouterr().err


def test_no_bar_is_drawn_into_a_pipe(capfd):
    future = Future()
    future.set_result(None)
    with terminal.progress_bar(1) as bar:
        bar.follow("long.wav", future, lambda _: pytest.fail("nobody looks"))
    assert capfd.readouterr().err == ""


def test_a_download_is_a_line_at_every_tenth_in_a_pipe(capfd):
    with terminal.download_bar("large") as report:
        report(0, 0)
        for done in range(0, 101):
            report(done * 1_000_000, 100_000_000)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 11
    assert lines[3] == "large: 30 of 100 MB"


def test_a_download_is_a_bar_on_a_terminal_and_nothing_before_it_begins(on_a_terminal):
    with terminal.download_bar("large"):
        pass
    assert on_a_terminal.readouterr().err == ""
    with terminal.download_bar("large") as report:
        report(50_000_000, 100_000_000)
    assert "50.0/100.0 MB" in on_a_terminal.readouterr().err
