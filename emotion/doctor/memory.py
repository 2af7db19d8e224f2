"""Memory, swap, and what a container allows of them."""

from collections.abc import Iterator
from pathlib import Path

import psutil

from emotion.doctor.finding import Finding
from emotion.hardware import Usage
from emotion.hardware.container import limited_memory, quota_cores
from emotion.settings import Settings

# The peak with recordings of up to a minute in float32 on a processor (benchmarks/RESULTS.md: 2.0 GB and 0.4 GB), and
# something for what waits in the queue.
_LARGE_BYTES = 2_500_000_000
_COMPACT_BYTES = 700_000_000
_NOTABLE_SWAP = 0.1
WANTED_SWAPPINESS = 10
_KERNEL = Path("/proc/sys")


def findings(settings: Settings) -> Iterator[Finding]:
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    needed_bytes = _COMPACT_BYTES if settings.model == "compact" else _LARGE_BYTES
    container = limited_memory(memory.total)
    yield memory_left(memory.available, memory.total, needed_bytes)
    yield container_limit(container, quota_cores(), needed_bytes)
    yield swap_use(Usage(swap.used, swap.total), memory.total)
    if swap.total:
        yield swappiness(kernel_number("vm/swappiness"))


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
    """A program that reaches the limit is ended, however much the machine has."""
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
    """Much of it in use is memory that was too short; none at all is no fault."""
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
