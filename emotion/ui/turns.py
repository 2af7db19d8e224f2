"""Recordings of one reader, of which only so many are in work at a time."""

from concurrent.futures import Future

from emotion import trace
from emotion.access import Turns
from emotion.analysis import Analysis, Granularity
from emotion.audio import Source
from emotion.recognizer import Recognizer


class InTurn:
    """Hands a reader's recordings to the recogniser; each takes a turn until it is done, whatever becomes of it.

    `request_id` is that of the request that asked for them.
    """

    def __init__(self, recognizer: Recognizer, turns: Turns, name: str, request_id: str) -> None:
        self._recognizer, self._turns, self._name, self._request_id = recognizer, turns, name, request_id

    def submit(
        self, source: Source, granularity: Granularity = "utterance", embedding: bool = False, name: str | None = None
    ) -> "Future[Analysis]":
        """As `Recognizer.submit`; raises TooManyRequests too."""
        self._turns.acquire(self._name)
        try:
            with trace.request(self._request_id):
                future = self._recognizer.submit(source, granularity, embedding, name)
        except BaseException:
            self._turns.release(self._name)
            raise
        future.add_done_callback(self._done)
        return future

    def _done(self, _: "Future[Analysis]") -> None:
        self._turns.release(self._name)
