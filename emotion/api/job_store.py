"""Stores the jobs that clients were told to come back for (202): they survive the server, however it ends.

Each server has a folder below `.jobs` in the outputs, with a database of its own, and a folder for each job with its
recording, later its result. SQLite locks the database for as long as the server lives: the system ends the lock with
the process, and the lock needs no memory that processes share, so that a network disk with file locks will do. A
server that starts takes over the folders that no other holds.
"""

import contextlib
import json
import logging
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from emotion.api.job import StoredJob
from emotion.api.job_result import JobResult
from emotion.api.uploads import Upload
from emotion.errors import DiskFull, EmotionError, FolderNotWritable
from emotion.outputs.folders import disk_errors

FOLDER, DATABASE = ".jobs", "jobs.sqlite3"
MAX_SERVERS = 64
# How long another server may take to choose its folder.
_CLAIM_TIMEOUT_S = 10.0
_VERSION = 1
# NORMAL is safe against the end of the process; a loss of power may cost the last commits, but never the database.
_OPEN = f"""
PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
BEGIN EXCLUSIVE;
CREATE TABLE IF NOT EXISTS jobs (id TEXT PRIMARY KEY, state TEXT NOT NULL, record TEXT NOT NULL);
PRAGMA user_version = {_VERSION};
COMMIT;
"""
_DAMAGED = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
_RECORDING, _RESULT, _FILES = "recording", "record.json", "files"
# Version 0.4 had a folder for each server, and in it one for each job with this file.
_OLD_RECORD = "job.json"
_RECORD = TypeAdapter(StoredJob)
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Home:
    """A folder of jobs that this server holds; for all threads."""

    folder: Path
    database: sqlite3.Connection
    lock: threading.Lock = field(default_factory=threading.Lock)

    def execute(self, sql: str, *values: str) -> list[tuple[str, ...]]:
        with self.lock:
            return self.database.execute(sql, values).fetchall()

    def save(self, record: StoredJob) -> None:
        content = _RECORD.dump_json(record).decode()
        self.execute("INSERT OR REPLACE INTO jobs VALUES (?, ?, ?)", record.id, record.state, content)

    def job_ids(self) -> set[str]:
        return {job_id for (job_id,) in self.execute("SELECT id FROM jobs")}

    def records(self) -> Iterator[StoredJob]:
        """The jobs; what cannot be understood is deleted."""
        for job_id, content in self.execute("SELECT id, record FROM jobs"):
            try:
                yield _RECORD.validate_json(content)
            except ValidationError:
                _LOG.warning("a job that an earlier server left cannot be understood; it is deleted")
                self.delete_row(job_id)

    def delete_row(self, job_id: str) -> None:
        self.execute("DELETE FROM jobs WHERE id = ?", job_id)


