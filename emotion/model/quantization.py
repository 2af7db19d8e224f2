"""int8 for OpenVINO: the linear layers of the transformer blocks, quantised by NNCF once and kept in the cache.

Calibration goes through the network block by block: what flows into a block in fp32 is known for every window, the
block is quantised on it, and its fp32 form makes what flows into the next. So one block is in memory at a time, beside
250 MB of the large network for 64 windows.
"""

import contextlib
import errno
import importlib.util
import io
import json
import logging
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emotion.errors import ModelError, command_line
from emotion.model.checkpoint import Checkpoint
from emotion.model.checkpoint.convert import disk_room
from emotion.model.checkpoint.state import state_tensors
from emotion.model.contract import FRAME_SPAN_SAMPLES, FloatArray

if TYPE_CHECKING:
    from emotion.model.openvino_graph import Graphs

FORMAT = 1
MAX_WINDOWS = 64
WINDOW_SAMPLES = 48_000  # 3 s
REQUIREMENT = "nncf==3.4.0"
META = "meta.json"
_DESCRIPTION_BYTES = 40_000
_TELEMETRY = "openvino_telemetry"

ReportBlocks = Callable[[int, int], None]
"""Told how many blocks are done, and of how many."""


def require_quantized(checkpoint: Checkpoint, cache_dir: Path) -> Path:
    """The folder of the quantised blocks of a checkpoint; ModelError that says how to make it where there is none."""
    folder = find_quantized(checkpoint, cache_dir)
    if folder is None:
        # A folder of the user's has a place that only they know.
        in_cache = checkpoint.weights.parent == checkpoint.folder
        words = f"models quantize {checkpoint.name if in_cache else 'MODEL_FOLDER'} [RECORDINGS]"
        raise ModelError(
            f"There is no int8 of {checkpoint.name} on this machine yet. Make it once, best with recordings of your "
            f"own: {command_line(words)}",
            name=checkpoint.name,
        )
    return folder


def find_quantized(checkpoint: Checkpoint, cache_dir: Path) -> Path | None:
    """The folder that `quantize` made of this checkpoint for the installed OpenVINO; None where it is not, or damaged.

    An OpenVINO does not promise to read what a later one wrote, so another version counts as not made.
    """
    folder = _folder_of(checkpoint, cache_dir)
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        sizes = {path.name: path.stat().st_size for path in _block_files(folder, checkpoint.config.num_blocks)}
    except (OSError, ValueError):
        return None
    wanted = {"format": FORMAT, "fingerprint": checkpoint.fingerprint, "openvino": _version("openvino"), "files": sizes}
    is_same = isinstance(meta, dict) and all(meta.get(key) == value for key, value in wanted.items())
    return folder if is_same else None


def quantize(checkpoint: Checkpoint, clips: Sequence[FloatArray], cache_dir: Path, on_progress: ReportBlocks) -> Path:
    """Quantise the blocks of a checkpoint on clips [n], each normalised with its own statistics; gives their folder.

    Of all clips together at most 64 windows of 3 s are looked at. What was made before is replaced; the folder is
    whole or not there at all. Raises ModelError without NNCF or without a clip of 400 samples, DiskFull without room.
    """
    windows = calibration_windows(clips)
    if not windows:
        raise ModelError("There is no recording to calibrate int8 on. Name some seconds of speech.")
    nncf = import_nncf()
    folder = _folder_of(checkpoint, cache_dir)
    with disk_room(folder.parent, _needed_bytes(checkpoint)), _whole_folder(folder) as aside:
        _write_blocks(nncf, checkpoint, windows, aside, on_progress)
        _write_meta(aside, checkpoint, len(windows))
    return folder


