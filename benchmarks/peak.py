"""The work of one clip in operations, and how many of them a second this machine can do at best.

    python benchmarks/peak.py

A side whose share of the peak is near 100 % leaves nothing to gain but by doing less. A narrower format counts as at
least as fast as a wider one, since its numbers can always be widened.
"""

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import bench
import sides

from emotion.model.checkpoint.config import NetworkConfig

SIZES = (1024, 2048, 3072, 4096)
REPEATS = 3
# A product that would take longer than this is left out: a format that the processor lacks can be very slow.
_LONGEST_S = 3.0
# Largest error of a product, relative to its largest value, that still counts as float32; bf16 has 4e-3.
_FLOAT32_ERROR = 1e-5
_WIDER = {"int8": ("int8", "bf16", "fp32"), "bf16": ("bf16", "fp32"), "fp16": ("fp16", "fp32"), "fp32": ("fp32",)}
_NATIVE = {"bf16": ("avx512_bf16", "amx_bf16", "bf16", "asimdbf16"), "int8": ("avx512_vnni", "avx_vnni", "amx_int8")}
Rates = dict[str, float]
Product = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=0, help="threads; 0: every physical core")
    parser.add_argument("--quick", action="store_true", help="the smallest size only")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="device of the products")
    wanted = parser.parse_args()
    rates = measure(wanted.threads or bench.physical_cores(), wanted.device, wanted.quick)
    rows = [(name, f"{rate:.0f}") for name, rate in rates.items()]
    bench.report(f"matrix peak, {wanted.device}", ("product", "GFLOP/s"), rows, {"gflops": rates})


def measure(threads: int, device: str = "cpu", quick: bool = False) -> Rates:
    """Most GFLOP/s of big matrix products by `library format`, measured in a process of their own; none if not here."""
    try:
        with sides.Side(Products, threads, device) as side:
            return dict(side.ask("rates", SIZES[:1] if quick else SIZES))
    except sides.ReplicaUnavailable:
        return {}


def best(rates: Rates, precision: str) -> float | None:
    """The peak of one precision over all libraries, None where nothing of it was measured."""
    formats = _WIDER.get(precision, ())
    return max((rate for name, rate in rates.items() if name.split()[1] in formats), default=None)


def describe(rates: Rates) -> str:
    return "matrix peak in GFLOP/s: " + ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items())


class Products:
    """Big matrix products with each library and format of this machine."""

    def __init__(self, threads: int, device: str) -> None:
        import torch

        from emotion.model.torch_runtime import usable_device

        self._device = usable_device(device)
        self._threads = threads
        torch.set_num_threads(threads)

    def rates(self, sizes: tuple[int, ...]) -> Rates:
        makers = dict(self._cuda() if self._device != "cpu" else self._cpu())
        rates = {name: fastest(make, sizes) for name, make in makers.items()}
        return {name: rate for name, rate in rates.items() if rate > 0}

    def _cpu(self) -> Iterator[tuple[str, Callable[[int], Product]]]:
        """Maker of a product by its name; every maker takes the size of the square matrices."""
        yield "torch fp32", torch_product
        if medium_is_float32():
            yield "oneDNN fp32", medium_product
        if is_native("bf16"):
            yield "torch bf16", lambda size: torch_product(size, "bfloat16")
        if is_native("int8"):
            yield "torch int8", int8_product
        for precision in ("fp32", *(format_ for format_ in ("bf16", "int8") if is_native(format_))):
            if has_openvino():
                yield f"OpenVINO {precision}", self._openvino(precision)

    def _openvino(self, precision: str) -> Callable[[int], Product]:
        return lambda size: openvino_product(size, precision, self._threads)

    def _cuda(self) -> Iterator[tuple[str, Callable[[int], Product]]]:
        for precision, kind in (("fp32", "float32"), ("fp16", "float16"), ("bf16", "bfloat16")):
            yield f"torch {precision}", lambda size, kind=kind: torch_product(size, kind, self._device)  # type: ignore[misc]


def fastest(make: Callable[[int], Product], sizes: tuple[int, ...]) -> float:
    """The most GFLOP/s over the sizes, of the best of some repeats after a warm-up; 0 if it cannot be made."""
    rate = 0.0
    for size in sizes:
        work = 2 * size**3 / 1e9
        if rate and work / rate > _LONGEST_S:
            break
        try:
            product = make(size)
        except (RuntimeError, ImportError):
            break
        timing = bench.alternate({"product": product}, REPEATS)["product"]
        rate = max(rate, work / timing.minimum_s)
    return rate


