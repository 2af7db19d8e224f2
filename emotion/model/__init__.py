"""The model room: normalised waveforms in, predictions out, whatever runtime, device and precision compute them.

`contract` is what the engine needs of a model; `checkpoint` finds and reads weights; `emotion2vec`, `compact` and
`openvino_graph` are the networks; `*_runtime` computes them; `choice` and `opening` pick one for this machine.
"""

from emotion.model.contract import (
    BUILT_IN,
    FRAME_RATE_HZ,
    FRAME_SPAN_SAMPLES,
    FRAME_STEP_SAMPLES,
    Accuracy,
    Collect,
    CpuModel,
    FloatArray,
    ModelCard,
    Prediction,
    SpeechModel,
    num_frames,
    pad_batch,
    softmax,
)

__all__ = [
    "BUILT_IN",
    "FRAME_RATE_HZ",
    "FRAME_SPAN_SAMPLES",
    "FRAME_STEP_SAMPLES",
    "Accuracy",
    "Collect",
    "CpuModel",
    "FloatArray",
    "ModelCard",
    "Prediction",
    "SpeechModel",
    "num_frames",
    "pad_batch",
    "softmax",
]
