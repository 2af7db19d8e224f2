"""Where models are on this machine: by short name or hub id in the cache, or in a folder of the user's."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from emotion.errors import CheckpointBroken, ModelNotFound, command_line
from emotion.labels import is_masked, key_of_token
from emotion.model.checkpoint.config import NetworkConfig, read_config, read_tokens
from emotion.model.checkpoint.convert import Source, convert, describe_source, read_source
from emotion.model.checkpoint.known import EXAMPLE_CLIP, KNOWN_MODELS, KnownModel, known_model
from emotion.model.checkpoint.state import state_tensors

WEIGHTS = "model.safetensors"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Checkpoint:
    """A model on this disk, ready to be loaded.

    `folder` holds config.yaml and tokens.txt, `weights` is the converted file, `fingerprint` is the SHA-256 of the
    published `model.pt` it was made from, `tokens` has one line per row of the published head.
    """

    name: str
    folder: Path
    weights: Path
    fingerprint: str
    config: NetworkConfig
    tokens: tuple[str, ...]

    @property
    def kept_rows(self) -> list[int]:
        """Rows of the head that were trained; the `unuse...` ones are masked."""
        return [row for row, token in enumerate(self.tokens) if not is_masked(token)]

    @property
    def labels(self) -> tuple[str, ...]:
        """The label of each kept row: the columns of the logits."""
        return tuple(key_of_token(self.tokens[row]) for row in self.kept_rows)

    @property
    def example_clip(self) -> Path | None:
        """The example that came with the model, if it did."""
        clip = self.folder / EXAMPLE_CLIP
        return clip if clip.is_file() else None


@dataclass(frozen=True)
class ModelEntry:
    """One line of the list of models: what it is, and where it is if it is here."""

    model: KnownModel
    folder: Path | None

    @property
    def present(self) -> bool:
        return self.folder is not None


def list_models(cache_dir: Path) -> list[ModelEntry]:
    """The published models and which of them are in the cache; nothing is loaded, converted or asked."""
    folders = [(model, model_folder(model.name, cache_dir)) for model in KNOWN_MODELS]
    return [ModelEntry(model, folder if _is_complete(folder) else None) for model, folder in folders]


def is_present(name: str, cache_dir: Path) -> bool:
    """Whether `find_checkpoint` would find this model, without looking inside."""
    if is_own_folder(name):
        return True
    return _is_complete(model_folder(name, cache_dir))


def find_checkpoint(name: str, cache_dir: Path) -> Checkpoint:
    """The model of this short name, hub id or folder, converted if it was not yet; never uses the network.

    Raises ModelNotFound if it is not here, CheckpointBroken if it is damaged, DiskFull if it cannot be converted.
    """
    if is_own_folder(name):
        return _open_own_folder(Path(name).expanduser(), cache_dir)
    folder = model_folder(name, cache_dir)
    if not _is_complete(folder):
        raise _not_here(name)
    return open_cached(folder)


def model_folder(name: str, cache_dir: Path) -> Path:
    """Folder of a downloaded model in the cache: one per model, whichever hub it came from."""
    known = known_model(name)
    return cache_dir / "models" / (known.name if known else name.replace("/", "--"))


def is_hub_id(name: str) -> bool:
    """Whether a hub could know this name: `owner/model`."""
    return _HUB_ID.fullmatch(name) is not None


def open_cached(folder: Path) -> Checkpoint:
    """A model in the cache, which keeps the converted weights only."""
    config, tokens = read_config(folder), read_tokens(folder)
    source = read_source(folder / WEIGHTS, state_tensors(config, len(tokens)))
    if source is None:
        raise CheckpointBroken(
            f"The weights of {folder.name} in the cache are damaged. Get them anew with: "
            f"{command_line(f'models download {folder.name}')}",
            name=folder.name,
        )
    return Checkpoint(folder.name, folder, folder / WEIGHTS, source.fingerprint, config, tokens)


def _open_own_folder(folder: Path, cache_dir: Path) -> Checkpoint:
    """A folder of the user's, into which nothing is written: its converted weights live in the cache.

    They are kept by the folder's place, one file each; size and time of `model.pt` tell whether it changed since.
    """
    folder = folder.resolve()
    config, tokens = read_config(folder), read_tokens(folder)
    model_pt = folder / "model.pt"
    if not model_pt.is_file():
        raise CheckpointBroken(f"{folder.name!r} holds no model.pt. Copy the whole model folder.", name=folder.name)
    place = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    converted = cache_dir / "converted" / f"{place}.safetensors"
    source = read_source(converted, state_tensors(config, len(tokens)))
    if source is None or not _is_same(source, model_pt):
        source = describe_source(model_pt)
        convert(model_pt, source, converted, config, len(tokens))
    return Checkpoint(folder.name, folder, converted, source.fingerprint, config, tokens)


def _is_same(source: Source, model_pt: Path) -> bool:
    now = model_pt.stat()
    return (source.num_bytes, source.changed_ns) == (now.st_size, now.st_mtime_ns)


def is_own_folder(name: str) -> bool:
    """Known names always mean the cache; `./emotion2vec_plus_large` names a folder."""
    return known_model(name) is None and Path(name).expanduser().is_dir()


def _is_complete(folder: Path) -> bool:
    # The weights are put there last, so nothing else needs to be asked.
    return (folder / WEIGHTS).is_file()


def _not_here(name: str) -> ModelNotFound:
    if known_model(name) or is_hub_id(name):
        return ModelNotFound(
            f"The model {name} is not on this machine. Download it with: {command_line(f'models download {name}')}",
            name=name,
        )
    names = ", ".join(model.name for model in KNOWN_MODELS)
    return ModelNotFound(
        f"There is no model {name!r}. Use compact, {names}, a hub id (owner/model) or a folder.", name=name
    )


def example_clip(name: str, cache_dir: Path) -> Path | None:
    """The example clip that came with a model of the cache; None where there is none."""
    clip = model_folder(name, cache_dir) / EXAMPLE_CLIP
    return clip if clip.is_file() else None
