"""What this machine has and what this process may use of it: cores, graphics cards, the limits of its container."""

from emotion.hardware.container import Usage, limited_memory, quota_cores
from emotion.hardware.cores import Cores, Threads, plan_threads, usable_cores
from emotion.hardware.gpus import Gpu, card_of, describe_machine, driver_version, installed_gpus

__all__ = [
    "Cores",
    "Gpu",
    "Threads",
    "Usage",
    "card_of",
    "describe_machine",
    "driver_version",
    "installed_gpus",
    "limited_memory",
    "plan_threads",
    "quota_cores",
    "usable_cores",
]
