import socket
import threading
import time
from types import SimpleNamespace

import pytest

from emotion.bulk import connected
from emotion.cluster import connection, require_listener
from emotion.cluster.connection import ClusterUnreachable
from emotion.server import serve
from emotion.settings import Settings


@pytest.fixture
def listener():
    """Somebody who listens, and the port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield SimpleNamespace(socket=listening, port=listening.getsockname()[1])


@pytest.fixture
def free_port() -> int:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@pytest.fixture
def ray(monkeypatch):
    """Stands for Ray, and notes the address that it is asked to join."""
    asked: list[str] = []

    def init(address: str, **_: object) -> None:
        asked.append(address)

    ray = SimpleNamespace(
        is_initialized=lambda: False,
        init=init,
        shutdown=lambda: None,
        _private=SimpleNamespace(worker=SimpleNamespace(print_to_stdstream=print)),
        asked=asked,
    )
    monkeypatch.setattr(connection, "ray_itself", lambda: ray)
    return ray


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "localhost:{}", "ray://localhost:{}"])
def test_where_somebody_listens_ray_is_asked_at_once(listener, ray, form):
    address = form.format(listener.port)
    started_s = time.perf_counter()
    assert not connection.join_cluster(Settings(cluster_address=address))
    assert time.perf_counter() - started_s < 1
    assert ray.asked == [address]


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "[::1]:{}", "ray://[::1]:{}"])
def test_where_nobody_listens_it_fails_soon_and_says_what_to_do(free_port, ray, form):
    address, started_s = form.format(free_port), time.perf_counter()
    with pytest.raises(ClusterUnreachable) as refused:
        connection.join_cluster(Settings(cluster_address=address))
    assert time.perf_counter() - started_s < 5
    assert str(refused.value) == (
        f"Nobody answers at {address}: start Ray there (ray start --head), correct cluster_address, or leave it empty "
        "to start Ray on this machine."
    )
    assert ray.asked == []


@pytest.mark.parametrize(
    "name", ["nobody.invalid", "a" * 70 + ".example", "..", "no\N{LATIN SMALL LETTER SHARP S}.invalid"]
)
def test_a_name_that_does_not_resolve_is_nobody(name):
    with pytest.raises(ClusterUnreachable, match="Nobody answers at"):
        require_listener(f"ray://{name}:10001")


@pytest.mark.parametrize("address", ["head", "ray://head", "head:", "head:port", "head:99999", ":6379", "ray://[::1:1"])
def test_an_address_without_a_port_says_how_one_is_written(address):
    with pytest.raises(ClusterUnreachable, match=r"HOST:6379, or as ray://HOST:10001"):
        require_listener(address)


def test_a_network_that_swallows_everything_is_not_waited_for(monkeypatch):
    release = threading.Event()

    def swallow(*_: object) -> None:
        release.wait(20)
        raise OSError

    monkeypatch.setattr(connection.socket, "create_connection", swallow)
    started_s = time.perf_counter()
    with pytest.raises(ClusterUnreachable):
        require_listener("192.0.2.1:6379", patience_s=0.2)
    assert 0.2 <= time.perf_counter() - started_s < 5
    release.set()


@pytest.mark.parametrize("address", ["", "auto", "local", "anyscale://cluster"])
def test_an_address_that_names_no_place_is_left_to_ray(address, monkeypatch):
    monkeypatch.setattr(connection.socket, "create_connection", lambda *_: pytest.fail("somebody was asked"))
    require_listener(address)


def test_a_program_that_has_joined_already_is_not_asked_again(free_port, ray):
    ray.is_initialized = lambda: True
    assert not connection.join_cluster(Settings(cluster_address=f"127.0.0.1:{free_port}"))


def test_a_server_says_it_before_it_fetches_a_model(free_port, tmp_path, monkeypatch):
    monkeypatch.setattr("emotion.server.serving.fetch_named_model", lambda *_: pytest.fail("a model was fetched"))
    settings = Settings(cluster_address=f"ray://127.0.0.1:{free_port}", port=0, outputs=tmp_path)
    with pytest.raises(ClusterUnreachable):
        serve(settings, lambda _: None, cluster=True)


def test_bulk_work_says_it_too(free_port, ray):
    with pytest.raises(ClusterUnreachable), connected(Settings(cluster_address=f"127.0.0.1:{free_port}")):
        pytest.fail("it was connected")
    assert ray.asked == []
