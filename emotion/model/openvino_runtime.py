"""OpenVINO as the runtime of emotion2vec on a CPU: fp32, bf16, or int8 with blocks that were quantised before."""

import contextlib
import ctypes
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emotion.errors import ModelError
from emotion.model.checkpoint import Checkpoint
from emotion.model.checkpoint.mapped import MappedTensors
from emotion.model.contract import (
    FRAME_SPAN_SAMPLES,
    FRAME_STEP_SAMPLES,
    CpuModel,
    FloatArray,
    ModelCard,
    Prediction,
    pad_batch,
)
from emotion.model.openvino_api import ov
from emotion.model.openvino_graph import ATTENTION, BIAS, ENTRANCE, FEATURES, HEAD, Graphs, block_name

# Frames of all clips together that the convolutions see at once (3 s): the widest layer then takes 20 MB, and fits
# the cache of the processor better than a longer one.
FEATURE_CHUNK_FRAMES = 150
# Tokens that one block sees at once, since each block keeps the memory of its largest piece: 12 times 16 MB.
BLOCK_ROWS = 256
# Elements of an attention bias: up to the first it is made once for all blocks (160 MB, 31 s of the large network);
# beyond, every block makes it anew for as many queries as the second allows (96 MB).
SHARED_BIAS_ELEMENTS = 40_000_000
CHUNK_BIAS_ELEMENTS = 24_000_000
# After so many frames (5 s of sound) the pieces give back what they keep for their inputs, and the heap what is free:
# recordings of every length would else grow it by a third in 200 of them. It is taken anew without a measurable loss.
RELEASE_FRAMES = 250
# Shapes that a piece keeps its kernels for: equal windows meet them again; by default 5,000 are kept, 20 kB each.
_KEPT_SHAPES = 16

# Packing is bound by memory: a third thread gains nothing.
_COMPILERS = 2
# Mapped weights are let go of whenever so many were read: each time costs the pages that the other thread still reads.
_READ_AHEAD_BYTES = 200_000_000
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}


