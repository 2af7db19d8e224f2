"""`emotion serve`: the page and the API."""

from typing import Annotated

import typer

from emotion.cli import flags, terminal


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; 127.0.0.1 by default.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 7860 by default, 0 for any free one.")] = None,
    model: flags.Model = None,
    hub: flags.Hub = None,
    offline: flags.Offline = None,
    runtime: flags.Runtime = None,
    device: flags.Device = None,
    precision: flags.Precision = None,
    insecure: Annotated[
        bool | None, typer.Option("--insecure", help="Allow an address that others can reach, without a key.")
    ] = None,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Recognise on the replicas of a Ray cluster; see docs/scaling.md.")
    ] = False,
    profile: Annotated[
        str | None, typer.Option(help="Settings by the size of the machine: personal, team or production.")
    ] = None,
    config: flags.Config = None,
) -> None:
    """Serve the page and the HTTP API on this machine."""
    from emotion.logs import say as say_in_log
    from emotion.server import serve as run
    from emotion.settings import load_settings

    chosen = {"host": host, "port": port, "model": model, "hub": hub, "offline": offline}
    computed = {"runtime": runtime, "device": device, "precision": precision}
    settings = load_settings(config, profile, **chosen, **computed, insecure=insecure)
    with terminal.DownloadBar(settings.model) as report:
        run(settings, terminal.say if settings.log_format == "text" else say_in_log, report, cluster)
