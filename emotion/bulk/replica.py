"""One model on one machine of a cluster: a block of recordings in, a part of the results out."""

import threading
from typing import Any

from emotion.bulk.blocks import Block
from emotion.bulk.parts import Sum, part_name
from emotion.bulk.pipeline import Pipeline
from emotion.bulk.results import Results, require_same, state_of
from emotion.engine.recognizer import Recognizer
from emotion.errors import EmotionError
from emotion.model import ModelCard
from emotion.settings import Settings


class Replica:
    """What Ray makes on a machine and gives blocks to.

    Errors do not leave it as exceptions, which Ray would wrap and try again, but as words of the summary.
    """

    def __init__(self, settings: dict[str, Any], results: Results) -> None:
        self._results = results
        self._error = ""
        self._recognizer: Recognizer | None = None
        try:
            self._recognizer = Recognizer(settings=Settings(**settings))
            request = results.state.request
            now = state_of(request, self._recognizer.engine.card, self._recognizer.settings)
            require_same(results.state, now, results.name)
            self._lane = Pipeline(self._recognizer, request)
        except EmotionError as error:
            self._error = str(error)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """The summary of a batch of one block: rows, failed, sound_s, again, error."""
        block = Block.from_json(str(batch["block"][0]))
        done, error = Sum(), self._error
        if not error:
            try:
                done = self._part_of(block)
            except EmotionError as wrong:
                error = str(wrong)
        facts = {**vars(done), "again": block.again, "error": error or block.error}
        return {key: [value] for key, value in facts.items()}

    def close(self) -> None:
        """End the threads; Ray ends the whole process instead."""
        if self._recognizer is not None:
            self._recognizer.close()

    def _part_of(self, block: Block) -> Sum:
        """Make the part of a block, unless a replica before this one made it and was ended then."""
        if not block.recordings:
            return Sum()
        name = part_name(recording.path for recording in block.recordings)
        if name in self._results.parts():
            return self._results.sum_of(name)
        part = self._results.new_part()
        for row in self._lane.rows(block.recordings, threading.Event()):
            if row is not None:
                self._results.add(part, row)
        self._results.publish(part)
        return part.sum


def open_on_replica(settings: dict[str, Any]) -> ModelCard | str:
    """Which model replicas get, or why they get none."""
    try:
        with Recognizer(settings=Settings(**settings)) as recognizer:
            return recognizer.engine.card
    except EmotionError as error:
        return str(error)
