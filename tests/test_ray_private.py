"""The parts of Ray that it does not promise to keep: each is held against the Ray that is installed."""

import inspect
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest

from emotion.cluster import ray_private
from emotion.cluster.ray_private import BuildsItsApp, bind_replica_port_to_loopback, silence_errors_of_workers

# Ray's own code uses what others call deprecated, and leaves files open.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")]
HOUSE = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def ray():
    return pytest.importorskip("ray")


@pytest.mark.usefixtures("ray")
def test_ray_has_the_version_whose_private_parts_are_known():
    assert version("ray") == ray_private.RAY_VERSION, "look through emotion/cluster/ray_private.py again"
    assert f"[data,serve]=={ray_private.RAY_VERSION}" in (HOUSE / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize("imported", ["first", "later"])
def test_a_ray_of_our_own_listens_on_loopback_and_asks_for_a_token(imported):
    steps = [
        "import ray",
        "import os; from emotion.cluster import ray_private; ray_private.listen_on_loopback_only(); "
        "os.environ.update(RAY_AUTH_MODE='token', RAY_AUTH_TOKEN='x' * 32)",
    ]
    lines = [
        *(steps if imported == "first" else reversed(steps)),
        "ray_private.reread_environment(ray)",
        "is_guarded = ray._raylet.get_authentication_mode() == ray._raylet.AuthenticationMode.TOKEN",
        "print(ray._private.services.get_node_ip_address(), is_guarded)",
    ]
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    told = subprocess.check_output([sys.executable, "-c", "\n".join(lines)], cwd=HOUSE, env=plain, text=True)
    assert told.split() == ["127.0.0.1", "True"]


def test_what_ray_prints_of_its_workers_goes_through_the_function_that_is_silenced(ray, monkeypatch):
    worker = ray._private.worker
    assert "print_to_stdstream(" in inspect.getsource(worker.listen_error_messages)
    monkeypatch.setattr(worker, "print_to_stdstream", print)
    silence_errors_of_workers(ray)
    assert worker.print_to_stdstream({"lines": ["an error"], "pid": "raylet", "is_err": False}, False) is None
    assert worker.print_to_stdstream is not print


@pytest.mark.usefixtures("ray")
def test_the_port_of_a_replica_is_opened_by_the_function_that_is_bound_to_loopback(monkeypatch):
    from ray.serve._private import replica

    assert 'add_port_to_grpc_server(self._server, "[::]:0")' in inspect.getsource(replica)
    # Put back by monkeypatch when the test ends.
    monkeypatch.setattr(replica, "add_port_to_grpc_server", replica.add_port_to_grpc_server)
    bind_replica_port_to_loopback()
    opened: list[str] = []
    replica.add_port_to_grpc_server(SimpleNamespace(add_insecure_port=opened.append), "[::]:0")
    assert opened == ["127.0.0.1:0"]


@pytest.mark.usefixtures("ray")
def test_a_deployment_is_asked_for_its_application_by_the_name_that_is_defined():
    from ray import serve
    from ray.serve._private import replica

    class Front(BuildsItsApp):
        def build_app(self) -> str:
            return "the application"

    assert serve.ingress()(Front) is not None  # refuses a class without the method
    assert getattr(Front(), replica.SERVE_BUILD_ASGI_APP_METHOD)() == "the application"
