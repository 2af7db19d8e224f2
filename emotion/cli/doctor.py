"""`emotion doctor`: what this machine has, and what will not work on it."""

import json
from typing import Annotated

import typer

from emotion.cli import flags, terminal

_MARKS = {"ok": "ok  ", "warning": "warn", "failure": "FAIL"}


@flags.with_settings("offline", "hub")
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="All findings as one JSON list on standard output.")] = False,
    profile: Annotated[str | None, typer.Option("--profile", help="personal, team or production.")] = None,
    *,
    load: flags.Load,
) -> None:
    """Check machine, versions, speed and settings. Changes nothing; exits with 1 if something will not work."""
    from emotion.doctor import examine

    counts = dict.fromkeys(_MARKS, 0)
    records = []
    for finding in examine(load(profile=profile)):
        counts[finding.level] += 1
        records.append(finding.record())
        if as_json:
            continue
        terminal.show(f"{_MARKS[finding.level]}  {finding.subject:<12} {finding.text}")
        if finding.remedy:
            terminal.show(f"{'':18} {finding.remedy}")
    if as_json:
        terminal.show(json.dumps(records, ensure_ascii=False, indent=2))
    else:
        terminal.show(f"{counts['ok']} well, {counts['warning']} could be better, {counts['failure']} will not work")
    if counts["failure"]:
        raise typer.Exit(1)
