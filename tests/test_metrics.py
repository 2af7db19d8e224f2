import asyncio
import io
import json
import logging
import re
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI, UploadFile
from fastapi.responses import StreamingResponse
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from emotion.cache import PredictionCache
from emotion.engine import BatchPredicted, ClipSettled, ClipTimes, Engine, EnginePlan
from emotion.hardware import Gpu, Usage
from emotion.logs import set_up_logs
from emotion.logs.request_context import request_id
from emotion.metrics import Metrics, RequestMetrics
from emotion.monitor import MachineWatch, StudioWatch
from tests.fakes import FakeModel, HeldModel, loud_clip, wait_for
from tests.test_logs import quiet_logs

PATIENCE_S = 20
CARD = Gpu("Card", 16_000, 4_000, 80, 60, "cuda:0")
NAME = "Frau Meier, Kündigung.wav"


class Studio:
    """An engine that is counted."""

    def __init__(self, model=None, gpus=(), plan=None, cache=None):
        self.engine = Engine(model or FakeModel(), plan, cache)
        self.watch = StudioWatch(self.engine, machine=MachineWatch(ask_gpus=lambda: list(gpus)))
        self.metrics = Metrics(self.engine, self.watch)

    def samples(self):
        """Every sample of a scrape by its name and the values of its labels, which come in the order of their names."""
        text = self.metrics.exposition()[0].decode()
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in parse_text(text)
            for sample in family.samples
        }

    def sample(self, *key):
        return self.samples()[key]


@pytest.fixture
def studio():
    made = []

    def make(*arguments, **words):
        made.append(Studio(*arguments, **words))
        return made[-1]

    yield make
    for one in made:
        one.engine.close(finish=False)


def test_a_recording_is_counted_with_its_stages_and_its_sound(studio):
    counted = studio()
    counted.engine.submit(loud_clip(2.0)).result(PATIENCE_S)
    wait_for(lambda: counted.sample("emotion_clips_total", "done") == 1)
    samples = counted.samples()
    assert samples["emotion_audio_seconds_total",] == 2.0
    for stage in ("decode", "queue_wait", "inference"):
        assert samples[f"emotion_{stage}_seconds_count",] == 1
    assert samples["emotion_batch_windows_sum",] == 1
    assert samples["emotion_batch_frames_sum",] == 99
    assert samples["emotion_queue_length",] == 0
    assert samples["emotion_engine_seconds_total", "inference"] > 0


def test_a_recording_that_fails_is_counted_by_its_code(studio):
    counted = studio()
    with pytest.raises(Exception, match="no sound"):
        counted.engine.submit(b"nothing" * 100).result(PATIENCE_S)
    wait_for(lambda: counted.sample("emotion_clips_total", "failed") == 1)
    samples = counted.samples()
    assert samples["emotion_clip_errors_total", "not_sound"] == 1
    assert samples["emotion_clips_total", "done"] == 0
    assert samples["emotion_audio_seconds_total",] == 0


def test_the_same_sound_again_is_a_hit_of_its_tier_and_no_time_of_the_model(studio):
    counted = studio()
    for origin in ("computed", "memory", "redis", "shared", "memory"):
        counted.metrics.clip_settled(ClipSettled("done", ClipTimes(5, 1, 20), 3.0, origin))
    samples = counted.samples()
    assert samples["emotion_cache_misses_total",] == 1
    assert [samples["emotion_cache_hits_total", tier] for tier in ("memory", "disk", "redis", "shared")] == [2, 0, 1, 1]
    assert samples["emotion_inference_seconds_sum",] == pytest.approx(0.020)
    assert samples["emotion_inference_seconds_count",] == 1
    assert samples["emotion_decode_seconds_sum",] == pytest.approx(0.025)


def test_batches_are_counted_by_windows_frames_and_time(studio):
    counted = studio()
    counted.metrics.batch_predicted(BatchPredicted(windows=3, frames=450, elapsed_ms=40.0))
    samples = counted.samples()
    assert samples["emotion_batch_windows_bucket", "2.0"] == 0
    assert samples["emotion_batch_windows_bucket", "4.0"] == 1
    assert samples["emotion_batch_frames_bucket", "500.0"] == 1
    assert samples["emotion_batch_seconds_sum",] == pytest.approx(0.04)


