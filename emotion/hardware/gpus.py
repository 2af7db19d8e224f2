"""The graphics cards of this machine, and the machine in a few words."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emotion.hardware.container import Usage
from emotion.hardware.cores import usable_cores


@dataclass(frozen=True)
class Gpu:
    """One graphics card as its driver sees it, whether or not PyTorch can use it.

    `device` is what PyTorch calls it, as `cuda:0`, empty where it may not use it or that is not known. Memory is in
    units of 2^20 bytes, 0 of 0 where the card has none of its own; percent and temperature are None where unknown.
    """

    name: str
    total_mb: int
    used_mb: int
    utilization_percent: int | None = None
    temperature_c: int | None = None
    device: str = ""

    @property
    def memory(self) -> Usage:
        return Usage(self.used_mb * 2**20, self.total_mb * 2**20)


def installed_gpus() -> list[Gpu]:
    """The NVIDIA cards of this machine; none where there is no driver. Takes 0.1 s for each, and more when the driver
    starts.
    """
    import gpustat  # only here: it asks the driver

    try:
        cards = [card for card in gpustat.new_query().gpus if card.available]
        return [_as_gpu(card, device) for card, device in zip(cards, _devices(cards), strict=True)]
    except Exception:  # without a driver, and with one that does not fit, the library raises what NVML gives it
        return []


def driver_version() -> str | None:
    """Version of NVIDIA's driver, None where there is none."""
    import gpustat  # only here: it asks the driver

    try:
        version: str | None = gpustat.new_query().driver_version
    except Exception:  # as above
        return None
    return version


def card_of(device: str, gpus: Sequence[Gpu]) -> Gpu | None:
    """The graphics card that PyTorch calls so, None for a CPU and where it is not known which one it is."""
    name = "cuda:0" if device == "cuda" else device
    return next((gpu for gpu in gpus if gpu.device == name), None)


def describe_machine() -> str:
    """Processor, cores, memory and graphics cards in a few words."""
    import psutil  # only here: the page and the command line ask once

    processor, facts = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if facts.is_file():  # Linux has its best name there
        names = (line for line in facts.read_text(encoding="utf-8").splitlines() if line.startswith("model name"))
        processor = next((line.partition(":")[2].strip() for line in names), processor)
    memory_gb = psutil.virtual_memory().total / 2**30
    cards = "".join(f", {gpu.name}" for gpu in installed_gpus())
    return f"{processor}, {usable_cores().logical} cores, {memory_gb:.0f} GB{cards}, {platform.system()}"


def _as_gpu(card: Any, device: str) -> Gpu:
    try:
        total_mb, used_mb = int(card.memory_total), int(card.memory_used)
    except TypeError:  # it shares the memory of the machine, and the driver says nothing of it
        total_mb = used_mb = 0
    return Gpu(card.name, total_mb, used_mb, card.utilization, card.temperature, device)


def _devices(cards: list[Any]) -> list[str]:
    """What PyTorch calls each card, by the variables that it goes by."""
    unlike = len({card.name for card in cards}) > 1
    if unlike and os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
        return [""] * len(cards)  # PyTorch then counts the fastest first, the driver by slots
    words = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(str(card.index) for card in cards)).split(",")
    places = {word.strip(): f"cuda:{place}" for place, word in enumerate(words)}
    return [places.get(str(card.index)) or places.get(card.uuid, "") for card in cards]
