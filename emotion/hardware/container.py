"""What the container of this process, or its systemd unit, allows it: cgroups of both versions."""

from dataclasses import dataclass
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")
# Pages of files: the kernel drops them before it ends a program, and docker leaves most of them out too.
_DROPPABLE = ("active_file", "inactive_file")
NEARLY_FULL = 0.9


@dataclass(frozen=True)
class Usage:
    """Bytes in use of so many; a total of 0 where there is none, as without swap."""

    used_bytes: int
    total_bytes: int

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return self.used_bytes / self.total_bytes if self.total_bytes else 0.0

    @property
    def is_nearly_full(self) -> bool:
        return self.share > NEARLY_FULL


@dataclass(frozen=True)
class _Version:
    """How one version of cgroups names things; `controller` is the folder and the word in the list of memberships."""

    controller: str
    limit: str
    used: str
    stat_prefix: str


_VERSIONS = (
    _Version("", "memory.max", "memory.current", ""),
    _Version("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
)


def quota_cores(cgroups: Path = _CGROUPS) -> int | None:
    """Whole cores that cgroup v2 grants, None without a limit."""
    try:
        quota, period = (cgroups / "cpu.max").read_text().split()
        return None if quota == "max" else max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return None


def limited_memory(below_bytes: int, cgroups: Path = _CGROUPS, membership: Path = _MEMBERSHIP) -> Usage | None:
    """Memory in use of the lowest limit over this process, None where no limit is below that of the machine.

    Reaching it ends the process, however much memory the machine has. Pages of files do not count as in use.
    """
    limits = [usage for version in _VERSIONS for usage in _limits(version, cgroups, membership)]
    lowest = min(limits, key=lambda usage: usage.total_bytes, default=None)
    return lowest if lowest is not None and lowest.total_bytes < below_bytes else None


def _limits(version: _Version, cgroups: Path, membership: Path) -> list[Usage]:
    """The limits of the group of this process and of all groups around it."""
    top = cgroups / version.controller
    group = _group(version, membership)
    inside = [top / group, *(top / group).parents]
    # A container often sees its own group as the top, and is told a path that is only outside of it.
    folders = inside[: inside.index(top) + 1] if top in inside else [top]
    return [usage for folder in folders if (usage := _usage(version, folder)) is not None]


def _group(version: _Version, membership: Path) -> str:
    """`0::/system.slice/studio.service` is of version 2, `4:memory:/docker/1f` of version 1."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return ""
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if version.controller in controllers.split(",") and ".." not in path:
            return path.strip("/")
    return ""


def _usage(version: _Version, folder: Path) -> Usage | None:
    try:
        limit_bytes = int((folder / version.limit).read_text())  # "max" is no number
        used_bytes = int((folder / version.used).read_text())
        counts = dict(line.split(" ", 1) for line in (folder / "memory.stat").read_text().splitlines())
        droppable_bytes = sum(int(counts.get(version.stat_prefix + name, 0)) for name in _DROPPABLE)
        return Usage(max(used_bytes - droppable_bytes, 0), limit_bytes)
    except (OSError, ValueError):
        return None
