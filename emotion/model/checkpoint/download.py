"""From a hub into the cache: fetched with resume, checked, converted, put in place as a whole."""

import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from emotion.errors import CheckpointBroken, DiskFull, HubUnreachable, ModelNotFound
from emotion.model.checkpoint import fetch
from emotion.model.checkpoint.config import read_config, read_tokens
from emotion.model.checkpoint.convert import Source, convert, describe_source, disk_room
from emotion.model.checkpoint.find import (
    WEIGHTS,
    Checkpoint,
    find_checkpoint,
    is_hub_id,
    is_own_folder,
    model_folder,
    open_cached,
)
from emotion.model.checkpoint.known import EXAMPLE_CLIP, MODELSCOPE_REVISION, KnownModel, known_model

Progress = Callable[[int, int], None]

HUB_NAMES = {"modelscope": "ModelScope", "hf": "Hugging Face"}
HUB_ANSWERS_WITHIN_S = 10.0
WANTED_FILES = ("config.yaml", "tokens.txt", "model.pt", EXAMPLE_CLIP)
_FETCH = ["-m", "emotion.model.checkpoint.fetch"]
_ENDPOINTS = {
    "modelscope": ("MODELSCOPE_ENDPOINT", "https://modelscope.cn"),
    "hf": ("HF_ENDPOINT", "https://huggingface.co"),
}


def download(name: str, cache_dir: Path, hub: str = "modelscope", progress: Progress | None = None) -> Checkpoint:
    """The model of this short name or hub id, fetched from `modelscope` or `hf` unless it is here already.

    `progress(done_bytes, total_bytes)` is called about twice a second, (0, 0) while nothing is known yet; what it
    raises ends the download, and what came so far is kept for the next one. Afterwards the cache holds the converted
    weights only: `model.pt`, three times as large, is removed. Raises ModelNotFound, HubUnreachable, CheckpointBroken
    or DiskFull.
    """
    if is_own_folder(name):
        return find_checkpoint(name, cache_dir)
    if not (known_model(name) or is_hub_id(name)):
        return find_checkpoint(name, cache_dir)  # which says what the name could have been
    report = progress or (lambda _done, _total: None)
    folder = model_folder(name, cache_dir)
    with disk_room(folder, 0), _only_one(folder, report):
        try:
            return open_cached(folder)
        except CheckpointBroken:  # absent or damaged: both are fetched
            pass
        if not hub_answers(hub, HUB_ANSWERS_WITHIN_S):  # the clients would try again for a minute and a half
            raise HubUnreachable(unreachable_message(hub), hub=hub)
        parts = folder / "download"
        _run_fetch(_request(name, hub, parts), report)
        _install(name, parts, folder)
        shutil.rmtree(parts, ignore_errors=True)
        return open_cached(folder)


def hub_answers(hub: str, timeout_s: float) -> bool:
    """Whether a hub can be reached; never takes longer than the limit, even where names are resolved slowly."""
    answer: queue.SimpleQueue[bool] = queue.SimpleQueue()
    # A name server that is away cannot be interrupted, so the question is left behind with its thread.
    threading.Thread(target=lambda: answer.put(_ask(hub, timeout_s)), name="hub", daemon=True).start()
    try:
        return answer.get(timeout=timeout_s)
    except queue.Empty:
        return False


def unreachable_message(hub: str) -> str:
    """What to say and to do when a hub does not answer."""
    other = "hf" if hub == "modelscope" else "modelscope"
    return (
        f"{HUB_NAMES[hub]} does not answer. Check the network or the proxy, try --hub {other}, or copy the model "
        "folder from another machine and name it with --model."
    )


def _ask(hub: str, timeout_s: float) -> bool:
    variable, default = _ENDPOINTS[hub]
    endpoint = os.environ.get(variable) or default
    try:
        request = urllib.request.Request(endpoint, method="HEAD")  # noqa: S310  the endpoint is the owner's setting
        urllib.request.urlopen(request, timeout=timeout_s).close()  # noqa: S310
    except urllib.error.HTTPError as refusal:
        refusal.close()  # which is an answer as well
    except (OSError, ValueError):
        return False
    return True


