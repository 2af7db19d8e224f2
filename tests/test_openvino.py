"""OpenVINO by itself: pieces, memory, precision; its numbers are held against FunASR in test_parity."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("openvino", reason="OpenVINO is not installed")

from emotion.errors import ModelError
from emotion.model import FloatArray, num_frames
from emotion.model import openvino_runtime as runtime
from emotion.model.checkpoint import Checkpoint, find_checkpoint
from emotion.model.checkpoint.mapped import MappedTensors
from emotion.model.openvino_api import ov
from emotion.model.openvino_graph import BIAS, HEAD, Graphs
from emotion.model.openvino_runtime import OpenvinoModel, compile_pieces, even_slices, open_openvino_model
from tests.checkpoints import MEDIUM, TINY, Size, write_checkpoint

pytestmark = pytest.mark.numeric

PER_LAYER = Size(16, 32, 4, prenet_depth=1, depth=2, scale_per_layer=True, scale_per_head=False, extra_tokens=0)


def open_size(size: Size, folder: Path) -> OpenvinoModel:
    return open_openvino_model(checkpoint_of(size, folder), "fp32", 0, None)


def checkpoint_of(size: Size, folder: Path) -> Checkpoint:
    return find_checkpoint(str(write_checkpoint(folder / "checkpoint", size)), folder / "cache")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return checkpoint_of(TINY, tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module", params=["medium", "one scale per layer"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> OpenvinoModel:
    size = {"medium": MEDIUM, "one scale per layer": PER_LAYER}[request.param]
    return open_size(size, tmp_path_factory.mktemp("checkpoint"))


def noise(num_samples: int) -> FloatArray:
    return np.random.default_rng(num_samples).standard_normal(num_samples).astype(np.float32)


@pytest.mark.parametrize("num_samples", [400, 719, 720, 16_000, 170_001])
def test_a_waveform_gives_float32_logits_and_embeddings_for_every_frame(model: OpenvinoModel, num_samples: int) -> None:
    (prediction,) = model.predict([noise(num_samples)])

    assert prediction.logits.shape == (num_frames(num_samples), 9)
    assert prediction.embeddings.shape == (num_frames(num_samples), model.card.embedding_size)
    assert prediction.logits.dtype == prediction.embeddings.dtype == np.float32


def test_the_card_says_what_computes(tiny: Checkpoint) -> None:
    card = open_openvino_model(tiny, "fp32", 1, None).card

    assert (card.runtime, card.device, card.precision) == ("openvino", "cpu", "fp32")
    assert (card.fingerprint, card.labels) == (tiny.fingerprint, tiny.labels)


def test_rows_and_pieces_of_any_size_equal_one_piece(model: OpenvinoModel, monkeypatch: pytest.MonkeyPatch) -> None:
    waveforms = [noise(70_000), noise(50_000)]
    alone, together = model.predict(waveforms[:1]), model.predict(waveforms)

    monkeypatch.setattr(runtime, "FEATURE_CHUNK_FRAMES", 50)
    monkeypatch.setattr(runtime, "BLOCK_ROWS", 37)
    monkeypatch.setattr(runtime, "SHARED_BIAS_ELEMENTS", 0)
    monkeypatch.setattr(runtime, "CHUNK_BIAS_ELEMENTS", 1)

    for whole, in_pieces in ((alone, model.predict(waveforms[:1])), (together, model.predict(waveforms))):
        for one, other in zip(whole, in_pieces, strict=True):
            np.testing.assert_allclose(other.embeddings, one.embeddings, rtol=0, atol=2e-5)
            np.testing.assert_allclose(other.logits, one.logits, rtol=0, atol=2e-5)


@pytest.mark.parametrize("clips", [1, 2])
def test_no_piece_of_the_bias_is_larger_than_its_limit_and_all_queries_have_one(
    model: OpenvinoModel, clips: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared_most, chunk_most, shapes = 500_000, 200_000, []
    monkeypatch.setattr(runtime, "SHARED_BIAS_ELEMENTS", shared_most)
    monkeypatch.setattr(runtime, "CHUNK_BIAS_ELEMENTS", chunk_most)
    run_into = runtime.Pieces.run_into

    def recorded(pieces, output, name, *inputs):
        shapes.append(output.shape)
        run_into(pieces, output, name, *inputs)

    monkeypatch.setattr(runtime.Pieces, "run_into", recorded)
    model.predict([noise(160_000), noise(150_000)][:clips])

    keys = shapes[0][3]
    assert {(shape[0], shape[3]) for shape in shapes} == {(clips, keys)}
    assert all(np.prod(shape) <= max(chunk_most, 16 * np.prod(shape) // shape[2]) for shape in shapes)
    assert sum(shape[2] for shape in shapes) == model._num_blocks * keys


def test_the_bias_of_a_short_clip_is_made_once_for_all_blocks(
    model: OpenvinoModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    run_into = runtime.Pieces.run_into

    def recorded(pieces, output, name, *inputs):
        calls.append(name)
        run_into(pieces, output, name, *inputs)

    monkeypatch.setattr(runtime.Pieces, "run_into", recorded)
    model.predict([noise(16_000)])

    assert len(calls) == (1 if len(model._slopes) == 1 else model._num_blocks)


def test_a_model_that_gave_its_memory_back_says_the_same(model: OpenvinoModel) -> None:
    (before,) = model.predict([noise(16_000)])
    model.free_memory()
    (after,) = model.predict([noise(16_000)])

    np.testing.assert_array_equal(before.embeddings, after.embeddings)
    np.testing.assert_array_equal(before.logits, after.logits)


def test_a_precision_that_is_not_computed_is_refused(tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="--precision fp32, bf16 or int8"):
        open_openvino_model(tiny, "fp16", 0, None)
    monkeypatch.setattr(runtime, "computes_bf16", lambda _: False)
    with pytest.raises(ModelError, match="--precision fp32"):
        open_openvino_model(tiny, "bf16", 0, None)


class RecordingCore:
    """Notes how each piece was to be compiled."""

    def __init__(self) -> None:
        self.options: dict[str, dict[str, object]] = {}

    def compile_model(self, piece: ov.Model, device: str, options: dict[str, object]) -> ov.CompiledModel:
        assert device == "CPU"
        self.options[piece.get_friendly_name()] = options
        return ov.Core().compile_model(piece, device, {"INFERENCE_PRECISION_HINT": "f32"})


@pytest.mark.parametrize(("precision", "hint"), [("fp32", "f32"), ("bf16", "bf16")])
def test_the_bias_and_the_head_are_float32_in_every_precision(tiny: Checkpoint, precision: str, hint: str) -> None:
    core, graphs = RecordingCore(), Graphs(tiny.config, MappedTensors(tiny.weights), tiny.kept_rows)

    compile_pieces(core, graphs, precision, 0)

    hints = {name: options["INFERENCE_PRECISION_HINT"] for name, options in core.options.items()}
    assert hints == {name: "f32" if name in (BIAS, HEAD) else hint for name in graphs.names()}


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_the_number_of_threads_is_asked_for_only_if_it_is_given(tiny: Checkpoint, threads: int) -> None:
    core, graphs = RecordingCore(), Graphs(tiny.config, MappedTensors(tiny.weights), tiny.kept_rows)

    compile_pieces(core, graphs, "fp32", threads)

    asked = {options.get("INFERENCE_NUM_THREADS") for options in core.options.values()}
    assert asked == {threads or None}


@pytest.mark.parametrize(("count", "longest"), [(1, 16), (16, 16), (17, 16), (1000, 37), (5, 1)])
def test_even_slices_cover_everything_once(count: int, longest: int) -> None:
    slices = list(even_slices(count, longest))

    assert [index for part in slices for index in range(part.start, part.stop)] == list(range(count))
    sizes = [part.stop - part.start for part in slices]
    assert max(sizes) <= longest
    assert max(sizes) - min(sizes) <= 1


A_MINUTE = """
import resource, sys
from pathlib import Path
import numpy as np
from emotion.model.checkpoint import find_checkpoint
from emotion.model import openvino_runtime as runtime

checkpoint = find_checkpoint(sys.argv[1], Path(sys.argv[2]))
model = runtime.open_openvino_model(checkpoint, "fp32", 0, None)
model.predict([np.ones(16_000, np.float32)])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model.predict([np.sin(np.arange(960_000, dtype=np.float32))])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count memory in other units")
def test_a_minute_takes_no_memory_that_grows_with_the_square_of_its_length(tmp_path: Path) -> None:
    checkpoint = checkpoint_of(MEDIUM, tmp_path)

    command = [sys.executable, "-c", A_MINUTE, str(checkpoint.folder), str(tmp_path / "cache")]
    grown_mb = float(subprocess.run(command, capture_output=True, check=True, timeout=100).stdout)

    # With the bias in one piece 880 MB were measured, in pieces of 64 MB, which are used again, 55 MB.
    assert grown_mb < 200
