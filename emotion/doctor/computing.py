"""Cores, threads and graphics cards, and how fast this machine decodes and multiplies."""

import io
import os
import time
import wave
from collections.abc import Iterator, Sequence

from emotion.doctor.finding import Finding
from emotion.errors import EmotionError, ModelError, command_line
from emotion.hardware import Gpu, plan_threads, usable_cores
from emotion.model.probe import CudaCard, ThreadsAtWork
from emotion.settings import Settings

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_DECODED_S = 20
# Of one second of sound in the large model (counted in benchmarks/peak.py).
_LARGE_GFLOP_PER_S = 21
# The model computes with half to two thirds of what big products reach (benchmarks/RESULTS.md).
_OF_THE_PEAK = 0.5
# With less, decoding would hold up even the built-in model.
_SLOW_DECODING = 50
# Half precision is computed from there on.
_FP16_CAPABILITY = (5, 3)


def findings(settings: Settings, gpus: Sequence[Gpu]) -> Iterator[Finding]:
    """`gpus` are those that the driver tells of, whether or not PyTorch can use them."""
    from emotion.model.probe import cuda_cards, measure_threads

    usable, cores = cuda_cards(), usable_cores()
    yield Finding("cores", f"{cores.physical} physical, {cores.logical} logical")
    variables = ", ".join(f"{name}={os.environ.get(name, 'not set')}" for name in _THREAD_VARIABLES)
    yield Finding("variables", variables)
    planned = plan_threads(cores, bool(usable), settings.decode_threads, settings.inference_threads)
    if planned.inference > cores.logical or planned.decode > cores.logical:
        wanted = f"inference_threads = {settings.inference_threads} and decode_threads = {settings.decode_threads}"
        text = f"{wanted} on {cores.logical} cores hold each other up"
        yield Finding("threads", text, "warning", "Set both to 0, which goes by the machine, or leave them out.")
    at_work = measure_threads(planned.inference)
    yield threads(planned.decode, planned.inference, at_work)
    yield matrix(at_work, on_card=bool(usable))
    yield decoding()
    yield cards(usable, gpus)
    yield _choice(settings)


def threads(decode: int, inference: int, at_work: ThreadsAtWork) -> Finding:
    """What was planned beside what PyTorch really did."""
    text = (
        f"decode {decode}, inference {inference}; torch says {at_work.claimed} and kept {at_work.busy:.1f} cores busy"
    )
    if at_work.claimed != inference or at_work.busy > inference + 0.5:
        return Finding("threads", text, "warning", "Start through ./run.sh, which sets the variables before torch.")
    remedy = "Other programs, or the limit of the container, take the rest: see `top`, and cpu.max of the group."
    return Finding.judged("threads", text, at_work.busy < 0.6 * inference, remedy)


def matrix(at_work: ThreadsAtWork, on_card: bool) -> Finding:
    """What the product of two matrices says of the large model on the processor."""
    seconds = at_work.gflops * _OF_THE_PEAK / _LARGE_GFLOP_PER_S
    text = f"{at_work.gflops:.0f} GFLOP/s in float32, about {seconds:.1f} s of sound a second with the large model"
    remedy = f"{command_line('tune')} looks for something faster; --model compact is a hundred times lighter."
    return Finding.judged("matrices", text, seconds < 1 and not on_card, remedy)


def decoding() -> Finding:
    """How fast one thread decodes and resamples stereo of 44.1 kHz."""
    from emotion.audio import decode

    sound = noise_wav(_DECODED_S)
    try:
        decode(sound[: len(sound) // _DECODED_S])  # the first call loads the libraries
        started_s = time.perf_counter()
        decode(sound)
    except (EmotionError, ImportError, OSError):
        return Finding("decoding", "a WAV cannot be decoded", "failure", "pip install --force-reinstall av soundfile")
    speed = _DECODED_S / (time.perf_counter() - started_s)
    text = f"{speed:,.0f} s of sound a second on one thread (WAV, 44.1 kHz stereo)"
    remedy = "Something else keeps the processor busy: see `top`."
    return Finding.judged("decoding", text, speed < _SLOW_DECODING, remedy)


def cards(usable: Sequence[CudaCard], installed: Sequence[Gpu]) -> Finding:
    """What does the inference; a warning where a card is here that PyTorch cannot use."""
    if usable:
        return _usable_cards(usable)
    idle = ", ".join(f"{gpu.name} ({gpu.total_mb / 1000:.0f} GB)" for gpu in installed)
    if idle:
        remedy = "Install a CUDA build of torch that fits the driver, into the same environment."
        text = f"{idle} is here, but PyTorch cannot use it; the CPU does the inference"
        return Finding("devices", text, "warning", remedy)
    return Finding("devices", "no GPU; the CPU does the inference")


def _usable_cards(usable: Sequence[CudaCard]) -> Finding:
    from emotion.hardware import driver_version

    driver = driver_version()
    said = ", ".join(
        f"cuda:{place} {card.name} ({card.memory_bytes / 1e9:.0f} GB, compute capability {card.capability_text})"
        for place, card in enumerate(usable)
    )
    text = f"{said}; driver {driver or 'unknown'}"
    unknown = [card for card in usable if not card.is_supported]
    if unknown:
        remedy = "Install a build of torch for this card (https://pytorch.org/get-started/locally), or --device cpu."
        return Finding("devices", f"{text}; this torch has no kernels for {unknown[0].name}", "failure", remedy)
    old = [card for card in usable if card.capability < _FP16_CAPABILITY]
    if old:
        text += f"; {old[0].name} computes in fp32 only, which is slower and takes twice as much"
    return Finding("devices", text)


def _choice(settings: Settings) -> Finding:
    """What the settings come to on this machine."""
    from emotion.model.choice import choose

    try:
        choice = choose(settings.runtime, settings.device, settings.precision)
    except ModelError as error:
        return Finding("computing", str(error), "failure", "Change runtime, device or precision in the settings.")
    return Finding("computing", f"{choice.runtime} in {choice.precision} on {choice.device}")


def noise_wav(duration_s: int) -> bytes:
    """A stereo WAV at 44.1 kHz: one second of noise again and again. As with most formats, resampling takes longest."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((2, 2, 44_100, 0, "NONE", ""))
        sound.writeframesraw(os.urandom(4 * 44_100) * duration_s)
    return file.getvalue()
