"""Jobs, their results, and what is refused as HTTP responses."""

import logging
from typing import Any

import orjson
from fastapi.exceptions import RequestValidationError
from starlette.responses import Response

from emotion.access import problem_of
from emotion.api.job import Job
from emotion.api.job_result import JobResult
from emotion.api.jobs import Jobs
from emotion.errors import EmotionError, RequestInvalid

JSON, EVENT_STREAM = "application/json", "text/event-stream"
RETRY_S = 1
_STAGES = ("decode", "queue", "inference")
_MOST_SHOWN = 80
_LOG = logging.getLogger(__name__)


async def finished(job: Job) -> Response:
    """The record of a job that is over, or the problem that it ended with."""
    if job.result is None:
        return problem_response(job.error or RuntimeError("a job ended without an outcome"))
    timings_ms = job.result.timings_ms
    headers = {
        "Content-Location": job.record.path,
        "Cache-Status": _cache_status(job, job.result),
        "Server-Timing": ", ".join(f"{stage};dur={timings_ms[stage]}" for stage in _STAGES if stage in timings_ms),
        "Cache-Control": "no-store",
    }
    return Response(await job.result.read_json(), 200, headers, JSON)


def in_work(jobs: Jobs, job: Job, headers: dict[str, str]) -> Response:
    """A job to be asked for later."""
    return Response(orjson.dumps(jobs.describe_job(job)), 202, {"Retry-After": str(RETRY_S), **headers}, JSON)


def preference(prefers_async: bool) -> dict[str, str]:
    return {"Preference-Applied": "respond-async"} if prefers_async else {}


def problem_response(error: Exception) -> Response:
    """What to answer to an error of a request or of a job; an unexpected one is logged, and told without details."""
    if isinstance(error, RequestValidationError):
        error = invalid(error.errors())
    problem = problem_of(error)
    if problem.status == 500:
        _LOG.error("an analysis failed unexpectedly", exc_info=error)
    return problem.response()


def invalid(errors: Any) -> EmotionError:
    """The first thing that is wrong with the parameters of a request."""
    first = errors[0]
    where = ".".join(str(part) for part in first["loc"] if part != "query")
    return RequestInvalid(f"{where[:_MOST_SHOWN]}: {first['msg'][: _MOST_SHOWN * 4]}.")


def _cache_status(job: Job, result: JobResult) -> str:
    """RFC 9211."""
    if result.cached:
        return "emotion; hit"
    return "emotion; fwd=miss" if job.record.request.cache else "emotion; fwd=request"
