"""What is to be done, cut into blocks that are the same whenever they are cut."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from emotion.bulk.listing import Listing, Recording
from emotion.bulk.results import Results
from emotion.bulk.work import Pending
from emotion.errors import EmotionError

# Long recordings make a block of few, where their sizes are known: two hours of 16-bit sound.
_BLOCK_BYTES = 230_000_000


@dataclass(frozen=True)
class Block:
    """Recordings of one part; `again` were listed before it though they are done, `error` is why the list ends here."""

    recordings: tuple[Recording, ...]
    again: int
    error: str = ""

    def to_json(self) -> str:
        rows = [
            (one.path, one.entry, one.size_bytes, one.modified and one.modified.isoformat()) for one in self.recordings
        ]
        return json.dumps({"recordings": rows, "again": self.again, "error": self.error})

    @classmethod
    def from_json(cls, text: str) -> "Block":
        content = json.loads(text)
        recordings = tuple(
            Recording(path, entry, size_bytes, datetime.fromisoformat(modified) if modified else None)
            for path, entry, size_bytes, modified in content["recordings"]
        )
        return cls(recordings, content["again"], content["error"])


class Blocks:
    """The blocks of what is listed and not in some parts, as JSON; can be sent to another machine.

    Goes by the names of the parts at the start: if listing is begun again later, the same blocks come again.
    """

    def __init__(self, listing: Listing, results: Results, parts: list[str], rows: int) -> None:
        self._listing, self._results, self._parts, self._rows = listing, results, parts, rows

    def __iter__(self) -> Iterator[str]:
        gathered: list[Recording] = []
        again, error = 0, ""
        try:
            pending = Pending(self._listing, self._results.done(self._parts))
            held_bytes = 0
            for recording in pending:
                gathered.append(recording.with_file_facts())
                held_bytes += gathered[-1].size_bytes or 0
                if len(gathered) >= self._rows or held_bytes >= _BLOCK_BYTES:
                    yield Block(tuple(gathered), pending.again).to_json()
                    gathered, held_bytes = [], 0
            again = pending.again
        except EmotionError as wrong:
            error = str(wrong)
        if gathered or again or error:
            yield Block(tuple(gathered), again, error).to_json()
