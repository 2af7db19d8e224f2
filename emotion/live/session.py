"""A live microphone: sound goes in piece by piece, the emotion of the last seconds comes out, the end is a run."""

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from emotion.analysis import Analysis, AnalysisRequest
from emotion.analysis.speech import heard_frames
from emotion.audio import SAMPLE_RATE_HZ, Clip, StreamRecorder
from emotion.audio.energy_gate import FRAME_SAMPLES, FRAMES_PER_S, NOISE_SPAN_S, Flags, frame_levels_db
from emotion.engine import PATIENCE_S, Progress
from emotion.engine.recognizer import Recognizer
from emotion.errors import EngineBusy
from emotion.labels import Emotion
from emotion.model import FloatArray
from emotion.outputs import ClipFiles, write_run

_LOG = logging.getLogger(__name__)
# Below half a second the scores speak of a syllable.
MIN_SOUND_S = 0.5
# A pause between two sentences is shorter; what lasts longer is shown as silence.
SILENCE_AFTER_S = 1.0
# What a closed browser leaves behind is kept as a run if it is longer than a slip of the finger.
KEPT_FROM_S = 1.0
# The window begins a little before the first sound in it, since soft onsets lie below the gate.
_LEAD_S = 0.2
_INTERVALS = 5


@dataclass(frozen=True)
class LiveMoment:
    """What is known at one moment of a session, `time_s` after its start.

    `scores` by label, with `emotion` and `confidence`, are of the last seconds; None when there was silence, and when
    the model failed. `interval_s` is the mean time between the last moments that were not silent, `level_db` the
    loudest 20 ms since the one before.
    """

    time_s: float
    scores: dict[str, float] | None
    emotion: Emotion | None
    confidence: float
    is_silent: bool
    interval_s: float
    level_db: float

    def record(self) -> dict[str, Any]:
        """The moment as plain JSON values."""
        return {
            "time_s": round(self.time_s, 3),
            "emotion": None if self.emotion is None else self.emotion.key,
            "confidence": round(self.confidence, 6),
            "scores": self.scores and {label: round(score, 6) for label, score in self.scores.items()},
            "is_silent": self.is_silent,
            "interval_s": round(self.interval_s, 3),
            "level_db": round(self.level_db, 1),
        }


