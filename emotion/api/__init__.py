"""The HTTP API: the same engine as the page, for programs.

`routes` joins the endpoints with the application: `analyses` takes recordings, `job_endpoints` answers about jobs,
`stream` listens, `about` describes the server. `query` and `uploads` read a request, `responses` answers it. `jobs` has
the jobs of all clients, `job_store` those that survive the server. `openapi` and `schemas` describe the API.
"""

from emotion.api.routes import add_api

__all__ = ["add_api"]
