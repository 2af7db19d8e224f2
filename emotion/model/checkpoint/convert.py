"""`model.pt` made into `model.safetensors` once: inference tensors only, checked, and whole or not there at all."""

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion.errors import CheckpointBroken, DiskFull
from emotion.model.checkpoint.config import NetworkConfig
from emotion.model.checkpoint.state import BODY_PREFIX, StateTensor, state_tensors

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = "emotion2vec-studio/1"
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Source:
    """Which `model.pt` a converted file was made from: `changed_ns` and size tell a change without reading it."""

    sha256: str
    num_bytes: int
    changed_ns: int

    @property
    def fingerprint(self) -> str:
        return f"sha256:{self.sha256}"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content; 2 GB take one to four seconds."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe_source(model_pt: Path) -> Source:
    """Hash, size and time of a `model.pt`."""
    before = model_pt.stat()
    return Source(file_sha256(model_pt), before.st_size, before.st_mtime_ns)


def convert(model_pt: Path, source: Source, target: Path, config: NetworkConfig, num_tokens: int) -> None:
    """Write the inference tensors of `model_pt` to `target`, under our names, in float32.

    Raises CheckpointBroken where the file is damaged or does not fit the config, DiskFull where there is no room.
    """
    state = inference_state(read_state(model_pt), state_tensors(config, num_tokens))
    needed_bytes = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    metadata = {
        "format": FORMAT,
        "source_sha256": source.sha256,
        "source_bytes": str(source.num_bytes),
        "source_changed_ns": str(source.changed_ns),
    }
    with disk_room(target.parent, needed_bytes):
        _write_whole(state, metadata, target)


def read_state(model_pt: Path) -> Mapping[str, Any]:
    """The tensors of a PyTorch file by published name, mapped from disk; no code in the file can run."""
    import torch

    try:
        document = torch.load(model_pt, weights_only=True, mmap=True, map_location="cpu")
    except Exception:  # a damaged file raises anything from EOFError to RuntimeError, depending on where it is damaged
        raise _broken("model.pt is damaged or no PyTorch file of tensors") from None
    state = document.get("model", document) if isinstance(document, dict) else None
    if not isinstance(state, dict):
        raise _broken("model.pt holds no tensors by name")
    return state


def inference_state(published: Mapping[str, Any], tensors: tuple[StateTensor, ...]) -> dict[str, "Tensor"]:
    """The tensors that the network needs, by our names; the rest (decoder, optimiser) is left behind on purpose."""
    return {tensor.name: _checked(published, tensor) for tensor in tensors}


def _checked(published: Mapping[str, Any], tensor: StateTensor) -> "Tensor":
    import torch

    value = published.get(tensor.published, published.get(tensor.published.removeprefix(BODY_PREFIX)))
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        raise _broken(f"model.pt lacks {tensor.published}")
    if tuple(value.shape) != tensor.shape:
        raise _broken(f"{tensor.published} in model.pt is {tuple(value.shape)}, config.yaml says {tensor.shape}")
    return value.to(torch.float32).contiguous()


def read_source(converted: Path, tensors: tuple[StateTensor, ...]) -> Source | None:
    """What a converted file was made from; None if it is missing, cut off, or does not fit the config."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(converted, framework="np") as file:
            metadata = file.metadata() or {}
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    if metadata.get("format") != FORMAT or shapes != {tensor.name: tensor.shape for tensor in tensors}:
        return None
    return Source(metadata["source_sha256"], int(metadata["source_bytes"]), int(metadata["source_changed_ns"]))


def _write_whole(state: dict[str, "Tensor"], metadata: dict[str, str], target: Path) -> None:
    """Write aside, reach the disk, then rename: two processes at once leave one whole file, a crash leaves none."""
    from safetensors.torch import save_file

    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    os.close(handle)
    aside = Path(name)
    try:
        save_file(state, aside, metadata)
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def disk_room(folder: Path, needed_bytes: int) -> Iterator[None]:
    """Say DiskFull before writing so much into `folder`, and whenever writing meets a full disk all the same."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free_bytes = needed_bytes
        with suppress(OSError):  # some network disks do not say
            free_bytes = shutil.disk_usage(folder).free
        if free_bytes < needed_bytes:
            raise DiskFull(needed_bytes)
        yield
    except Exception as error:
        if is_full_disk(error):
            raise DiskFull(needed_bytes) from None
        raise


def is_full_disk(error: BaseException | None) -> bool:
    """Whether an error, or one it came from, says that the disk is full; safetensors says it in words only."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL_DISK:
            return True
        if any(f"(os error {number})" in str(error) for number in _FULL_DISK):
            return True
        error = error.__cause__ or error.__context__
    return False


def _broken(reason: str) -> CheckpointBroken:
    return CheckpointBroken(
        f"This model cannot be used: {reason}. Fetch it again, or ask whoever made it.", reason=reason
    )