def test_what_waits_is_seen_while_it_waits(studio):
    model = HeldModel()
    counted = studio(model, plan=EnginePlan(queue_size=9))
    futures = [counted.engine.submit(loud_clip(seconds)) for seconds in (1.0, 1.5, 2.0)]
    assert model.began.acquire(timeout=PATIENCE_S)
    samples = counted.samples()
    assert (samples["emotion_queue_length",], samples["emotion_queue_size",]) == (3, 9)
    model.let_go()
    for future in futures:
        future.result(PATIENCE_S)


def test_model_machine_and_cards_are_told(studio):
    counted = studio(gpus=[CARD])
    wait_for(lambda: ("emotion_gpu_use_ratio", "0", "Card") in counted.samples())
    samples = counted.samples()
    assert samples["emotion_model_info", "cpu", "fake", "fp32", "fake"] == 1
    assert samples["emotion_gpu_use_ratio", "0", "Card"] == 0.8
    assert samples["emotion_gpu_memory_used_bytes", "0", "Card"] == 4_000 * 2**20
    assert samples["emotion_process_resident_memory_bytes",] > 10**7
    assert samples["emotion_process_cpu_seconds_total",] > 0
    assert 0 < samples["emotion_machine_memory_used_bytes",] < samples["emotion_machine_memory_bytes",]


def test_a_driver_that_never_answers_holds_no_scrape_up(studio):
    import threading

    release = threading.Event()
    counted = studio()
    counted.watch._machine = MachineWatch(ask_gpus=lambda: release.wait(PATIENCE_S) and [])
    started_s = time.perf_counter()
    counted.metrics.exposition()
    assert time.perf_counter() - started_s < 1
    release.set()


def test_a_scrape_takes_a_few_milliseconds(studio):
    counted = studio(gpus=[CARD])
    for number in range(20):
        counted.metrics.requests.labels(f"/route/{number}", "GET", "200").inc()
        counted.metrics.request_time.labels(f"/route/{number}", "GET").observe(0.01)

    def seconds():
        started_s = time.thread_time()
        counted.metrics.exposition()
        return time.thread_time() - started_s

    # A busy machine makes processor time slower too.
    assert min(seconds() for _ in range(20)) < 0.02


@pytest.mark.parametrize(
    ("accept", "parse"),
    [("", parse_text), ("application/openmetrics-text; version=1.0.0", parse_openmetrics)],
    ids=["text", "openmetrics"],
)
def test_both_formats_of_prometheus_are_spoken_in_base_units(studio, accept, parse):
    body, content_type = studio(gpus=[CARD]).metrics.exposition(accept)
    families = list(parse(body.decode()))
    assert content_type.split(";")[0] == (accept.split(";")[0] or "text/plain")
    assert len(families) > 25
    for family in families:
        assert family.name.startswith("emotion_")
        assert family.documentation.endswith(".")
        assert not family.name.endswith(("_ms", "_mb", "_percent", "_created"))


# Requests


@pytest.fixture
def site(studio):
    """A small application behind the middleware; gives a way to ask it, and what was counted."""
    counted = studio()
    app = FastAPI()
    app.add_api_route("/metrics", counted.metrics.endpoint, include_in_schema=False)

    @app.get("/v1/analyses/{number}")
    async def one(number: str):
        return {"number": len(number), "request": request_id()}

    @app.post("/v1/analyses")
    async def analyze(file: UploadFile):
        future = counted.engine.submit(await file.read(), name=file.filename)
        return (await asyncio.wrap_future(future)).record()

    @app.get("/broken")
    async def broken():
        raise OSError(2, "No such file", NAME)

    @app.get("/events")
    async def events():
        async def told():
            yield "data: 1\n\n"
            raise_if_observed = counted.sample("emotion_http_request_seconds_count", "GET", "/events")
            yield f"data: {raise_if_observed}\n\n"

        return StreamingResponse(told(), media_type="text/event-stream")

    wrapped = RequestMetrics(app, counted.metrics)

    def ask(method, path, **words):
        async def asked():
            transport = httpx.ASGITransport(wrapped, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://studio") as client:
                return await client.request(method, path, **words)

        return asyncio.run(asked())

    return SimpleNamespace(ask=ask, app=wrapped, counted=counted)


def test_requests_are_counted_by_the_template_of_their_route(site):
    for number in range(5):
        assert site.ask("GET", f"/v1/analyses/{number}?secret={number}").status_code == 200
    samples = site.counted.samples()
    assert samples["emotion_http_requests_total", "GET", "/v1/analyses/{number}", "200"] == 5
    assert samples["emotion_http_request_seconds_count", "GET", "/v1/analyses/{number}"] == 5
    assert samples["emotion_http_requests_in_flight",] == 0


def test_strangers_cannot_make_up_labels(site):
    for number in range(20):
        site.ask("GET", f"/wp-admin/{number}.php")
        site.ask(f"METHOD{number}", "/nowhere")
    keys = [key[1:] for key in site.counted.samples() if key[0] == "emotion_http_requests_total"]
    assert sorted(keys) == [("GET", "unmatched", "404"), ("other", "unmatched", "404")]


def test_all_that_a_mounted_page_answers_is_one_route(studio):
    counted, outer, page = studio(), FastAPI(), FastAPI()
    page.add_api_route("/queue/{number}", lambda number: number)
    outer.mount("/", page)
    outer.add_middleware(RequestMetrics, metrics=counted.metrics)

    async def ask():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(outer), base_url="http://studio") as client:
            return [(await client.get(path)).status_code for path in ("/queue/1", "/queue/2", "/none")]

    assert asyncio.run(ask()) == [200, 200, 404]
    samples = counted.samples()
    assert samples["emotion_http_requests_total", "GET", "page", "200"] == 2
    assert samples["emotion_http_requests_total", "GET", "page", "404"] == 1


