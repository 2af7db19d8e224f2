"""What the machine has and does, and what to do about it.

`hardware` is what it has, `container` what this process may have of it, `machine` reads what it does, `status` holds
the records, `watch` shares the readings, and `advice` says what they suggest.
"""

from emotion.monitor.advice import Advice, advise, said_of
from emotion.monitor.machine import MachineWatch, MemoryHeld, memory_held
from emotion.monitor.status import EngineStatus, MachineStatus, StageShares, StudioStatus
from emotion.monitor.watch import ChoreWatch, StudioWatch

__all__ = [
    "Advice",
    "ChoreWatch",
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
