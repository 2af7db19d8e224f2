"""`emotion evaluate`: accuracy and confusion matrix on a person's own labelled recordings."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emotion.cli import flags, terminal
from emotion.errors import EmotionError

if TYPE_CHECKING:
    from emotion.analysis.evaluation import Evaluation, LabelledFile
    from emotion.engine.recognizer import Recognizer

_SOURCE_HELP = "Folder with one sub-folder per label, or a CSV with the columns path and label."


def evaluate(
    source: Annotated[Path, typer.Argument(metavar="FOLDER|CSV", help=_SOURCE_HELP)],
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as one JSON line.")] = False,
    model: flags.Model = None,
    hub: flags.Hub = None,
    offline: flags.Offline = None,
    runtime: flags.Runtime = None,
    device: flags.Device = None,
    precision: flags.Precision = None,
    config: flags.Config = None,
) -> None:
    """Measure unweighted and weighted accuracy, F1 and the confusion matrix on labelled recordings."""
    from emotion.analysis.evaluation import evaluate as judge
    from emotion.analysis.evaluation import read_labelled
    from emotion.audio import SOUND_SUFFIXES
    from emotion.engine.recognizer import Recognizer
    from emotion.settings import load_settings

    labelled = read_labelled(source, SOUND_SUFFIXES)
    chosen: dict[str, Any] = {"model": model, "hub": hub, "offline": offline, "runtime": runtime, "device": device}
    settings = load_settings(config, **chosen, precision=precision)
    with (
        terminal.DownloadBar(settings.model) as report,
        Recognizer(settings=settings, on_download=report) as recognizer,
    ):
        terminal.say_model(recognizer.state)
        pairs = _recognize_all(recognizer, labelled)
        card = recognizer.state.card
    evaluation = judge(pairs)
    failed = len(labelled) - len(pairs)
    if as_json:
        terminal.show(json.dumps({"model": card.record(), "failed": failed, **evaluation.record()}))
    else:
        _show_tables(evaluation, card.name)
    if failed:
        raise typer.Exit(1)


def _recognize_all(recognizer: "Recognizer", labelled: "list[LabelledFile]") -> list[tuple[str, str]]:
    """Reference and recognised label of every recording that could be read."""
    pairs: list[tuple[str, str]] = []
    futures = recognizer.submit_all(file.path for file in labelled)
    with terminal.progress_bar(len(labelled)) as bar:
        for file, future in zip(labelled, futures, strict=True):
            bar.follow(file.path.name, future, recognizer.progress)
            try:
                pairs.append((file.label, future.result().emotion.key))
            except EmotionError as error:
                terminal.say(f"{file.path.name}: {error}")
    return pairs


def _show_tables(evaluation: "Evaluation", model: str) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    title = f"Recordings by label (rows) and by what {model} recognised (columns)"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("label")
    for label in evaluation.recognized:
        table.add_column(label, justify="right")
    table.add_column("recall", justify="right")
    for label, row in zip(evaluation.references, evaluation.confusion.tolist(), strict=True):
        table.add_row(label, *(str(count or "") for count in row), f"{evaluation.recalls[label]:.1%}")
    console.print(table)
    terminal.show(f"unweighted accuracy  {evaluation.unweighted_accuracy:.1%}")
    terminal.show(f"weighted accuracy    {evaluation.weighted_accuracy:.1%}")
    terminal.show(f"F1 (macro)           {evaluation.f1:.3f}")