def torch_product(size: int, kind: str = "float32", device: str = "cpu") -> Product:
    import torch

    left, right = (torch.randn(size, size).to(device, getattr(torch, kind)) for _ in range(2))

    def multiply() -> None:
        torch.mm(left, right)
        if device != "cpu":
            torch.cuda.synchronize()

    return multiply


def medium_product(size: int) -> Product:
    """float32 with the library that torch takes for medium precision: oneDNN instead of MKL."""
    import torch

    product = torch_product(size)

    def multiply() -> None:
        torch.set_float32_matmul_precision("medium")
        try:
            product()
        finally:
            torch.set_float32_matmul_precision("highest")

    return multiply


def medium_is_float32() -> bool:
    """Whether medium precision is exact here; some processors then compute in bf16."""
    import torch

    left, right = torch.randn(512, 512), torch.randn(512, 512)
    exact = left.double() @ right.double()
    torch.set_float32_matmul_precision("medium")
    error = ((left @ right).double() - exact).abs().max() / exact.abs().max()
    torch.set_float32_matmul_precision("highest")
    return float(error) < _FLOAT32_ERROR


def int8_product(size: int) -> Product:
    import torch

    left, right = (torch.randint(-128, 128, (size, size), dtype=torch.int8) for _ in range(2))
    return lambda: torch._int_mm(left, right)


def has_openvino() -> bool:
    from importlib.util import find_spec

    return find_spec("openvino") is not None


def openvino_product(size: int, precision: str, threads: int) -> Product:
    """A product of an input and constant weights, as in a linear layer; int8 quantises the input on its way."""
    import numpy as np
    import openvino
    from openvino import opset15 as ops

    left = ops.parameter([size, size], np.float32)
    if precision == "int8":
        low, high = ops.constant(np.float32(-1.28)), ops.constant(np.float32(1.27))
        weights = ops.convert(ops.constant(np.random.default_rng(0).integers(-127, 127, (size, size), np.int8)), "f32")
        right = ops.multiply(weights, ops.constant(np.float32(0.01)))
        product = ops.matmul(ops.fake_quantize(left, low, high, low, high, 256), right, False, True)
    else:
        product = ops.matmul(
            left, ops.constant(bench.speech_like(size * size / 16_000).reshape(size, size)), False, True
        )
    hint = "bf16" if precision == "bf16" else "f32"
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads}
    request = openvino.compile_model(openvino.Model([product], [left]), "CPU", settings).create_infer_request()
    request.set_input_tensor(openvino.Tensor(np.ones((size, size), np.float32)))
    infer: Product = request.infer
    return infer


def is_native(precision: str) -> bool:
    """Whether the processor says that it computes in this format."""
    flags = bench.cpu_facts()
    return bool(set(_NATIVE[precision]) & set((flags.get("flags") or flags.get("Features", "")).split()))


def operations(config: NetworkConfig, num_samples: int, num_classes: int = 9) -> int:
    """Multiplications and additions of the network for a waveform of so many samples, taken whole.

    With L_i the length after convolution i of c_i channels, kernel k_i, stride s_i (L_0 = samples, c_0 = 1), T frames,
    S = T + extra tokens, width D, MLP width M, and P positional convolutions of kernel K in G groups:

        2 * ( sum_i L_i c_(i-1) c_i k_i  +  T c_last D  +  P T D (D / G) K
              + blocks * (4 S D^2 + 2 S^2 D + 2 S D M)  +  T D classes )

    The blocks hold qkv and projection (4 S D^2), scores and mixing of attention (2 S^2 D) and the MLP (2 S D M). Norms,
    GELU, softmax and bias, under 1 % of it, are not counted.
    """
    length, channels, products = num_samples, 1, 0
    for channels_out, kernel, stride in config.convolutions:
        length = (length - kernel) // stride + 1
        products += length * channels * channels_out * kernel
        channels = channels_out
    frames, width = length, config.width
    tokens = frames + config.extra_tokens
    products += frames * channels * width
    products += config.position_layers * frames * width * (width // config.position_groups) * config.position_kernel
    block = 4 * tokens * width**2 + 2 * tokens**2 * width + 2 * tokens * width * config.mlp_width
    products += config.num_blocks * block + frames * width * num_classes
    return 2 * products


if __name__ == "__main__":
    main()