class LiveSession:
    """Takes a microphone's samples, tells `on_moment` about the last seconds, and keeps all of it until the end.

    A window of `live_window_s` is given to the model when `live_every_s` of sound has come since the last one and the
    model has answered it, so a slow machine answers less often and never falls behind; a full queue lets one beat go.
    Silence costs no inference. At `max_clip_s` of the settings nothing more is taken, and `is_full` says so.

    `stop` makes a run in the folder of the owner, as `request` wants it, which may be changed until then. With a `path`
    the sound goes into a WAV file there instead, of `max_file_bytes` at most, which `finish_file` gives.
    The methods belong to one thread at a time; `on_moment` is called on that thread or on the one of inference and
    should return at once.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        rate_hz: int,
        on_moment: Callable[[LiveMoment], None],
        request: AnalysisRequest | None = None,
        path: Path | None = None,
    ) -> None:
        settings = recognizer.settings
        self.request = request or AnalysisRequest()
        self._recognizer, self._on_moment = recognizer, on_moment
        self._window_s, self._every_s = max(settings.live_window_s, MIN_SOUND_S), settings.live_every_s
        tail_s = max(NOISE_SPAN_S, self._window_s)
        self.bytes_per_s = 2 * rate_hz
        self._recorder = StreamRecorder(rate_hz, settings.max_clip_s, tail_s, path, settings.max_file_bytes)
        self._name = datetime.now().strftime("live_%Y%m%d_%H%M%S.wav")
        self._due_s = MIN_SOUND_S
        self._told_s: float | None = None
        self._intervals_s: deque[float] = deque(maxlen=_INTERVALS)
        self._in_flight: Future[Analysis] | None = None
        self._whole: Future[Analysis] | None = None
        self._ending: Future[ClipFiles] | None = None
        self._has_failed = False

    @property
    def heard_s(self) -> float:
        """How much sound was taken."""
        return self._recorder.duration_s

    @property
    def is_full(self) -> bool:
        """Whether the recording is as long as it may be."""
        return self._recorder.is_full

    @property
    def room_bytes(self) -> int:
        """How much more it takes."""
        return self._recorder.room_bytes

    def progress(self, _: Future[ClipFiles] | None = None) -> Progress:
        """How far the analysis of the whole recording is, once `stop` was called."""
        return Progress("waiting", 0, 0, 0) if self._whole is None else self._recognizer.progress(self._whole)

    def feed(self, pcm: bytes) -> None:
        """Take 16-bit little-endian mono samples of the session's rate; what comes after the end is ignored.

        Raises DiskFull, and EngineClosed when the program ends.
        """
        if self._ending is not None:
            return
        self._recorder.feed(pcm)
        if self._in_flight is None and self.heard_s >= self._due_s:
            self._beat()

    def stop(self) -> Future[ClipFiles]:
        """Analyze the whole recording and write it as a run, the same as uploading its 16-bit samples at 16 kHz.

        The future fails with an EmotionError, ClipTooShort when next to nothing was heard.
        """
        if self._ending is None:
            self._end()
            # A thread of its own: three hours of sound take minutes, which would block a shared pool.
            thread = ThreadPoolExecutor(1, "live")
            self._ending = thread.submit(copy_context().run, self._write_run, self.request)
            thread.shutdown(wait=False)
        return self._ending

    def leave(self) -> Future[ClipFiles] | None:
        """End without `stop`, as when the browser is gone: the recording becomes a run all the same, since a closed
        tab is often a mishap, unless it is no longer than KEPT_FROM_S or recordings are not to be kept.
        """
        if self._ending is not None or (self.request.keep_audio and self.heard_s > KEPT_FROM_S):
            return self.stop()
        self._end()
        self._recorder.close()
        return None

    def finish_file(self) -> Path:
        """End, and give the WAV file of the samples as they came, which is the caller's from now on."""
        self._end()
        try:
            return self._recorder.wav()
        finally:
            self._recorder.close()

    # A beat

    def _beat(self) -> None:
        now_s = self.heard_s
        heard = self._recorder.tail()
        sounds = heard_frames(heard)
        newest = max(round(self._every_s * FRAMES_PER_S), 1) * FRAME_SAMPLES
        level_db = float(frame_levels_db(heard[-newest:]).max())
        if not sounds[-round(SILENCE_AFTER_S * FRAMES_PER_S) :].any():
            self._tell(now_s, level_db, analysis=None, is_silent=True)
            self._plan_next(now_s)
            return
        window = _sounding_part(heard, sounds, self._window_s)
        if len(window) < MIN_SOUND_S * SAMPLE_RATE_HZ:
            return
        self._plan_next(now_s)
        try:
            self._in_flight = self._recognizer.submit(Clip("live", window), cache=False)  # no moment comes twice
        except EngineBusy:
            return
        self._in_flight.add_done_callback(partial(self._answer, now_s, level_db))

    def _plan_next(self, now_s: float) -> None:
        # Pieces of sound seldom end on a beat: by adding up what is late by less than that, the pace is kept.
        on_time = now_s - self._due_s < self._every_s / 4
        self._due_s = (self._due_s if on_time else now_s) + self._every_s

    def _answer(self, now_s: float, level_db: float, future: Future[Analysis]) -> None:
        try:
            if self._ending is None and not future.cancelled():
                error = future.exception()
                if error is not None and not self._has_failed:  # once a session, not twice a second
                    self._has_failed = True
                    _LOG.warning("the model failed on a window of a live session", exc_info=error)
                self._tell(now_s, level_db, None if error else future.result(), is_silent=False)
        finally:
            self._in_flight = None  # last: from here on the other thread may tell

    def _tell(self, now_s: float, level_db: float, analysis: Analysis | None, is_silent: bool) -> None:
        if self._told_s is not None and not is_silent:  # silence is quick on every machine
            self._intervals_s.append(now_s - self._told_s)
        self._told_s = now_s
        intervals_s = self._intervals_s or [self._every_s]
        interval_s = sum(intervals_s) / len(intervals_s)
        scores, emotion, confidence = None, None, 0.0
        if analysis is not None:
            scores = dict(zip(analysis.model.labels, analysis.scores.tolist(), strict=True))
            emotion, confidence = analysis.emotion, analysis.confidence
        self._on_moment(LiveMoment(now_s, scores, emotion, confidence, is_silent, interval_s, level_db))

    # The end

    def _end(self) -> None:
        in_flight = self._in_flight
        if in_flight is not None:
            in_flight.cancel()

    def _write_run(self, request: AnalysisRequest) -> ClipFiles:
        try:
            clip = self._recorder.clip(self._name)
            # The recording cannot be made again, so it waits for its place in a full queue.
            self._whole = self._recognizer.admission.submit_waiting(clip, request, timeout_s=PATIENCE_S)
            outputs = self._recognizer.settings.outputs / request.owner
            return write_run(outputs, self._whole.result(), request.exports, request.keep_audio)
        finally:
            self._recorder.close()


def _sounding_part(heard: FloatArray, sounds: Flags, window_s: float) -> FloatArray:
    """The last `window_s` without the silence before its first sound, which costs time and tells nothing."""
    start = max(len(heard) - round(window_s * SAMPLE_RATE_HZ), 0)
    first = start // FRAME_SAMPLES + int(sounds[start // FRAME_SAMPLES :].argmax())
    window = heard[max(first * FRAME_SAMPLES - round(_LEAD_S * SAMPLE_RATE_HZ), start) :]
    window.setflags(write=False)
    return window
