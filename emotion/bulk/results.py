"""Results that a later call continues: what was asked for, and parts that appear whole."""

import json
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, BinaryIO, Self, TypeVar

import pyarrow

from emotion import __version__
from emotion.analysis import AnalysisRequest, Granularity
from emotion.bulk.errors import ResultsDiffer, ResultsInUse, ResultsNotOurs
from emotion.bulk.listing import Seen
from emotion.bulk.parts import SUFFIX, PartWriter, Sum, is_part, read_paths, read_sum, write_without_failures
from emotion.bulk.rows import schema_of
from emotion.bulk.storage import canonical
from emotion.bulk.store import Store, unwritable
from emotion.model import ModelCard
from emotion.settings import Settings

STATE_FILE = "_state.json"
_SCHEMA = 1
# Parts of an object store are read so many at a time.
_READERS = 8
# What changes the numbers of a recording.
_ANALYSIS = ("exact_limit_s", "window_s", "context_s", "smoothing_s", "min_segment_s", "uncertain_margin")
Found = TypeVar("Found")


@dataclass(frozen=True)
class State:
    """How results are made; all that must be the same when a later call continues them."""

    granularity: Granularity
    embedding: bool
    model: dict[str, str]
    labels: tuple[str, ...]
    analysis: dict[str, float]

    @property
    def request(self) -> AnalysisRequest:
        """What is wanted of each recording. The same sound twice is rarer than what looking for it costs."""
        return AnalysisRequest(self.granularity, self.embedding, cache=False)

    @property
    def schema(self) -> pyarrow.Schema:
        return schema_of(self.labels, self.granularity == "frame", self.embedding)


def state_of(request: AnalysisRequest, card: ModelCard, settings: Settings) -> State:
    """What results with this model and these settings say of themselves; on which device does not matter."""
    model = {key: str(value) for key, value in card.record().items() if key != "device"}
    analysis = {key: float(getattr(settings, key)) for key in _ANALYSIS}
    return State(request.granularity, request.embedding, model, card.labels, analysis)


class Results:
    """A folder or a prefix of parts and one state; can be sent to another machine."""

    def __init__(self, place: str) -> None:
        self._store = Store(canonical(place))
        self.name = self._store.name
        self._run = secrets.token_hex(8)
        self._state: State | None = None

    @property
    def state(self) -> State:
        if self._state is None:
            raise RuntimeError("results were written to before they were claimed")
        return self._state

    @contextmanager
    def held(self) -> Iterator[Self]:
        """Keep other commands from writing here; raises ResultsInUse."""
        with self._store.held():
            yield self

    def claim(self, state: State, overwrite: bool = False, retry_failed: bool = False) -> Sum:
        """Take the results over, new or to be continued; what they hold already.

        Raises ResultsDiffer if they were made in another way, ResultsNotOurs if nobody knows how.
        """
        found = self._read_state()
        if found is None and any(name.endswith(SUFFIX) for name in self._store.names()):
            raise ResultsNotOurs(self.name)
        if overwrite:
            for name in self.parts():
                self._store.delete_file(name)
        elif found is not None and (differences := _differences(found, {**_plain(state), "schema": _SCHEMA})):
            raise ResultsDiffer(self.name, "; ".join(differences))
        self._state = state
        self._write_state(None if overwrite else found)
        if retry_failed:
            self._delete_failures()
        return sum(self._of_parts(self.parts(), read_sum), Sum())

    def parts(self) -> list[str]:
        """The names of the parts that are there."""
        return [name for name in self._store.names() if is_part(name)]

    def done(self, parts: list[str]) -> Seen:
        """The recordings that these parts hold."""
        seen = Seen()
        for paths in self._of_parts(parts, read_paths):
            for path in paths:
                seen.add(path)
        return seen

    def sum_of(self, part: str) -> Sum | None:
        """What one part holds, None where there is none of that name."""
        if not self._store.has(part):
            return None
        with self._store.open_file(part) as file:
            return read_sum(file, part)

    def new_part(self) -> PartWriter:
        """A part to fill, which `publish_part` adds to the results."""
        return PartWriter(self._store, self.state.schema)

    def publish_part(self, part: PartWriter) -> None:
        """Add a part to the results; raises ResultsInUse if another command has taken them over since `claim`."""
        part.close()
        found = self._read_state()
        if found is None or found.get("run") != self._run:
            part.path.unlink(missing_ok=True)
            raise ResultsInUse(self.name)
        self._store.publish_file(part.path, part.name)

    def _delete_failures(self) -> None:
        """Take the rows of recordings that failed out, so that these count as not done."""
        for name in self.parts():
            with self._store.open_file(name) as file:
                if not read_sum(file, name).failed:
                    continue
                file.seek(0)
                aside = self._store.aside()
                has_rows = write_without_failures(file, name, aside)
            if has_rows:
                self._store.publish_file(aside, name)
            else:
                self._store.delete_file(name)

    def _of_parts(self, parts: list[str], read: Callable[[BinaryIO, str], Found]) -> Iterator[Found]:
        def read_one(name: str) -> Found:
            with self._store.open_file(name) as file:
                return read(file, name)

        with ThreadPoolExecutor(_READERS, thread_name_prefix="parts") as pool:
            # A few at a time: all at once would hold all paths.
            for first in range(0, len(parts), 2 * _READERS):
                yield from pool.map(read_one, parts[first : first + 2 * _READERS])

    def _read_state(self) -> dict[str, Any] | None:
        content = self._store.read_file(STATE_FILE)
        if content is None:
            return None
        try:
            found = json.loads(content)
        except ValueError:
            raise ResultsNotOurs(self.name) from None
        return found if isinstance(found, dict) else None

    def _write_state(self, found: dict[str, Any] | None) -> None:
        began = datetime.now(UTC).isoformat(timespec="seconds") if found is None else found.get("began")
        content = {"schema": _SCHEMA, "program": __version__, "began": began, "run": self._run, **_plain(self.state)}
        aside = self._store.aside()
        with unwritable(self.name):
            aside.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
        self._store.publish_file(aside, STATE_FILE)


def require_same(before: State, now: State, name: str) -> None:
    """Raises ResultsDiffer if a replica makes other results than those that are there."""
    if differences := _differences(_plain(before), _plain(now)):
        raise ResultsDiffer(name, "; ".join(differences))


def _plain(state: State) -> dict[str, Any]:
    """The state as it comes back from JSON."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(state)))
    return plain


def _differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """In words, what is not as it was."""
    then, now = _flat(found), _flat(wanted)
    return [f"{key} was {then.get(key)}, and is now {value}" for key, value in now.items() if then.get(key) != value]


def _flat(state: dict[str, Any]) -> dict[str, Any]:
    model = state.get("model") or {}
    return {
        "layout": state.get("schema"),
        "granularity": state.get("granularity"),
        "embedding": state.get("embedding"),
        "model": model.get("name"),
        **{key: value for key, value in model.items() if key != "name"},
        **(state.get("analysis") or {}),
        "labels": state.get("labels"),
    }
