"""Who may put how much into an engine, and who waits for a place; one way for page, API, command line and bulk work."""

import asyncio
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field

from emotion.analysis import Analysis, AnalysisRequest
from emotion.audio import Clip, Source
from emotion.engine.front import SpeechEngine
from emotion.errors import EngineBusy, TooManyRequests
from emotion.logs.request_context import request_id, request_scope

# When a recording of one's own is done is not known; most are done in a moment.
_SLOT_RETRY_S = 2.0
PATIENCE_S = 600.0
"""How long a recording that cannot be sent again waits for a place in a full queue."""


class ConcurrencyLimit:
    """How many recordings of one client may be in work at a time; from any thread.

    Clients without a name are not counted.
    """

    def __init__(self, limit: int) -> None:
        """`limit` is the setting `jobs_per_client`, 0 for none."""
        self._limit = limit
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()
        self._on_release: Callable[[], None] = lambda: None

    def on_release(self, callback: Callable[[], None]) -> None:
        """Call `callback` after each release; one callback at most."""
        self._on_release = callback

    def acquire(self, client: str, count: int = 1) -> None:
        """Take so many slots of this client, or raise TooManyRequests and take none."""
        if not client:
            return
        with self._lock:
            if self._limit and self._taken[client] + count > self._limit:
                raise TooManyRequests(_SLOT_RETRY_S)
            self._taken[client] += count

    def release(self, client: str, count: int = 1, used: bool = True) -> None:
        """Give slots back, whatever became of the recordings; of those that were never `used` nobody is told."""
        if not client:
            return
        with self._lock:
            self._taken[client] -= count
            if self._taken[client] <= 0:
                del self._taken[client]
        if used:
            self._on_release()

    @contextmanager
    def slot(self, client: str) -> Iterator[None]:
        """A slot for as long as the context lasts."""
        self.acquire(client)
        try:
            yield
        finally:
            self.release(client)

    def taken(self, client: str) -> int:
        """How many recordings of this client are in work."""
        with self._lock:
            return self._taken.get(client, 0)


@dataclass(frozen=True, eq=False)
class _Waiting:
    """A recording that waits for its place; `admitted` gets the future of its analysis."""

    source: Source | Clip
    request: AnalysisRequest
    name: str | None
    request_id: str = field(default_factory=request_id)
    admitted: "Future[Future[Analysis]]" = field(default_factory=Future)


class Admission:
    """Hands recordings to an engine: at once or refused, or when there is a place; from any thread.

    Each recording takes a slot of its client until it is done, whatever becomes of it. Those that wait are admitted in
    turn, one of each client after the other, each client's in their order.
    """

    def __init__(self, engine: SpeechEngine, limit: ConcurrencyLimit) -> None:
        self._engine, self.limit = engine, limit
        self._lock = threading.Lock()
        self._waiting: OrderedDict[str, list[_Waiting]] = OrderedDict()
        self._is_admitting = self._look_again = False
        engine.on_departure(self._admit_waiting)
        limit.on_release(self._admit_waiting)

    def submit(self, source: Source | Clip, request: AnalysisRequest, name: str | None = None) -> "Future[Analysis]":
        """Submit a recording at once; raises EngineBusy, TooManyRequests or EngineClosed."""
        self.limit.acquire(request.client)
        try:
            future = self._engine.submit(source, request, name)
        except BaseException:
            self.limit.release(request.client, used=False)  # or those who wait would try again at once, for ever
            raise
        future.add_done_callback(lambda _: self.limit.release(request.client))
        return future

    def enqueue(
        self, source: Source | Clip, request: AnalysisRequest, name: str | None = None
    ) -> "Future[Future[Analysis]]":
        """Submit a recording as soon as there is a place; the future gives that of its analysis.

        `give_up` cancels it. It fails with what `submit` raises, but for a full queue or limit.
        """
        waiting = _Waiting(source, request, name)
        with self._lock:
            self._waiting.setdefault(request.client, []).append(waiting)
        waiting.admitted.add_done_callback(lambda _: self._remove(waiting))
        self._admit_waiting()
        return waiting.admitted

    def submit_waiting(
        self, source: Source | Clip, request: AnalysisRequest, name: str | None = None, timeout_s: float = PATIENCE_S
    ) -> "Future[Analysis]":
        """Wait for a place, then submit; raises EngineBusy after `timeout_s`, and what `submit` raises else."""
        admitted = self.enqueue(source, request, name)
        try:
            return admitted.result(timeout_s)
        except TimeoutError:
            return self._timed_out(admitted)

    async def submit_waiting_async(
        self,
        source: Source | Clip,
        request: AnalysisRequest,
        name: str | None = None,
        timeout_s: float | None = PATIENCE_S,
    ) -> "Future[Analysis]":
        """The same on an event loop; a task that is cancelled gives up its place, or the recording it just got in."""
        admitted = self.enqueue(source, request, name)
        try:
            await asyncio.wait({asyncio.wrap_future(admitted)}, timeout=timeout_s)
        except asyncio.CancelledError:
            give_up(admitted)
            raise
        return admitted.result() if admitted.done() else self._timed_out(admitted)

    def _timed_out(self, admitted: "Future[Future[Analysis]]") -> "Future[Analysis]":
        """Raise EngineBusy, unless the recording was admitted in the same moment."""
        if not admitted.cancel():
            return admitted.result()
        raise EngineBusy(self._engine.queue_length)

    def _admit_waiting(self) -> None:
        """Admit as many as there are places for; one thread at a time, which looks again if others asked meanwhile."""
        with self._lock:
            self._look_again = True
            if self._is_admitting:
                return
            self._is_admitting = True
        while self._has_to_look():
            while sum(self._admit(waiting) for waiting in self._first_of_each_client()):
                pass

    def _has_to_look(self) -> bool:
        with self._lock:
            self._is_admitting, self._look_again = self._look_again, False
            return self._is_admitting

    def _first_of_each_client(self) -> list[_Waiting]:
        with self._lock:
            return [line[0] for line in self._waiting.values()]

    def _admit(self, waiting: _Waiting) -> bool:
        """Submit one that waits; False, and it waits on, when there is no place for it."""
        try:
            with request_scope(waiting.request_id):
                future = self.submit(waiting.source, waiting.request, waiting.name)
        except (EngineBusy, TooManyRequests):
            return False
        except Exception as error:
            if waiting.admitted.set_running_or_notify_cancel():
                waiting.admitted.set_exception(error)
            return True
        if waiting.admitted.set_running_or_notify_cancel():
            waiting.admitted.set_result(future)
        else:
            future.cancel()
        return True

    def _remove(self, waiting: _Waiting) -> None:
        """Take one that was admitted or cancelled out of the line, with what it holds in memory."""
        with self._lock:
            line = self._waiting.get(waiting.request.client, [])
            if waiting in line:
                line.remove(waiting)
                self._waiting.move_to_end(waiting.request.client)  # the next turn is that of another client
                if not line:
                    del self._waiting[waiting.request.client]


def give_up(admitted: "Future[Future[Analysis]]") -> None:
    """Cancel what `Admission.enqueue` gave: the place in line, or the recording that was just admitted."""
    if not admitted.cancel() and admitted.exception() is None:
        admitted.result().cancel()