class OpenvinoModel(CpuModel):
    """The pieces of one network, compiled for this processor; one batch at a time."""

    def __init__(self, pieces: "Pieces", graphs: Graphs, card: ModelCard) -> None:
        self._pieces = pieces
        self._card = card
        config = graphs.config
        self._num_blocks, self._extra = config.num_blocks, config.extra_tokens
        self._slopes = graphs.slopes()
        self._width = config.width
        self._frames_done = 0

    @property
    def card(self) -> ModelCard:
        return self._card

    def free_memory(self) -> None:
        """Give back what the pieces keep between two runs."""
        self._pieces.release()

    def predict(self, waveforms: Sequence[FloatArray]) -> list[Prediction]:
        """One prediction per waveform [n], n >= 400, each normalised with the statistics of its clip."""
        batch, counts = pad_batch(waveforms)
        tokens, logits = self._transform(self._frames(batch, max(counts)), counts)
        own = [slice(self._extra, self._extra + count) for count in counts]
        # Copied, since the memory behind the logits is that of the next batch too, and may go with it.
        predictions = [Prediction(logits[row, own[row]].copy(), tokens[row, own[row]]) for row in range(len(own))]
        self._tidy(len(batch) * max(counts))
        return predictions

    def _tidy(self, num_frames: int) -> None:
        """Give memory back whenever so much sound went through."""
        before = self._frames_done
        self._frames_done += num_frames
        if self._frames_done // RELEASE_FRAMES > before // RELEASE_FRAMES:
            self._pieces.release()

    def _frames(self, batch: FloatArray, count: int) -> FloatArray:
        """Frames [B, T, D] of waveforms [B, n], some seconds at a time."""
        frames = np.empty((len(batch), count, self._width), np.float32)
        step = max(FEATURE_CHUNK_FRAMES // len(batch), 1)
        for first in range(0, count, step):
            last = min(first + step, count)
            samples = batch[:, first * FRAME_STEP_SAMPLES : (last - 1) * FRAME_STEP_SAMPLES + FRAME_SPAN_SAMPLES]
            frames[:, first:last] = self._pieces.run(FEATURES, samples)[0]
        return frames

    def _transform(self, frames: FloatArray, counts: list[int]) -> tuple[FloatArray, FloatArray]:
        """Tokens [B, S, D] and logits [B, S, C] of frames [B, T, D]; the extra tokens are the first of S."""
        mask = (np.arange(frames.shape[1]) < np.array(counts)[:, None]).astype(np.float32)
        tokens, qkv = (output.copy() for output in self._pieces.run(ENTRANCE, frames, mask[..., None]))
        bias = _Bias(self._pieces, self._slopes, self._extra, mask)
        mixed = np.empty_like(tokens)
        for index in range(self._num_blocks):
            for first, rows in bias.chunks(index):
                queries = slice(first, first + rows.shape[2])
                mixed[:, queries] = self._pieces.run(ATTENTION, qkv, np.array([first]), rows)[0]
            self._run_block(index, tokens, mixed, qkv)
        return tokens, self._pieces.run(HEAD, tokens)[0]

    def _run_block(self, index: int, tokens: FloatArray, mixed: FloatArray, qkv: FloatArray) -> None:
        """Replace tokens and qkv by those behind a block (the last has no qkv), some rows at a time."""
        flat = [values.reshape(1, -1, values.shape[2]) for values in (tokens, mixed, qkv)]
        for rows in even_slices(flat[0].shape[1], BLOCK_ROWS):
            outputs = self._pieces.run(block_name(index), flat[0][:, rows], flat[1][:, rows])
            for values, output in zip((flat[0], flat[2]), outputs, strict=False):
                values[:, rows] = output


class _Bias:
    """The attention bias of one batch, whole or for some queries at a time; float32 in every precision."""

    def __init__(self, pieces: "Pieces", slopes: FloatArray, num_extra: int, mask: FloatArray) -> None:
        self._pieces, self._slopes = pieces, slopes
        batch, count = mask.shape
        self._length = num_extra + count
        self._positions = np.arange(self._length, dtype=np.float32)
        self._is_frame = (self._positions >= num_extra).astype(np.float32)
        # One row stands for all where no clip ends before another.
        shown = np.ones((1, self._length), bool)
        if not mask.all():
            shown = np.concatenate([np.ones((batch, num_extra), bool), mask > 0], 1)
        self._hidden = np.where(shown, np.float32(0), np.float32(-np.inf))[:, None, None]
        elements = len(self._hidden) * slopes.shape[1] * self._length
        self._rows_per_chunk = max(16, CHUNK_BIAS_ELEMENTS // elements)
        # One piece of memory for all chunks: fresh pages for each would cost as much time as the numbers in them.
        self._room = np.empty(0, np.float32)
        self._shared: FloatArray | None = None
        if len(slopes) == 1 and elements * self._length <= SHARED_BIAS_ELEMENTS:
            self._shared = self._rows(0, slice(0, self._length))

    def chunks(self, index: int) -> Iterator[tuple[int, FloatArray]]:
        """First query and bias [B or 1, H, rows, S] of each part of the block at `index`."""
        if self._shared is not None:
            yield 0, self._shared
            return
        for queries in even_slices(self._length, self._rows_per_chunk):
            yield queries.start, self._rows(index if len(self._slopes) > 1 else 0, queries)

    def _rows(self, index: int, queries: slice) -> FloatArray:
        shape = (len(self._hidden), self._slopes.shape[1], queries.stop - queries.start, self._length)
        if len(self._room) < math.prod(shape):
            self._room = np.empty(math.prod(shape), np.float32)
        rows = self._room[: math.prod(shape)].reshape(shape)
        own = self._positions[queries], self._is_frame[queries]
        inputs = (*own, self._positions, self._is_frame, self._slopes[index], self._hidden)
        self._pieces.run_into(rows, BIAS, *inputs)
        return rows


class Pieces:
    """The compiled pieces by name, each with the one request that this process makes of it."""

    def __init__(self, on_first_use: Callable[[], None]) -> None:
        self._compiled: dict[str, ov.CompiledModel] = {}
        self._requests: dict[str, ov.InferRequest] = {}
        self._unused: set[str] = set()
        self._on_first_use = on_first_use

    def add(self, name: str, compiled: ov.CompiledModel) -> None:
        self._compiled[name] = compiled
        self._requests[name] = compiled.create_infer_request()
        self._unused.add(name)

    def run(self, name: str, *inputs: NDArray[np.generic]) -> list[FloatArray]:
        """The outputs of a piece, which are valid until it runs again."""
        outputs = self._requests[name].infer(_by_index(inputs), share_inputs=True, share_outputs=True)
        if name in self._unused:
            self._unused.remove(name)
            self._on_first_use()
        return [outputs[index] for index in range(len(outputs))]

    def run_into(self, output: FloatArray, name: str, *inputs: NDArray[np.generic]) -> None:
        """Run a piece that has one output, which goes where it is wanted: the piece keeps no memory for it."""
        # A request of its own, since a request keeps its output alive: 150 MB for 30 s.
        request = self._compiled[name].create_infer_request()
        request.set_output_tensor(ov.Tensor(output, shared_memory=True))
        request.infer(_by_index(inputs), share_inputs=True)

    def release(self) -> None:
        """Give back the memory between the operations of every piece, and what the allocator only keeps."""
        for compiled in self._compiled.values():
            compiled.release_memory()
        give_back_heap()


def open_openvino_model(checkpoint: Checkpoint, precision: str, threads: int, quantized: Path | None) -> OpenvinoModel:
    """An emotion2vec checkpoint on the CPU; `threads` 0 leaves their number to OpenVINO.

    For int8, `quantized` is the folder of the blocks that `emotion.model.quantization` made.
    """
    core = ov.Core()
    _require_precision(core, precision)
    weights = MappedTensors(checkpoint.weights)
    graphs = Graphs(checkpoint.config, weights, checkpoint.kept_rows, quantized if precision == "int8" else None)
    pieces = compile_pieces(core, graphs, precision, threads)
    card = ModelCard(
        name=checkpoint.name,
        fingerprint=checkpoint.fingerprint,
        runtime="openvino",
        device="cpu",
        precision=precision,
        labels=checkpoint.labels,
        embedding_size=checkpoint.config.width,
    )
    return OpenvinoModel(pieces, graphs, card)


def compile_pieces(core: ov.Core, graphs: Graphs, precision: str, threads: int) -> Pieces:
    """Every piece of the network, compiled, two at a time.

    Weights are packed while a piece is compiled and at its first use; the mapped file is let go of behind each.
    """
    pieces = Pieces(graphs.forget)

    def add(name: str) -> None:
        # Half precision cannot count past 256, and a rounded logit of 5 would cost the scores half a percent.
        hint = "f32" if name in (BIAS, HEAD) else _HINTS[precision]
        options: dict[str, object] = {"INFERENCE_PRECISION_HINT": hint, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
        options["CPU_RUNTIME_CACHE_CAPACITY"] = _KEPT_SHAPES
        if threads:
            options["INFERENCE_NUM_THREADS"] = threads
        pieces.add(name, core.compile_model(graphs.build(name), "CPU", options))
        graphs.forget(_READ_AHEAD_BYTES)

    with ThreadPoolExecutor(_COMPILERS, thread_name_prefix="compile") as pool:
        list(pool.map(add, graphs.names()))
    return pieces


def computes_bf16(core: ov.Core) -> bool:
    """Whether OpenVINO computes in bf16 on this processor; elsewhere it would silently take float32."""
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def even_slices(count: int, longest: int) -> Iterator[slice]:
    """Slices of about equal length that cover `count`, none longer than `longest`."""
    parts = -(-count // longest)
    for part in range(parts):
        yield slice(count * part // parts, count * (part + 1) // parts)


def _require_precision(core: ov.Core, precision: str) -> None:
    if precision not in _HINTS:
        raise ModelError(f"OpenVINO does not compute in {precision} on a CPU. Use --precision fp32, bf16 or int8.")
    if precision == "bf16" and not computes_bf16(core):
        raise ModelError("This processor does not compute in bf16. Use --precision fp32.")


def _by_index(inputs: Sequence[NDArray[np.generic]]) -> dict[int, NDArray[np.generic]]:
    # Contiguous and read at once, so that they need no copy.
    return {index: np.ascontiguousarray(value) for index, value in enumerate(inputs)}


def give_back_heap() -> None:
    """Let glibc return the free pages of its heap, of which it keeps up to some hundred MB; elsewhere nothing."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(ctypes.c_size_t(0))
