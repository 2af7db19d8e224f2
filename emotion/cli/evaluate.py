"""`emotion evaluate`: accuracy and confusion matrix on a person's own labelled recordings."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emotion.cli import flags, terminal

if TYPE_CHECKING:
    from emotion.analysis.evaluation import Evaluation

_SOURCE_HELP = "Folder with one sub-folder per label, or a CSV with the columns path and label."


@flags.with_settings(*flags.MODEL)
def evaluate(
    source: Annotated[Path, typer.Argument(metavar="FOLDER|CSV", help=_SOURCE_HELP)],
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as one JSON line.")] = False,
    *,
    load: flags.Load,
) -> None:
    """Measure unweighted and weighted accuracy, F1 and the confusion matrix on labelled recordings."""
    from emotion.analysis.evaluation import evaluate as judge
    from emotion.analysis.evaluation import read_labelled
    from emotion.audio import SOUND_SUFFIXES

    labelled = read_labelled(source, SOUND_SUFFIXES)
    with terminal.recognizer_of(load()) as recognizer:
        analyses = terminal.analyses_of(recognizer, [file.path for file in labelled])
        found = zip(labelled, analyses, strict=True)
        pairs = [(file.label, analysis.emotion.key) for file, analysis in found if analysis is not None]
        card = recognizer.state.card
    evaluation = judge(pairs)
    failed = len(labelled) - len(pairs)
    if as_json:
        terminal.show(json.dumps({"model": card.record(), "failed": failed, **evaluation.record()}))
    else:
        _show_tables(evaluation, card.name)
    if failed:
        raise typer.Exit(1)


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
