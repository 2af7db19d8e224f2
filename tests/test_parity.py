"""The numbers are FunASR's numbers: the real package and ours, on the same random weights and the same sound."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch

from emotion.model import FloatArray, Prediction, SpeechModel, num_frames
from emotion.model.checkpoint import Checkpoint, find_checkpoint
from emotion.model.emotion2vec import AlibiBias, load_network
from emotion.model.funasr_runtime import import_funasr, open_funasr_model, quiet
from emotion.model.torch_runtime import TorchModel, open_torch_model
from tests.checkpoints import MEDIUM, TINY, TOKENS, TOKENS_WITH_UNUSED, WIDE_BASE, Size, write_checkpoint

pytestmark = pytest.mark.numeric

LENGTHS = (400, 401, 719, 720, 1000, 16_000, 80_000, 480_000)
UNLIKE = Size(16, 32, 4, prenet_depth=1, depth=2, scale_per_layer=True, scale_per_head=False, extra_tokens=0)
CASES = {
    "tiny": (TINY, TOKENS),
    "medium with unused tokens": (MEDIUM, TOKENS_WITH_UNUSED),
    "12 heads": (WIDE_BASE, TOKENS),
    "one scale per layer and no extra tokens": (UNLIKE, TOKENS_WITH_UNUSED),
}
# What half precision may change a score by. A narrow network averages less of its rounding away: of 24 clips of 1 s,
# bf16 costs the medium one up to 0.006 and the one of 12 heads, as wide as the published base, up to 0.002.
HALF_LIMITS = {
    ("bf16", "medium with unused tokens"): 1e-2,
    ("bf16", "12 heads"): 5e-3,
    ("fp16", "medium with unused tokens"): 1e-3,
    ("fp16", "12 heads"): 1e-3,
}


@dataclass(frozen=True)
class Pair:
    """FunASR and ours over one checkpoint."""

    name: str
    checkpoint: Checkpoint
    theirs: Any
    ours: TorchModel
    said: dict[tuple[int, str], dict[str, Any]] = field(default_factory=dict)

    def reference(self, num_samples: int, granularity: str) -> dict[str, Any]:
        """What FunASR says of the sound of so many samples, asked once."""
        key = (num_samples, granularity)
        if key not in self.said:
            sound = speechlike(num_samples)
            self.said[key] = self.theirs.generate(input=sound, granularity=granularity, extract_embedding=True)[0]
        return self.said[key]


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
    return Pair(request.param, checkpoint, theirs, open_torch_model(checkpoint, "cpu", "fp32"))


def speechlike(num_samples: int, seed: int = 3) -> FloatArray:
    """A hum with harmonics that comes and goes, over some noise, and off centre; float32 [n]."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(num_samples) / 16_000
    hum = sum(np.sin(2 * np.pi * 140 * k * time_s + k) / k for k in range(1, 12))
    loudness = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * time_s)
    return (0.02 + 0.1 * hum * loudness + 0.02 * rng.standard_normal(num_samples)).astype(np.float32)


def normalized(samples: FloatArray) -> FloatArray:
    centered = samples.astype(np.float64) - samples.mean(dtype=np.float64)
    return (centered / np.sqrt(centered.var() + 1e-5)).astype(np.float32)


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


def open_ours(pair: Pair, runtime: str, precision: str) -> SpeechModel:
    """One of our runtimes over the checkpoint of a pair; the test is skipped where this machine does not have it."""
    if runtime == "torch" and precision == "fp16":
        # No processor is asked to compute so for anybody; the weights are those that a graphics card gets.
        checkpoint = pair.checkpoint
        network = load_network(checkpoint.config, checkpoint.kept_rows, checkpoint.weights, torch.float16)
        return TorchModel(network, replace(pair.ours.card, precision="fp16"))
    if runtime == "torch":
        return pair.ours if precision == "fp32" else open_torch_model(pair.checkpoint, "cpu", precision)
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    from emotion.model.openvino_api import ov
    from emotion.model.openvino_runtime import computes_bf16, open_openvino_model

    if precision == "bf16" and not computes_bf16(ov.Core()):
        pytest.skip("this processor does not compute in bf16")
    return open_openvino_model(pair.checkpoint, precision, 0, None)


@pytest.fixture(scope="module", params=["torch", "openvino"])
def exact(request: pytest.FixtureRequest, pair: Pair) -> SpeechModel:
    """Each of our runtimes in fp32."""
    return open_ours(pair, request.param, "fp32")


@pytest.fixture(scope="module", params=[("torch", "bf16"), ("torch", "fp16"), ("openvino", "bf16")], ids="-".join)
def rounded(request: pytest.FixtureRequest, pair: Pair) -> SpeechModel:
    """Each of our runtimes in half precision."""
    return open_ours(pair, *request.param)


