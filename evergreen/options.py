"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evergreen.target import STATE, Target

TargetOption = Annotated[
    Target, typer.Option(envvar="TARGET", help="The local cloud, or the account of your credentials.")
]
PortOption = Annotated[
    int | None,
    typer.Option(
        envvar="EVERGREEN_PORT",
        min=1024,
        max=65535,
        help="Port of the local cloud (default: the one that it listens on).",
    ),
]
StateOption = Annotated[
    Path,
    typer.Option(
        envvar="EVERGREEN_STATE", help="State folder of the local cloud.", show_default=".localcloud", resolve_path=True
    ),
]
StageOption = Annotated[str | None, typer.Option(help="A stage of evergreen.yaml (default: the last one).")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
ModelArgument = Annotated[str, typer.Argument(help="A model's name, such as flight-delays.")]

__all__ = ["STATE", "JsonOption", "ModelArgument", "PortOption", "StageOption", "StateOption", "Target", "TargetOption"]
