"""The server: recogniser, page and API joined, guarded and served.

`application` joins them, `serving` opens the model and listens, `drain` ends in order, `http_limits` bounds what a
connection may send.
"""

from emotion.server.application import check_settings, make_app
from emotion.server.serving import cluster_application, describe, serve, web_config

__all__ = ["check_settings", "cluster_application", "describe", "make_app", "serve", "web_config"]
