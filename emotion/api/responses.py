"""Jobs and their results as HTTP responses."""

from typing import Any

import orjson
from starlette.responses import Response

from emotion.access import problem_of
from emotion.api.job import Job
from emotion.api.job_result import JobResult
from emotion.api.jobs import Jobs
from emotion.api.problems import problem_response

RETRY_S = 1
JSON = "application/json"
_STAGES = ("decode", "queue", "inference")


async def finished(job: Job) -> Response:
    """The record of a job that is over, or the problem that it ended with."""
    if job.result is None:
        return problem_response(job.error or RuntimeError("a job ended without an outcome"))
    headers = {
        "Content-Location": job.record.path,
        "Cache-Status": _cache_status(job, job.result),
        "Server-Timing": _server_timing(job.result),
        "Cache-Control": "no-store",
    }
    return Response(await job.result.read_json(), 200, headers, JSON)


def accepted(jobs: Jobs, job: Job, prefers_async: bool) -> Response:
    """A job that was just accepted, to be asked for later."""
    headers = {"Location": job.record.path, "Retry-After": str(RETRY_S), **preference(prefers_async)}
    return Response(orjson.dumps(jobs.describe(job)), 202, headers, JSON)


def in_work(jobs: Jobs, job: Job) -> Response:
    headers = {"Retry-After": str(RETRY_S), "Cache-Control": "no-store"}
    return Response(orjson.dumps(jobs.describe(job)), 202, headers, JSON)


async def entry(jobs: Jobs, job: Job) -> bytes:
    """One recording among several: its name, the status it would have had alone, and record, job or problem."""
    if job.error is not None:
        return refused_entry(job.record.name, job.error)
    head = {"name": job.record.name, "location": job.record.path}
    if job.result is not None:
        return _joined({**head, "status": 200}, b"record", await job.result.read_json())
    return orjson.dumps({**head, "status": 202, "job": jobs.describe(job)})


def refused_entry(name: str, error: Exception) -> bytes:
    """The same of a recording that was refused, or failed."""
    problem = problem_of(error)
    return orjson.dumps({"name": name, "status": problem.status, "problem": problem.body})


def preference(prefers_async: bool) -> dict[str, str]:
    return {"Preference-Applied": "respond-async"} if prefers_async else {}


def _cache_status(job: Job, result: JobResult) -> str:
    """RFC 9211."""
    if result.cached:
        return "emotion; hit"
    return "emotion; fwd=miss" if job.record.request.cache else "emotion; fwd=request"


def _server_timing(result: JobResult) -> str:
    """The stages in milliseconds, as browsers show them."""
    return ", ".join(f"{stage};dur={result.timings_ms[stage]}" for stage in _STAGES if stage in result.timings_ms)


def _joined(head: dict[str, Any], key: bytes, value: bytes) -> bytes:
    """An object with one more entry, whose JSON exists already."""
    return orjson.dumps(head)[:-1] + b',"' + key + b'":' + value + b"}"
