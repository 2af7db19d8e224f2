"""Flags that several commands share; each overrides the setting of its name."""

import inspect
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from emotion.settings import Settings

Load = Callable[..., "Settings"]
_HELP = {
    "model": "auto, compact, emotion2vec_plus_large, emotion2vec_plus_base, _seed, a hub id or a folder.",
    "hub": "Where models are downloaded: modelscope or hf.",
    "offline": "Never use the network.",
    "runtime": "auto, torch, openvino, or funasr (the reference).",
    "device": "auto, cpu or cuda.",
    "precision": "auto, fp32, bf16, fp16 (graphics cards), or int8 (after `models quantize`).",
    "config": "TOML file of settings.",
}
_KINDS: dict[str, Any] = {"offline": bool | None, "config": Path | None}
MODEL = ("model", "hub", "offline", "runtime", "device", "precision")


def with_settings(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add these flags to a command, and `--config`; its argument `load` gives the settings they come to.

    The command hands its own flags to it, if they are settings too: `load(port=port)`.
    """

    def add(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def run(config: Path | None = None, **given: Any) -> None:
            from emotion.settings import load_settings

            chosen = {name: given.pop(name, None) for name in names}
            command(**given, load=partial(load_settings, config, **chosen))

        own = [one for one in inspect.signature(command).parameters.values() if one.name != "load"]
        shared = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in (*names, "config")]
        kinds = {
            one.name: Annotated[_KINDS.get(one.name, str | None), typer.Option(f"--{one.name}", help=_HELP[one.name])]
            for one in shared
        }
        parameters = [*own, *(one.replace(annotation=kinds[one.name]) for one in shared)]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        return run

    return add
