"""int8: made block by block, kept whole or not at all, near to fp32; the blocks of a stand-in need no NNCF."""

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("openvino", reason="OpenVINO is not installed")

from emotion.errors import DiskFull, ModelError
from emotion.model import quantization
from emotion.model.checkpoint import find_checkpoint
from emotion.model.checkpoint.mapped import MappedTensors
from emotion.model.opening import RuntimeSpec, open_model
from emotion.model.openvino_api import ov
from emotion.model.openvino_graph import Graphs
from emotion.model.quantization import (
    MAX_WINDOWS,
    META,
    calibration_windows,
    find_quantized,
    import_nncf,
    quantize,
    require_quantized,
)
from tests.checkpoints import MEDIUM, TINY, write_checkpoint

pytestmark = pytest.mark.numeric

HOUSE = Path(__file__).parent.parent
needs_nncf = pytest.mark.skipif(importlib.util.find_spec("nncf") is None, reason="NNCF, an optional extra, is missing")


def noise(num_samples, seed=0):
    return np.random.default_rng(seed).standard_normal(num_samples).astype(np.float32)


def say_nothing(done, total):
    del done, total


@pytest.fixture(scope="module")
def medium(tmp_path_factory):
    """A checkpoint, and the cache where its int8 lies once a test asked for it."""
    cache_dir = tmp_path_factory.mktemp("cache")
    folder = write_checkpoint(tmp_path_factory.mktemp("model") / "medium", MEDIUM)
    return find_checkpoint(str(folder), cache_dir), cache_dir


@pytest.fixture(scope="module")
def int8_model(medium):
    checkpoint, cache_dir = medium
    quantize(checkpoint, [noise(16_000, 1), noise(40_000, 2), noise(60_000, 3)], cache_dir, say_nothing)
    return open_model(checkpoint, RuntimeSpec("openvino", precision="int8", cache_dir=cache_dir))


@pytest.fixture
def tiny(tmp_path):
    return find_checkpoint(str(write_checkpoint(tmp_path / "tiny", TINY)), tmp_path)


@pytest.fixture
def stand_in(monkeypatch):
    """Leaves the blocks as they are, and keeps what they would have been calibrated to."""
    inputs = []

    def keep(nncf, block, calibration):
        del nncf
        inputs.append([tuple(values.copy() for values in pair) for pair in calibration])
        return block

    monkeypatch.setattr(quantization, "import_nncf", lambda: None)
    monkeypatch.setattr(quantization, "_quantize_block", keep)
    return inputs


@needs_nncf
def test_int8_is_near_fp32(int8_model, medium):
    exact = open_model(medium[0], RuntimeSpec("openvino", precision="fp32"))
    waveforms = [noise(length, length) for length in (16_000, 24_000, 48_000)]

    assert int8_model.card.precision == "int8"
    for mine, theirs in zip(int8_model.start(waveforms)(), exact.start(waveforms)(), strict=True):
        one, two = mine.embeddings.mean(axis=0), theirs.embeddings.mean(axis=0)
        assert one @ two / (np.linalg.norm(one) * np.linalg.norm(two)) > 0.99
        assert np.abs(mine.logits.mean(axis=0) - theirs.logits.mean(axis=0)).max() < 0.3
        assert not np.array_equal(one, two)


@needs_nncf
def test_a_batch_of_int8_equals_single_runs(int8_model):
    waveforms = [noise(length, length) for length in (400, 16_000, 31_000)]
    together = int8_model.start(waveforms)()
    for waveform, prediction in zip(waveforms, together, strict=True):
        (alone,) = int8_model.start([waveform])()
        # A rounding error of the attention may tip a number of a block over to the next of 255 steps.
        np.testing.assert_allclose(prediction.logits, alone.logits, atol=0.05)
        np.testing.assert_allclose(prediction.embeddings, alone.embeddings, atol=0.1)


@needs_nncf
def test_int8_weights_take_a_quarter(int8_model, medium):
    del int8_model
    checkpoint, cache_dir = medium
    folder = require_quantized(checkpoint, cache_dir)
    bytes_of_blocks = sum(path.stat().st_size for path in folder.glob("*.bin"))
    numbers = sum(MappedTensors(checkpoint.weights)[name].size for name in block_weights(checkpoint))
    assert bytes_of_blocks < numbers * 1.2


@needs_nncf
def test_making_int8_says_nothing(tiny, tmp_path, capfd):
    quantize(tiny, [noise(8_000)], tmp_path, say_nothing)
    assert capfd.readouterr() == ("", "")


