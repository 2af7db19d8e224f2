"""Findings about this machine and these settings, each with its remedy; nothing is changed.

`software` is what is installed, `computing` how fast it decodes and multiplies, `memory` what may be held, `system`
files, disk, kernel and port, `models` the files of the models, `sanity` what does not go together in the settings.
"""

from collections.abc import Iterator

from emotion.doctor.computing import findings as of_computing
from emotion.doctor.finding import Finding, Level
from emotion.doctor.memory import findings as of_memory
from emotion.doctor.models import findings as of_models
from emotion.doctor.sanity import findings as of_settings
from emotion.doctor.software import findings as of_software
from emotion.doctor.system import findings as of_system
from emotion.hardware import installed_gpus
from emotion.settings import Settings

__all__ = ["Finding", "Level", "examine"]


def examine(settings: Settings) -> Iterator[Finding]:
    """All findings, one after the other, since some take a second."""
    yield from of_settings(settings)
    yield from of_software()
    yield from of_computing(settings, installed_gpus())
    yield from of_memory(settings)
    yield from of_system(settings)
    yield from of_models(settings)
