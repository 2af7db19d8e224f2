"""Random checkpoints in FunASR's folder format, small enough to be made in every test run."""

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from emotion.model.checkpoint.config import network_config
from emotion.model.checkpoint.state import ENCODER, StateTensor, state_tensors

TOKENS = (
    "生气/angry",
    "厌恶/disgusted",
    "恐惧/fearful",
    "开心/happy",
    "中立/neutral",
    "其他/other",
    "难过/sad",
    "吃惊/surprised",
    "<unk>",
)
# The order of the published checkpoint that was fine-tuned on four emotions.
TOKENS_WITH_UNUSED = (
    "生气/angry",
    "unuse_0",
    "unuse_1",
    "开心/happy",
    "中立/neutral",
    "unuse_2",
    "难过/sad",
    "unuse_3",
    "<unk>",
)


@dataclass(frozen=True)
class Size:
    """What differs between the checkpoints; everything else is as in the published large one."""

    channels: int
    width: int
    heads: int
    prenet_depth: int
    depth: int
    mlp_ratio: float = 4.0
    position_groups: int = 16
    scale_per_layer: bool = False
    scale_per_head: bool = True
    extra_tokens: int = 10


TINY = Size(channels=16, width=32, heads=4, prenet_depth=1, depth=1)
MEDIUM = Size(channels=64, width=192, heads=8, prenet_depth=2, depth=3)
WIDE_BASE = Size(channels=64, width=768, heads=12, prenet_depth=1, depth=1, mlp_ratio=1.0)
BASE = Size(channels=512, width=768, heads=12, prenet_depth=4, depth=8)
LARGE = Size(channels=512, width=1024, heads=16, prenet_depth=4, depth=8)


def config_document(size: Size) -> dict[str, Any]:
    """The document of `config.yaml`, with every key that FunASR reads."""
    decoder = {"decoder_dim": 16, "decoder_groups": 4, "decoder_kernel": 7, "decoder_layers": 1, "input_dropout": 0.1}
    decoder |= {"add_positions_all": False, "add_positions_masked": False, "decoder_residual": True}
    decoder |= {"projection_layers": 1, "projection_ratio": 2.0}
    layer = f"({size.channels}, %s)"
    spec = f"[{layer % '10, 5'}] + [{layer % '3, 2'}] * 4 + [{layer % '2,2'}] + [{layer % '2,2'}]"
    audio = {
        "alibi_max_pos": None, "alibi_scale": 1.0, "conv_pos_depth": 5, "conv_pos_groups": size.position_groups,
        "conv_pos_pre_ln": False, "conv_pos_width": 95, "decoder": decoder, "end_drop_path_rate": 0.0,
        "extractor_mode": "layer_norm",
        "feature_encoder_spec": spec,
        "init_extra_token_zero": True, "learned_alibi": False, "learned_alibi_scale": True,
        "learned_alibi_scale_per_head": size.scale_per_head, "learned_alibi_scale_per_layer": size.scale_per_layer,
        "local_grad_mult": 1.0, "model_depth": size.depth, "num_alibi_heads": size.heads,
        "num_extra_tokens": size.extra_tokens, "prenet_depth": size.prenet_depth,
        "prenet_dropout": 0.1, "prenet_layerdrop": 0.0, "start_drop_path_rate": 0.0, "type": "AUDIO",
        "use_alibi_encoder": True,
    }  # fmt: skip
    model_conf = {
        "activation_dropout": 0.0, "attention_dropout": 0.1, "average_top_k_layers": 16, "clone_batch": 12,
        "depth": size.depth, "dropout_input": 0.0, "embed_dim": size.width, "encoder_dropout": 0.1,
        "end_drop_path_rate": 0.0, "end_of_block_targets": False, "layer_norm_first": False, "layerdrop": 0.0,
        "loss_beta": 0.0, "loss_scale": None, "mlp_ratio": size.mlp_ratio, "modalities": {"audio": audio},
        "norm_affine": True, "norm_eps": 1e-5, "normalize": True, "num_heads": size.heads, "post_mlp_drop": 0.1,
        "start_drop_path_rate": 0.0,
    }  # fmt: skip
    return copy.deepcopy(
        {
            "model": "Emotion2vec",
            "model_conf": model_conf,
            "tokenizer": "CharTokenizer",
            "tokenizer_conf": {"unk_symbol": "<unk>", "split_with_space": True},
            "scope_map": ["d2v_model.", "none"],
        }
    )


def random_state(size: Size, tokens: tuple[str, ...] = TOKENS, seed: int = 1) -> dict[str, torch.Tensor]:
    """Tensors by published name, scaled so that every layer changes the result and none drowns it."""
    generator = torch.Generator().manual_seed(seed)
    config = network_config(config_document(size)["model_conf"])
    state = {tensor.published: _random_tensor(tensor, generator) for tensor in state_tensors(config, len(tokens))}
    return state | training_leftovers(size)


def training_leftovers(size: Size) -> dict[str, torch.Tensor]:
    """Tensors of the decoder, which only training uses."""
    decoder = ENCODER + "decoder."
    return {
        decoder + "blocks.0.0.weight": torch.ones(16, size.width // 4, 7),
        decoder + "blocks.0.0.bias": torch.ones(16),
        decoder + "proj.weight": torch.ones(size.width, 16),
        decoder + "proj.bias": torch.ones(size.width),
    }


def _random_tensor(tensor: StateTensor, generator: torch.Generator) -> torch.Tensor:
    noise = torch.randn(tensor.shape, generator=generator)
    if tensor.published == ENCODER + "alibi_scale":
        scales = noise.abs() + 0.3
        scales.view(-1)[1] = -0.5  # below 0, where the clamp works
        return scales
    if tensor.name.endswith("bias"):
        return noise * 0.1
    if "norm" in tensor.name:
        return 1 + noise * 0.1
    if tensor.name == "extra_tokens":
        return noise
    return noise / noise[0].numel() ** 0.5  # by the number of inputs of each output


def write_checkpoint(
    folder: Path, size: Size = TINY, tokens: tuple[str, ...] = TOKENS, state: dict[str, Any] | None = None
) -> Path:
    """A folder that FunASR's AutoModel and we open alike; `state` replaces the random tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config_document(size)), encoding="utf-8")
    (folder / "tokens.txt").write_text("\n".join(tokens), encoding="utf-8")
    metas = {"init_param": "model.pt", "config": "config.yaml", "tokenizer_conf": {"token_list": "tokens.txt"}}
    (folder / "configuration.json").write_text(json.dumps({"file_path_metas": metas}), encoding="utf-8")
    torch.save({"model": state if state is not None else random_state(size, tokens)}, folder / "model.pt")
    return folder
