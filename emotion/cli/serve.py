"""`emotion serve`: the page and the API."""

from typing import Annotated

import typer

from emotion.cli import flags, terminal


@flags.with_settings(*flags.MODEL)
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; 127.0.0.1 by default.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 7860 by default, 0 for any free one.")] = None,
    insecure: Annotated[
        bool | None, typer.Option("--insecure", help="Allow an address that others can reach, without a key.")
    ] = None,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Recognise on the replicas of a Ray cluster; see docs/scaling.md.")
    ] = False,
    profile: Annotated[
        str | None, typer.Option(help="Settings by the size of the machine: personal, team or production.")
    ] = None,
    *,
    load: flags.Load,
) -> None:
    """Serve the page and the HTTP API on this machine."""
    from emotion.logs import say as say_in_log
    from emotion.server import serve as run

    settings = load(profile=profile, host=host, port=port, insecure=insecure)
    with terminal.download_bar(settings.model) as report:
        run(settings, terminal.say if settings.log_format == "text" else say_in_log, report, cluster)
