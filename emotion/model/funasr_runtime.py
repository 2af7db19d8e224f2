"""FunASR itself as the runtime: the reference that the others are measured against.

It is fed arrays only, since it would download a string that looks like an address, and a description made from the
checked config, since it would evaluate parts of the file. It costs six seconds and 550 MB to import.
"""

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from emotion.errors import ModelError
from emotion.model.checkpoint import Checkpoint, NetworkConfig
from emotion.model.checkpoint.state import BODY_PREFIX, state_tensors
from emotion.model.contract import CpuModel, FloatArray, ModelCard, Prediction
from emotion.model.torch_runtime import usable_device


class FunasrModel(CpuModel):
    """`funasr.AutoModel` behind the contract of the model room."""

    def __init__(self, auto_model: Any, kept_rows: list[int], card: ModelCard) -> None:
        self._auto_model = auto_model
        self._kept_rows = kept_rows
        self._card = card

    @property
    def card(self) -> ModelCard:
        return self._card

    def predict(self, waveforms: Sequence[FloatArray]) -> list[Prediction]:
        """One prediction per waveform [n], n >= 400, each normalised with the statistics of its clip."""
        return [self._predict_one(waveform) for waveform in waveforms]

    def free_memory(self) -> None:
        """Drop the attention bias, of which FunASR keeps the longest that it ever made."""
        self._auto_model.model.alibi_biases.clear()
        if self._card.device != "cpu":
            torch.cuda.empty_cache()

    def _predict_one(self, waveform: FloatArray) -> Prediction:
        samples = np.array(waveform, dtype=np.float32)
        with same_threads():
            spoken = self._auto_model.generate(input=samples, granularity="frame", extract_embedding=True)
        embeddings = np.asarray(spoken[0]["feats"], dtype=np.float32)
        with torch.inference_mode():
            head = self._auto_model.model.proj
            logits = head(torch.from_numpy(embeddings).to(head.weight.device))[:, self._kept_rows]
        return Prediction(logits.cpu().numpy(), embeddings)


def open_funasr_model(checkpoint: Checkpoint, device: str, precision: str) -> FunasrModel:
    """FunASR's network with the weights of a checkpoint; in fp32, the only precision in which it runs."""
    device = usable_device(device)
    if precision not in ("auto", "fp32"):
        raise ModelError(f"FunASR computes in fp32 only, not in {precision}. Use --precision fp32.")
    auto_model_class = import_funasr()
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        auto_model = auto_model_class(**_description(checkpoint, device))
    auto_model.model.load_state_dict(_published_state(checkpoint))
    auto_model.model.cfg.normalize = False  # waveforms come normalised with the statistics of their whole clip
    card = ModelCard(
        name=checkpoint.name,
        fingerprint=checkpoint.fingerprint,
        runtime="funasr",
        device=device,
        precision="fp32",
        labels=checkpoint.labels,
        embedding_size=checkpoint.config.width,
    )
    return FunasrModel(auto_model, checkpoint.kept_rows, card)


def import_funasr() -> Any:
    """The class `AutoModel`, imported without its announcements and without a torchaudio that cannot load."""
    try:
        import torchaudio  # type: ignore[import-not-found, unused-ignore]  # noqa: F401
    except (ImportError, OSError):
        # FunASR survives only the first of the two, so a broken installation is made to look like none.
        sys.modules["torchaudio"] = None  # type: ignore[assignment]
    with quiet(), warnings.catch_warnings():
        # Its import swallows every error, so a warning made an error would leave models out without a word.
        warnings.simplefilter("ignore")
        try:
            from funasr import AutoModel
        except ImportError:
            raise ModelError("FunASR is not installed. Install it with: pip install funasr") from None
    return AutoModel


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep FunASR's announcements off standard output and its handler off the root logger."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        with contextlib.redirect_stdout(io.StringIO()), same_threads():
            yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


@contextlib.contextmanager
def same_threads() -> Iterator[None]:
    """Undo FunASR's choice of threads, which holds for the whole process."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _description(checkpoint: Checkpoint, device: str) -> dict[str, Any]:
    """Arguments of AutoModel that describe the network in full, so that it asks no hub and reads no file."""
    return {
        "model": "Emotion2vec",
        "model_conf": _model_conf(checkpoint.config),
        "tokenizer": "CharTokenizer",
        "tokenizer_conf": {"token_list": list(checkpoint.tokens), "unk_symbol": checkpoint.tokens[-1]},
        "device": device,
        "ncpu": torch.get_num_threads(),
        "disable_update": True,
        "disable_pbar": True,
        "disable_log": True,
        "log_level": "ERROR",
    }


def _model_conf(config: NetworkConfig) -> dict[str, Any]:
    """The keys that FunASR reads of `model_conf`; what only training needs is off."""
    return {
        "activation_dropout": 0.0,
        "attention_dropout": 0.0,
        "average_top_k_layers": config.num_blocks,
        "clone_batch": 1,
        "depth": config.depth,
        "dropout_input": 0.0,
        "embed_dim": config.width,
        "encoder_dropout": 0.0,
        "end_drop_path_rate": 0.0,
        "end_of_block_targets": False,
        "layer_norm_first": False,
        "layerdrop": 0.0,
        "loss_beta": 0.0,
        "loss_scale": None,
        "mlp_ratio": config.mlp_width / config.width,
        "modalities": {"audio": _audio_conf(config)},
        "norm_affine": True,
        "norm_eps": config.norm_eps,
        "normalize": True,
        "num_heads": config.heads,
        "post_mlp_drop": 0.0,
        "start_drop_path_rate": 0.0,
    }


def _audio_conf(config: NetworkConfig) -> dict[str, Any]:
    """The part of `model_conf` that is about the waveform."""
    return {
        "alibi_max_pos": None,
        "alibi_scale": 1.0,
        "conv_pos_depth": config.position_layers,
        "conv_pos_groups": config.position_groups,
        "conv_pos_pre_ln": False,
        "conv_pos_width": config.position_kernel * config.position_layers,
        "decoder": None,
        "end_drop_path_rate": 0.0,
        "extractor_mode": "layer_norm",
        "feature_encoder_spec": repr(list(config.convolutions)),
        "init_extra_token_zero": True,
        "learned_alibi": False,
        "learned_alibi_scale": True,
        "learned_alibi_scale_per_head": config.scale_per_head,
        "learned_alibi_scale_per_layer": config.scale_per_layer,
        "local_grad_mult": 1.0,
        "model_depth": config.depth,
        "num_alibi_heads": config.heads,
        "num_extra_tokens": config.extra_tokens,
        "prenet_depth": config.prenet_depth,
        "prenet_dropout": 0.0,
        "prenet_layerdrop": 0.0,
        "start_drop_path_rate": 0.0,
        "use_alibi_encoder": True,
    }


def _published_state(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    own = load_file(checkpoint.weights)
    tensors = state_tensors(checkpoint.config, len(checkpoint.tokens))
    return {tensor.published.removeprefix(BODY_PREFIX): own[tensor.name] for tensor in tensors}
