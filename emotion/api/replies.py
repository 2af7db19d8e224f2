"""Jobs and their answers as HTTP responses."""

import asyncio
from typing import Any

import orjson
from starlette.responses import Response

from emotion.access import problem_of
from emotion.api.answers import Answer
from emotion.api.job import Job
from emotion.api.jobs import Jobs
from emotion.api.problems import problem_response
from emotion.errors import JobNotFound

RETRY_S = 1
JSON = "application/json"
_STAGES = ("decode", "queue", "inference")


async def finished(job: Job) -> Response:
    """The record of a job that is over, or the problem that it ended with."""
    if job.answer is None:
        return problem_response(job.error or RuntimeError("a job ended without an outcome"))
    headers = {
        "Content-Location": job.path,
        "Cache-Status": cache_status(job, job.answer),
        "Server-Timing": server_timing(job.answer),
        "Cache-Control": "no-store",
    }
    return Response(await record_of(job.answer), 200, headers, JSON)


async def record_of(answer: Answer) -> bytes:
    """The record, read on a thread if it lies on the disk."""
    if isinstance(answer.record, bytes):
        return answer.record
    try:
        return await asyncio.to_thread(answer.record.read_bytes)
    except OSError:  # it was forgotten in this very moment
        raise JobNotFound from None


def accepted(jobs: Jobs, job: Job, prefers_async: bool) -> Response:
    """A job that is to be asked for later."""
    headers = {"Location": job.path, "Retry-After": str(RETRY_S), **preference(prefers_async)}
    return Response(orjson.dumps(jobs.record(job)), 202, headers, JSON)


def in_work(jobs: Jobs, job: Job) -> Response:
    headers = {"Retry-After": str(RETRY_S), "Cache-Control": "no-store"}
    return Response(orjson.dumps(jobs.record(job)), 202, headers, JSON)


async def entry(jobs: Jobs, job: Job) -> bytes:
    """One recording among several: its name, the status it would have had alone, and record, job or problem."""
    if job.error is not None:
        return refused(job.name, job.error)
    head = {"name": job.name, "location": job.path}
    if job.answer is not None:
        return _joined({**head, "status": 200}, b"record", await record_of(job.answer))
    return _joined({**head, "status": 202}, b"job", orjson.dumps(jobs.record(job)))


def refused(name: str, error: Exception) -> bytes:
    """The same of one that was not taken, or failed."""
    problem = problem_of(error)
    return orjson.dumps({"name": name, "status": problem.status, "problem": problem.body})


def preference(prefers_async: bool) -> dict[str, str]:
    return {"Preference-Applied": "respond-async"} if prefers_async else {}


def cache_status(job: Job, answer: Answer) -> str:
    """RFC 9211."""
    if answer.cached:
        return "emotion; hit"
    return "emotion; fwd=miss" if job.wish.cache else "emotion; fwd=request"


def server_timing(answer: Answer) -> str:
    """The stages in milliseconds, as browsers show them."""
    return ", ".join(f"{stage};dur={answer.timings_ms[stage]}" for stage in _STAGES if stage in answer.timings_ms)


def _joined(head: dict[str, Any], key: bytes, value: bytes) -> bytes:
    """An object with one more entry, whose JSON is there already."""
    return orjson.dumps(head)[:-1] + b',"' + key + b'":' + value + b"}"
