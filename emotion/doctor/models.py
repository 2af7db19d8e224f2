"""The files of the models, checked as far as that costs no minute, and the hubs that have them."""

from collections.abc import Iterator
from pathlib import Path

from emotion.doctor.finding import Finding
from emotion.errors import EmotionError, command_line
from emotion.model import BUILT_IN
from emotion.model.checkpoint import KNOWN_MODELS, find_checkpoint, hub_answers, is_present, known_model
from emotion.settings import Settings

_LARGE = "emotion2vec_plus_large"
_OWN_FILES = ("model.pt", "config.yaml", "tokens.txt")


def findings(settings: Settings) -> Iterator[Finding]:
    yield built_in()
    for known in KNOWN_MODELS:
        if is_present(known.name, settings.cache_dir):
            yield downloaded(known.name, settings.cache_dir)
    yield chosen(settings)
    yield from _hubs(settings)


def built_in() -> Finding:
    """The built-in model, opened: its file is small."""
    from emotion.model.compact import WEIGHTS_FILE, load_compact, weights_sha256

    try:
        load_compact()
    except Exception:  # whatever is wrong with the file
        remedy = "Install the program again: its file emotion/weights/compact.safetensors is damaged."
        return Finding("model", "the built-in one cannot be opened", "failure", remedy)
    size_mb = WEIGHTS_FILE.stat().st_size / 1e6
    return Finding("model", f"{BUILT_IN}: {size_mb:.1f} MB, opened, {_short(weights_sha256())}")


def downloaded(name: str, cache_dir: Path) -> Finding:
    """A model of the cache: its table of contents is read, and the hash of what it was made from compared."""
    again = command_line(f"models download {name}")
    try:
        checkpoint = find_checkpoint(name, cache_dir)
    except EmotionError as error:
        return Finding("model", f"{name}: {error}", "failure", again)
    size_mb = checkpoint.weights.stat().st_size / 1e6
    text = f"{name}: {size_mb:,.0f} MB, all tensors there, made from {_short(checkpoint.fingerprint)}"
    known = known_model(name)
    pinned = known.weights_sha256 if known else None
    if pinned is None:
        return Finding("model", text)
    if checkpoint.fingerprint != f"sha256:{pinned}":
        return Finding("model", f"{text}, which are not the published weights", "warning", again)
    return Finding("model", f"{text}, as published")


def chosen(settings: Settings) -> Finding:
    """Which one the settings come to."""
    name = settings.model
    if name == BUILT_IN:
        return Finding("model", "the built-in one answers, as was chosen")
    if name == "auto":
        if is_present(_LARGE, settings.cache_dir):
            return Finding("model", f"{_LARGE} answers")
        text = f"{_LARGE} is not here, the built-in model answers"
        return Finding("model", text, "warning", command_line(f"models download {_LARGE}"))
    if is_present(name, settings.cache_dir):
        return _present(name)
    if settings.offline:
        return Finding("model", f"{name} is not here", "failure", command_line(f"models download {name}"))
    text = f"{name} is not here, and is downloaded at the start"
    return Finding("model", text, "warning", command_line(f"models download {name}"))


def _present(name: str) -> Finding:
    path = Path(name).expanduser()
    if known_model(name) is None and path.is_dir():
        missing = [file for file in _OWN_FILES if not (path / file).is_file()]
        if missing:
            return Finding("model", f"{name} lacks {', '.join(missing)}", "failure", "Copy the whole model folder.")
    return Finding("model", f"{name} answers")


def _short(fingerprint: str) -> str:
    return f"sha256:{fingerprint.removeprefix('sha256:')[:12]}"


def _hubs(settings: Settings) -> Iterator[Finding]:
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
