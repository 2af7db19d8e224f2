"""Memory and what a container allows of it, open files, folders, the speed of the disk, the kernel, and the port."""

import errno
import os
import shutil
import socket
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from emotion.doctor.finding import Finding
from emotion.hardware import Usage, limited_memory, quota_cores
from emotion.model.checkpoint import is_present
from emotion.settings import Settings

# The peak with recordings of up to a minute in float32 on a processor (benchmarks/RESULTS.md: 2.0 GB and 0.4 GB), and
# something for what waits in the queue.
_LARGE_MEMORY_BYTES = 2_500_000_000
_COMPACT_MEMORY_BYTES = 700_000_000
_NOTABLE_SWAP = 0.1
WANTED_SWAPPINESS = 10
_KERNEL = Path("/proc/sys")
# model.pt of the large model, and the tensors kept of it while it is converted.
_LARGE_BYTES = 2_700_000_000
_FEW_BYTES = 1_000_000_000
# Every client takes one, and every recording in work some.
_FEW_FILES, _ENOUGH_FILES = 1_024, 8_192
_CHUNK = 4 * 2**20
_WRITE_S, _MOST_WRITTEN_BYTES = 0.7, 128 * 2**20
_SLOW_DISK_BYTES_PER_S = 20e6
_BACKLOG = 2_048  # what uvicorn asks for
_LONGEST_FLUSH_S = 5.0
_DIRTY_BYTES = 64 * 2**20
_ANSWER_S = 2.0


def findings(settings: Settings) -> Iterator[Finding]:
    yield from _memory_findings(settings)
    with suppress(ImportError):  # Windows has no such limit
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        yield open_files(soft, hard if hard != resource.RLIM_INFINITY else 2**31)
    yield folder("outputs", settings.outputs, _FEW_BYTES)
    has_large = is_present("emotion2vec_plus_large", settings.cache_dir) or settings.model == "compact"
    yield folder("cache", settings.cache_dir, _FEW_BYTES if has_large else _LARGE_BYTES)
    speed = write_speed(_existing(settings.outputs))
    if speed is not None:
        yield disk(speed)
        free_bytes = psutil.virtual_memory().available
        yield from write_behind(
            kernel_number("vm/dirty_background_bytes"), kernel_number("vm/dirty_background_ratio"), free_bytes, speed
        )
    yield from backlog(kernel_number("net/core/somaxconn"))
    yield port(settings.host, settings.port)


def _memory_findings(settings: Settings) -> Iterator[Finding]:
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    needed_bytes = _COMPACT_MEMORY_BYTES if settings.model == "compact" else _LARGE_MEMORY_BYTES
    container = limited_memory(memory.total)
    yield memory_left(memory.available, memory.total, needed_bytes)
    yield container_limit(container, quota_cores(), needed_bytes)
    yield swap_use(Usage(swap.used, swap.total), memory.total)
    if swap.total:
        yield swappiness(kernel_number("vm/swappiness"))


def open_files(soft: int, hard: int) -> Finding:
    """Whether so many clients may come at once."""
    text = f"{soft:,} at once (up to {hard:,} without asking root)"
    wanted = min(hard, _ENOUGH_FILES)
    remedy = f"ulimit -n {wanted} before the start, or LimitNOFILE={_ENOUGH_FILES} in the unit of systemd."
    return Finding.judged("open files", text, soft < _FEW_FILES, remedy)


def folder(subject: str, path: Path, needed_bytes: int) -> Finding:
    """Whether a folder can be written, and its disk has room."""
    existing = _existing(path)
    if not os.access(existing, os.W_OK):
        variable = "EMOTION_MODEL_CACHE" if subject == "cache" else "EMOTION_OUTPUTS"
        return Finding(subject, f"{path} cannot be written", "failure", f"Point {variable} at a folder of yours.")
    free_bytes = shutil.disk_usage(existing).free
    text = f"{path}, {free_bytes / 1e9:.1f} GB free"
    if subject == "cache":
        remedy = f"The large model needs {needed_bytes / 1e9:.1f} GB while it is fetched; EMOTION_MODEL_CACHE moves it."
    else:
        remedy = "keep_days and keep_gb delete old runs by themselves; EMOTION_OUTPUTS moves them to another disk."
    return Finding.judged(subject, text, free_bytes < needed_bytes, remedy)


def write_speed(existing: Path) -> float | None:
    """Bytes a second that reach the disk of this folder, from a file without a name that is gone at once."""
    chunk = os.urandom(_CHUNK)
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            started_s, written = time.perf_counter(), 0
            while time.perf_counter() - started_s < _WRITE_S and written < _MOST_WRITTEN_BYTES:
                file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
                written += _CHUNK
            return written / (time.perf_counter() - started_s)
    except OSError:
        return None


def disk(bytes_per_s: float) -> Finding:
    text = f"results reach it at {bytes_per_s / 1e6:.0f} MB/s"
    remedy = "Point EMOTION_OUTPUTS at a faster disk, or keep less: EMOTION_KEEP_AUDIO=false."
    return Finding.judged("disk", text, bytes_per_s < _SLOW_DISK_BYTES_PER_S, remedy)


