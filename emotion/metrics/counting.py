"""What is counted as it happens, and the answer to a scrape."""

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response

from emotion.engine import BatchPredicted, ClipSettled, SpeechEngine
from emotion.metrics.reading import StudioReading
from emotion.monitor import StudioWatch

# Decoding takes 1 ms for a few seconds of WAV and 5 s for three hours of MP3.
_DECODE_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
# From a free model to a full queue of long recordings.
_QUEUE_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
# From the built-in model on 1 s to the large one on an hour.
_INFERENCE_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_WINDOWS = (1, 2, 4, 8, 16, 32, 64)
# 50 frames a second: from 1 s to 400 s of sound.
_FRAMES = (50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000)
_REQUEST_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counts what the engine tells, as its listener, and answers Prometheus; make one beside the engine.

    Has a registry of its own, so that two of them, as in tests, do not share counts.
    """

    def __init__(self, engine: SpeechEngine, watch: StudioWatch) -> None:
        # A moment of birth beside every number would double the answer, and says nothing that is asked here.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library left this one out
        self.registry = CollectorRegistry()
        self._make_clip_metrics()
        self._make_request_metrics()
        self.registry.register(StudioReading(engine, watch))
        engine.listen(self)

    # Listener of the engine: on its threads, so nothing here waits

    def clip_settled(self, clip: ClipSettled) -> None:
        self._clips.labels(clip.outcome).inc()
        if clip.error is not None:
            self._errors.labels(clip.error).inc()
        if clip.outcome != "done":
            return
        self._audio.inc(clip.duration_s)
        self._decode.observe(clip.times.decode_ms / 1000)
        if clip.origin == "computed":
            self._misses.inc()
            self._queue.observe(clip.times.queue_ms / 1000)
            self._inference.observe(clip.times.inference_ms / 1000)
        else:
            self._hits.labels(clip.origin).inc()

    def batch_predicted(self, batch: BatchPredicted) -> None:
        self._batch_windows.observe(batch.windows)
        self._batch_frames.observe(batch.frames)
        self._batch_time.observe(batch.elapsed_ms / 1000)

    # Scrapes

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """Body and content type of a scrape, in OpenMetrics where `accept` names it, else in Prometheus's text."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    async def endpoint(self, request: Request) -> Response:
        """Answers `GET /metrics`; takes a few milliseconds, so it needs no thread."""
        body, content_type = self.exposition(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type, "cache-control": "no-store"})

    def _make_clip_metrics(self) -> None:
        counter, histogram = partial(Counter, registry=self.registry), partial(Histogram, registry=self.registry)
        self._clips = counter("emotion_clips", "Recordings by how they ended.", ["outcome"])
        self._errors = counter("emotion_clip_errors", "Recordings that failed, by code.", ["code"])
        self._audio = counter("emotion_audio_seconds", "Seconds of sound that were analysed.")
        there = (
            "Recordings whose analysis was there: in memory, on disk, in Redis, or shared with an equal one in work."
        )
        self._hits = counter("emotion_cache_hits", there, ["tier"])
        self._misses = counter("emotion_cache_misses", "Recordings that the model worked on.")
        for tier in ("memory", "disk", "redis", "shared"):
            self._hits.labels(tier)  # a rate needs a zero to begin with
        for outcome in ("done", "failed", "cancelled"):
            self._clips.labels(outcome)
        self._decode = histogram("emotion_decode_seconds", "Decoding of one recording.", buckets=_DECODE_S)
        self._queue = histogram("emotion_queue_wait_seconds", "From decoded to the model.", buckets=_QUEUE_S)
        self._inference = histogram("emotion_inference_seconds", "One recording in the model.", buckets=_INFERENCE_S)
        self._batch_windows = histogram("emotion_batch_windows", "Windows of a batch.", buckets=_WINDOWS)
        self._batch_frames = histogram("emotion_batch_frames", "Frames of a batch.", buckets=_FRAMES)
        self._batch_time = histogram("emotion_batch_seconds", "One batch in the model.", buckets=_INFERENCE_S)

    def _make_request_metrics(self) -> None:
        gauge, route = partial(Gauge, registry=self.registry), ["route", "method"]
        self.requests = Counter(
            "emotion_http_requests", "Requests by route, method and status.", [*route, "status"], registry=self.registry
        )
        until = "From the request to the end of its answer; of an event stream, to its beginning."
        self.request_time = Histogram(
            "emotion_http_request_seconds", until, route, buckets=_REQUEST_S, registry=self.registry
        )
        self.in_flight = gauge("emotion_http_requests_in_flight", "Requests that are being answered.")
        self.sockets = gauge("emotion_web_sockets_open", "Web sockets that are open, live sessions above all.")
