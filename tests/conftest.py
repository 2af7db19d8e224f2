"""Every test runs in a clean environment: no settings of the person's, no cache of theirs, no network but loopback."""

import logging
import os
import socket
from pathlib import Path

import pytest

from emotion.logs import is_ours
from emotion.model import choice

pytest_plugins = ["tests.browser"]
SHARED = Path(__file__).parent.parent.parent / "shared"
_LOCAL = {"127.0.0.1", "::1", "localhost", "0.0.0.0", "", None}  # noqa: S104 - compared with, never bound


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--auto-precision",
        choices=("fp32", "bf16"),
        help="what precision `auto` chooses on a CPU, whatever this processor has can do",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Let `auto` mean what --auto-precision says: the question for bf16 is asked once in a process, so it is asked now.

    Processes that tests start ask anew; their tests name a precision wherever it changes what they look at.
    """
    # Threads of PyTorch that spin while they wait take the cores from the other processes of a test: measured with two
    # cores in use by others, the tests of its networks took 62 s of processor time, and 27 s with this.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if config.getoption("--auto-precision") == "fp32":
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(choice, "_BF16_FLAGS", set())
            choice.cpu_computes_bf16()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--auto-precision") == "bf16" and not choice.cpu_computes_bf16():
        for item in items:
            item.add_marker(pytest.mark.skip(reason="this processor does not compute in bf16"))


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path_factory):
    for name in [name for name in os.environ if name.startswith("EMOTION_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("emotion.settings.local_config_path", lambda: tmp_path_factory.getbasetemp() / "local.toml")
    monkeypatch.setenv("EMOTION_MODEL_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


@pytest.fixture(autouse=True)
def own_logs():
    """What a test sets up to be logged, as a server does, ends with it."""
    root, house = logging.getLogger(), logging.getLogger("emotion")
    handlers, levels = list(root.handlers), (root.level, house.level)
    yield
    # pytest puts its own there while a test runs, and takes them away itself.
    root.handlers[:] = [handler for handler in root.handlers if handler in handlers or not is_ours(handler)]
    root.setLevel(levels[0])
    house.setLevel(levels[1])


@pytest.fixture(autouse=True, scope="session")
def own_uploads(tmp_path_factory):
    """Gradio names a copy by its content, so another run on this machine would delete the one that a test uses."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
        yield


@pytest.fixture(autouse=True, scope="session")
def no_network():
    """Connections leave this machine nowhere: they fail at once, as without a network."""
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def guarded_connect(self, address):
        if self.family != socket.AF_UNIX and address[0] not in _LOCAL:
            raise OSError("there is no network in tests")
        return connect(self, address)

    def guarded_look_up(host, *arguments, **words):
        if host not in _LOCAL and not str(host).startswith("127."):
            raise socket.gaierror("there is no network in tests")
        return look_up(host, *arguments, **words)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket, "getaddrinfo", guarded_look_up)
        yield


@pytest.fixture(scope="session")
def shared():
    """The folder of shared material beside the checkout; tests that need it are skipped where it is missing."""
    if not SHARED.is_dir():
        pytest.skip("the shared folder is not beside this checkout")
    return SHARED
