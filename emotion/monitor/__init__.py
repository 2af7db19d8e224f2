"""What the machine has and does, and what to do about it.

`hardware` is what it has, `container` what this process may have of it, `machine` reads what it does, `status` holds
the records, `watch` shares the readings, `advice` says what they suggest, `words` says it to people.
"""

from emotion.monitor.advice import Advice, advise
from emotion.monitor.machine import MachineWatch, MemoryHeld, memory_held
from emotion.monitor.status import EngineStatus, MachineStatus, StageShares, StudioStatus
from emotion.monitor.watch import ChoreWatch, StudioWatch
from emotion.monitor.words import said_of

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
