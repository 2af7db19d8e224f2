"""Flags that several commands share; each overrides the setting of its name."""

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    str | None,
    typer.Option(
        "--model", help="auto, compact, emotion2vec_plus_large, emotion2vec_plus_base, _seed, a hub id or a folder."
    ),
]
Hub = Annotated[str | None, typer.Option("--hub", help="Where models are downloaded: modelscope or hf.")]
Offline = Annotated[bool | None, typer.Option("--offline", help="Never use the network.")]
Runtime = Annotated[str | None, typer.Option("--runtime", help="auto, torch, openvino, or funasr (the reference).")]
Precision = Annotated[
    str | None,
    typer.Option("--precision", help="auto, fp32, bf16, fp16 (graphics cards), or int8 (after `models quantize`)."),
]
Device = Annotated[str | None, typer.Option("--device", help="auto, cpu or cuda.")]
Config = Annotated[Path | None, typer.Option("--config", help="TOML file of settings.")]
