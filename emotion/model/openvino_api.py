"""OpenVINO and its operations, imported without its telemetry, which would start a thread and take 60 ms."""

import sys

# Its own code falls back to a stub where the package cannot be imported; so does NNCF, which would send events.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino as ov  # noqa: E402 - the line above must come first
from openvino import opset13 as ops  # noqa: E402

__all__ = ["ops", "ov"]