def test_a_fault_is_counted_as_one(site):
    assert site.ask("GET", "/broken").status_code == 500
    assert site.counted.sample("emotion_http_requests_total", "GET", "/broken", "500") == 1


def test_an_event_stream_counts_until_it_begins(site):
    assert "data: 1.0" in site.ask("GET", "/events").text
    assert site.counted.sample("emotion_http_request_seconds_count", "GET", "/events") == 1


def test_the_endpoint_answers_prometheus(site):
    answer = site.ask("GET", "/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")
    assert "emotion_queue_length 0.0" in answer.text


def test_open_web_sockets_are_seen(studio):
    counted = studio()
    seen = []

    async def app(_scope, _receive, _send):
        seen.append(counted.sample("emotion_web_sockets_open"))

    asyncio.run(RequestMetrics(app, counted.metrics)({"type": "websocket"}, None, None))
    assert seen == [1]
    assert counted.sample("emotion_web_sockets_open") == 0


def test_a_client_that_left_is_told_from_a_fault(studio):
    counted = studio()

    async def app(_scope, _receive, _send):
        """Ends without an answer, as when nobody listens any more."""

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    asyncio.run(RequestMetrics(app, counted.metrics)(scope, None, None))
    assert counted.sample("emotion_http_requests_total", "GET", "unmatched", "499") == 1


# The line of log of each request


@pytest.fixture
def log():
    """Standard logs at info as JSON; gives what was written."""
    stream = io.StringIO()
    with quiet_logs():
        set_up_logs("info", "json", stream)
        yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_request_is_one_line_with_its_client_and_its_id(site, log):
    async def access(scope, receive, send):
        scope["state"] = {"client": SimpleNamespace(name="key:desk"), "request_id": "3f2a"}
        await site.app(scope, receive, send)

    async def ask():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(access), base_url="http://studio") as client:
            await client.get("/v1/analyses/7")

    asyncio.run(ask())
    (line,) = log()
    assert line.pop("elapsed_ms") >= 0
    assert line.pop("time")
    assert line == {
        "level": "info",
        "logger": "emotion.requests",
        "message": "answered",
        "request_id": "3f2a",
        "stage": "answered",
        "method": "GET",
        "route": "/v1/analyses/{number}",
        "status": 200,
        "client": "key:desk",
    }


def test_probes_and_scrapes_are_no_news(site, log):
    site.ask("GET", "/metrics")
    assert log() == []


def test_no_line_of_a_whole_request_holds_a_name_a_key_or_a_query(site, log):
    import wave

    sound = io.BytesIO()
    with wave.open(sound, "wb") as file:
        file.setnchannels(1), file.setsampwidth(2), file.setframerate(16_000)
        file.writeframes(bytes(32_000))
    secret = {"headers": {"Authorization": "Bearer s3cret", "Cookie": "session=s3cret"}, "params": {"key": "s3cret"}}
    good = site.ask("POST", "/v1/analyses", files={"file": (NAME, sound.getvalue())}, **secret)
    assert good.json()["file"] == NAME, "the name came as far as the engine"
    assert site.ask("POST", "/v1/analyses", files={"file": (NAME, b"no sound" * 99)}, **secret).status_code == 500
    assert site.ask("GET", "/broken", **secret).status_code == 500
    assert site.ask("GET", f"/{NAME}").status_code == 404
    lines = log()
    assert len(lines) >= 4
    text = json.dumps(lines, ensure_ascii=False)
    assert not [word for word in ("Meier", "digung", "s3cret") if word in text]


