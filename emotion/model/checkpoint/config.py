"""`config.yaml` and `tokens.txt` of FunASR's folder format, read as data: nothing in them is ever evaluated."""

import ast
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emotion.errors import CheckpointBroken
from emotion.labels import is_masked, key_of_token
from emotion.model.contract import FRAME_SPAN_SAMPLES, FRAME_STEP_SAMPLES

Convolution = tuple[int, int, int]

MAX_TEXT_BYTES = 1_000_000  # the official config has 5,552 bytes; YAML bombs need little more
MAX_CONVOLUTIONS = 16


@dataclass(frozen=True)
class NetworkConfig:
    """The sizes of one emotion2vec network.

    `convolutions` are (channels, kernel, stride) from waveform to frame; `prenet_depth` and `depth` count the
    transformer blocks before and after the place where the training network forks; one runs after the other.
    """

    convolutions: tuple[Convolution, ...]
    width: int
    heads: int
    prenet_depth: int
    depth: int
    mlp_width: int
    position_layers: int
    position_kernel: int
    position_groups: int
    extra_tokens: int
    norm_eps: float
    scale_per_layer: bool
    scale_per_head: bool

    @property
    def num_blocks(self) -> int:
        return self.prenet_depth + self.depth


def read_config(folder: Path) -> NetworkConfig:
    """The network that `config.yaml` of this folder describes; CheckpointBroken says what is wrong with it."""
    return network_config(read_model_conf(folder))


def read_model_conf(folder: Path) -> dict[str, Any]:
    """The mapping `model_conf` of `config.yaml`, as plain data."""
    import yaml

    try:
        document = yaml.safe_load(_read_text(folder / "config.yaml"))
    except (yaml.YAMLError, RecursionError):
        raise _broken("config.yaml is no YAML file") from None
    if not isinstance(document, dict) or document.get("model") != "Emotion2vec":
        raise _broken("config.yaml does not describe an emotion2vec model")
    conf = document.get("model_conf")
    if not isinstance(conf, dict):
        raise _broken("config.yaml has no model_conf")
    return conf


def read_tokens(folder: Path) -> tuple[str, ...]:
    """The lines of `tokens.txt`, one per row of the head; two labels of one name are refused."""
    lines = [line.strip() for line in _read_text(folder / "tokens.txt").rstrip().split("\n")]
    labels = [key_of_token(token) for token in lines if not is_masked(token)]
    if not all(lines) or len(labels) < 2 or len(set(labels)) < len(labels):
        raise _broken("tokens.txt is not a list of different labels")
    return tuple(lines)


