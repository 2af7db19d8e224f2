"""Fetches the files of one model from a hub, in its own process: `python -m emotion.model.checkpoint.fetch REQUEST`.

Its own process, because the hubs' clients draw bars on the terminal, retry for minutes and cannot be stopped in the
middle; and because the process that serves then need not hold them in memory. It costs half a second. Standard output
has one JSON object per line: `{"done": bytes, "total": bytes}` twice a second, and at the end `{"end": WORD}`.
"""

import hashlib
import io
import json
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion.model.checkpoint.convert import is_full_disk

if TYPE_CHECKING:
    from typing_extensions import Buffer  # of collections.abc from Python 3.12 on

REPORT_EVERY_S = 0.5
END_DONE, END_ABSENT, END_AWAY, END_FULL, END_DAMAGED = "done", "absent", "away", "full", "damaged"


@dataclass(frozen=True)
class Request:
    """Which files of which model, and the folder they go to; a second request goes on where the first one ended."""

    hub: str
    model_id: str
    revision: str
    files: tuple[str, ...]
    folder: str

    def to_json(self) -> str:
        return json.dumps(self.__dict__)

    @classmethod
    def from_json(cls, text: str) -> "Request":
        fields = json.loads(text)
        return cls(**{**fields, "files": tuple(fields["files"])})


class Meter:
    """Counts the bytes of all files and writes them to standard output from a thread of its own."""

    def __init__(self) -> None:
        self.done_bytes = 0
        self.total_bytes = 0
        self._stop = threading.Event()

    def add(self, num_bytes: int) -> None:
        self.done_bytes += num_bytes

    @contextmanager
    def reporting(self) -> Iterator[None]:
        thread = threading.Thread(target=self._report, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _report(self) -> None:
        while not self._stop.wait(REPORT_EVERY_S):
            try:
                say(done=self.done_bytes, total=self.total_bytes)
            except OSError:  # nobody reads any more: the program that asked has ended, and so does this
                os._exit(1)
        say(done=self.done_bytes, total=self.total_bytes)


class NoRoom(Exception):
    """The disk has less room than the files need."""


def main() -> None:
    """Fetch what the first argument asks for and say how it ended."""
    request = Request.from_json(sys.argv[1])
    meter = Meter()
    try:
        with meter.reporting():
            (_fetch_hf if request.hub == "hf" else _fetch_modelscope)(request, meter)
        end = END_DONE
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
        end = _end_of(error)
    say(end=end, needed=max(0, meter.total_bytes - meter.done_bytes))


def say(**words: object) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


def _fetch_modelscope(request: Request, meter: Meter) -> None:
    from modelscope_hub import HubApi, ProgressCallback, RepoType

    class Count(ProgressCallback):
        def update(self, size: int) -> None:
            meter.add(size)

    api = HubApi()
    api = HubApi(endpoint=api.resolve_endpoint_for_read(request.model_id))
    listed = api.list_repo_files(request.model_id, RepoType.MODEL, revision=request.revision)
    meter.total_bytes = sum(file.size or 0 for file in listed if file.path in request.files)
    _require_room(request, meter)
    api.download_repo(
        request.model_id,
        RepoType.MODEL,
        revision=request.revision,
        local_dir=request.folder,
        allow_patterns=list(request.files),
        progress_callbacks=[Count],
        max_workers=1,
    )


def _fetch_hf(request: Request, meter: Meter) -> None:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import RemoteEntryNotFoundError

    plan = []
    for name in request.files:
        url = hf_hub_url(request.model_id, name, revision=request.revision)
        try:
            published = get_hf_file_metadata(url, retry_on_errors=True)
        except RemoteEntryNotFoundError:
            continue
        plan.append((name, url, published.size or 0, published.etag or ""))
    meter.total_bytes = sum(size for _, _, size, _ in plan)
    _require_room(request, meter)
    for name, url, size, etag in plan:
        # Of a file that changed on the hub, the part that is here must not be continued.
        part = Path(request.folder) / f"{name}.{hashlib.sha256(etag.encode()).hexdigest()[:8]}.part"
        _continue_hf_file(url, part, size, meter)
        part.replace(part.parent / Path(name).name)


def _continue_hf_file(url: str, part: Path, size: int, meter: Meter) -> None:
    """Fetch what `part` lacks; `hf_hub_download` would begin again, since it shares its parts with nobody."""
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers, tqdm  # type: ignore[attr-defined]

    class Undrawn(tqdm):
        """No bar: what has arrived is counted where it is written."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})  # type: ignore[no-untyped-call]

    part.parent.mkdir(parents=True, exist_ok=True)
    if part.exists() and part.stat().st_size > size:
        part.unlink()
    with io.BufferedWriter(_CountedFile(part, meter)) as file:
        here = file.tell()
        if here < size:
            http_get(url, file, resume_size=here, headers=build_hf_headers(), expected_size=size, tqdm_class=Undrawn)


class _CountedFile(io.FileIO):
    """A file that grows at its end, of which the meter counts what is on the disk and nothing that is yet to be."""

    def __init__(self, path: Path, meter: Meter) -> None:
        super().__init__(path, "a")
        self._meter = meter
        meter.add(self.tell())

    def write(self, data: "Buffer") -> int:
        num_bytes = super().write(data)
        self._meter.add(num_bytes)
        return num_bytes

    def truncate(self, size: int | None = None) -> int:
        before = os.fstat(self.fileno()).st_size
        after = super().truncate(size)
        self._meter.add(after - before)
        return after


def _require_room(request: Request, meter: Meter) -> None:
    folder = Path(request.folder)
    folder.mkdir(parents=True, exist_ok=True)
    here_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    if shutil.disk_usage(folder).free < meter.total_bytes - here_bytes:
        raise NoRoom


def _end_of(error: Exception) -> str:
    causes = list(_chain(error))
    if isinstance(error, NoRoom) or any(is_full_disk(cause) for cause in causes):
        return END_FULL
    names = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
    if names & {"FileIntegrityError"}:
        return END_DAMAGED
    # Both hubs answer alike for a name that does not exist and one that is not for everybody.
    if names & {"NotExistError", "RepositoryNotFoundError", "RevisionNotFoundError", "HFValidationError"}:
        return END_ABSENT
    return END_AWAY


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        yield from getattr(error, "failed_files", {}).values()
        error = error.__cause__


if __name__ == "__main__":
    main()
