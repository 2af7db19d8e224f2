"""Which runtime, device and precision `auto` means on this machine; asked without importing any of the runtimes."""

import ctypes.util
import functools
import importlib.util
import platform
from dataclasses import dataclass
from pathlib import Path

from emotion.errors import ModelError

RUNTIMES = ("torch", "openvino", "funasr")
PRECISIONS = ("fp32", "bf16", "fp16", "int8")
# Half precision that is computed and not only stored: Jetson TX1 and Pascal on (CUDA C programming guide, 'Arithmetic
# instructions').
_FP16_CAPABILITY = (5, 3)
# What /proc/cpuinfo calls processors that compute in bf16: AVX-512 BF16 and AMX of x86, and FEAT_BF16 of ARM.
_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}


@dataclass(frozen=True)
class Choice:
    """What computes: `runtime` of RUNTIMES, `device` (`cpu`, `cuda:0`), `precision` of PRECISIONS."""

    runtime: str
    device: str
    precision: str


def choose(runtime: str, device: str, precision: str) -> Choice:
    """Replace every `auto`: the fastest runtime that is installed, a graphics card if PyTorch can use one, and half
    precision where it is computed natively. int8 is never chosen, since it changes the scores.

    Raises ModelError for a word that nobody knows, and for a device that this machine does not have.
    """
    _require_known("runtime", runtime, RUNTIMES)
    _require_known("precision", precision, PRECISIONS)
    if precision == "int8" and runtime == "auto":
        runtime = "openvino"  # the only one that computes in it, whatever else is here
    device = _choose_device(runtime, device)
    if runtime == "auto":
        runtime = "openvino" if device == "cpu" and has_openvino() and precision != "fp16" else "torch"
    if precision == "auto":
        precision = _choose_precision(runtime, device)
    return Choice(runtime, device, precision)


def has_openvino() -> bool:
    return importlib.util.find_spec("openvino") is not None


@functools.cache
def has_nvidia_driver() -> bool:
    """Whether a driver of NVIDIA is here: without one, PyTorch, which takes a second, need not be asked for a card."""
    places = ("/dev/nvidiactl", "/dev/dxg", "/proc/driver/nvidia/version", "/dev/nvhost-gpu")
    if any(Path(place).exists() for place in places):
        return True
    return platform.system() == "Windows" and ctypes.util.find_library("nvcuda") is not None


@functools.cache
def cpu_computes_bf16() -> bool:
    """Whether this processor multiplies in bf16; False where the system does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return not _BF16_FLAGS.isdisjoint(flags.split())


def _choose_device(runtime: str, device: str) -> str:
    if device == "cpu" or runtime == "openvino":
        if device not in ("auto", "cpu"):
            raise ModelError(f"OpenVINO computes on the CPU here, not on {device}. Use --runtime torch.")
        return "cpu"
    if device == "auto" and not has_nvidia_driver():
        return "cpu"
    from emotion.model.torch_runtime import usable_device

    return usable_device(device)


def _choose_precision(runtime: str, device: str) -> str:
    if runtime == "funasr":
        return "fp32"
    if device == "cpu":
        # OpenVINO computes in bf16 on x86 only, whatever an ARM processor could do.
        possible = runtime != "openvino" or platform.machine().lower() in ("x86_64", "amd64")
        return "bf16" if possible and cpu_computes_bf16() else "fp32"
    import torch

    return "fp16" if torch.cuda.get_device_capability(device) >= _FP16_CAPABILITY else "fp32"


def _require_known(what: str, word: str, words: tuple[str, ...]) -> None:
    if word != "auto" and word not in words:
        raise ModelError(f"There is no {what} {word!r}. Use auto, {', '.join(words)}.", word=word)