def _request(name: str, hub: str, parts: Path) -> fetch.Request:
    known = known_model(name)
    if hub == "hf":
        model_id, revision = (known.hf_id, known.hf_revision) if known else (name, "main")
    else:
        model_id, revision = known.modelscope_id if known else name, MODELSCOPE_REVISION
    return fetch.Request(hub, model_id, revision, WANTED_FILES, str(parts))


def _run_fetch(request: fetch.Request, report: Progress) -> None:
    """Run the fetching process and pass its counts on; it ends with us, whatever ends us."""
    package_root = str(Path(__file__).parents[3])
    search_path = os.pathsep.join(part for part in (package_root, os.environ.get("PYTHONPATH", "")) if part)
    environment = {
        **os.environ,
        "PYTHONPATH": search_path,
        "MODELSCOPE_CACHE": str(Path(request.folder) / ".cache"),  # its locks; gone with the folder
    }
    command = [sys.executable, *_FETCH, request.to_json()]
    with subprocess.Popen(  # noqa: S603  our own module
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            end = _follow(process, report)
        except BaseException:
            process.kill()
            raise
    _raise_end(request, *end)


def _follow(process: "subprocess.Popen[str]", report: Progress) -> tuple[str, int]:
    for line in process.stdout or ():
        words = json.loads(line)
        if "end" in words:
            return words["end"], words["needed"]
        report(words["done"], words["total"])
    return fetch.END_AWAY, 0


def _raise_end(request: fetch.Request, end: str, needed_bytes: int) -> None:
    if end == fetch.END_DONE:
        return
    if end == fetch.END_ABSENT:
        raise ModelNotFound(
            f"{HUB_NAMES[request.hub]} has no open model {request.model_id!r}. Check the name, or try the other hub "
            "(--hub hf or --hub modelscope).",
            name=request.model_id,
        )
    if end == fetch.END_FULL:
        raise DiskFull(needed_bytes)
    if end == fetch.END_DAMAGED:
        raise _damaged(request.model_id)
    raise HubUnreachable(unreachable_message(request.hub), hub=request.hub)


def _install(name: str, parts: Path, folder: Path) -> None:
    """Check what was fetched, convert it, and put the weights in place last: they mark the model as complete."""
    known, model_pt = known_model(name), parts / "model.pt"
    for file in ("config.yaml", "tokens.txt", "model.pt"):
        if not (parts / file).is_file():
            raise ModelNotFound(f"{name!r} is no emotion2vec model: it has no {file}. Choose another.", name=name)
    source = describe_source(model_pt)
    if known and not _is_published(known, source):
        shutil.rmtree(parts, ignore_errors=True)
        raise _damaged(name)
    config, tokens = read_config(parts), read_tokens(parts)
    for file in ("config.yaml", "tokens.txt", EXAMPLE_CLIP):
        if (parts / file).is_file():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (parts / file).replace(folder / file)
    convert(model_pt, source, folder / WEIGHTS, config, len(tokens))


def _is_published(known: KnownModel, source: Source) -> bool:
    return known.weights_sha256 is None or source.sha256 == known.weights_sha256


def _damaged(name: str) -> CheckpointBroken:
    return CheckpointBroken(
        f"What arrived of {name} is not what was published (its SHA-256 differs), so it was deleted. Download it "
        "again; if that does not help, use the other hub (--hub hf or --hub modelscope).",
        name=name,
    )


@contextmanager
def _only_one(folder: Path, report: Progress) -> Iterator[None]:
    """Of several programs that want one model, one fetches it and the others wait for it."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder.parent / f".{folder.name}.lock")
    while True:
        try:
            lock.acquire(timeout=fetch.REPORT_EVERY_S)
            break
        except Timeout:
            report(0, 0)
    try:
        yield
    finally:
        lock.release()
