"""Where a run stands for another machine (`.ci/run`), that it really is held to what that machine has."""

import os

import numpy as np
import pytest
import torch

from emotion.model.choice import choose

held_to_avx2 = pytest.mark.skipif(
    os.environ.get("ONEDNN_MAX_CPU_ISA") != "AVX2", reason="this run is not held to an older processor"
)
pytestmark = pytest.mark.numeric


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_auto_means_the_precision_of_this_run(pytestconfig: pytest.Config, runtime: str) -> None:
    wanted = pytestconfig.getoption("--auto-precision")
    if wanted is None:
        pytest.skip("this run leaves the precision to the processor")
    assert choose(runtime, "cpu", "auto").precision == wanted


@held_to_avx2
def test_torch_and_numpy_are_held_to_avx2() -> None:
    from numpy._core import _multiarray_umath

    assert torch.backends.cpu.get_cpu_capability() == "AVX2"
    assert not torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert not _multiarray_umath.__cpu_features__["X86_V4"]


@held_to_avx2
def test_openvino_is_held_to_avx2() -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    from emotion.model.openvino_api import ops, ov

    rows, weights = ops.parameter([1, 64, 192], np.float32), np.ones((192, 192), np.float32)
    sounds, kernel = ops.parameter([1, 64, 400], np.float32), np.ones((64, 64, 3), np.float32)
    outputs = [
        ops.gelu(ops.matmul(rows, ops.constant(weights), False, True), "erf"),
        ops.convolution(sounds, ops.constant(kernel), [1], [0], [0], [1]),
    ]
    core = ov.Core()
    compiled = core.compile_model(ov.Model(outputs, [rows, sounds]), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    operations = [operation.get_rt_info() for operation in compiled.get_runtime_model().get_ordered_ops()]
    kernels = [info["primitiveType"].astype(str) for info in operations]

    assert "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert sum("avx2" in kernel for kernel in kernels) == len(outputs)
    assert not [kernel for kernel in kernels if "avx512" in kernel]
