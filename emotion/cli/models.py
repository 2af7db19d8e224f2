"""`emotion models`: which there are, where they lie, download and verify; `precision` has quantize and compare."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emotion.cli import flags, precision, terminal
from emotion.errors import EmotionError

if TYPE_CHECKING:
    from emotion.analysis import Analysis

app = typer.Typer(help="List, download, verify, quantize and compare models.", invoke_without_command=True)
_NAME_HELP = "Short name, or hub id (owner/model)."


app.command()(precision.quantize)
app.command("quantise", hidden=True)(precision.quantize)  # how it was written until 0.4
app.command()(precision.compare)


@app.callback()
def models(context: typer.Context) -> None:
    """List the models when no word follows."""
    if context.invoked_subcommand is None:
        show_list()


@app.command("list")
@flags.with_settings("offline")
def show_list(*, load: flags.Load) -> None:
    """Which models there are, and which of them are on this machine."""
    from rich.console import Console
    from rich.table import Table

    from emotion.model.checkpoint import LICENSE, list_models

    settings = load()
    table = Table(box=None, pad_edge=False)
    for title in ("model", "parameters", "licence", "on this machine"):
        table.add_column(title, overflow="fold")
    weights_bytes = (Path(__file__).parent.parent / "weights" / "compact.safetensors").stat().st_size
    table.add_row("compact", f"{weights_bytes / 4 / 1e6:.1f} M", "CC BY-NC-SA 4.0", "built in")
    for entry in list_models(settings.cache_dir):
        here = str(entry.folder) if entry.folder else "no"
        table.add_row(entry.model.name, entry.model.parameters, LICENSE, here)
    Console().print(table)


@app.command()
@flags.with_settings("hub")
def download(name: Annotated[str, typer.Argument(help=_NAME_HELP)], *, load: flags.Load) -> None:
    """Download a model into the cache; an interrupted download goes on where it stopped."""
    from emotion.model.checkpoint import download as fetch

    settings = load()
    with terminal.download_bar(name) as report:
        checkpoint = fetch(name, settings.cache_dir, settings.hub, report)
    terminal.show(f"{checkpoint.name} {checkpoint.fingerprint}")
    terminal.show(f"  {checkpoint.folder}")


@app.command()
@flags.with_settings("runtime", "device", "precision")
def verify(
    name: Annotated[str, typer.Argument(help=_NAME_HELP)] = "emotion2vec_plus_large",
    clip: Annotated[
        Path | None, typer.Option(help="The official example clip, if it did not come with the model.")
    ] = None,
    *,
    load: flags.Load,
) -> None:
    """Run the official example clip and compare with the scores its publishers printed."""
    from emotion.engine.recognizer import Recognizer
    from emotion.model.checkpoint import GOLDEN, file_sha256

    with Recognizer(settings=load(model=name, offline=True)) as recognizer:
        example = clip or recognizer.example()
        if example is None:
            raise EmotionError(f"{name} came without its example clip. Name it: --clip test.wav")
        if example.is_file() and file_sha256(example) != GOLDEN.clip_sha256:
            raise EmotionError(
                f"{example.name!r} is not the official example clip, whose scores were published. "
                "Take the one of the model."
            )
        analysis = recognizer.recognize(example)
    _compare(analysis)


def _compare(analysis: "Analysis") -> None:
    from emotion.model.checkpoint import GOLDEN

    worst = GOLDEN.worst_log_difference(dict(zip(analysis.model.labels, analysis.scores.tolist(), strict=True)))
    terminal.show(f"{analysis.model.name} {analysis.model.fingerprint}")
    terminal.show(f"  {analysis.emotion.key} {analysis.confidence:.6f}")
    terminal.show(f"  largest difference of log-scores {worst:.4f}; up to {GOLDEN.log_tolerance} is allowed")
    if worst > GOLDEN.log_tolerance:
        terminal.say("These are not the published scores: the weights or the clip differ from the official ones.")
        raise typer.Exit(1)