def network_config(conf: Mapping[str, Any]) -> NetworkConfig:
    """Check and translate `model_conf`; every number has a range, so that a hostile file cannot claim memory."""
    audio = _section(_section(conf, "modalities"), "audio")
    _refuse_what_is_not_built(conf, audio)
    width = _integer(conf, "embed_dim", 8, 4096)
    heads = _integer(conf, "num_heads", 1, 64)
    layers = _integer(audio, "conv_pos_depth", 1, 16)
    groups = _integer(audio, "conv_pos_groups", 1, 256)
    if width % heads or width % groups or audio.get("num_alibi_heads") != heads:
        raise _broken("config.yaml: embed_dim, num_heads, num_alibi_heads and conv_pos_groups do not fit together")
    return NetworkConfig(
        convolutions=parse_convolutions(audio.get("feature_encoder_spec")),
        width=width,
        heads=heads,
        prenet_depth=_integer(audio, "prenet_depth", 0, 64),
        depth=_integer(conf, "depth", 1, 64),
        mlp_width=int(width * _number(conf, "mlp_ratio", 0.25, 8.0)),
        position_layers=layers,
        position_kernel=max(3, _integer(audio, "conv_pos_width", 1, 1024) // layers),
        position_groups=groups,
        extra_tokens=_integer(audio, "num_extra_tokens", 0, 256),
        norm_eps=_number(conf, "norm_eps", 1e-12, 1e-2),
        scale_per_layer=bool(audio.get("learned_alibi_scale_per_layer")),
        scale_per_head=bool(audio.get("learned_alibi_scale_per_head")),
    )


def parse_convolutions(spec: object) -> tuple[Convolution, ...]:
    """`[(512, 10, 5)] + [(512, 3, 2)] * 4` as numbers: list literals, `+` and `*` and nothing else."""
    if not isinstance(spec, str) or len(spec) > MAX_TEXT_BYTES // 1000:
        raise _broken("config.yaml has no feature_encoder_spec")
    try:
        layers = tuple(_spec_layers(ast.parse(spec, mode="eval").body))
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        raise _broken("feature_encoder_spec in config.yaml is no list of convolutions") from None
    if not 1 <= len(layers) <= MAX_CONVOLUTIONS:
        raise _broken("feature_encoder_spec in config.yaml has too few or too many convolutions")
    step, span = 1, 1
    for _, kernel, stride in layers:
        span += (kernel - 1) * step
        step *= stride
    if (step, span) != (FRAME_STEP_SAMPLES, FRAME_SPAN_SAMPLES):
        raise _broken(f"its frames have {step} and {span} samples instead of 320 and 400")
    return layers


def alibi_slopes(heads: int) -> list[float]:
    """One slope per head: a geometric series from 2^(-8/n) to 2^-8; where the number of heads n is no power of two,
    the series of the next lower power, filled up with every other slope of the next higher one (Press et al. 2021).
    """
    lower = 2 ** math.floor(math.log2(heads))
    slopes = [2 ** (-8 * (head + 1) / lower) for head in range(lower)]
    between = [2 ** (-8 * (head + 1) / (2 * lower)) for head in range(0, 2 * lower, 2)]
    return slopes + between[: heads - lower]


def _spec_layers(node: ast.expr) -> list[Convolution]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _spec_layers(node.left) + _spec_layers(node.right)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        times = ast.literal_eval(node.right)
        if not isinstance(times, int) or not 0 <= times <= MAX_CONVOLUTIONS:
            raise ValueError(times)
        return _spec_layers(node.left) * times
    return [_convolution(layer) for layer in ast.literal_eval(node)]


def _convolution(layer: tuple[object, ...]) -> Convolution:
    channels, kernel, stride = layer
    for value, limit in ((channels, 2048), (kernel, 64), (stride, 64)):
        if type(value) is not int or not 1 <= value <= limit:
            raise ValueError(layer)
    return channels, kernel, stride  # type: ignore[return-value]


def _refuse_what_is_not_built(conf: Mapping[str, Any], audio: Mapping[str, Any]) -> None:
    """No published emotion2vec+ checkpoint differs here, so a variant is refused rather than computed wrongly."""
    wanted: list[tuple[Mapping[str, Any], str, object]] = [
        (conf, "layer_norm_first", False),
        (conf, "norm_affine", True),
        (conf, "normalize", True),
        (audio, "extractor_mode", "layer_norm"),
        (audio, "conv_pos_pre_ln", False),
        (audio, "use_alibi_encoder", True),
        (audio, "learned_alibi", False),
    ]
    for section, key, value in wanted:
        if section.get(key) != value:
            raise _broken(f"config.yaml has {key}: {section.get(key)!r}; only {value!r} can be computed")


def _section(conf: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    section = conf.get(key)
    if not isinstance(section, dict):
        raise _broken(f"config.yaml has no section {key}")
    return section


def _integer(conf: Mapping[str, Any], key: str, low: int, high: int) -> int:
    value = conf.get(key)
    if type(value) is not int or not low <= value <= high:
        raise _broken(f"config.yaml has {key}: {value!r}, expected a whole number from {low} to {high}")
    return value


def _number(conf: Mapping[str, Any], key: str, low: float, high: float) -> float:
    value = conf.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _broken(f"config.yaml has {key}: {value!r}, expected a number")
    if not low <= value <= high:
        raise _broken(f"config.yaml has {key}: {value!r}, expected {low} to {high}")
    return float(value)


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_TEXT_BYTES + 1)
        if len(content) > MAX_TEXT_BYTES:
            raise _broken(f"{path.name} is larger than {MAX_TEXT_BYTES / 1e6:.0f} MB")
        return content.decode("utf-8")
    except FileNotFoundError:
        raise _broken(f"{path.name} is missing") from None
    except (OSError, UnicodeDecodeError):
        raise _broken(f"{path.name} cannot be read") from None


def _broken(reason: str) -> CheckpointBroken:
    return CheckpointBroken(
        f"This model cannot be used: {reason}. Take one of the emotion2vec_plus models, or fetch it again.",
        reason=reason,
    )
