"""From a name and settings to a resident model; each runtime is imported only when it is wanted."""

from emotion.checkpoint import Checkpoint
from emotion.errors import ModelError
from emotion.model import SpeechModel


def open_model(
    checkpoint: Checkpoint | None,
    *,
    runtime: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    threads: int = 0,
) -> SpeechModel:
    """The model of a checkpoint, or the built-in one for None, ready to predict.

    `threads` is how many CPU threads the network may take, 0 leaves them as they are. Raises ModelError for a
    runtime, device or precision that this machine or this model does not have.
    """
    if threads:
        set_inference_threads(threads)
    if checkpoint is None:
        return _open_compact(runtime, device, precision)
    if runtime in ("auto", "torch"):
        from emotion.model.torch_runtime import open_torch_model

        return open_torch_model(checkpoint, device, precision)
    if runtime == "funasr":
        from emotion.model.funasr_runtime import open_funasr_model

        return open_funasr_model(checkpoint, device, precision)
    raise ModelError(f"There is no runtime {runtime!r}. Use auto, torch or funasr.", runtime=runtime)


def set_inference_threads(threads: int) -> None:
    """How many threads PyTorch takes for one operation, for the whole process."""
    import torch

    torch.set_num_threads(threads)


def _open_compact(runtime: str, device: str, precision: str) -> SpeechModel:
    if runtime == "funasr":
        raise ModelError("The built-in model is not FunASR's. Use --runtime torch, or another model.", runtime=runtime)
    from emotion.model.torch_runtime import open_compact_model

    return open_compact_model(device, precision)
