"""The server: recogniser, page and API joined, guarded and served.

`application` joins them, `routes` says which of its routes a refused request was meant for, `serving` opens the model
and listens, `ending` and `studio_server` end in order, `wire` bounds what a connection may send.
"""

from emotion.server.application import check_settings, make_app
from emotion.server.serving import cluster_application, describe, serve, web_config

__all__ = ["check_settings", "cluster_application", "describe", "make_app", "serve", "web_config"]
