"""Joins settings, model and engine: the Python face, and what command line and page are built on."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from emotion.analysis import Analysis, AnalysisRequest, Granularity
from emotion.analysis.windows import Plan
from emotion.audio import SAMPLE_RATE_HZ, Clip, DecodeLimits, Readable, clip_from_samples, read_source
from emotion.cache import PredictionCache, open_cache
from emotion.engine import Engine, EnginePlan, Progress, SpeechEngine
from emotion.engine.admission import Admission, ConcurrencyLimit
from emotion.errors import CheckpointBroken, EmotionError, HubUnreachable, ModelNotFound
from emotion.hardware import plan_threads, usable_cores
from emotion.model import BUILT_IN, ModelCard, SpeechModel
from emotion.model.checkpoint import example_clip, find_checkpoint, is_present
from emotion.model.choice import has_nvidia_driver
from emotion.model.opening import RuntimeSpec, open_model
from emotion.outputs.replication import replicator_of
from emotion.settings import Settings, load_settings

AUTO = "auto"
LARGE = "emotion2vec_plus_large"
ReportDownload = Callable[[int, int], None]
Phase = Literal["ready", "asking", "downloading", "loading", "built_in"]


@dataclass(frozen=True)
class ModelState:
    """Which model answers now, and what becomes of the one that was wished for.

    `phase`: `ready` (the wished model answers), `asking` the hub, `downloading` (`done_bytes` of `total_bytes`),
    `loading`, or `built_in` (the compact model answers for good; `reason` says why, fit to be shown).
    """

    card: ModelCard
    wanted: str
    phase: Phase
    done_bytes: int = 0
    total_bytes: int = 0
    reason: EmotionError | None = None


class Recognizer:
    """emotion2vec+ in three lines of Python; opens the model once and keeps it.

    `model` is `auto`, `compact`, a short name, a hub id or a folder; every setting can be given by its name. `auto`
    takes the large model if it is on this machine, else the built-in one; with `take_over` it then also asks the hub
    in the background, and the large model replaces the built-in one when it is there. A model that is named is
    downloaded first if it is not here; `on_download(done_bytes, total_bytes)` follows that. An `engine` that is given
    brings its own models, and is closed with the recogniser.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        settings: Settings | None = None,
        engine: SpeechEngine | None = None,
        take_over: bool = False,
        on_download: ReportDownload | None = None,
        **flags: Any,
    ) -> None:
        self.settings = settings or load_settings(model=model, **flags)
        self._closing = threading.Event()
        self._end_mirror = replicator_of(self.settings.outputs, self.settings.results_url)
        self.engine: SpeechEngine
        limit = ConcurrencyLimit(self.settings.jobs_per_client)
        if engine is not None:
            self.engine, self.admission = engine, Admission(engine, limit)
            self._state = ModelState(engine.card, self.settings.model, _phase_of(engine.card, self.settings))
            return
        first, reason = _first_model(self.settings, on_download)
        self.engine = own = Engine(first, engine_plan(self.settings), _cache_of(self.settings))
        self.admission = Admission(own, limit)
        self._state = ModelState(first.card, self.settings.model, "built_in" if reason else "ready", reason=reason)
        if take_over and reason and not self.settings.offline:
            self._change_state(wanted=LARGE, phase="asking")
            threading.Thread(target=self._take_over, args=(own,), name="model", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Whoever leaves with an error, Ctrl+C above all, does not want to wait for the rest.
        self.close(finish=kind is None)

    @property
    def state(self) -> ModelState:
        """Which model answers, and whether another is on its way; cheap, to be asked as often as one likes."""
        return self._state

    def submit(
        self,
        source: Readable | Clip,
        request: AnalysisRequest | Granularity | None = None,
        name: str | None = None,
        **wanted: Any,
    ) -> Future[Analysis]:
        """Queue a path, the bytes of a file, an open file or a clip; raises EngineBusy at once when the queue is full.

        What is wanted is a whole `request`, a granularity, or fields of a request by name: `submit(path,
        granularity="frame", embedding=True)`.
        """
        if isinstance(request, str):
            request = AnalysisRequest(request)
        if not isinstance(source, Clip):
            source, name = read_source(source, decode_limits(self.settings), name)
        return self.engine.submit(source, (request or AnalysisRequest()).with_changes(**wanted), name)

    def submit_all(
        self, sources: Iterable[Readable | Clip], request: AnalysisRequest | Granularity | None = None, **wanted: Any
    ) -> Iterator[Future[Analysis]]:
        """One future per source, in their order, submitted only a few ahead so that the queue never fills."""
        waiting: deque[Future[Analysis]] = deque()
        for source in sources:
            waiting.append(self.submit(source, request, **wanted))
            while len(waiting) >= self.engine.max_in_flight:
                yield waiting.popleft()
        yield from waiting

    def progress(self, future: Future[Analysis]) -> Progress:
        """Stage, place in the queue and windows done of a submitted recording."""
        return self.engine.progress(future)

    def recognize(
        self,
        source: Readable | Clip | NDArray[np.generic],
        granularity: Granularity = "utterance",
        embedding: bool = False,
        *,
        rate_hz: int = SAMPLE_RATE_HZ,
        name: str | None = None,
    ) -> Analysis:
        """The analysis of a path, a file as bytes or open, a clip, or samples [n] or [n, channels] at `rate_hz`.

        Raises an EmotionError that says what is wrong with the recording.
        """
        if isinstance(source, np.ndarray):
            source = clip_from_samples(source, rate_hz, name or "samples", decode_limits(self.settings))
        return self.submit(source, AnalysisRequest(granularity, embedding), name).result()

    def example(self) -> Path | None:
        """The example clip that came with the model that answers now, None where it has none."""
        return example_clip(self.state.card.name, self.settings.cache_dir)

    def warm_up(self) -> Future[None]:
        """Let the model run once before anybody waits for it, and measure whether batches pay; returns at once."""
        return self.engine.warm_up()

    def close(self, finish: bool = True) -> None:
        """Finish accepted work, or cancel it, end the threads, and wait a while for copies of runs."""
        self._closing.set()
        self.engine.close(finish)
        self._end_mirror()

    def _take_over(self, engine: Engine) -> None:
        """Put the large model in the built-in one's place, or keep the reason why that could not be."""
        try:
            engine.use(self._fetch_large())
            engine.warm_up()
        except _Closing:
            return
        except EmotionError as error:
            self._change_state(phase="built_in", reason=error)
            return
        self._change_state(card=engine.card, phase="ready", reason=None)

    def _fetch_large(self) -> SpeechModel:
        from emotion.model.checkpoint import download, hub_answers, unreachable_message

        if not hub_answers(self.settings.hub, self.settings.hub_timeout_s):
            raise HubUnreachable(unreachable_message(self.settings.hub))
        self._change_state(phase="downloading")
        download(LARGE, self.settings.cache_dir, self.settings.hub, self._report_download)
        self._change_state(phase="loading")
        return _open(LARGE, self.settings)

    def _report_download(self, done_bytes: int, total_bytes: int) -> None:
        if self._closing.is_set():
            raise _Closing
        self._change_state(done_bytes=done_bytes, total_bytes=total_bytes)

    def _change_state(self, **changes: Any) -> None:
        self._state = replace(self._state, **changes)


class _Closing(Exception):
    """Ends a download when the program ends; what was fetched is kept and resumed."""


def fetch_named_model(settings: Settings, on_download: ReportDownload | None = None) -> None:
    """Download the model that the settings name, unless it is here, nameless (`auto`), or the network is not used."""
    if settings.model in (AUTO, BUILT_IN) or settings.offline or is_present(settings.model, settings.cache_dir):
        return
    from emotion.model.checkpoint import download

    download(settings.model, settings.cache_dir, settings.hub, on_download)


def engine_plan(settings: Settings) -> EnginePlan:
    """The settings that the engine works by."""
    return EnginePlan(
        analysis=Plan(
            exact_limit_s=settings.exact_limit_s,
            window_s=settings.window_s,
            context_s=settings.context_s,
            smoothing_s=settings.smoothing_s,
            min_segment_s=settings.min_segment_s,
            uncertain_margin=settings.uncertain_margin,
        ),
        limits=decode_limits(settings),
        decode_threads=plan_threads(usable_cores(), on_gpu=False, decode=settings.decode_threads).decode,
        queue_size=settings.queue_size,
        batch_frames=settings.batch_frames,
        batch_wait_ms=settings.batch_wait_ms,
        free_after_s=settings.free_after_s,
        cache_shared=settings.cache_shared,
    )


def decode_limits(settings: Settings) -> DecodeLimits:
    """The settings that recordings are held to."""
    return DecodeLimits(
        max_file_bytes=settings.max_file_bytes,
        max_clip_s=settings.max_clip_s,
        max_channels=settings.max_channels,
        min_rate_hz=settings.min_rate_hz,
        max_rate_hz=settings.max_rate_hz,
    )


def _cache_of(settings: Settings) -> PredictionCache | None:
    mega, giga, hour_s = 1e6, 1e9, 3600.0
    return open_cache(
        settings.cache,
        settings.cache_mb * mega,
        settings.cache_dir / "predictions",
        settings.cache_gb * giga,
        settings.cache_hours * hour_s,
    )


def _phase_of(card: ModelCard, settings: Settings) -> Phase:
    return "built_in" if card.name == BUILT_IN != settings.model else "ready"


def _first_model(settings: Settings, on_download: ReportDownload | None) -> tuple[SpeechModel, EmotionError | None]:
    """The model to begin with, and for `auto` without the large one why the built-in one answers."""
    if settings.model == AUTO:
        try:
            return _open(LARGE, settings), None
        except (ModelNotFound, CheckpointBroken) as reason:
            return _open(BUILT_IN, settings), reason
    fetch_named_model(settings, on_download)
    return _open(settings.model, settings), None


def _open(name: str, settings: Settings) -> SpeechModel:
    checkpoint = None if name == BUILT_IN else find_checkpoint(name, settings.cache_dir)
    on_gpu = settings.device != "cpu" and has_nvidia_driver()
    # The built-in model that stands in for another has no choice of its own.
    stand_in = name == BUILT_IN != settings.model
    wanted = 0 if stand_in else settings.inference_threads
    threads = plan_threads(usable_cores(), on_gpu, inference=wanted, is_small=name == BUILT_IN).inference
    spec = RuntimeSpec(
        runtime="auto" if stand_in else settings.runtime,
        device=settings.device,
        precision="auto" if stand_in else settings.precision,
        threads=threads,
        offload_blocks=settings.offload_blocks,
        cache_dir=settings.cache_dir,
    )
    return open_model(checkpoint, spec)
