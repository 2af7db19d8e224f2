"""The HTTP API: the same engine as the page, for programs.

`routes` joins the endpoints with the application, `analyses` takes recordings and `kept` has what became of them,
`jobs` keeps it, `bodies` reads uploads, `wishes` says what a request wants, `answers` and `replies` make what it gets,
`problems` is what those who are refused are told.
"""

from emotion.api.routes import add_api

__all__ = ["add_api"]
