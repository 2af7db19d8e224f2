"""From a name and settings to a resident model; each runtime is imported only when it is wanted."""

from dataclasses import dataclass, replace
from pathlib import Path

from emotion.errors import ModelError
from emotion.model.checkpoint import Checkpoint
from emotion.model.choice import Choice, choose
from emotion.model.contract import SpeechModel
from emotion.model.half_precision import FiniteModel, bf16_holds


@dataclass(frozen=True)
class RuntimeSpec:
    """How a model is to be computed; `auto` leaves it to the machine.

    `threads` is how many CPU threads the network may take, 0 leaves them as they are; `offload_blocks` of the first
    transformer blocks stay in main memory beside a graphics card; `cache_dir` keeps what int8 was calibrated to, and
    how near bf16 comes to float32, which is not asked without one.
    """

    runtime: str = "auto"
    device: str = "auto"
    precision: str = "auto"
    threads: int = 0
    offload_blocks: int = 0
    cache_dir: Path = Path()


def open_model(checkpoint: Checkpoint | None, spec: RuntimeSpec | None = None) -> SpeechModel:
    """The model of a checkpoint, or the built-in one for None, ready to predict.

    Raises ModelError for a runtime, device or precision that this machine or this model does not have.
    """
    spec = spec or RuntimeSpec()
    if checkpoint is None:
        return FiniteModel(_open_compact(spec))
    choice = choose(spec.runtime, spec.device, spec.precision)

    def opened(precision: str) -> SpeechModel:
        return _open_checkpoint(checkpoint, replace(choice, precision=precision), spec)

    precision = choice.precision
    if spec.precision == "auto" and (precision, choice.device) == ("bf16", "cpu") and spec.cache_dir != Path():
        precision = "bf16" if bf16_holds(opened, checkpoint.fingerprint, choice.runtime, spec.cache_dir) else "fp32"
    return FiniteModel(opened(precision), None if precision == "fp32" else lambda: opened("fp32"))


def _open_checkpoint(checkpoint: Checkpoint, choice: Choice, spec: RuntimeSpec) -> SpeechModel:
    if choice.runtime == "openvino":
        return _open_openvino(checkpoint, choice.precision, spec)
    if spec.threads:
        set_inference_threads(spec.threads)
    if choice.runtime == "funasr":
        from emotion.model.funasr_runtime import open_funasr_model

        return open_funasr_model(checkpoint, choice.device, choice.precision)
    from emotion.model.torch_runtime import open_torch_model

    return open_torch_model(checkpoint, choice.device, choice.precision, spec.offload_blocks)


def set_inference_threads(threads: int) -> None:
    """How many threads PyTorch takes for one operation, for the whole process."""
    import torch

    torch.set_num_threads(threads)


def _open_openvino(checkpoint: Checkpoint, precision: str, spec: RuntimeSpec) -> SpeechModel:
    try:
        from emotion.model.openvino_runtime import open_openvino_model
    except ImportError:
        raise ModelError("OpenVINO is not installed. Install it with: pip install openvino") from None
    quantized = None
    if precision == "int8":
        from emotion.model.quantization import require_quantized

        quantized = require_quantized(checkpoint, spec.cache_dir)
    return open_openvino_model(checkpoint, precision, spec.threads, quantized)


def _open_compact(spec: RuntimeSpec) -> SpeechModel:
    if spec.runtime not in ("auto", "torch"):
        raise ModelError(
            f"The built-in model does not run on {spec.runtime}. Use --runtime torch, or another model.",
            runtime=spec.runtime,
        )
    if spec.threads:
        set_inference_threads(spec.threads)
    from emotion.model.compact_runtime import open_compact_model

    return open_compact_model(spec.device, spec.precision)
