"""What `auto` means on which machine, and that asking imports nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from emotion.audio import write_wav
from emotion.errors import ModelError
from emotion.model import choice as choice_module
from emotion.model.checkpoint import find_checkpoint
from emotion.model.choice import PRECISIONS, RUNTIMES, Choice, choose, cpu_computes_bf16
from emotion.model.opening import RuntimeSpec, open_model
from tests.checkpoints import TINY, write_checkpoint
from tests.fakes import loud_clip

pytestmark = pytest.mark.numeric

TESLA_T4, MAXWELL = (7, 5), (5, 2)


class Machine:
    """A machine that has what a test says; at first a processor without bf16, OpenVINO, and no graphics card."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self.has(openvino=True, bf16=False, driver=False)
        self.is_a("x86_64")

    def has(self, **parts: bool) -> None:
        names = {"openvino": "has_openvino", "bf16": "cpu_computes_bf16", "driver": "has_nvidia_driver"}
        for part, is_there in parts.items():
            self._patch.setattr(choice_module, names[part], lambda is_there=is_there: is_there)

    def is_a(self, processor: str) -> None:
        self._patch.setattr(choice_module.platform, "machine", lambda: processor)

    def has_card(self, capability: tuple[int, int] | None, count: int = 1) -> None:
        """A driver, and cards that PyTorch can use; with None it can use none."""
        self.has(driver=True)
        self._patch.setattr(torch.cuda, "is_available", lambda: capability is not None)
        self._patch.setattr(torch.cuda, "device_count", lambda: count if capability else 0)
        self._patch.setattr(torch.cuda, "get_device_capability", lambda _: capability)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


@pytest.mark.usefixtures("machine")
def test_a_plain_processor_takes_openvino_in_float32() -> None:
    assert choose("auto", "auto", "auto") == Choice("openvino", "cpu", "fp32")


def test_a_processor_that_computes_in_bf16_does(machine: Machine) -> None:
    machine.has(bf16=True)
    assert choose("auto", "auto", "auto") == Choice("openvino", "cpu", "bf16")
    assert choose("torch", "cpu", "auto") == Choice("torch", "cpu", "bf16")


@pytest.mark.parametrize("processor", ["aarch64", "arm64"])
def test_openvino_is_not_asked_for_bf16_on_a_processor_where_it_refuses_it(machine: Machine, processor: str) -> None:
    machine.has(bf16=True)
    machine.is_a(processor)
    assert choose("auto", "auto", "auto") == Choice("openvino", "cpu", "fp32")
    assert choose("torch", "auto", "auto") == Choice("torch", "cpu", "bf16")


def test_without_openvino_torch_computes(machine: Machine) -> None:
    machine.has(openvino=False)
    assert choose("auto", "auto", "auto") == Choice("torch", "cpu", "fp32")
    machine.has(bf16=True)
    assert choose("auto", "cpu", "auto") == Choice("torch", "cpu", "bf16")


def test_a_card_that_computes_in_fp16_is_taken_with_torch(machine: Machine) -> None:
    machine.has_card(TESLA_T4)
    assert choose("auto", "auto", "auto") == Choice("torch", "cuda:0", "fp16")
    assert choose("auto", "cuda", "auto") == Choice("torch", "cuda:0", "fp16")


def test_an_old_card_computes_in_float32(machine: Machine) -> None:
    machine.has_card(MAXWELL)
    assert choose("auto", "auto", "auto") == Choice("torch", "cuda:0", "fp32")


def test_the_oldest_card_that_computes_in_fp16_does(machine: Machine) -> None:
    machine.has_card((5, 3))
    assert choose("auto", "auto", "auto").precision == "fp16"


def test_the_second_card_is_taken_if_it_is_named(machine: Machine) -> None:
    machine.has_card(TESLA_T4, count=2)
    assert choose("auto", "cuda:1", "auto") == Choice("torch", "cuda:1", "fp16")
    with pytest.raises(ModelError, match="no device 'cuda:2'"):
        choose("auto", "cuda:2", "auto")


def test_a_driver_whose_card_torch_cannot_use_leaves_the_processor(machine: Machine) -> None:
    machine.has_card(None)
    assert choose("auto", "auto", "auto") == Choice("openvino", "cpu", "fp32")


def test_the_processor_is_taken_beside_a_card_if_it_is_named(machine: Machine) -> None:
    machine.has_card(TESLA_T4)
    assert choose("auto", "cpu", "auto") == Choice("openvino", "cpu", "fp32")
    assert choose("openvino", "auto", "auto") == Choice("openvino", "cpu", "fp32")


