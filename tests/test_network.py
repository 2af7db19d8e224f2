"""The network by itself: shapes, state, memory; its numbers are held against FunASR in test_parity."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from emotion import network as network_module
from emotion.checkpoint.config import FRAME_SPAN_SAMPLES, FRAME_STEP_SAMPLES, network_config, read_config, read_tokens
from emotion.checkpoint.convert import inference_state
from emotion.checkpoint.state import state_tensors
from emotion.errors import ModelError
from emotion.model import FRAME_SPAN_SAMPLES as CONTRACT_SPAN
from emotion.model import FRAME_STEP_SAMPLES as CONTRACT_STEP
from emotion.model import ModelCard, num_frames
from emotion.model.torch_runtime import TorchModel, require_fp32, usable_device
from emotion.network import AlibiBias, Emotion2vec, alibi_slopes
from tests.checkpoints import MEDIUM, TINY, Size, config_document, random_state

OFFICIAL = Path(__file__).parents[2] / "shared" / "model" / "emotion2vec_plus_large"
needs_official_shapes = pytest.mark.skipif(
    not OFFICIAL.is_dir(), reason="the published config and shapes are not beside this checkout"
)


def random_network(size: Size, num_classes: int = 9) -> Emotion2vec:
    config = network_config(config_document(size)["model_conf"])
    network = Emotion2vec(config, num_classes)
    network.load_state_dict(inference_state(random_state(size), state_tensors(config, num_classes)))
    return network.eval().requires_grad_(False)


def noise(num_samples: int) -> torch.Tensor:
    return torch.randn(num_samples, generator=torch.Generator().manual_seed(num_samples))


@torch.inference_mode()
def test_a_waveform_gives_logits_and_an_embedding_for_every_frame() -> None:
    logits, embeddings = random_network(TINY)(noise(16_000))

    assert logits.shape == (49, 9)
    assert embeddings.shape == (49, 32)


@pytest.mark.parametrize("num_samples", [400, 719, 720, 16_000, 160_000, 170_001])
@torch.inference_mode()
def test_the_number_of_frames_is_that_of_the_contract(num_samples: int) -> None:
    logits, _ = random_network(TINY)(noise(num_samples))

    assert (FRAME_STEP_SAMPLES, FRAME_SPAN_SAMPLES) == (CONTRACT_STEP, CONTRACT_SPAN)
    assert len(logits) == num_frames(num_samples)


@needs_official_shapes
def test_every_tensor_of_the_published_large_model_is_used_with_its_shape_and_no_other_is_wanted() -> None:
    published = {
        name: tuple(shape)
        for name, shape in json.loads((OFFICIAL / "state_dict_shapes.json").read_text(encoding="utf-8")).items()
    }
    config, tokens = read_config(OFFICIAL), read_tokens(OFFICIAL)

    wanted = state_tensors(config, len(tokens))

    assert {tensor.published: tensor.shape for tensor in wanted} == published
    with torch.device("meta"):
        network = Emotion2vec(config, len(tokens))
    assert {name: tuple(value.shape) for name, value in network.state_dict().items()} == {
        tensor.name: tensor.shape for tensor in wanted
    }
    assert sum(value.numel() for value in network.state_dict().values()) / 1e6 == pytest.approx(162.1, abs=0.1)


def test_what_training_left_in_the_state_is_dropped() -> None:
    config = network_config(config_document(TINY)["model_conf"])
    state = inference_state(random_state(TINY), state_tensors(config, 9))

    assert not [name for name in state if "decoder" in name]
    assert set(state) == set(Emotion2vec(config, 9).state_dict())


@pytest.mark.parametrize("size", [MEDIUM, Size(16, 32, 4, 1, 2, scale_per_layer=True)])
@torch.inference_mode()
def test_attention_and_convolutions_in_pieces_equal_those_in_one_piece(
    size: Size, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, waveform = random_network(size), noise(70_000)
    _, whole = network(waveform)

    monkeypatch.setattr(network_module, "FEATURE_CHUNK_FRAMES", 50)
    monkeypatch.setattr(network_module, "SHARED_BIAS_ELEMENTS", 0)
    monkeypatch.setattr(network_module, "CHUNK_BIAS_ELEMENTS", 1)
    _, in_pieces = network(waveform)

    np.testing.assert_allclose(in_pieces, whole, rtol=0, atol=2e-5)


def test_no_piece_of_the_bias_of_a_long_clip_is_larger_than_its_limit() -> None:
    config = network_config(config_document(TINY)["model_conf"])
    bias = AlibiBias(config, torch.ones(1, 1, 4, 1, 1), num_frames=6_000)

    sizes = [rows.numel() for _, _, rows in bias.chunks(0)]

    assert len(sizes) > 1
    assert max(sizes) <= network_module.CHUNK_BIAS_ELEMENTS


def test_the_bias_is_zero_for_the_extra_tokens_and_falls_with_distance_for_frames() -> None:
    config = network_config(config_document(TINY)["model_conf"])
    bias = AlibiBias(config, torch.full((1, 1, 4, 1, 1), 2.0), num_frames=5)
    ((first, last, rows),) = bias.chunks(0)

    assert (first, last, rows.shape) == (0, 15, (4, 15, 15))
    assert not rows[:, :10].any()
    assert not rows[:, :, :10].any()
    np.testing.assert_allclose(rows[0, 10, 10:], [0, -0.5, -1.0, -1.5, -2.0])
    np.testing.assert_allclose(rows[0, 12, 10:], [-1.0, -0.5, 0, -0.5, -1.0])


def test_slopes_of_8_heads_are_powers_of_two_and_12_heads_fill_the_gaps() -> None:
    eight = [2.0**-power for power in range(1, 9)]

    assert alibi_slopes(1) == [2.0**-8]
    assert alibi_slopes(8) == pytest.approx(eight)
    assert alibi_slopes(12) == pytest.approx([*eight, 2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5])


def test_a_batch_gives_what_single_runs_give() -> None:
    card = ModelCard("tiny", "sha256:0", "torch", "cpu", "fp32", tuple("abcdefghi"), 32)
    model = TorchModel(random_network(TINY), card)
    waveforms = [noise(length).numpy() for length in (400, 16_000, 5_000)]

    together = model.predict(waveforms)
    model.free_memory()

    for waveform, prediction in zip(waveforms, together, strict=True):
        alone = model.predict([waveform])[0]
        np.testing.assert_array_equal(prediction.logits, alone.logits)
        np.testing.assert_array_equal(prediction.embeddings, alone.embeddings)
    assert together[0].logits.dtype == together[0].embeddings.dtype == np.float32


def test_a_device_that_is_not_there_and_a_precision_that_is_not_computed_are_refused() -> None:
    assert usable_device("cpu") == "cpu"
    with pytest.raises(ModelError, match="no device 'toaster'"):
        usable_device("toaster")
    with pytest.raises(ModelError, match="no device 'cuda:99'"):
        usable_device("cuda:99")
    with pytest.raises(ModelError, match="fp32 only"):
        require_fp32("fp16")
