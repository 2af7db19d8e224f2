"""One accepted recording on its way to a future."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass

from emotion.analysis import Analysis, AnalysisRequest
from emotion.analysis.windows import ClipPrediction, Plan, Stitcher, Window, count_windows, cut_windows
from emotion.audio import SAMPLE_RATE_HZ, Clip, Source
from emotion.engine.times import ClipTimes
from emotion.logs.request_context import request_id
from emotion.model import Prediction, SpeechModel, num_frames
from emotion.record import Stage

# A window gives way to one that is shorter by so much sound for each second it has waited: a minute of sound lets
# recordings of some seconds pass for 15 s, and no longer.
_GIVES_WAY = 0.25


@dataclass(frozen=True)
class Progress:
    """Where one job is: its stage, how many jobs are before it, and how many of its windows are done.

    `wait_s` is about how long those before it take, by the median of the last clips; None before the first.
    `duration_s` is None until the recording is decoded, and once the job is over.
    """

    stage: Stage
    position: int
    windows_done: int
    windows: int
    wait_s: float | None = None
    duration_s: float | None = None


class QueuedJob:
    """One accepted recording: what is wanted of it, and the future that tells how it ends.

    `request_id` is that of the request that submitted it.
    """

    def __init__(self, source: Source | Clip, request: AnalysisRequest, name: str | None) -> None:
        self.source, self.request, self.name = source, request, name
        self.future: Future[Analysis] = Future()
        self.stage: Stage = "waiting"
        self.request_id = request_id()
        self.submitted_s = time.perf_counter()
        self._lock = threading.Lock()
        self._settled = False

    @property
    def duration_s(self) -> float:
        """How long the recording is, 0 while that is unknown."""
        return 0.0

    @property
    def times(self) -> ClipTimes:
        """What its stages took so far."""
        return ClipTimes(0.0, 0.0, 0.0)

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do: it was cancelled, or its future is settled."""
        return self.drop_if_cancelled() or self._settled

    def progress_at(self, position: int, wait_s: float | None) -> Progress:
        """Its progress, at this place in the queue."""
        return Progress(self.stage, position, 0, 0, wait_s)

    def drop_if_cancelled(self) -> bool:
        """Whether it was cancelled; those who wait for the future are then told, once."""
        if self.future.cancelled():
            self.resolve(lambda: None, "cancelled")
        return self.future.cancelled()

    def resolve(self, set_outcome: Callable[[], None], stage: Stage) -> bool:
        """Settle the future once, and return whether it was not settled or cancelled before."""
        with self._lock:
            if self._settled:
                return False
            self._settled = True
            # The future stays pending until here, so that `future.cancel()` works at any time before.
            is_wanted = self.future.set_running_or_notify_cancel()
        if is_wanted:
            self.stage = stage
            set_outcome()
        return is_wanted


class Job(QueuedJob):
    """One recording in an engine of this process; its threads hand it on, and only one holds it at a time.

    `key` is under what its prediction is kept in the cache, once it is the one that is computed.
    """

    def __init__(self, source: Source | Clip, request: AnalysisRequest, name: str | None) -> None:
        super().__init__(source, request, name)
        self.windows_done = 0
        self.windows = 0
        self.timings_ms: dict[str, float] = {"decode": 0.0, "queue": 0.0, "inference": 0.0}
        self.key: str | None = None
        self.clip: Clip | None = None
        self.model: SpeechModel | None = None
        self._stitcher: Stitcher | None = None
        self._pending: Iterator[Window] = iter(())
        self._next: Window | None = None
        self._ready_s = 0.0

    @property
    def duration_s(self) -> float:
        """How long the recording is, 0 before it is decoded."""
        return 0.0 if self.clip is None else self.clip.duration_s

    @property
    def next_frames(self) -> int:
        """Frames of the next window, 0 when there is none."""
        return 0 if self._next is None else num_frames(len(self._next.samples))

    @property
    def deadline_s(self) -> float:
        """When the next window wants to be done: long ones let short ones pass, but not for ever."""
        samples = 0 if self._next is None else len(self._next.samples)
        return self._ready_s + _GIVES_WAY * samples / SAMPLE_RATE_HZ

    @property
    def times(self) -> ClipTimes:
        """What its stages took so far, rounded as in result.json."""
        decode_ms, queue_ms, inference_ms = (round(self.timings_ms[key], 1) for key in ("decode", "queue", "inference"))
        return ClipTimes(decode_ms, queue_ms, inference_ms)

    def progress_at(self, position: int, wait_s: float | None) -> Progress:
        """Its progress, at this place in the queue."""
        duration_s = None if self.clip is None else self.clip.duration_s
        return Progress(self.stage, position, self.windows_done, self.windows, wait_s, duration_s)

    def cut(self, clip: Clip, plan: Plan) -> None:
        """Take the decoded clip and cut its first window."""
        self.source = b""  # the bytes of the file are no longer needed
        self.clip, self.windows = clip, count_windows(clip, plan)
        self._pending = cut_windows(clip, plan)
        self._next = next(self._pending)

    def wait_for_equal(self) -> None:
        """Wait for an equal recording instead of inference; what was cut is cut again should it have to lead."""
        self._pending, self._next = iter(()), None
        self.wait()

    def lead_after_all(self, plan: Plan) -> None:
        """Be computed, since the recording that it followed was given up."""
        if self.clip is None:
            raise RuntimeError("a job followed another without its clip")
        self.cut(self.clip, plan)

    def wait(self) -> None:
        """Begin to wait for inference."""
        self._ready_s = time.perf_counter()
        if self.stage in ("waiting", "decoding"):  # the windows after the first wait anew, the job does not
            self.stage = "ready"

    def begin(self, model: SpeechModel) -> None:
        """Leave the queue for inference, with the model of the first window for all: a change leaves begun work alone.

        Does nothing for a job that has begun.
        """
        if self._stitcher is not None:
            return
        if self.clip is None:
            raise RuntimeError("a job came to inference without its clip")
        self.stage = "recognising"
        self.model = self.model or model
        self._stitcher = Stitcher(self.clip, self.model.card, self.request.keeps_frames)

    def end(self) -> None:
        """Note how long it waited: all the time since it was submitted in which nobody worked on it."""
        elapsed_ms = (time.perf_counter() - self.submitted_s) * 1000
        worked_ms = self.timings_ms["decode"] + self.timings_ms["inference"]
        self.timings_ms["queue"] = max(elapsed_ms - worked_ms, 0.0)

    def take_window(self) -> Window:
        """The next window, while the one after it is cut."""
        window = self._next
        if window is None:
            raise RuntimeError("a job without windows was asked for one")
        self._next = next(self._pending, None)
        return window

    def stitch(self, window: Window, prediction: Prediction) -> ClipPrediction | None:
        """Add what the model says of one window; the prediction of the clip when it was the last one."""
        if self._stitcher is None:
            raise RuntimeError("a window was predicted before its job began")
        self._stitcher.add(window, prediction)
        self.windows_done += 1
        return self._stitcher.finish() if self.windows_done == self.windows else None


def outcome(future: Future[Analysis]) -> Stage:
    """How a settled future ended."""
    if future.cancelled():
        return "cancelled"
    return "failed" if future.exception() else "done"