def test_the_level_of_the_test_above_would_catch_a_name(log):
    logging.getLogger("emotion.engine").info("about %s", NAME)
    assert NAME in json.dumps(log(), ensure_ascii=False)


# The dashboard

DASHBOARD = Path(__file__).parent.parent / "config" / "grafana-dashboard.json"
# Words of PromQL that look like names: functions, aggregations and what follows them.
PROMQL = {"sum", "avg", "max", "min", "by", "rate", "histogram_quantile", "le"}
LABELS = {"job", "instance"}  # Prometheus adds them


def panels():
    return [panel for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"] if panel["type"] != "row"]


def expressions():
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def full_scrape(studio):
    """The families of a scrape after everything happened once, on a machine with a card and a limit."""
    counted = studio(gpus=[CARD], cache=PredictionCache(10**6))
    for origin in ("computed", "memory"):
        counted.metrics.clip_settled(ClipSettled("done", ClipTimes(5, 1, 20), 3.0, origin))
    counted.metrics.clip_settled(ClipSettled("failed", ClipTimes(5, 0, 0), error="not_sound"))
    counted.metrics.batch_predicted(BatchPredicted(1, 50, 9.0))
    counted.metrics.requests.labels("/v1/analyses", "POST", "200").inc()
    counted.metrics.request_time.labels("/v1/analyses", "POST").observe(0.1)
    status = counted.watch.read()
    limited = replace(status.machine, container=Usage(1, 2))
    counted.watch.glance = lambda: replace(status, machine=limited)
    return list(parse_text(counted.metrics.exposition()[0].decode()))


def test_every_name_in_the_dashboard_is_in_a_scrape(studio):
    samples = [sample for family in full_scrape(studio) for sample in family.samples]
    names = {sample.name for sample in samples}
    used = {name for expression in expressions() for name in re.findall(r"\bemotion_\w+", expression)}
    assert len(used) > 25
    assert used <= names, used - names


def test_every_label_in_the_dashboard_is_one_of_its_metric(studio):
    labels: dict[str, set[str]] = {}
    for family in full_scrape(studio):
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    for expression in expressions():
        for name, matchers in re.findall(r"\b(emotion_\w+)\{([^}]*)\}", expression):
            assert set(re.findall(r"(\w+)=", matchers)) <= labels[name] | LABELS, expression
        grouped = {label.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(",")}
        own = set().union(*(labels[name] for name in re.findall(r"\bemotion_\w+", expression)))
        assert grouped <= own | LABELS, expression


def test_expressions_hold_nothing_but_metrics_labels_and_functions():
    for expression in expressions():
        bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]|by \([^)]*\)', " ", expression)
        words = set(re.findall(r"[a-z_]\w*", bare))
        assert {word for word in words if not word.startswith("emotion_")} <= PROMQL, expression
        assert expression.count("(") == expression.count(")")
        for kind, reach in re.findall(r"(\w+)\(emotion_\w+\{[^}]*\}(\[[^\]]*\])?", expression):
            assert (kind == "rate") == bool(reach), expression


def test_rates_are_of_counters_and_levels_are_of_gauges(studio):
    kinds = {sample.name: family.type for family in full_scrape(studio) for sample in family.samples}
    for expression in expressions():
        rated = set(re.findall(r"rate\((emotion_\w+)", expression))
        assert {kinds[name] for name in rated} <= {"counter", "histogram"}
        assert {kinds[name] for name in set(re.findall(r"\bemotion_\w+", expression)) - rated} <= {"gauge"}


def test_the_dashboard_shows_traffic_latency_engine_cache_and_machine_without_overlap():
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    rows = [panel["title"] for panel in dashboard["panels"] if panel["type"] == "row"]
    assert rows == ["Traffic", "Latency", "Engine", "Cache", "Machine"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not taken & cells, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_what_is_scraped_is_shown_somewhere(studio):
    """A number that nobody looks at is only cost."""
    families = {family.name for family in full_scrape(studio)}
    shown = " ".join(expressions())
    assert [name for name in sorted(families) if name.removesuffix("_info") not in shown] == []


RUNNING = (Path(__file__).parent.parent / "docs" / "running.md").read_text(encoding="utf-8")


def test_the_manual_names_every_metric_and_no_other(studio):
    families = {family.name: family.type for family in full_scrape(studio)}
    real = {f"{name}_total" if kind == "counter" else name for name, kind in families.items()}
    assert set(re.findall(r"\bemotion_[a-z_]+", RUNNING)) == real
