"""Recordings of one reader, of which only so many are in work at a time."""

from concurrent.futures import Future

from emotion.analysis import Analysis, AnalysisRequest, Granularity
from emotion.audio import Source
from emotion.engine import ConcurrencyLimit
from emotion.engine.recognizer import Recognizer
from emotion.logs import request_context
from emotion.ui.workspace import PageVisitor


class LimitedSubmit:
    """Hands a reader's recordings to the recogniser; each takes a turn until it is done, whatever becomes of it."""

    def __init__(self, recognizer: Recognizer, turns: ConcurrencyLimit, reader: PageVisitor) -> None:
        self._recognizer, self._turns, self._reader = recognizer, turns, reader

    def submit(
        self, source: Source, granularity: Granularity = "utterance", embedding: bool = False, name: str | None = None
    ) -> "Future[Analysis]":
        """As `Recognizer.submit`; raises TooManyRequests too."""
        request = AnalysisRequest(granularity, embedding, client=self._reader.name, owner=self._reader.place.owner)
        with request_context.request_scope(self._reader.request_id):
            return self._recognizer.admission.submit(source, request, name)
