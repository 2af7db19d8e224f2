"""The network by itself: shapes, state, memory; its numbers are held against FunASR in test_parity."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from emotion.errors import ModelError, OutOfMemory
from emotion.model import FRAME_SPAN_SAMPLES as CONTRACT_SPAN
from emotion.model import FRAME_STEP_SAMPLES as CONTRACT_STEP
from emotion.model import ModelCard, num_frames
from emotion.model import emotion2vec as network_module
from emotion.model.checkpoint.config import (
    FRAME_SPAN_SAMPLES,
    FRAME_STEP_SAMPLES,
    alibi_slopes,
    network_config,
    read_config,
    read_tokens,
)
from emotion.model.checkpoint.convert import inference_state
from emotion.model.checkpoint.state import state_tensors
from emotion.model.emotion2vec import AlibiBias, Emotion2vec
from emotion.model.torch_runtime import TorchModel, place, usable_device
from tests.checkpoints import MEDIUM, TINY, Size, config_document, random_state

pytestmark = pytest.mark.numeric

OFFICIAL = Path(__file__).parents[2] / "shared" / "model" / "emotion2vec_plus_large"
needs_official_shapes = pytest.mark.skipif(
    not OFFICIAL.is_dir(), reason="the published config and shapes are not beside this checkout"
)


def random_network(size: Size, num_classes: int = 9) -> Emotion2vec:
    config = network_config(config_document(size)["model_conf"])
    network = Emotion2vec(config, num_classes)
    network.load_state_dict(inference_state(random_state(size), state_tensors(config, num_classes)), strict=False)
    return network.eval().requires_grad_(False)


def noise(num_samples: int) -> torch.Tensor:
    return torch.randn(num_samples, generator=torch.Generator().manual_seed(num_samples))


@torch.inference_mode()
def test_a_waveform_gives_logits_and_an_embedding_for_every_frame() -> None:
    logits, embeddings = random_network(TINY)(noise(16_000)[None])

    assert logits.shape == (1, 49, 9)
    assert embeddings.shape == (1, 49, 32)


@pytest.mark.parametrize("num_samples", [400, 719, 720, 16_000, 160_000, 170_001])
@torch.inference_mode()
def test_the_number_of_frames_is_that_of_the_contract(num_samples: int) -> None:
    logits, _ = random_network(TINY)(noise(num_samples)[None])

    assert (FRAME_STEP_SAMPLES, FRAME_SPAN_SAMPLES) == (CONTRACT_STEP, CONTRACT_SPAN)
    assert logits.shape[1] == num_frames(num_samples)


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
    network, waveform = random_network(size), noise(70_000)[None]
    _, whole = network(waveform)

    monkeypatch.setattr(network_module, "FEATURE_CHUNK_FRAMES", 50)
    monkeypatch.setattr(network_module, "SHARED_BIAS_ELEMENTS", 0)
    monkeypatch.setattr(network_module, "CHUNK_BIAS_ELEMENTS", 1)
    _, in_pieces = network(waveform)

    np.testing.assert_allclose(in_pieces, whole, rtol=0, atol=2e-5)


def test_no_piece_of_the_bias_of_a_long_clip_is_larger_than_its_limit() -> None:
    config = network_config(config_document(TINY)["model_conf"])
    bias = AlibiBias(config, torch.ones(1, 1, 4, 1, 1), 6_010, torch.float32)

    sizes = [rows.numel() for _, _, rows in bias.chunks(0)]

    assert len(sizes) > 1
    assert max(sizes) <= network_module.CHUNK_BIAS_ELEMENTS


def test_the_bias_is_zero_for_the_extra_tokens_and_falls_with_distance_for_frames() -> None:
    config = network_config(config_document(TINY)["model_conf"])
    bias = AlibiBias(config, torch.full((1, 1, 4, 1, 1), 2.0), 15, torch.float32)
    ((first, last, rows),) = bias.chunks(0)

    assert (first, last, rows.shape) == (0, 15, (1, 4, 15, 15))
    rows = rows[0]
    assert not rows[:, :10].any()
    assert not rows[:, :, :10].any()
    np.testing.assert_allclose(rows[0, 10, 10:], [0, -0.5, -1.0, -1.5, -2.0])
    np.testing.assert_allclose(rows[0, 12, 10:], [-1.0, -0.5, 0, -0.5, -1.0])


def test_slopes_of_8_heads_are_powers_of_two_and_12_heads_fill_the_gaps() -> None:
    eight = [2.0**-power for power in range(1, 9)]

    assert alibi_slopes(1) == [2.0**-8]
    assert alibi_slopes(8) == pytest.approx(eight)
    assert alibi_slopes(12) == pytest.approx([*eight, 2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5])


def model_of(network: Emotion2vec) -> TorchModel:
    card = ModelCard("tiny", "sha256:0", "torch", "cpu", "fp32", tuple("abcdefghi"), network.config.width)
    return TorchModel(network, card)


@pytest.mark.parametrize("size", [TINY, MEDIUM, Size(16, 32, 4, 1, 2, scale_per_layer=True, extra_tokens=0)])
def test_a_batch_gives_what_single_runs_give(size: Size) -> None:
    model = model_of(random_network(size))
    waveforms = [noise(length).numpy() for length in (400, 5_000, 16_000, 33_000, 48_000)]

    together = model.predict(waveforms)
    model.free_memory()

    for waveform, prediction in zip(waveforms, together, strict=True):
        alone = model.predict([waveform])[0]
        assert prediction.logits.shape == (num_frames(len(waveform)), 9)
        np.testing.assert_allclose(prediction.logits, alone.logits, rtol=0, atol=1e-5)
        np.testing.assert_allclose(prediction.embeddings, alone.embeddings, rtol=0, atol=1e-5)
    assert together[0].logits.dtype == together[0].embeddings.dtype == np.float32


@torch.inference_mode()
def test_without_the_mask_a_batch_would_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    model, waveforms = model_of(random_network(MEDIUM)), [noise(16_000).numpy(), noise(48_000).numpy()]
    exact = model.predict(waveforms)[0].embeddings

    monkeypatch.setattr(network_module, "_frame_mask", lambda *_: None)

    assert np.abs(model.predict(waveforms)[0].embeddings - exact).max() > 1e-2


def test_blocks_that_stay_in_main_memory_change_no_number() -> None:
    network = random_network(MEDIUM)
    before = model_of(network).predict([noise(16_000).numpy()])[0]

    place(network, "cpu", offload_blocks=2)
    lent = [parameter.data_ptr() for parameter in network.blocks[0].parameters()]
    after = model_of(network).predict([noise(16_000).numpy()])[0]

    np.testing.assert_array_equal(before.embeddings, after.embeddings)
    assert [parameter.data_ptr() for parameter in network.blocks[0].parameters()] == lent, "the weights went back"


def test_a_lack_of_memory_is_tried_once_more_and_then_said() -> None:
    model, calls = model_of(random_network(TINY)), []

    def short_of_memory(*arguments: object) -> None:
        calls.append(arguments)
        raise torch.OutOfMemoryError("CUDA out of memory")

    model._network.forward = short_of_memory  # type: ignore[method-assign]

    with pytest.raises(OutOfMemory, match="offload_blocks"):
        model.predict([noise(16_000).numpy()])
    assert len(calls) == 2


def test_a_device_that_is_not_there_is_refused() -> None:
    assert usable_device("cpu") == "cpu"
    with pytest.raises(ModelError, match="no device 'toaster'"):
        usable_device("toaster")
    with pytest.raises(ModelError, match="no device 'cuda:99'"):
        usable_device("cuda:99")
