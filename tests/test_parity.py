"""The numbers are FunASR's numbers: the real package and ours, on the same random weights and the same sound."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from emotion.checkpoint import Checkpoint, find_checkpoint
from emotion.model import FloatArray, Prediction, num_frames
from emotion.model.funasr_runtime import import_funasr, open_funasr_model, quiet
from emotion.model.torch_runtime import TorchModel, open_torch_model
from tests.checkpoints import MEDIUM, TINY, TOKENS, TOKENS_WITH_UNUSED, WIDE_BASE, Size, write_checkpoint

LENGTHS = (400, 401, 719, 720, 1000, 16_000, 80_000, 480_000)
UNLIKE = Size(16, 32, 4, prenet_depth=1, depth=2, scale_per_layer=True, scale_per_head=False, extra_tokens=0)
CASES = {
    "tiny": (TINY, TOKENS),
    "medium with unused tokens": (MEDIUM, TOKENS_WITH_UNUSED),
    "12 heads": (WIDE_BASE, TOKENS),
    "one scale per layer and no extra tokens": (UNLIKE, TOKENS_WITH_UNUSED),
}


@dataclass(frozen=True)
class Pair:
    """FunASR and ours over one checkpoint."""

    checkpoint: Checkpoint
    theirs: Any
    ours: TorchModel


@pytest.fixture(scope="module")
def auto_model_class() -> Any:
    return import_funasr()


@pytest.fixture(scope="module", params=CASES)
def pair(request: pytest.FixtureRequest, auto_model_class: Any, tmp_path_factory: Any) -> Iterator[Pair]:
    size, tokens = CASES[request.param]
    folder = write_checkpoint(tmp_path_factory.mktemp("checkpoint"), size, tokens)
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of FunASR's own code, while it loads
        theirs = auto_model_class(
            model=str(folder), device="cpu", disable_update=True, disable_pbar=True, disable_log=True
        )
    checkpoint = find_checkpoint(str(folder), tmp_path_factory.mktemp("cache"))
    return Pair(checkpoint, theirs, open_torch_model(checkpoint, "cpu", "fp32"))


def speechlike(num_samples: int, seed: int = 3) -> FloatArray:
    """A hum with harmonics that comes and goes, over some noise, and off centre; float32 [n]."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(num_samples) / 16_000
    hum = sum(np.sin(2 * np.pi * 140 * k * time_s + k) / k for k in range(1, 12))
    loudness = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * time_s)
    return (0.02 + 0.1 * hum * loudness + 0.02 * rng.standard_normal(num_samples)).astype(np.float32)


def normalised(samples: FloatArray) -> FloatArray:
    centred = samples.astype(np.float64) - samples.mean(dtype=np.float64)
    return (centred / np.sqrt(centred.var() + 1e-5)).astype(np.float32)


def scores_of(prediction: Prediction) -> FloatArray:
    mean = prediction.logits.mean(axis=0)
    weights = np.exp(mean - mean.max())
    return weights / weights.sum()


@contextmanager
def changed_scale(model: TorchModel, change: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[torch.Tensor]:
    """Another scale of the attention bias for a while; gives the published one."""
    published = model._network.alibi_scale
    model._network.alibi_scale = torch.nn.Parameter(change(published), requires_grad=False)
    yield published
    model._network.alibi_scale = published


@pytest.mark.parametrize("num_samples", LENGTHS)
def test_labels_scores_and_embeddings_are_those_of_funasr(pair: Pair, num_samples: int) -> None:
    samples = speechlike(num_samples)
    utterance = pair.theirs.generate(input=samples, granularity="utterance", extract_embedding=True)[0]
    frames = pair.theirs.generate(input=samples, granularity="frame", extract_embedding=True)[0]

    ours = pair.ours.predict([normalised(samples)])[0]

    assert tuple(token.split("/")[-1].replace("<unk>", "unknown") for token in utterance["labels"]) == (
        pair.ours.card.labels
    )
    assert ours.embeddings.shape == frames["feats"].shape == (num_frames(num_samples), pair.ours.card.embedding_size)
    assert np.argmax(scores_of(ours)) == np.argmax(utterance["scores"])
    np.testing.assert_allclose(scores_of(ours), utterance["scores"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(ours.embeddings, frames["feats"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(ours.embeddings.mean(axis=0), utterance["feats"], rtol=0, atol=1e-4)


def test_the_comparison_would_notice_a_wrong_attention_bias(pair: Pair) -> None:
    samples = speechlike(16_000)
    theirs = pair.theirs.generate(input=samples, granularity="frame", extract_embedding=True)[0]["feats"]
    with changed_scale(pair.ours, lambda scale: scale * 1.2):
        bent = pair.ours.predict([normalised(samples)])[0].embeddings

    assert np.abs(bent - theirs).max() > 1e-3


def test_a_scale_below_zero_counts_as_zero(pair: Pair) -> None:
    samples = normalised(speechlike(8_000))
    before = pair.ours.predict([samples])[0].embeddings

    with changed_scale(pair.ours, lambda scale: scale.clamp(min=0)) as published:
        after = pair.ours.predict([samples])[0].embeddings

    assert (published < 0).any(), "the random checkpoint should try the clamp"
    np.testing.assert_array_equal(before, after)


def test_the_funasr_runtime_keeps_the_contract_with_the_same_numbers(
    pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = normalised(speechlike(16_000))
    threads = torch.get_num_threads()
    reference = open_funasr_model(pair.checkpoint, "cpu", "auto")

    theirs, ours = reference.predict([samples])[0], pair.ours.predict([samples])[0]
    reference.free_memory()

    np.testing.assert_allclose(theirs.embeddings, ours.embeddings, rtol=0, atol=1e-4)
    np.testing.assert_allclose(theirs.logits, ours.logits, rtol=0, atol=1e-4)
    assert (reference.card.runtime, reference.card.labels) == ("funasr", pair.ours.card.labels)
    assert reference.card.fingerprint == pair.ours.card.fingerprint
    assert torch.get_num_threads() == threads
    assert capsys.readouterr().out == ""
