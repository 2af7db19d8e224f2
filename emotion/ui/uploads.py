"""What comes from a browser: only its own uploads are read, and their copies go when the visitor goes."""

import os
import secrets
import shutil
import threading
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from emotion.audio import Clip, write_wav
from emotion.ui.gradio_adapter import upload_folder

# Of uploads that were only chosen, Gradio deletes the copies after a day without a word.
_OWNED_BEFORE_A_LOOK = 4_096


class Uploads:
    """Whose the uploaded copies are, and which sessions use them; those who upload the same file share one copy."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users: defaultdict[Path, set[tuple[str, str]]] = defaultdict(set)
        self._owners: defaultdict[Path, set[str]] = defaultdict(set)

    def add_owner(self, owner: str, paths: Iterable[str | Path]) -> None:
        """From now on the owner may use these copies."""
        with self._lock:
            if len(self._owners) > _OWNED_BEFORE_A_LOOK:
                for gone in [folder for folder in self._owners if not folder.exists()]:
                    del self._owners[gone]
            for path in paths:
                self._owners[_folder_of(path)].add(owner)

    def is_owner(self, owner: str, path: str | Path) -> bool:
        """Whether the owner may use the copy at this path."""
        with self._lock:
            return owner in self._owners.get(_folder_of(path), ())

    def add_user(self, owner: str, session: str, *paths: str | Path) -> None:
        """A session of the owner uses these copies until it releases them."""
        with self._lock:
            for path in paths:
                self._users[Path(path)].add((owner, session))

    def write_copy(self, owner: str, session: str, clip: Clip) -> Path:
        """A copy of the sound of a clip, to be played as long as the visitor stays."""
        folder = upload_folder() / secrets.token_hex(32)
        folder.mkdir(parents=True, mode=0o700)
        path = folder / "processed_audio.wav"
        write_wav(clip, path)
        self.add_user(owner, session, path)
        return path

    def release(self, owner: str, session: str) -> None:
        """Delete the copies that only this session used, unless another client has chosen the same file."""
        with self._lock:
            for path, users in list(self._users.items()):
                if (owner, session) not in users:
                    continue
                users.discard((owner, session))
                if owner not in {name for name, _ in users}:
                    self._owners[_folder_of(path)].discard(owner)
                if not users:
                    del self._users[path]
                    self._delete(path)

    def _delete(self, path: Path) -> None:
        # Gradio keeps every upload alone in a folder that is named by its content; nothing else is ever touched.
        if path.parent.parent != upload_folder() or self._owners.get(_folder_of(path)):
            return
        shutil.rmtree(path.parent, ignore_errors=True)
        self._owners.pop(_folder_of(path), None)


def _folder_of(path: str | Path) -> Path:
    """The folder of an upload, whatever the path does to look like another."""
    try:
        return Path(os.path.realpath(path)).parent
    except ValueError:  # a zero byte, which no path has
        return Path()