class JobStore:
    """Stores jobs below a folder of outputs; for all threads, every method may take as long as a disk does.

    Raises DiskFull and FolderNotWritable.
    """

    def __init__(self, outputs: Path) -> None:
        self._root = outputs / FOLDER
        self._lock = threading.RLock()
        self._homes: list[_Home] = []
        self._home_of: dict[str, _Home] = {}

    def restore_jobs(self) -> list[StoredJob]:
        """Take over what earlier servers left: first what is over, in the order of its end, then the rest, what was
        started most often last.
        """
        if not self._root.is_dir():
            return []
        with self._lock, self._errors():
            self._claim(with_jobs=True)
            for record in _old_jobs(self._root, self._homes[0].folder):
                self._homes[0].save(record)
            for home in self._homes:
                self._home_of |= {record.id: home for record in home.records()}
                _delete_orphans(home)
            return sorted(self._records(), key=_restore_order)

    def create_job(self, record: StoredJob, upload: Upload) -> None:
        """Store a job with its recording."""
        with self._lock, self._errors():
            if not self._homes:
                self._claim(with_jobs=False)
            home = self._home_of[record.id] = self._homes[0]
        try:
            with self._errors():
                recording = self.make_folder(record.id) / _RECORDING
                if isinstance(upload.source, bytes):
                    recording.write_bytes(upload.source)
                else:
                    _link_or_copy(upload.source, recording)
                home.save(record)
        except EmotionError:  # half a recording would only take the room that is missing
            self.delete_job(record.id)
            raise

    def save_job(self, record: StoredJob, needed_bytes: int = 0) -> None:
        """Store what changed of a job; the recording of one that is over is deleted."""
        with self._errors(needed_bytes):
            self._home_of[record.id].save(record)
            if record.is_over:
                self.recording(record.id).unlink(missing_ok=True)

    def recording(self, job_id: str) -> Path:
        return self._folder(job_id) / _RECORDING

    def make_folder(self, job_id: str) -> Path:
        """The folder of a job, for the files of its result."""
        with self._errors():
            self._folder(job_id).mkdir(mode=0o700, exist_ok=True)
        return self._folder(job_id)

    def complete_job(self, record: StoredJob, result: JobResult) -> JobResult:
        """Store the result instead of the recording; the result with its files where they lie from now on."""
        folder = self._folder(record.id)
        with self._errors(result.disk_bytes):
            if isinstance(result.json, bytes):
                (folder / _RESULT).write_bytes(result.json)
            else:
                shutil.move(result.json, folder / _RESULT)
            if result.folder is not None:
                shutil.move(result.folder, folder / _FILES)
        self.save_job(record, result.disk_bytes)
        return self.result_of(record)

    def result_of(self, record: StoredJob) -> JobResult:
        """The result of a job that is done; raises OSError where its files were deleted."""
        folder = self._folder(record.id)
        files = {path.name: path for path in sorted(folder.glob(f"{_FILES}/*"))}
        disk_bytes = sum(path.stat().st_size for path in (*files.values(), folder / _RESULT))
        return JobResult(
            folder / _RESULT, record.cached, record.duration_s, record.timings_ms, files, folder, disk_bytes
        )

    def delete_job(self, job_id: str) -> None:
        """Delete all that is stored of a job; nothing if that is nothing."""
        home = self._home_of.pop(job_id, None)
        if home is not None:
            # The row last: by it a later server finds the rest.
            shutil.rmtree(home.folder / job_id, ignore_errors=True)
            with self._errors():
                home.delete_row(job_id)

    def close(self) -> None:
        """Leave the jobs to the next server; that this one ended is not held against those in work."""
        with self._lock:
            with contextlib.suppress(EmotionError), self._errors():  # they only count one attempt too many
                for record in self._records():
                    if not record.is_over:
                        self.save_job(replace(record, state="queued", attempts=0))
            for home in self._homes:
                home.database.close()
            self._homes, self._home_of = [], {}

    def _folder(self, job_id: str) -> Path:
        return self._home_of[job_id].folder / job_id

    def _records(self) -> list[StoredJob]:
        return [record for home in self._homes for record in home.records()]

    def _claim(self, with_jobs: bool) -> None:
        """Open the folders that no server holds, or without `with_jobs` an empty one; a new one if there is none."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            # Servers that start at the same time choose one after the other.
            with FileLock(self._root / "claim.lock", timeout=_CLAIM_TIMEOUT_S, thread_local=False):
                for folder in sorted(self._root.glob("store-*")):
                    home = _opened(folder)
                    if home is not None and (with_jobs or not home.job_ids()):
                        self._homes.append(home)
                    elif home is not None:
                        home.database.close()
                self._homes = self._homes or [self._new_home()]
        except Timeout:
            raise FolderNotWritable(FOLDER, "another server is choosing its folder") from None

    def _new_home(self) -> _Home:
        for number in range(MAX_SERVERS):
            folder = self._root / f"store-{number}"
            if not folder.exists():
                folder.mkdir(mode=0o700)
                home = _opened(folder)
                if home is not None:
                    return home
        raise FolderNotWritable(FOLDER, f"{MAX_SERVERS} servers hold folders of jobs")

    @contextlib.contextmanager
    def _errors(self, needed_bytes: int = 0) -> Iterator[None]:
        try:
            with disk_errors(self._root, needed_bytes):
                yield
        except sqlite3.Error as error:
            if _code_of(error) == sqlite3.SQLITE_FULL:
                raise DiskFull(needed_bytes) from error
            raise FolderNotWritable(FOLDER, str(error)) from error


def _opened(folder: Path) -> _Home | None:
    """The folder with its lock; None while another server holds it, or if it cannot be read, which is logged."""
    database: sqlite3.Connection | None = None
    try:
        database = sqlite3.connect(folder / DATABASE, timeout=0, isolation_level=None, check_same_thread=False)
        # First: the write-ahead log then needs no memory that processes share.
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version > _VERSION:
            raise sqlite3.NotSupportedError("a newer version of the program wrote it")
        database.executescript(_OPEN)
        home = _Home(folder, database)
        home.execute("SELECT * FROM jobs")  # a damage may lie anywhere in the file
    except sqlite3.Error as error:
        if database is not None:
            database.close()
        if _code_of(error) in _DAMAGED:
            aside = folder.rename(folder.with_name(f"damaged-{folder.name}-{time.time_ns()}"))
            _LOG.warning("jobs that an earlier server left are lost: their database is damaged; it is now %s", aside)
        elif _code_of(error) != sqlite3.SQLITE_BUSY:
            _LOG.warning("jobs that an earlier server left in %s cannot be read (%s)", folder, error)
        return None
    return home


def _code_of(error: sqlite3.Error) -> int:
    """The primary code of an error of SQLite, 0 for one of Python's own."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _delete_orphans(home: _Home) -> None:
    """Delete folders of jobs that were not stored to the end, or not deleted to the end."""
    known = home.job_ids()
    for folder in home.folder.iterdir():
        if folder.is_dir() and folder.name not in known and not (folder / _OLD_RECORD).exists():
            shutil.rmtree(folder, ignore_errors=True)


