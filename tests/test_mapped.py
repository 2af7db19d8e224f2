"""Tensors mapped from a converted file: the values of safetensors, and no view of what a file only claims to hold."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from emotion.model.checkpoint import find_checkpoint
from emotion.model.checkpoint.mapped import MappedTensors
from tests.checkpoints import Size, write_checkpoint

TENSORS = {
    "square": np.arange(16, dtype=np.float32).reshape(4, 4),
    "line": np.linspace(-1, 1, 7, dtype=np.float32),
    "none": np.zeros((1, 0, 4), np.float32),
    "number": np.array(2.5, np.float32),
}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_file(TENSORS, path, {"format": "test"})
    return path


def test_tensors_have_the_values_that_safetensors_reads(weights: Path) -> None:
    mapped, loaded = MappedTensors(weights), load_file(weights)

    for name, expected in loaded.items():
        assert mapped[name].dtype == np.float32
        assert mapped[name].shape == expected.shape
        np.testing.assert_array_equal(mapped[name], expected)


def test_every_tensor_of_a_converted_checkpoint_is_read_as_it_was_written(tmp_path: Path) -> None:
    size = Size(16, 32, 4, prenet_depth=1, depth=1, extra_tokens=0)
    checkpoint = find_checkpoint(str(write_checkpoint(tmp_path / "own", size)), tmp_path / "cache")
    mapped, loaded = MappedTensors(checkpoint.weights), load_file(checkpoint.weights)

    assert len(loaded) > 20
    for name, expected in loaded.items():
        np.testing.assert_array_equal(mapped[name], expected)


def test_what_was_forgotten_is_read_again_also_through_views_made_before(weights: Path) -> None:
    mapped = MappedTensors(weights)
    before = mapped["square"]
    np.testing.assert_array_equal(before, TENSORS["square"])

    mapped.forget()
    mapped.forget()

    np.testing.assert_array_equal(before, TENSORS["square"])
    np.testing.assert_array_equal(mapped["square"], TENSORS["square"])


def test_a_view_is_no_copy_and_outlives_its_mapping(weights: Path) -> None:
    mapped = MappedTensors(weights)
    assert np.shares_memory(mapped["square"], mapped["square"])

    view = mapped["square"]
    del mapped

    np.testing.assert_array_equal(view, TENSORS["square"])


def test_what_somebody_writes_into_a_view_never_reaches_the_file(weights: Path) -> None:
    before = weights.read_bytes()
    mapped = MappedTensors(weights)
    mapped["square"][:] = 7
    assert weights.read_bytes() == before

    mapped.forget()
    if hasattr(mapped._mapping, "madvise"):
        np.testing.assert_array_equal(mapped["square"], TENSORS["square"])


def test_a_tensor_that_is_not_there_is_told_by_its_name(weights: Path) -> None:
    with pytest.raises(KeyError, match="circle"):
        MappedTensors(weights)["circle"]


def file_that_says(path: Path, entry: dict[str, Any], num_bytes: int = 64) -> MappedTensors:
    """A file of `num_bytes` of numbers whose header says this of the tensor `x`."""
    header = json.dumps({"x": {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64]} | entry}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(num_bytes))
    return MappedTensors(path)


def test_a_header_that_tells_the_truth_is_believed(tmp_path: Path) -> None:
    assert file_that_says(tmp_path / "honest", {})["x"].shape == (4, 4)


@pytest.mark.parametrize(
    "lie",
    [
        {"dtype": "F16"},
        {"dtype": "F64"},
        {"dtype": "I32"},
        {"shape": [4, 5]},
        {"shape": [16, 2]},
        {"shape": [-4, -4]},
        {"shape": [-1], "data_offsets": [8, 4]},
        {"shape": [2**32, 2**32]},
        {"shape": [2**32, 2**32], "data_offsets": [0, 0]},
        {"data_offsets": [4, 68]},
        {"data_offsets": [0, 60]},
        {"data_offsets": [64, 0]},
        {"data_offsets": [-8, 56]},
        {"data_offsets": [2**62, 2**62 + 64]},
    ],
    ids=str,
)
def test_a_header_that_lies_is_refused(tmp_path: Path, lie: dict[str, Any]) -> None:
    mapped = file_that_says(tmp_path / "liar", lie)

    with pytest.raises(ValueError, match=r"no tensor of float32|unknown dimension"):
        mapped["x"]


def test_a_file_whose_last_numbers_are_cut_off_gives_only_the_tensors_before(weights: Path) -> None:
    header = json.loads(weights.read_bytes()[8 : 8 + int.from_bytes(weights.read_bytes()[:8], "little")])
    last = max((name for name in TENSORS), key=lambda name: header[name]["data_offsets"][1])
    weights.write_bytes(weights.read_bytes()[:-1])

    mapped = MappedTensors(weights)

    with pytest.raises(ValueError, match=f"{last} is no tensor of float32"):
        mapped[last]
    whole = [name for name in TENSORS if header[name]["data_offsets"][1] < header[last]["data_offsets"][1]]
    assert whole
    for name in whole:
        np.testing.assert_array_equal(mapped[name], TENSORS[name])


@pytest.mark.parametrize("kept_bytes", [0, 4, 8, 30])
def test_a_file_that_ends_in_its_header_is_refused(weights: Path, kept_bytes: int) -> None:
    weights.write_bytes(weights.read_bytes()[:kept_bytes])

    with pytest.raises(ValueError, match=r"cut off|empty"):
        MappedTensors(weights)


def test_a_header_of_an_absurd_length_is_refused(tmp_path: Path) -> None:
    (tmp_path / "absurd").write_bytes(struct.pack("<Q", 2**63) + b"{}")

    with pytest.raises(ValueError, match="cut off"):
        MappedTensors(tmp_path / "absurd")
