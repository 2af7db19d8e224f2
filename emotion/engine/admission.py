"""Who may put how much into an engine, and who waits for a place; one way for page, API, command line and bulk work."""

import asyncio
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field

from emotion.analysis import Analysis, AnalysisRequest
from emotion.audio import Clip, Source
from emotion.engine.contract import SpeechEngine
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

    def release(self, client: str, count: int = 1) -> None:
        """Give slots back, whatever became of the recordings."""
        if not client:
            return
        with self._lock:
            self._taken[client] -= count
            if self._taken[client] <= 0:
                del self._taken[client]
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
    takes_slot: bool
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
        self._waiting: OrderedDict[str, deque[_Waiting]] = OrderedDict()
        self._is_admitting = self._look_again = False
        engine.on_departure(self._admit_waiting)
        limit.on_release(self._admit_waiting)

    def submit(
        self, source: Source | Clip, request: AnalysisRequest, name: str | None = None, *, takes_slot: bool = True
    ) -> "Future[Analysis]":
        """Submit a recording at once; raises EngineBusy, TooManyRequests or EngineClosed.

        Without `takes_slot` the caller holds the slot of the client itself.
        """
        if not takes_slot:
            return self._engine.submit(source, request, name)
        self.limit.acquire(request.client)
        try:
            future = self._engine.submit(source, request, name)
        except BaseException:
            self.limit.release(request.client)
            raise
        future.add_done_callback(lambda _: self.limit.release(request.client))
        return future

    def enqueue(
        self, source: Source | Clip, request: AnalysisRequest, name: str | None = None, *, takes_slot: bool = True
    ) -> "Future[Future[Analysis]]":
        """Submit a recording as soon as there is a place; the future gives that of its analysis.

        Cancelling it gives up the place in line. It fails with what `submit` raises, but for a full queue or limit.
        """
        waiting = _Waiting(source, request, name, takes_slot)
        with self._lock:
            self._waiting.setdefault(request.client, deque()).append(waiting)
        waiting.admitted.add_done_callback(lambda admitted: self._drop(waiting) if admitted.cancelled() else None)
        self._admit_waiting()
        return waiting.admitted

    def submit_waiting(
        self,
        source: Source | Clip,
        request: AnalysisRequest,
        name: str | None = None,
        *,
        timeout_s: float = PATIENCE_S,
        takes_slot: bool = True,
    ) -> "Future[Analysis]":
        """Wait for a place, then submit; raises EngineBusy after `timeout_s`, and what `submit` raises else."""
        admitted = self.enqueue(source, request, name, takes_slot=takes_slot)
        try:
            return admitted.result(timeout_s)
        except TimeoutError:
            return self._given_up(admitted)

    async def submit_waiting_async(
        self,
        source: Source | Clip,
        request: AnalysisRequest,
        name: str | None = None,
        *,
        timeout_s: float | None = PATIENCE_S,
        takes_slot: bool = True,
    ) -> "Future[Analysis]":
        """The same on an event loop; a task that is cancelled gives up its place, or the recording it just got in."""
        admitted = self.enqueue(source, request, name, takes_slot=takes_slot)
        try:
            await asyncio.wait({asyncio.wrap_future(admitted)}, timeout=timeout_s)
        except asyncio.CancelledError:
            give_up(admitted)
            raise
        return admitted.result() if admitted.done() else self._given_up(admitted)

    def _given_up(self, admitted: "Future[Future[Analysis]]") -> "Future[Analysis]":
        """Raise EngineBusy for one that waited too long, unless it was admitted in the same moment."""
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
            blocked: set[str] = set()
            while (waiting := self._next_waiting(blocked)) is not None:
                if not self._admit(waiting):
                    blocked.add(waiting.request.client)

    def _has_to_look(self) -> bool:
        with self._lock:
            self._is_admitting, self._look_again = self._look_again, False
            return self._is_admitting

    def _next_waiting(self, blocked: set[str]) -> _Waiting | None:
        """Take the first recording of the next client in turn."""
        with self._lock:
            client = next((name for name in self._waiting if name not in blocked), None)
            if client is None:
                return None
            line = self._waiting[client]
            waiting = line.popleft()
            if line:
                self._waiting.move_to_end(client)
            else:
                del self._waiting[client]
            return waiting

    def _admit(self, waiting: _Waiting) -> bool:
        """Submit one that waits; False, and it waits on, when there is no place for it."""
        try:
            with request_scope(waiting.request_id):
                future = self.submit(waiting.source, waiting.request, waiting.name, takes_slot=waiting.takes_slot)
        except (EngineBusy, TooManyRequests):
            with self._lock:
                if not waiting.admitted.cancelled():
                    self._waiting.setdefault(waiting.request.client, deque()).appendleft(waiting)
                    self._waiting.move_to_end(waiting.request.client, last=False)
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

    def _drop(self, waiting: _Waiting) -> None:
        """Remove one that was cancelled from the line, with what it holds in memory."""
        with self._lock:
            line = self._waiting.get(waiting.request.client)
            if line is not None and waiting in line:
                line.remove(waiting)
                if not line:
                    del self._waiting[waiting.request.client]


def give_up(admitted: "Future[Future[Analysis]]") -> None:
    """Cancel what `Admission.enqueue` gave: the place in line, or the recording that was just admitted."""
    if not admitted.cancel() and admitted.exception() is None:
        admitted.result().cancel()
