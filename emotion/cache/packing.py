"""A prediction as bytes: numpy's own format four times in a row, which is data and never code."""

import io
from dataclasses import dataclass, replace

import numpy as np
from numpy.lib import format as npy

from emotion.analysis.windows import ClipPrediction

_VERSION = 1


@dataclass(frozen=True)
class Shape:
    """What a prediction of one clip by one model looks like: T frames, C labels, D numbers in an embedding."""

    frames: int
    labels: int
    embedding: int

    def fits(self, prediction: ClipPrediction) -> bool:
        """Whether it is a prediction of such a clip by such a model."""
        all_frames = prediction.frame_embeddings
        arrays = [prediction.logits, prediction.embedding] + ([] if all_frames is None else [all_frames])
        return (
            all(array.dtype == np.float32 for array in arrays)
            and prediction.logits.shape == (self.frames, self.labels)
            and prediction.embedding.shape == (self.embedding,)
            and (all_frames is None or all_frames.shape == (self.frames, self.embedding))
            and prediction.windows > 0
        )


def without_frames(prediction: ClipPrediction) -> ClipPrediction:
    """The same without the embeddings of all frames, which are a hundred times the rest."""
    return replace(prediction, frame_embeddings=None)


def packed(prediction: ClipPrediction) -> bytes:
    """The prediction as bytes."""
    all_frames = prediction.frame_embeddings
    head = np.array([_VERSION, prediction.windows, all_frames is not None], np.int64)
    buffer = io.BytesIO()
    for array in (head, prediction.logits, prediction.embedding, *([] if all_frames is None else [all_frames])):
        npy.write_array(buffer, np.asarray(array), allow_pickle=False)
    return buffer.getvalue()


def unpacked(content: bytes) -> ClipPrediction:
    """The prediction of these bytes; raises ValueError for bytes that are none."""
    buffer = io.BytesIO(content)
    head = _array(buffer, len(content))
    if head.shape != (3,) or head.dtype != np.int64 or head[0] != _VERSION:
        raise ValueError("not a prediction of this version")
    logits, embedding = _array(buffer, len(content)), _array(buffer, len(content))
    all_frames = _array(buffer, len(content)) if head[2] else None
    return ClipPrediction(logits, embedding, all_frames, int(head[1]))


def _array(buffer: io.BytesIO, most_bytes: int) -> np.ndarray:
    start = buffer.tell()
    major = npy.read_magic(buffer)
    if major != (1, 0):
        raise ValueError("not written here")
    shape, _, dtype = npy.read_array_header_1_0(buffer)
    # Before room is made for it: the header of a stranger can claim any size.
    if dtype.hasobject or int(np.prod(shape, dtype=object)) * dtype.itemsize > most_bytes:
        raise ValueError("larger than its bytes")
    buffer.seek(start)
    array = npy.read_array(buffer, allow_pickle=False)
    array.setflags(write=False)
    return array
