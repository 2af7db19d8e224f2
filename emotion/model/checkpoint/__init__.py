"""The checkpoint room: finds, downloads and converts the weights of a model; knows files and hubs, not sound."""

from emotion.model.checkpoint.config import NetworkConfig
from emotion.model.checkpoint.convert import file_sha256
from emotion.model.checkpoint.download import Progress, download, hub_answers, unreachable_message
from emotion.model.checkpoint.find import (
    Checkpoint,
    ModelEntry,
    example_clip,
    find_checkpoint,
    is_present,
    list_models,
)
from emotion.model.checkpoint.known import (
    GOLDEN,
    KNOWN_MODELS,
    LICENSE,
    LICENSE_URL,
    GoldenClip,
    KnownModel,
    known_model,
)

__all__ = [
    "GOLDEN",
    "KNOWN_MODELS",
    "LICENSE",
    "LICENSE_URL",
    "Checkpoint",
    "GoldenClip",
    "KnownModel",
    "ModelEntry",
    "NetworkConfig",
    "Progress",
    "download",
    "example_clip",
    "file_sha256",
    "find_checkpoint",
    "hub_answers",
    "is_present",
    "known_model",
    "list_models",
    "unreachable_message",
]
