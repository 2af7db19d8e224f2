"""The command line: `emotion recognize`, `models`, `evaluate`, `tune`, `doctor`, `monitor`, `serve`, `keys`."""

import os
import sys
from collections.abc import Sequence

import typer

from emotion.cli import doctor, evaluate, keys, models, monitor, recognize, serve, tune
from emotion.errors import EmotionError

app = typer.Typer(
    name="emotion",
    help="Speech emotion recognition with emotion2vec+.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(recognize.recognize)
app.add_typer(models.app, name="models")
app.command()(evaluate.evaluate)
app.command()(tune.tune)
app.command()(doctor.doctor)
app.command()(monitor.monitor)
app.command()(serve.serve)
app.add_typer(keys.app, name="keys")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 when all went well, 1 when something failed, 2 when the words were wrong."""
    # numpy's own matrix library is used for nothing here, and its threads would spin while the model starts.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        app(args=list(sys.argv[1:] if arguments is None else arguments), prog_name="emotion")
    except EmotionError as error:
        print(f"emotion: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