@pytest.mark.parametrize("num_samples", LENGTHS)
def test_labels_scores_and_embeddings_are_those_of_funasr(pair: Pair, exact: SpeechModel, num_samples: int) -> None:
    utterance, frames = pair.reference(num_samples, "utterance"), pair.reference(num_samples, "frame")

    (ours,) = exact.start([normalized(speechlike(num_samples))])()

    assert tuple(token.split("/")[-1].replace("<unk>", "unknown") for token in utterance["labels"]) == (
        exact.card.labels
    )
    assert ours.embeddings.shape == frames["feats"].shape == (num_frames(num_samples), exact.card.embedding_size)
    assert np.argmax(scores_of(ours)) == np.argmax(utterance["scores"])
    np.testing.assert_allclose(scores_of(ours), utterance["scores"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(ours.embeddings, frames["feats"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(ours.embeddings.mean(axis=0), utterance["feats"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("num_samples", [16_000, 80_000])
@pytest.mark.parametrize("pair", ["medium with unused tokens", "12 heads"], indirect=True)
def test_scores_in_half_precision_are_those_of_funasr_within_what_it_rounds(
    pair: Pair, rounded: SpeechModel, num_samples: int
) -> None:
    (ours,) = rounded.start([normalized(speechlike(num_samples))])()

    (exactly,) = pair.ours.predict([normalized(speechlike(num_samples))])
    theirs, limit = pair.reference(num_samples, "utterance"), HALF_LIMITS[rounded.card.precision, pair.name]
    np.testing.assert_allclose(scores_of(ours), theirs["scores"], rtol=0, atol=limit)
    assert np.abs(ours.embeddings - exactly.embeddings).max() > 1e-4, "half precision was asked for"
    assert ours.logits.dtype == ours.embeddings.dtype == np.float32


def rounding_at_the_end(pair: Pair, rounded: SpeechModel, num_samples: int) -> float:
    """How far the embeddings of the last two seconds are from those in fp32, root of the mean square."""
    waveform = normalized(speechlike(num_samples))
    (exactly,), (ours,) = pair.ours.predict([waveform]), rounded.start([waveform])()
    return float(np.sqrt(np.square(ours.embeddings - exactly.embeddings)[-100:].mean()))


@pytest.mark.parametrize("pair", ["tiny"], indirect=True)
def test_half_precision_costs_a_long_clip_no_more_than_a_short_one(pair: Pair, rounded: SpeechModel) -> None:
    short, long = (rounding_at_the_end(pair, rounded, num_samples) for num_samples in (48_000, 480_000))

    assert 0 < long < 1.3 * short


@pytest.mark.parametrize("pair", ["tiny"], indirect=True)
def test_positions_in_half_precision_would_cost_a_long_clip_more(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def rows(bias: AlibiBias, index: int, first: int, last: int) -> torch.Tensor:
        """The bias of a clip alone, made of positions that are counted in bf16."""
        position = torch.arange(bias._length, dtype=torch.float32).to(torch.bfloat16)
        distance = (position[None, :] - position[first:last, None]).abs()
        distance[:, : bias._num_extra] = 0
        distance[: max(0, bias._num_extra - first)] = 0
        return (distance * -bias._slopes[index if len(bias._slopes) > 1 else 0])[None].to(bias._dtype)

    rounded = open_ours(pair, "torch", "bf16")
    exact_short = rounding_at_the_end(pair, rounded, 48_000)
    dtypes: list[torch.dtype] = []

    def rounded_rows(bias: AlibiBias, index: int, first: int, last: int) -> torch.Tensor:
        dtypes.append(bias._dtype)
        return rows(bias, index, first, last) if bias._dtype == torch.bfloat16 else published(bias, index, first, last)

    published = AlibiBias._rows
    monkeypatch.setattr(AlibiBias, "_rows", rounded_rows)

    assert rounding_at_the_end(pair, rounded, 48_000) == exact_short, "up to 256 bf16 counts exactly"
    assert rounding_at_the_end(pair, rounded, 480_000) > 2 * exact_short
    assert torch.bfloat16 in dtypes


def test_the_comparison_would_notice_a_wrong_attention_bias(pair: Pair) -> None:
    samples = speechlike(16_000)
    theirs = pair.theirs.generate(input=samples, granularity="frame", extract_embedding=True)[0]["feats"]
    with changed_scale(pair.ours, lambda scale: scale * 1.2):
        bent = pair.ours.predict([normalized(samples)])[0].embeddings

    assert np.abs(bent - theirs).max() > 1e-3


def test_a_scale_below_zero_counts_as_zero(pair: Pair) -> None:
    samples = normalized(speechlike(8_000))
    before = pair.ours.predict([samples])[0].embeddings

    with changed_scale(pair.ours, lambda scale: scale.clamp(min=0)) as published:
        after = pair.ours.predict([samples])[0].embeddings

    assert (published < 0).any(), "the random checkpoint should try the clamp"
    np.testing.assert_array_equal(before, after)


def test_the_funasr_runtime_keeps_the_contract_with_the_same_numbers(
    pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = normalized(speechlike(16_000))
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