def calibration_windows(clips: Sequence[FloatArray]) -> list[FloatArray]:
    """At most 64 windows of at most 3 s, as many of each clip and spread evenly over it; clips without a frame give
    none.
    """
    usable = _spread([clip for clip in clips if len(clip) >= FRAME_SPAN_SAMPLES], MAX_WINDOWS)
    windows: list[FloatArray] = []
    for clip in usable:
        count = -(-len(clip) // WINDOW_SAMPLES)
        edges = [len(clip) * part // count for part in range(count + 1)]
        cuts = [clip[first:last] for first, last in pairwise(edges)]
        windows += _spread(cuts, MAX_WINDOWS // len(usable))
    return windows


def import_nncf() -> Any:
    """NNCF, imported without a word, without its telemetry and without its class of loggers for everybody.

    Raises ModelError where it or OpenVINO is not installed.
    """
    if importlib.util.find_spec("openvino") is None:
        raise ModelError("OpenVINO is not installed. Install it with: pip install openvino")
    logger_class = logging.getLoggerClass()
    try:
        with _quiet(), _without_telemetry():
            import nncf
    except ImportError:
        raise ModelError(
            f"NNCF, which makes int8, is not installed. Install it with: pip install {REQUIREMENT}"
        ) from None
    finally:
        logging.setLoggerClass(logger_class)
    # Not by its own `set_log_level`, which also silences the handlers of everybody else.
    logging.getLogger("nncf").setLevel(logging.CRITICAL)
    return nncf


class _Flow:
    """What flows through the network in fp32, of every window: tokens [1, S, D] and qkv [1, S, 3 D] before a block."""

    def __init__(self, graphs: "Graphs", windows: Sequence[FloatArray]) -> None:
        from emotion.model.openvino_graph import ATTENTION, BIAS, ENTRANCE, FEATURES

        self._graphs = graphs
        self._slopes = graphs.slopes()
        self._bias, self._attention = _Piece(graphs, BIAS), _Piece(graphs, ATTENTION)
        features, entrance = _Piece(graphs, FEATURES), _Piece(graphs, ENTRANCE)
        self.tokens: list[FloatArray] = []
        self._qkv: list[FloatArray] = []
        for window in windows:
            (frames,) = features.run(np.asarray(window, np.float32)[None])
            tokens, qkv = entrance.run(frames, np.ones((*frames.shape[:2], 1), np.float32))
            self.tokens.append(tokens)
            self._qkv.append(qkv)
        graphs.forget()

    def mix(self, index: int) -> list[FloatArray]:
        """What attention makes before the block at `index`: mixed values [1, S, D]."""
        slopes = self._slopes[index if len(self._slopes) > 1 else 0]
        biases = (self._bias_of(slopes, qkv.shape[1]) for qkv in self._qkv)
        first = np.array([0])
        return [self._attention.run(qkv, first, bias)[0] for qkv, bias in zip(self._qkv, biases, strict=True)]

    def advance(self, index: int, mixed: Sequence[FloatArray]) -> None:
        """Go through the block at `index`, but for the last one, behind which no qkv is."""
        from emotion.model.openvino_graph import block_name

        block = _Piece(self._graphs, block_name(index))
        for window, values in enumerate(mixed):
            self.tokens[window], self._qkv[window] = block.run(self.tokens[window], values)
        self._graphs.forget()

    def _bias_of(self, slopes: FloatArray, length: int) -> FloatArray:
        positions = np.arange(length, dtype=np.float32)
        is_frame = (positions >= self._graphs.config.extra_tokens).astype(np.float32)
        hidden = np.zeros((1, 1, 1, length), np.float32)
        (bias,) = self._bias.run(positions, is_frame, positions, is_frame, slopes, hidden)
        return bias


class _Piece:
    """One compiled piece of the network in fp32."""

    def __init__(self, graphs: "Graphs", name: str) -> None:
        from emotion.model.openvino_api import ov

        # float32 by name, since a processor with bf16 would take that.
        self._compiled = ov.Core().compile_model(graphs.build(name), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(self, *inputs: NDArray[Any]) -> list[FloatArray]:
        """The outputs in their order."""
        outputs = self._compiled(dict(enumerate(inputs)))
        return [outputs[index].copy() for index in range(len(outputs))]


def _write_blocks(
    nncf: Any, checkpoint: Checkpoint, windows: Sequence[FloatArray], folder: Path, on_progress: ReportBlocks
) -> None:
    """Every block as blocks.N.xml and blocks.N.bin."""
    from emotion.model.checkpoint.mapped import MappedTensors
    from emotion.model.openvino_graph import Graphs, block_name

    graphs = Graphs(checkpoint.config, MappedTensors(checkpoint.weights), checkpoint.kept_rows)
    num_blocks = checkpoint.config.num_blocks
    on_progress(0, num_blocks)
    flow = _Flow(graphs, windows)
    for index in range(num_blocks):
        mixed = flow.mix(index)
        inputs = list(zip(flow.tokens, mixed, strict=True))
        block = _quantize_block(nncf, graphs.build(block_name(index)), inputs)
        _save(block, folder / f"{block_name(index)}.xml")
        if index + 1 < num_blocks:
            flow.advance(index, mixed)
        on_progress(index + 1, num_blocks)


def _quantize_block(nncf: Any, block: Any, inputs: list[tuple[FloatArray, FloatArray]]) -> Any:
    """A block whose linear layers multiply in int8; SmoothQuant and the bias correction are NNCF's own."""
    dataset = nncf.Dataset(inputs, lambda pair: dict(enumerate(pair)))
    with _quiet():
        return nncf.quantize(
            block,
            dataset,
            subset_size=len(inputs),
            model_type=nncf.ModelType.TRANSFORMER,
            preset=nncf.QuantizationPreset.MIXED,
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep NNCF's bars off standard output, and its warnings away, which speak of versions to developers."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """Hide the package by which NNCF would send events, also where somebody imported OpenVINO in their own way before.

    NNCF looks for it once, when it is imported, and takes a stub where it finds none.
    """
    from emotion.model.openvino_api import ov  # noqa: F401 - hides it too, for OpenVINO itself

    before = sys.modules.get(_TELEMETRY)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.modules[_TELEMETRY] = before  # type: ignore[assignment]


def _folder_of(checkpoint: Checkpoint, cache_dir: Path) -> Path:
    digest = checkpoint.fingerprint.rpartition(":")[2]
    return cache_dir / "quantised" / f"{digest[:16]}-{FORMAT}"


def _block_files(folder: Path, num_blocks: int) -> list[Path]:
    return [folder / f"blocks.{index}.{suffix}" for index in range(num_blocks) for suffix in ("xml", "bin")]


def _needed_bytes(checkpoint: Checkpoint) -> int:
    """One byte for each weight of the blocks, and some more for scales, biases and descriptions."""
    tensors = state_tensors(checkpoint.config, len(checkpoint.tokens))
    weights = sum(int(np.prod(tensor.shape)) for tensor in tensors if tensor.name.startswith("blocks."))
    return weights * 11 // 10 + checkpoint.config.num_blocks * _DESCRIPTION_BYTES


def _save(block: Any, path: Path) -> None:
    """Write a block as .xml and .bin and read it back; a full disk cuts off what OpenVINO writes, and it says so in
    vain: `basic_ios::clear` or nothing.
    """
    from emotion.model.openvino_api import ov

    try:
        ov.save_model(block, path, compress_to_fp16=False)
        ov.Core().read_model(path)
    except RuntimeError:
        raise OSError(errno.ENOSPC, "the block could not be written whole") from None
    for written in (path, path.with_suffix(".bin")):
        with written.open("rb") as file:
            os.fsync(file.fileno())


def _write_meta(folder: Path, checkpoint: Checkpoint, num_windows: int) -> None:
    meta = {
        "format": FORMAT,
        "fingerprint": checkpoint.fingerprint,
        "windows": num_windows,
        "nncf": _version("nncf"),
        "openvino": _version("openvino"),
        "files": {path.name: path.stat().st_size for path in _block_files(folder, checkpoint.config.num_blocks)},
    }
    with (folder / META).open("w", encoding="utf-8") as file:
        json.dump(meta, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into, which takes the name of `folder` when all went well and is gone otherwise."""
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    replaced = aside.with_name(f"{aside.name}.replaced")
    try:
        yield aside
        with contextlib.suppress(FileNotFoundError):
            folder.rename(replaced)
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def _spread(clips: Sequence[FloatArray], most: int) -> list[FloatArray]:
    """All of them, or `most` at even distances."""
    count = min(len(clips), most)
    return [clips[(2 * index + 1) * len(clips) // (2 * count)] for index in range(count)]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
