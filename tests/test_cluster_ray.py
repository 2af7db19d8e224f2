"""A real cluster on this machine: Ray, replicas with the built-in model, load, and a replica that is killed."""

import asyncio
import gc
import json
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import psutil
import pytest
from starlette.testclient import TestClient

from emotion import Recognizer
from emotion.audio import Clip, wav_bytes
from emotion.cluster import ClusterEngine, ClusterPlan, start_cluster
from emotion.cluster.link import ServeLink
from emotion.errors import EngineBusy, NotSound
from emotion.settings import Settings, load_settings
from tests.fakes import wait_for

pytest.importorskip("ray")
# Ray's own code uses what others call deprecated, and leaves files and event loops open.
_OF_RAY = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
pytestmark = [pytest.mark.cluster, _OF_RAY]
PATIENCE_S = 120
MOST_REPLICAS = 3


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> Settings:
    outputs = tmp_path_factory.mktemp("outputs")
    return load_settings(
        model="compact", offline=True, outputs=outputs, cache="off", cluster_cpus=0.5, cluster_max_replicas=3
    )


@pytest.fixture(scope="module")
def plan(settings) -> ClusterPlan:
    quick = {"upscale_delay_s": 0.5, "downscale_delay_s": 3.0, "look_s": 0.5}
    return replace(ClusterPlan.of(settings), queue_per_replica=2.0, queue_size=48, ongoing=4, **quick)


@pytest.fixture(scope="module")
def engine(settings, plan) -> Iterator[ClusterEngine]:
    with start_cluster(settings, plan, cores=4) as engine:
        yield engine
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # Ray leaves event loops open
        gc.collect()


def noise(duration_s: float, seed: int = 0) -> bytes:
    samples = np.random.default_rng(seed).normal(0, 0.1, round(16_000 * duration_s)).astype(np.float32)
    return wav_bytes(Clip("noise.wav", samples))


def replica_processes() -> list[psutil.Process]:
    found = []
    for one in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it may end while it is looked at
            if "ServeReplica" in one.name() + "".join(one.cmdline()):
                found.append(one)
    return found


async def _made(make: Callable[[], Any]) -> Any:
    # Inside a running loop: outside of one, Gradio opens a loop of its own and never closes it.
    return make()


def in_work(engine: ClusterEngine) -> int:
    """Recordings that the replicas say they have."""
    reports = asyncio.run_coroutine_threadsafe(engine._link.reports(), engine._loop).result(PATIENCE_S)
    return sum(report.in_work for report in reports)


def test_a_cluster_says_what_one_process_says(engine, settings):
    content = noise(4.0)
    with Recognizer(settings=settings) as single:
        theirs = single.recognize(content, "frame", embedding=True, name="call.wav")
    with_cluster = Recognizer(settings=settings, engine=engine)
    ours = with_cluster.recognize(content, "frame", embedding=True, name="call.wav")
    assert np.array_equal(ours.clip.samples, theirs.clip.samples)
    # A replica has another number of threads, and sums of floats depend on their order.
    assert np.allclose(ours.frame_scores, theirs.frame_scores, atol=1e-6)
    assert np.allclose(ours.embedding, theirs.embedding, atol=1e-5)
    assert ours.emotion == theirs.emotion
    assert [(s.start_s, s.end_s, s.emotion) for s in ours.segments] == [
        (s.start_s, s.end_s, s.emotion) for s in theirs.segments
    ]


def test_what_is_wrong_with_a_recording_arrives_as_itself(engine):
    with pytest.raises(NotSound, match=r"'call\.wav'"):
        engine.submit(b"no sound at all", name="call.wav").result(PATIENCE_S)


def test_nothing_of_it_can_be_reached_from_another_machine(engine):
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    ports = [c for one in family for c in one.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert ports
    assert {c.laddr.ip for c in ports} <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert engine.replicas >= 1


def test_replicas_grow_with_the_load_and_shrink_after_it(engine):
    ended = threading.Event()
    content = noise(3.0)
    futures = []

    def keep_busy() -> None:
        while not ended.is_set():
            sent = [engine.submit(content) for _ in range(20)]
            futures.extend(sent)
            wait(sent, PATIENCE_S)

    thread = threading.Thread(target=keep_busy)
    thread.start()
    try:
        wait_for(lambda: engine.replicas == MOST_REPLICAS, PATIENCE_S)
    finally:
        ended.set()
        thread.join()
    assert len(futures) >= 20
    assert {future.result(0).emotion.key for future in futures} == {futures[0].result(0).emotion.key}
    wait_for(lambda: engine.replicas == 1, PATIENCE_S)


def test_every_request_is_answered_when_a_replica_is_killed_in_the_middle(engine):
    long, contents = noise(900.0), [noise(2.0, seed) for seed in range(12)]
    futures = [engine.submit(long)]
    wait_for(lambda: engine.progress(futures[0]).windows_done > 0, PATIENCE_S)
    futures += [engine.submit(content) for content in contents]
    victims = replica_processes()
    assert victims
    for victim in victims:
        victim.send_signal(signal.SIGKILL)
    assert [future.result(PATIENCE_S).clip.duration_s for future in futures] == [900.0] + [2.0] * 12
    assert {one.pid for one in replica_processes()}.isdisjoint(victim.pid for victim in victims)


def test_cancelling_ends_the_work_in_the_replica(engine):
    future = engine.submit(noise(900.0))
    wait_for(lambda: engine.progress(future).windows_done > 0, PATIENCE_S)
    wait_for(lambda: in_work(engine) == 1, PATIENCE_S)
    assert future.cancel()
    wait_for(lambda: in_work(engine) == 0, 10)


def test_backpressure_arrives_at_a_client_as_503_with_retry_after(engine, settings, plan):
    from emotion.server import make_app

    narrow = ClusterEngine(ServeLink(engine._link._handle), replace(plan, queue_size=1))
    try:
        app = asyncio.run(_made(lambda: make_app(Recognizer(settings=settings, engine=narrow))))
        client = TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 1))
        held = narrow.submit(noise(900.0))
        wait_for(lambda: narrow.progress(held).stage == "recognising", PATIENCE_S)
        refused = client.post("/v1/analyses", files={"file": ("call.wav", noise(1.0))})
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) > 0
        assert json.loads(refused.content)["code"] == "engine_busy"
        held.cancel()
        wait_for(lambda: narrow.queue_length == 0)
        answered = client.post("/v1/analyses", files={"file": ("call.wav", noise(1.0))})
        assert answered.status_code == 200
    finally:
        narrow.close(finish=False)


def test_what_ray_serve_has_no_room_for_is_a_full_queue(engine, plan):
    wide = ClusterEngine(ServeLink(engine._link._handle), replace(plan, queue_size=400))
    try:
        content = noise(5.0)
        futures = [wide.submit(content) for _ in range(300)]
        wait(futures, PATIENCE_S)
        failed = [future.exception(0) for future in futures if future.exception(0)]
        assert failed
        assert all(isinstance(error, EngineBusy) for error in failed)
        assert len(failed) <= 300 - plan.queue_size
    finally:
        wide.close(finish=False)