def write_behind(
    dirty_bytes: int | None, dirty_ratio: int | None, memory_bytes: int, bytes_per_s: float
) -> Iterator[Finding]:
    """How long a result may wait behind what the kernel has collected before it began to write."""
    collected = dirty_bytes or (dirty_ratio or 0) * memory_bytes // 100
    if not collected:
        return
    wait_s = collected / bytes_per_s
    text = f"the kernel collects {collected / 1e9:.1f} GB before it writes: {wait_s:.1f} s of this disk"
    remedy = kernel_remedy(f"vm.dirty_background_bytes={_DIRTY_BYTES}")
    yield Finding.judged("write-behind", text, wait_s > _LONGEST_FLUSH_S, remedy)


def backlog(somaxconn: int | None) -> Iterator[Finding]:
    """Connections that may wait while the server is busy."""
    if somaxconn is None:
        return
    text = f"{min(somaxconn, _BACKLOG):,} connections may wait (net.core.somaxconn is {somaxconn:,})"
    yield Finding.judged("backlog", text, somaxconn < _BACKLOG, kernel_remedy("net.core.somaxconn=4096"))


def port(host: str, number: int) -> Finding:
    """Whether the server could listen there, or does so already."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, number), family=family):
            return Finding("port", f"{host}:{number} is free")
    except OSError as error:
        code, reason = error.errno or 0, os.strerror(error.errno or 0)
    if code == errno.EADDRINUSE and is_ours(host, number):
        return Finding("port", f"{host}:{number}: a server of this program answers there")
    remedy = 'host = "127.0.0.1", or an address of this machine.'
    if code in (errno.EADDRINUSE, errno.EACCES):
        remedy = f"Choose another: --port {_free(host)}"
    return Finding("port", f"{host}:{number} cannot be listened on: {reason}", "failure", remedy)


def is_ours(host: str, number: int) -> bool:
    """Whether what listens there answers as this program does."""
    address = f"http://{f'[{host}]' if ':' in host else host}:{number}/healthz"
    try:
        with urllib.request.urlopen(address, timeout=_ANSWER_S) as answer:
            return "X-Request-ID" in answer.headers
    except (OSError, ValueError):
        return False


def _free(host: str) -> int:
    """A port that nobody uses at this moment."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, 0), family=family) as free:
            return int(free.getsockname()[1])
    except OSError:
        return 0


def _existing(path: Path) -> Path:
    """The folder itself, or the nearest one above it."""
    return next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())


def memory_left(available_bytes: int, total_bytes: int, needed_bytes: int) -> Finding:
    """Whether the model and the recordings in work have room now."""
    text = f"{available_bytes / 1e9:.1f} GB free of {total_bytes / 1e9:.1f} GB"
    if total_bytes < needed_bytes:
        remedy = "Take the built-in model: --model compact."
        return Finding("memory", f"{text}; the large model takes {needed_bytes / 1e9:.1f} GB", "warning", remedy)
    if available_bytes < needed_bytes:
        remedy = "Close other programs (`ps aux --sort=-rss | head` names the largest), or take --model compact."
        return Finding("memory", f"{text}; this model takes up to {needed_bytes / 1e9:.1f} GB", "warning", remedy)
    return Finding("memory", text)


def container_limit(limit: Usage | None, cores: int | None, needed_bytes: int) -> Finding:
    """The limit of the container; the system ends a program that reaches it, however much memory the machine has."""
    if limit is None and cores is None:
        return Finding("container", "no limit of memory or processors")
    said = [f"{limit.used_bytes / 1e9:.1f} of {limit.total_bytes / 1e9:.1f} GB in use" if limit else "memory unlimited"]
    said += [f"{cores} processors"] if cores else []
    text = ", ".join(said)
    if limit is not None and limit.total_bytes < needed_bytes:
        wanted = -(-needed_bytes // 10**9)
        remedy = (
            f"Raise the limit: docker run --memory {wanted}g, or MemoryMax={wanted}G in the unit; or --model compact."
        )
        return Finding("container", f"{text}; this model takes up to {needed_bytes / 1e9:.1f} GB", "warning", remedy)
    return Finding("container", text)


def swap_use(swap: Usage, memory_bytes: int) -> Finding:
    """Whether much swap is in use, a sign of too little memory; to have none is no fault."""
    if not swap.total_bytes:
        return Finding("swap", "none; a program that finds no memory is ended")
    text = f"{swap.used_bytes / 1e9:.1f} of {swap.total_bytes / 1e9:.1f} GB in use"
    remedy = "Memory was too short: close what is large (`ps aux --sort=-rss | head`), or take a smaller model."
    return Finding.judged("swap", text, swap.used_bytes > _NOTABLE_SWAP * memory_bytes, remedy)


def swappiness(value: int | None) -> Finding:
    """How readily the kernel moves the model to the disk between two recordings."""
    if value is None:
        return Finding("swappiness", "unknown")
    text = f"vm.swappiness is {value}"
    if value > WANTED_SWAPPINESS:
        text += "; the model may be moved to the disk between two recordings"
        return Finding("swappiness", text, "warning", kernel_remedy(f"vm.swappiness={WANTED_SWAPPINESS}"))
    return Finding("swappiness", text)


def kernel_number(name: str, root: Path = _KERNEL) -> int | None:
    """A setting of the kernel, None where it has none of this name."""
    try:
        return int((root / name).read_text())
    except (OSError, ValueError):
        return None


def kernel_remedy(setting: str) -> str:
    """The command for now, and the file that keeps it."""
    return (
        f"On the host: sudo sysctl -w {setting}; to keep it: "
        "sudo cp config/sysctl.conf /etc/sysctl.d/90-emotion.conf && sudo sysctl --system"
    )