@needs_nncf
def test_nncf_sends_nothing_even_where_openvino_was_imported_before():
    code = (
        "import logging, openvino\n"
        "from emotion.model.quantization import import_nncf\n"
        "before = logging.getLoggerClass()\n"
        "import_nncf()\n"
        "from nncf.telemetry import wrapper\n"
        "print(type(wrapper.telemetry).__name__, logging.getLoggerClass() is before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=HOUSE)
    assert done.stdout == "MagicMock True\n"


def test_without_int8_it_is_said_how_to_make_it(tiny, tmp_path):
    with pytest.raises(ModelError, match=r"models quantize MODEL_FOLDER \[RECORDINGS\]"):
        open_model(tiny, RuntimeSpec("openvino", precision="int8", cache_dir=tmp_path))
    in_cache = replace(tiny, name="emotion2vec_plus_base", weights=tiny.folder / "model.safetensors")
    with pytest.raises(ModelError, match="models quantize emotion2vec_plus_base "):
        require_quantized(in_cache, tmp_path)


def test_without_nncf_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(ModelError, match=r"pip install nncf==3\.4\.0"):
        import_nncf()


def test_a_clip_of_no_frame_calibrates_nothing(tiny, tmp_path):
    with pytest.raises(ModelError, match="Name some seconds of speech"):
        quantize(tiny, [noise(399)], tmp_path, say_nothing)


def test_calibration_looks_at_a_bounded_number_of_short_windows_of_every_clip():
    assert [len(window) for window in calibration_windows([noise(48_000), noise(48_001), noise(100)])] == [
        48_000,
        24_000,
        24_001,
    ]
    long, short = np.zeros(16_000 * 600, np.float32), np.ones(16_000, np.float32)
    windows = calibration_windows([long, short])
    assert len(windows) == MAX_WINDOWS // 2 + 1
    assert max(map(len, windows)) <= 48_000
    assert np.array_equal(windows[-1], short)
    many = calibration_windows([np.full(400, index, np.float32) for index in range(1000)])
    assert len(many) == MAX_WINDOWS
    assert many[0][0] < 10
    assert many[-1][0] > 990


def test_each_block_is_calibrated_to_what_flows_into_it(medium, tmp_path, stand_in):
    checkpoint, _ = medium
    waveform = noise(20_000)
    seen = []
    quantize(checkpoint, [waveform], tmp_path, lambda done, total: seen.append((done, total)))
    num_blocks = checkpoint.config.num_blocks
    graphs = Graphs(checkpoint.config, MappedTensors(checkpoint.weights), checkpoint.kept_rows)
    # Calibration flows in float32; without the hint a processor with bf16 would compute this block in it.
    hint = {"INFERENCE_PRECISION_HINT": "f32"}
    last = ov.Core().compile_model(graphs.build(f"blocks.{num_blocks - 1}"), "CPU", hint)
    embeddings = last(dict(enumerate(stand_in[-1][0])))[0][0, checkpoint.config.extra_tokens :]
    (prediction,) = open_model(checkpoint, RuntimeSpec("openvino", precision="fp32")).start([waveform])()

    assert seen == [(done, num_blocks) for done in range(num_blocks + 1)]
    np.testing.assert_allclose(embeddings, prediction.embeddings, atol=1e-4)


@pytest.mark.usefixtures("stand_in")
def test_blocks_come_from_the_folder_and_their_fp32_weights_are_not_read(tiny, tmp_path, monkeypatch):
    waveform = noise(16_000)
    (exact,) = open_model(tiny, RuntimeSpec("openvino", precision="fp32")).start([waveform])()
    quantize(tiny, [waveform], tmp_path, say_nothing)
    read = set()
    look_up = MappedTensors.__getitem__
    monkeypatch.setattr(MappedTensors, "__getitem__", lambda self, name: read.add(name) or look_up(self, name))
    (kept,) = open_model(tiny, RuntimeSpec("openvino", precision="int8", cache_dir=tmp_path)).start([waveform])()

    np.testing.assert_allclose(kept.logits, exact.logits, atol=1e-5)
    assert {name for name in read if name.startswith("blocks.")} == {
        "blocks.0.attention.qkv.weight",
        "blocks.0.attention.qkv.bias",
    }


@pytest.mark.usefixtures("stand_in")
def test_int8_of_other_weights_of_another_openvino_or_damaged_is_not_used(tiny, tmp_path, monkeypatch):
    folder = quantize(tiny, [noise(8_000)], tmp_path, say_nothing)
    start = tiny.fingerprint[: len("sha256:") + 16]
    assert find_quantized(tiny, tmp_path) == folder
    assert find_quantized(replace(tiny, fingerprint="sha256:" + "0" * 64), tmp_path) is None
    assert find_quantized(replace(tiny, fingerprint=start + "0" * 48), tmp_path) is None
    with monkeypatch.context() as patch:
        patch.setattr(quantization, "version", {"openvino": "1.0"}.get)
        assert find_quantized(tiny, tmp_path) is None
    cut = folder / "blocks.1.bin"
    cut.write_bytes(cut.read_bytes()[:-1])
    assert find_quantized(tiny, tmp_path) is None
    (folder / META).write_text("[]")
    assert find_quantized(tiny, tmp_path) is None


def test_int8_is_whole_or_not_there_at_all(tiny, tmp_path, stand_in):
    def fail_at_the_end(done, total):
        if done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize(tiny, [noise(8_000)], tmp_path, fail_at_the_end)
    assert list((tmp_path / "quantised").iterdir()) == []

    folder = quantize(tiny, [noise(8_000)], tmp_path, say_nothing)
    with pytest.raises(KeyboardInterrupt):
        quantize(tiny, [noise(8_000)], tmp_path, fail_at_the_end)
    assert find_quantized(tiny, tmp_path) == folder
    assert quantize(tiny, [noise(8_000), noise(8_000)], tmp_path, say_nothing) == folder
    assert '"windows": 2' in (folder / META).read_text()
    assert list((tmp_path / "quantised").iterdir()) == [folder]
    assert len(stand_in) == 8


@pytest.mark.usefixtures("stand_in")
def test_a_full_disk_is_said_before_and_while_blocks_are_written(tiny, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
        with pytest.raises(DiskFull):
            quantize(tiny, [noise(8_000)], tmp_path, say_nothing)

    def fail(*_, **__):
        raise RuntimeError("basic_ios::clear: iostream error")

    monkeypatch.setattr(ov, "save_model", fail)
    with pytest.raises(DiskFull):
        quantize(tiny, [noise(8_000)], tmp_path, say_nothing)


def block_weights(checkpoint):
    from emotion.model.checkpoint.state import state_tensors

    tensors = state_tensors(checkpoint.config, len(checkpoint.tokens))
    return [tensor.name for tensor in tensors if tensor.name.startswith("blocks.")]
