"""Takes over the jobs that version 0.4 wrote: for each server a folder, in it for each job a folder with `job.json`."""

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import TypeAdapter

from emotion.api.job import StoredJob

OLD_RECORD = "job.json"
_LOG = logging.getLogger(__name__)


def old_jobs(root: Path, home: Path) -> Iterator[StoredJob]:
    """Move the jobs of servers that are gone from `root` to `home`, and give their records, to be stored there.

    A job that cannot be read today is left for the next start, one that cannot be understood is lost; both is said.
    """
    for server in root.glob("server-*"):
        lock = FileLock(server / "lock", blocking=False, thread_local=False)
        try:
            with lock:
                for file in server.glob(f"*/{OLD_RECORD}"):
                    file.parent.replace(home / file.parent.name)
        except Timeout:  # it still runs
            continue
        shutil.rmtree(server, ignore_errors=True)
    for file in home.glob(f"*/{OLD_RECORD}"):
        try:
            yield _record_of(file.read_bytes())
        except OSError as error:
            _LOG.warning("a job that version 0.4 left cannot be read (%s)", error.strerror)
            continue
        except (ValueError, LookupError, TypeError, AttributeError):
            _LOG.warning("a job that version 0.4 left cannot be understood; it is deleted")
        file.unlink(missing_ok=True)


def _record_of(content: bytes) -> StoredJob:
    old = json.loads(content)
    wish, end = old["wish"], old["outcome"] or {}
    request = {
        "granularity": wish["granularity"],
        "embedding": wish["embedding"] != "none",
        "embedding_form": "npy" if wish["embedding"] == "none" else wish["embedding"],
        "exports": wish["exports"],
        "keep_audio": False,
        "cache": wish["cache"],
        "client": old["client"]["name"],
        "owner": old["client"]["folder"] or "",
    }
    same = {key: old[key] for key in ("name", "created", "path", "request_id")}
    state = "running" if not end else "failed" if end["code"] else "done"
    record = {"id": old["identity"], "request": request, "attempts": old["beginnings"], "state": state, **same, **end}
    return TypeAdapter(StoredJob).validate_python(record)
