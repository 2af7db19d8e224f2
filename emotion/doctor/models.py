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
    if known is None or known.weights_sha256 is None:
        return Finding("model", text)
    is_other = checkpoint.fingerprint != f"sha256:{known.weights_sha256}"
    text += ", which are not the published weights" if is_other else ", as published"
    return Finding.judged("model", text, is_other, again)


def chosen(settings: Settings) -> Finding:
    """Which one the settings come to."""
    name = settings.model
    if name == BUILT_IN:
        return Finding("model", "the built-in one answers, as was chosen")
    wanted = _LARGE if name == "auto" else name
    if is_present(wanted, settings.cache_dir):
        return _present(wanted)
    remedy = command_line(f"models download {wanted}")
    if name == "auto":
        return Finding("model", f"{wanted} is not here, the built-in model answers", "warning", remedy)
    if settings.offline:
        return Finding("model", f"{wanted} is not here", "failure", remedy)
    return Finding("model", f"{wanted} is not here, and is downloaded at the start", "warning", remedy)


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
        answers = hub_answers(hub, settings.hub_timeout_s)
        text = f"{hub} answers" if answers else f"{hub} does not answer within {settings.hub_timeout_s:.0f} s"
        remedy = "Only needed to download models. Behind a proxy, set HTTPS_PROXY."
        yield Finding.judged("hub", text, not answers, remedy)
