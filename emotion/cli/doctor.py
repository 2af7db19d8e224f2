"""`emotion doctor`: what this machine has, and what will not work on it."""

import typer

from emotion.cli import flags, terminal

_MARKS = {"ok": "ok  ", "warning": "warn", "failure": "FAIL"}


def doctor(offline: flags.Offline = None, hub: flags.Hub = None, config: flags.Config = None) -> None:
    """Check versions, threads, devices, folders and hubs. Changes nothing; exits with 1 if something will not work."""
    from emotion.checkup import examine
    from emotion.settings import load_settings

    failed = False
    for finding in examine(load_settings(config, offline=offline, hub=hub)):
        failed = failed or finding.level == "failure"
        terminal.show(f"{_MARKS[finding.level]}  {finding.subject:<12} {finding.text}")
        if finding.remedy:
            terminal.show(f"{'':18} {finding.remedy}")
    if failed:
        raise typer.Exit(1)
