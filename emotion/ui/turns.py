"""Recordings of one reader, of which only so many are in work at a time."""

from concurrent.futures import Future

from emotion.access import Turns
from emotion.analysis import Analysis, Granularity
from emotion.audio import Source
from emotion.engine.recognizer import Recognizer
from emotion.logs import request_context
from emotion.ui.workspace import PageVisitor


class LimitedSubmit:
    """Hands a reader's recordings to the recogniser; each takes a turn until it is done, whatever becomes of it."""

    def __init__(self, recognizer: Recognizer, turns: Turns, reader: PageVisitor) -> None:
        self._recognizer, self._turns, self._reader = recognizer, turns, reader

    def submit(
        self, source: Source, granularity: Granularity = "utterance", embedding: bool = False, name: str | None = None
    ) -> "Future[Analysis]":
        """As `Recognizer.submit`; raises TooManyRequests too."""
        self._turns.acquire(self._reader.name)
        try:
            with request_context.request(self._reader.request_id):
                future = self._recognizer.submit(source, granularity, embedding, name, owner=self._reader.place.owner)
        except BaseException:
            self._turns.release(self._reader.name)
            raise
        future.add_done_callback(self._done)
        return future

    def _done(self, _: "Future[Analysis]") -> None:
        self._turns.release(self._reader.name)
