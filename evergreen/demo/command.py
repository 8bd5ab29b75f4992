"""`evergreen demo`: the options of the demo."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from evergreen.demo import Engine
from evergreen.errors import UsageError
from evergreen.options import STATE, StateOption

_INTERRUPTED = 130


class Until(StrEnum):
    """Where the demo may stop early."""

    LIVE = "live"


def demo(
    full: Annotated[
        bool, typer.Option("--full", help="Replay ten months, March to December, instead of four.")
    ] = False,
    quick: Annotated[bool, typer.Option("--quick", hidden=True)] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Approve every version without asking.")] = False,
    until: Annotated[
        Until | None, typer.Option(help="live: stop once the first version is live and has answered one day.")
    ] = None,
    push: Annotated[
        bool, typer.Option("--push", help="Start with a git push: the delivery pipeline deploys and trains.")
    ] = False,
    engine: Annotated[
        Engine, typer.Option(help="What runs the scheduled monitors: our analyzer, or SageMaker Model Monitor.")
    ] = Engine.BUILTIN,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Delete the local cloud's state folder first and start from nothing.")
    ] = False,
    port: Annotated[int, typer.Option(min=1024, max=65535, help="Port of the local cloud.")] = 4747,
    state: StateOption = STATE,
) -> None:
    """Run the whole loop on real flights, on this machine.

    The model is trained on January and February, approved and deployed. Then the following months are replayed day by
    day on a virtual clock. Evergreen monitors, retrains and releases; you approve.

    The results are in the folder `demo` of the state folder: loop.html with every figure, and loop.svg for a README.
    """
    if full and (quick or until):
        raise UsageError(f"--full replays ten months; leave out {'--quick' if quick else '--until'}.")
    if push and engine is Engine.MODEL_MONITOR:
        raise UsageError(
            "--push delivers the demo's evergreen.yaml as it is, with the built-in engine; leave out --engine."
        )
    from evergreen.demo.run import run  # scikit-learn takes seconds

    try:
        run(
            port=port,
            state=state,
            full=full,
            granted=yes,
            until_live=until is Until.LIVE,
            push=push,
            engine=engine,
            fresh=fresh,
        )
    except KeyboardInterrupt:
        typer.echo("\nStopped. The local cloud keeps its state: `make demo` continues, `make down` stops the cloud.")
        raise typer.Exit(_INTERRUPTED) from None
