"""Findings about this machine and these settings, each with its remedy; nothing is changed.

`computing` is how fast this machine decodes and multiplies, `system` memory, files, disk, kernel and port, `models` the
files of the models, `sanity` what does not go together in the settings.
"""

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from emotion.doctor.computing import findings as of_computing
from emotion.doctor.finding import Finding, Level
from emotion.doctor.models import findings as of_models
from emotion.doctor.sanity import findings as of_settings
from emotion.doctor.system import findings as of_system
from emotion.hardware import installed_gpus
from emotion.settings import Settings

__all__ = ["Finding", "Level", "examine"]

_PACKAGES = (
    "torch", "openvino", "gradio", "funasr", "modelscope", "huggingface_hub", "numpy", "soundfile", "av", "soxr",
)  # fmt: skip


def examine(settings: Settings) -> Iterator[Finding]:
    """All findings, one after the other, since some take a second."""
    yield from of_settings(settings)
    yield Finding("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield from _packages()
    yield _decoders()
    yield from of_computing(settings, installed_gpus())
    yield from of_system(settings)
    yield from of_models(settings)


def _packages() -> Iterator[Finding]:
    found = []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            yield Finding("packages", f"{name} is missing", "failure", "pip install -r requirements.txt")
    yield Finding("packages", ", ".join(found))


def _decoders() -> Finding:
    from emotion.audio import decoder_versions, missing_decoders

    try:
        versions, missing = decoder_versions(), missing_decoders()
    except (ImportError, OSError):
        remedy = "pip install --force-reinstall av soundfile"
        return Finding("decoding", "a decoder cannot be loaded", "failure", remedy)
    text = versions + (f"; without {', '.join(missing)}" if missing else "")
    return Finding.judged("decoding", text, bool(missing), "pip install --force-reinstall av")
