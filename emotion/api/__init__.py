"""The HTTP API: the same engine as the page, for programs.

`routes` joins the endpoints with the application: `analyses` takes recordings, `job_endpoints` and `events` tell of
jobs, `stream` listens, `about` tells of the server. `query` and `uploads` read a request, `responses` and `problems`
answer it. `jobs` has the jobs of all clients, `finished_jobs` those that are over, and `job_store` those that survive
the server. `operations`, `schemas` and `description` describe the API.
"""

from emotion.api.routes import add_api

__all__ = ["add_api"]