@pytest.mark.parametrize("bf16", [False, True])
def test_the_reference_computes_in_float32_everywhere(machine: Machine, bf16: bool) -> None:
    machine.has(bf16=bf16)
    assert choose("funasr", "auto", "auto") == Choice("funasr", "cpu", "fp32")
    machine.has_card(TESLA_T4)
    assert choose("funasr", "auto", "auto") == Choice("funasr", "cuda:0", "fp32")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_precision_that_is_named_is_kept(machine: Machine, precision: str) -> None:
    machine.has(bf16=True)
    assert choose("torch", "cpu", precision).precision == precision
    assert choose("openvino", "cpu", precision).precision == precision


def test_int8_is_never_chosen(machine: Machine) -> None:
    for bf16 in (False, True):
        machine.has(bf16=bf16)
        assert "int8" not in {choose(runtime, "cpu", "auto").precision for runtime in ("auto", *RUNTIMES)}
    assert choose("auto", "auto", "int8") == Choice("openvino", "cpu", "int8")


@pytest.mark.usefixtures("machine")
def test_fp16_on_a_processor_goes_to_torch_which_says_what_to_use(tmp_path: Path) -> None:
    assert choose("auto", "cpu", "fp16") == Choice("torch", "cpu", "fp16")
    checkpoint = find_checkpoint(str(write_checkpoint(tmp_path / "tiny", TINY)), tmp_path / "cache")
    for runtime, possible in (("auto", "fp32 or bf16"), ("torch", "fp32 or bf16"), ("openvino", "fp32, bf16 or int8")):
        with pytest.raises(ModelError, match=f"not compute in fp16.* Use --precision {possible}"):
            open_model(checkpoint, RuntimeSpec(runtime, "cpu", "fp16"))


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "toaster"])
def test_openvino_is_refused_on_anything_but_the_processor(machine: Machine, device: str) -> None:
    machine.has_card(TESLA_T4, count=2)
    with pytest.raises(ModelError, match=f"not on {device}. Use --runtime torch"):
        choose("openvino", device, "auto")


@pytest.mark.usefixtures("machine")
def test_a_word_that_nobody_knows_is_told_with_those_that_are_known() -> None:
    with pytest.raises(ModelError, match=r"no runtime 'onnx'\. Use auto, torch, openvino, funasr"):
        choose("onnx", "auto", "auto")
    with pytest.raises(ModelError, match=r"no precision 'fp8'\. Use auto, fp32, bf16, fp16, int8"):
        choose("auto", "auto", "fp8")
    with pytest.raises(ModelError, match="no device 'toaster'"):
        choose("auto", "toaster", "auto")


@pytest.mark.usefixtures("machine")
def test_a_card_that_is_not_there_is_refused_and_never_replaced() -> None:
    with pytest.raises(ModelError, match=r"no device 'cuda' that PyTorch can use\. Use --device cpu"):
        choose("auto", "cuda", "auto")


@pytest.mark.parametrize(
    ("cpuinfo", "computes"),
    [
        ("processor\t: 0\nflags\t\t: fpu sse2 avx512f avx512_bf16\n", True),
        ("flags\t\t: fpu amx_bf16 amx_tile\n", True),
        ("flags\t\t: fpu sse2 avx2 avx512f\n", False),
        ("processor\t: 0\nFeatures\t: fp asimd bf16 i8mm\n", True),
        ("Features\t: fp asimd sve\n", False),
        ("flags\t\t: fpu\n\nmodel name\t: avx512_bf16\n", False),
        ("", False),
    ],
)
def test_what_the_system_says_of_the_processor_decides_on_bf16(
    monkeypatch: pytest.MonkeyPatch, cpuinfo: str, computes: bool
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: cpuinfo)
    assert cpu_computes_bf16.__wrapped__() is computes


def test_a_system_that_says_nothing_of_its_processor_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_file(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", no_file)
    assert not cpu_computes_bf16.__wrapped__()


RECOGNIZE = """
import json, sys, threading
import emotion.model.choice, emotion.engine.recognizer
emotion.model.choice.has_nvidia_driver = emotion.engine.recognizer.has_nvidia_driver = lambda: False
with emotion.engine.recognizer.Recognizer(sys.argv[1], runtime=sys.argv[2], precision="fp32") as recognizer:
    card = recognizer.recognize(sys.argv[3], "frame", embedding=True).model
print(json.dumps([card.runtime, [name for name in ("torch", "funasr", "openvino_telemetry") if sys.modules.get(name)]]))
"""


@pytest.mark.parametrize("runtime", ["openvino", "auto"])
def test_without_a_driver_openvino_recognises_without_torch_and_sends_nothing_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    monkeypatch.setenv("EMOTION_MODEL_CACHE", str(tmp_path / "cache"))
    folder = write_checkpoint(tmp_path / "tiny", TINY)
    find_checkpoint(str(folder), tmp_path / "cache")
    write_wav(loud_clip(), tmp_path / "call.wav")

    command = [sys.executable, "-c", RECOGNIZE, str(folder), runtime, str(tmp_path / "call.wav")]
    said = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout

    assert json.loads(said) == ["openvino", []]
