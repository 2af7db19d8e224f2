"""Files that the page offers, under addresses that nobody can guess and that serve only whom they were shown to."""

import mimetypes
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, Response, StreamingResponse

from emotion.errors import EmotionError
from emotion.ui.workspace import owner_of

# A visitor who opened a thousand recordings opens the first of them again; its address is new then.
_MOST_FOLDERS = 4_096
_SHOWN_IN_PLACE = frozenset({"audio/x-wav", "audio/wav"})
_CLOSED = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, no-store"}
Chunks = Callable[[], Iterator[bytes]]
_Shown = tuple[str, Path]
"""To whom, and which folder."""


class FileLinks:
    """Hands out addresses of files, and serves what lies behind them; ranges are served, so that sound can be sought.

    Addresses are relative, so that they also hold behind a proxy with a prefix. They end with the program. Each belongs
    to an `owner`: a link that is passed on by mistake shows nothing to another client.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tokens: dict[_Shown, str] = {}
        self._folders: OrderedDict[str, _Shown] = OrderedDict()
        self._streams: OrderedDict[str, tuple[str, str, Chunks]] = OrderedDict()

    def address(self, path: Path, owner: str, save_as: str = "") -> str:
        """Where a file is served; `save_as` is the name that a browser saves it under, its own by default."""
        address = f"files/{self._token((owner, path.parent))}/{quote(path.name)}"
        return f"{address}?{urlencode({'save_as': save_as})}" if save_as else address

    def stream(self, name: str, chunks: Chunks, owner: str) -> str:
        """Where something is served that is made while it is sent."""
        token = secrets.token_urlsafe(16)
        with self._lock:
            self._streams[token] = (owner, name, chunks)
            if len(self._streams) > _MOST_FOLDERS:
                self._streams.popitem(last=False)
        return f"streams/{token}/{quote(name)}"

    def mount(self, app: FastAPI) -> None:
        """Serve the addresses."""
        app.add_api_route("/files/{token}/{name}", self._serve_file, methods=["GET", "HEAD"], include_in_schema=False)
        app.add_api_route("/streams/{token}/{name}", self._serve_stream, methods=["GET"], include_in_schema=False)

    def _token(self, shown: _Shown) -> str:
        with self._lock:
            token = self._tokens.get(shown) or secrets.token_urlsafe(16)
            self._tokens[shown] = token
            self._folders[token] = shown
            self._folders.move_to_end(token)
            if len(self._folders) > _MOST_FOLDERS:
                _, oldest = self._folders.popitem(last=False)
                del self._tokens[oldest]
        return token

    def _serve_file(self, token: str, name: str, request: Request) -> Response:
        owner, folder = self._folders.get(token, ("", None))
        path = None if folder is None or owner != owner_of(request.scope) else folder / name
        # The parent is compared because a name may be `..`; slashes do not get through the route.
        if path is None or path.parent != folder or name == ".." or path.is_symlink() or not path.is_file():
            raise HTTPException(404)
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        place = "inline" if kind in _SHOWN_IN_PLACE else "attachment"
        filename = Path(request.query_params.get("save_as", "")).name or name
        return FileResponse(path, media_type=kind, filename=filename, content_disposition_type=place, headers=_CLOSED)

    def _serve_stream(self, token: str, name: str, request: Request) -> Response:
        owner, known_name, make = self._streams.get(token, ("", "", None))
        if make is None or known_name != name or owner != owner_of(request.scope):
            raise HTTPException(404)
        try:
            chunks = make()
        except EmotionError:  # the run was deleted since
            raise HTTPException(404) from None
        disposition = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}"}
        return StreamingResponse(chunks, media_type="application/octet-stream", headers=_CLOSED | disposition)
