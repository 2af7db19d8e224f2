"""What comes from a browser: only its own uploads are read, and their copies go when the reader goes."""

import secrets
import shutil
import threading
from collections import defaultdict
from pathlib import Path

import gradio as gr
from gradio.utils import get_upload_folder

from emotion.audio import Clip, write_wav
from emotion.errors import NotSound


def take_only_uploads(component: gr.components.Component) -> None:
    """Let the component take uploaded files only; by itself it would also fetch a URL that a program sends."""
    inherited = component.async_move_resource_to_block_cache

    async def only_local(url_or_file_path: str | Path | None) -> str | None:
        if str(url_or_file_path).lower().startswith(("http:", "https:")):
            raise gr.Error(NotSound("URL").message, print_exception=False)
        return await inherited(url_or_file_path)

    # Not a subclass: Gradio writes a .pyi file beside the source of every component class that it meets.
    component.async_move_resource_to_block_cache = only_local  # type: ignore[method-assign]


class Uploads:
    """The uploaded copies that each session uses; two sessions that upload the same file share one copy."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users: defaultdict[Path, set[str]] = defaultdict(set)

    def remember(self, session: str, *paths: str | Path) -> None:
        with self._lock:
            for path in paths:
                self._users[Path(path)].add(session)

    def lend(self, session: str, clip: Clip) -> Path:
        """A copy of the sound of a clip, to be played as long as the reader stays."""
        folder = Path(get_upload_folder()) / secrets.token_hex(32)
        folder.mkdir(parents=True, mode=0o700)
        path = folder / "processed_audio.wav"
        write_wav(clip, path)
        self.remember(session, path)
        return path

    def forget(self, session: str) -> None:
        """Delete the copies that only this session used."""
        with self._lock:
            for path, users in list(self._users.items()):
                users.discard(session)
                if not users:
                    del self._users[path]
                    _delete(path)


def _delete(path: Path) -> None:
    # Gradio keeps every upload alone in a folder that is named by its content; nothing else is ever touched.
    if path.parent.parent == Path(get_upload_folder()):
        shutil.rmtree(path.parent, ignore_errors=True)
