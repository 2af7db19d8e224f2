"""The tensors of one network: our name of each, its name in the published checkpoint, its shape."""

from collections.abc import Iterator
from dataclasses import dataclass

from emotion.model.checkpoint.config import NetworkConfig

Shape = tuple[int, ...]

# Everything but the head carries this prefix in the published files (scope_map in config.yaml).
BODY_PREFIX = "d2v_model."
ENCODER = BODY_PREFIX + "modality_encoders.AUDIO."


@dataclass(frozen=True)
class StateTensor:
    """One tensor of the inference network."""

    name: str
    published: str
    shape: Shape


def state_tensors(config: NetworkConfig, num_tokens: int) -> tuple[StateTensor, ...]:
    """Every tensor that inference needs; whatever else a checkpoint holds is left over from training."""
    return (
        *_feature_tensors(config),
        *_position_tensors(config),
        *_normed("norm", ENCODER + "context_encoder.norm", config.width),
        *(tensor for index in range(config.num_blocks) for tensor in _block_tensors(config, index)),
        *_linear("head", "proj", config.width, num_tokens),
    )


def _feature_tensors(config: NetworkConfig) -> Iterator[StateTensor]:
    channels_in = 1
    for index, (channels, kernel, _) in enumerate(config.convolutions):
        published = f"{ENCODER}local_encoder.conv_layers.{index}"
        yield StateTensor(
            f"features.layers.{index}.conv.weight", f"{published}.0.weight", (channels, channels_in, kernel)
        )
        yield from _normed(f"features.layers.{index}.norm", f"{published}.2.1", channels)
        channels_in = channels
    yield from _normed("features.norm", ENCODER + "project_features.1", channels_in)
    yield from _linear("features.project", ENCODER + "project_features.2", channels_in, config.width)


def _position_tensors(config: NetworkConfig) -> Iterator[StateTensor]:
    width, group_width = config.width, config.width // config.position_groups
    for index in range(config.position_layers):
        published = f"{ENCODER}relative_positional_encoder.{index + 1}.0"
        yield StateTensor(
            f"positions.{index}.weight", f"{published}.weight", (width, group_width, config.position_kernel)
        )
        yield StateTensor(f"positions.{index}.bias", f"{published}.bias", (width,))
    layers = config.num_blocks if config.scale_per_layer else 1
    heads = config.heads if config.scale_per_head else 1
    yield StateTensor("alibi_scale", ENCODER + "alibi_scale", (layers, 1, heads, 1, 1))
    if config.extra_tokens:
        yield StateTensor("extra_tokens", ENCODER + "extra_tokens", (1, config.extra_tokens, width))


def _block_tensors(config: NetworkConfig, index: int) -> Iterator[StateTensor]:
    width, own = config.width, f"blocks.{index}"
    if index < config.prenet_depth:
        published = f"{ENCODER}context_encoder.blocks.{index}"
    else:
        published = f"{BODY_PREFIX}blocks.{index - config.prenet_depth}"
    yield from _linear(f"{own}.attention.qkv", f"{published}.attn.qkv", width, 3 * width)
    yield from _linear(f"{own}.attention.project", f"{published}.attn.proj", width, width)
    yield from _normed(f"{own}.norm1", f"{published}.norm1", width)
    yield from _linear(f"{own}.expand", f"{published}.mlp.fc1", width, config.mlp_width)
    yield from _linear(f"{own}.contract", f"{published}.mlp.fc2", config.mlp_width, width)
    yield from _normed(f"{own}.norm2", f"{published}.norm2", width)


def _linear(name: str, published: str, columns: int, rows: int) -> Iterator[StateTensor]:
    yield StateTensor(f"{name}.weight", f"{published}.weight", (rows, columns))
    yield StateTensor(f"{name}.bias", f"{published}.bias", (rows,))


def _normed(name: str, published: str, width: int) -> Iterator[StateTensor]:
    yield StateTensor(f"{name}.weight", f"{published}.weight", (width,))
    yield StateTensor(f"{name}.bias", f"{published}.bias", (width,))
