"""What the machine does, and what to do about it.

`machine` reads the machine, `status` holds the records, `watch` shares the readings, `advice` says what they suggest.
"""

from emotion.monitor.advice import Advice, advise, said_of
from emotion.monitor.machine import MachineWatch, MemoryHeld, memory_held
from emotion.monitor.status import EngineStatus, MachineStatus, StageShares, StudioStatus
from emotion.monitor.watch import StudioWatch

__all__ = [
    "Advice",
    "EngineStatus",
    "MachineStatus",
    "MachineWatch",
    "MemoryHeld",
    "StageShares",
    "StudioStatus",
    "StudioWatch",
    "advise",
    "memory_held",
    "said_of",
]
