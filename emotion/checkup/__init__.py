"""Findings about this machine and these settings, each with its remedy; nothing is changed.

`software` is what is installed, `computing` how fast it decodes and multiplies, `memory` what may be held, `system`
files, disk, kernel and port, `models` the files of the models, `sanity` what does not go together in the settings.
"""

from collections.abc import Iterator

from emotion.checkup import computing, memory, models, sanity, software, system
from emotion.checkup.finding import Finding, Level
from emotion.monitor import installed_gpus
from emotion.settings import Settings

__all__ = ["Finding", "Level", "examine"]


def examine(settings: Settings) -> Iterator[Finding]:
    """All findings, one after the other, since some take a second."""
    yield from sanity.findings(settings)
    yield from software.findings()
    yield from computing.findings(settings, installed_gpus())
    yield from memory.findings(settings)
    yield from system.findings(settings)
    yield from models.findings(settings)
