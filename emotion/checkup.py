"""Findings about this machine, each with its remedy; nothing is changed."""

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from emotion.errors import ModelError, command_line
from emotion.monitor import installed_gpus, plan_threads, usable_cores
from emotion.settings import Settings

_PACKAGES = (
    "torch",
    "openvino",
    "gradio",
    "funasr",
    "modelscope",
    "huggingface_hub",
    "numpy",
    "soundfile",
    "av",
    "soxr",
)
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
# model.pt of the large model, and the tensors kept of it while it is converted.
_LARGE_BYTES = 2_700_000_000


@dataclass(frozen=True)
class Finding:
    """One thing looked at: what it is, how it is, and what to do where it is not well."""

    subject: str
    text: str
    level: Literal["ok", "warning", "failure"] = "ok"
    remedy: str = ""


def examine(settings: Settings) -> Iterator[Finding]:
    """All findings, one after the other, since some take a second."""
    yield _python()
    yield from _packages()
    yield from _threads(settings)
    yield _decoding()
    yield _folder("outputs", settings.outputs, needed_bytes=0)
    yield _folder("cache", settings.cache_dir, needed_bytes=0 if _has_large(settings) else _LARGE_BYTES)
    yield _model(settings)
    yield from _hubs(settings)


def _python() -> Finding:
    return Finding("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _packages() -> Iterator[Finding]:
    found = []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            yield Finding("packages", f"{name} is missing", "failure", "pip install -r requirements.txt")
    yield Finding("packages", ", ".join(found))


def _threads(settings: Settings) -> Iterator[Finding]:
    from emotion.model.probe import gpu_names, measure_threads

    gpus, cores = gpu_names(), usable_cores()
    yield Finding("cores", f"{cores.physical} physical, {cores.logical} logical")
    variables = ", ".join(f"{name}={os.environ.get(name, 'not set')}" for name in _THREAD_VARIABLES)
    yield Finding("variables", variables)
    planned = plan_threads(cores, bool(gpus), settings.decode_threads, settings.inference_threads)
    at_work = measure_threads(planned.inference)
    text = (
        f"decode {planned.decode}, inference {planned.inference}; torch says {at_work.claimed} "
        f"and kept {at_work.busy:.1f} cores busy"
    )
    if at_work.claimed != planned.inference or at_work.busy > planned.inference + 0.5:
        yield Finding("threads", text, "warning", "Start through ./run.sh, which sets the variables before torch.")
    else:
        yield Finding("threads", text)
    yield _devices(gpus)
    yield _choice(settings)


def _choice(settings: Settings) -> Finding:
    """What the settings come to on this machine."""
    from emotion.model.choice import choose

    try:
        choice = choose(settings.runtime, settings.device, settings.precision)
    except ModelError as error:
        return Finding("computing", str(error), "failure", "Change runtime, device or precision in the settings.")
    return Finding("computing", f"{choice.runtime} in {choice.precision} on {choice.device}")


def _devices(usable: list[str]) -> Finding:
    """What does the inference; a card that PyTorch cannot use is a pity worth saying."""
    if usable:
        return Finding("devices", ", ".join(f"cuda:{index} {name}" for index, name in enumerate(usable)))
    idle = ", ".join(f"{gpu.name} ({gpu.total_mb / 1000:.0f} GB)" for gpu in installed_gpus())
    if idle:
        remedy = "Install a CUDA build of torch that fits the driver, into the same environment."
        return Finding(
            "devices", f"{idle} is here, but PyTorch cannot use it; the CPU does the inference", "warning", remedy
        )
    return Finding("devices", "no GPU; the CPU does the inference")


def _decoding() -> Finding:
    from emotion.audio import decoder_versions, missing_decoders

    try:
        versions, missing = decoder_versions(), missing_decoders()
    except (ImportError, OSError):
        return Finding(
            "decoding", "a decoder cannot be loaded", "failure", "pip install --force-reinstall av soundfile"
        )
    if missing:
        text = f"{versions}; without {', '.join(missing)}"
        return Finding("decoding", text, "warning", "pip install --force-reinstall av")
    return Finding("decoding", versions)


def _folder(subject: str, folder: Path, needed_bytes: int) -> Finding:
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    if not os.access(existing, os.W_OK):
        variable = "EMOTION_MODEL_CACHE" if subject == "cache" else "EMOTION_OUTPUTS"
        return Finding(subject, f"{folder} cannot be written", "failure", f"Point {variable} at a folder of yours.")
    free_bytes = shutil.disk_usage(existing).free
    text = f"{folder}, {free_bytes / 1e9:.1f} GB free"
    if free_bytes < needed_bytes:
        return Finding(
            subject, text, "warning", f"The large model needs {needed_bytes / 1e9:.1f} GB while it is fetched."
        )
    return Finding(subject, text)


def _has_large(settings: Settings) -> bool:
    from emotion.checkpoint import is_present

    return is_present("emotion2vec_plus_large", settings.cache_dir)


def _model(settings: Settings) -> Finding:
    if _has_large(settings):
        return Finding("model", "emotion2vec_plus_large is here")
    return Finding(
        "model",
        "emotion2vec_plus_large is not here, the built-in model answers",
        "warning",
        command_line("models download emotion2vec_plus_large"),
    )


def _hubs(settings: Settings) -> Iterator[Finding]:
    from emotion.checkpoint import hub_answers

    if settings.offline:
        yield Finding("hub", "not asked, since offline is set")
        return
    for hub in ("modelscope", "hf"):
        if hub_answers(hub, settings.hub_timeout_s):
            yield Finding("hub", f"{hub} answers")
        else:
            yield Finding(
                "hub",
                f"{hub} does not answer within {settings.hub_timeout_s:.0f} s",
                "warning",
                "Only needed to download models. Behind a proxy, set HTTPS_PROXY.",
            )
