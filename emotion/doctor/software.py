"""What is installed: Python, packages, decoders."""

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from emotion.doctor.finding import Finding

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


def findings() -> Iterator[Finding]:
    yield Finding("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield from _packages()
    yield _decoders()


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
