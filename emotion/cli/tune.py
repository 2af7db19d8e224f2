"""`emotion tune`: measures this machine for about a minute, and keeps what was fastest."""

from typing import TYPE_CHECKING, Annotated

import typer

from emotion.cli import flags, terminal

if TYPE_CHECKING:
    from emotion.model.checkpoint import Checkpoint
    from emotion.settings import Settings

_SECONDS_HELP = "About how long to measure; what does not fit is left out."


@flags.with_settings("model")
def tune(
    seconds: Annotated[float, typer.Option(help=_SECONDS_HELP, min=5)] = 60.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show; write nothing.")] = False,
    *,
    load: flags.Load,
) -> None:
    """Measure what is fastest on this machine, and write it to config/local.toml for later starts."""
    from emotion.doctor import tuning
    from emotion.hardware import describe_machine, usable_cores
    from emotion.settings import local_config_path

    settings = load()
    checkpoint, cores = _find(settings), usable_cores()
    terminal.say(f"Measuring {checkpoint.name if checkpoint else 'the built-in model'} for about {seconds:.0f} s ...")
    paces = {threads: tuning.decode_pace(threads) for threads in tuning.thread_counts(cores)}
    decode_threads = tuning.best_decode_threads(paces)
    terminal.show(f"{'decode threads':<34}{'recordings of 30 s per second':>30}")
    for threads, pace in paces.items():
        terminal.show(f"{threads:<34}{pace:>30.1f}")
    terminal.show(f"\n{'device':<8}{'runtime':<10}{'precision':<10}{'threads':<8}{'ms per second of sound':>28}")
    measured = []
    for trial in tuning.trials(checkpoint, cores, seconds):
        measured.append(trial)
        took = trial.note if trial.seconds_per_s is None else f"{trial.seconds_per_s * 1000:.1f}"
        terminal.show(f"{trial.device:<8}{trial.runtime:<10}{trial.precision:<10}{trial.threads:<8}{took:>28}")
    chosen = tuning.settle(checkpoint, tuning.winner(measured), decode_threads)
    content = chosen.as_toml(describe_machine())
    terminal.show(f"\n{content}")
    if dry_run:
        return
    target = local_config_path()
    tuning.write_local(content, target)
    terminal.say(f"Written to {target}. Later starts use it; --config and flags stand over it.")


def _find(settings: "Settings") -> "Checkpoint | None":
    """The model that a start with these settings would answer with, None for the built-in one."""
    from emotion.engine.recognizer import AUTO, LARGE
    from emotion.model import BUILT_IN
    from emotion.model.checkpoint import find_checkpoint, is_present

    name = LARGE if settings.model == AUTO and is_present(LARGE, settings.cache_dir) else settings.model
    return None if name in (AUTO, BUILT_IN) else find_checkpoint(name, settings.cache_dir)