def _restore_order(record: StoredJob) -> tuple[bool, float, str]:
    if record.is_over:
        return (False, record.ended, "")
    return (True, record.attempts, record.created)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # on another disk, or one without links
        shutil.copyfile(source, target)


def _old_jobs(root: Path, home: Path) -> Iterator[StoredJob]:
    """Move the jobs of servers that have ended from `root` to `home`, and give their records, to be stored there.

    A job that cannot be read today is left for the next start, one that cannot be understood is lost; both is logged.
    """
    for server in root.glob("server-*"):
        lock = FileLock(server / "lock", blocking=False, thread_local=False)
        try:
            with lock:
                for file in server.glob(f"*/{_OLD_RECORD}"):
                    file.parent.replace(home / file.parent.name)
        except Timeout:  # it still runs
            continue
        shutil.rmtree(server, ignore_errors=True)
    for file in home.glob(f"*/{_OLD_RECORD}"):
        try:
            yield _record_of_old(file.read_bytes())
        except OSError as error:
            _LOG.warning("a job that version 0.4 left cannot be read (%s)", error.strerror)
            continue
        except (ValueError, LookupError, TypeError, AttributeError):
            _LOG.warning("a job that version 0.4 left cannot be understood; it is deleted")
        file.unlink(missing_ok=True)


def _record_of_old(content: bytes) -> StoredJob:
    old = json.loads(content)
    wanted, end = old["wish"], old["outcome"] or {}
    request = {
        "granularity": wanted["granularity"],
        "embedding": wanted["embedding"] != "none",
        "embedding_form": "npy" if wanted["embedding"] == "none" else wanted["embedding"],
        "exports": wanted["exports"],
        "keep_audio": False,
        "cache": wanted["cache"],
        "client": old["client"]["name"],
        "owner": old["client"]["folder"] or "",
    }
    same = {key: old[key] for key in ("name", "created", "path", "request_id")}
    state = "running" if not end else "failed" if end["code"] else "done"
    record = {"id": old["identity"], "request": request, "attempts": old["beginnings"], "state": state, **same, **end}
    return _RECORD.validate_python(record)
