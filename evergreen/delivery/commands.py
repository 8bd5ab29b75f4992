"""`evergreen delivery`: what the delivery pipeline's builds run around and after the deployment of a stage."""

from __future__ import annotations

import getpass
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from evergreen.options import STATE, PortOption, StateOption, Target, TargetOption
from evergreen.output import inform, say
from evergreen.settings import read_application
from evergreen.target import Place

if TYPE_CHECKING:
    from evergreen.deployed import Platform

app = typer.Typer(no_args_is_help=True, help="Commands of the delivery pipeline.", rich_markup_mode=None)

_INTERRUPTED = 130


class Verb(StrEnum):
    """What to do with the leases of a stage."""

    TAKE = "take"
    GIVE = "give"


@app.command()
def lease(
    verb: Annotated[
        Verb, typer.Argument(help="Take the leases and wait until the stage is at rest, or give them back.")
    ],
    stage: Annotated[str, typer.Option(help="A stage of evergreen.yaml.")],
    owner: Annotated[str, typer.Option(help="Who holds the leases, such as codepipeline/<execution id>.")],
    timeout_minutes: Annotated[float, typer.Option(help="How long to wait for a stage at rest.")] = 120,
    target: TargetOption = Target.LOCAL,
    port: PortOption = None,
    state: StateOption = STATE,
) -> None:
    """Keep a stage's release controller from acting while its stacks are deployed."""
    from evergreen.delivery.leases import Leases

    with _interruptible():
        platform = _platform(stage, Place(target, port, state))
        if platform is None:
            return
        leases = Leases(platform, owner=owner, say=say)
        if verb is Verb.TAKE:
            leases.take(timeout_minutes * 60)
        else:
            leases.give()


@app.command(context_settings={"ignore_unknown_options": True})
def hold(
    command: Annotated[list[str], typer.Argument(help="The command, after --.")],
    owner: Annotated[str, typer.Option(help="Who holds the leases; by default this user and process.")] = "",
    timeout_minutes: Annotated[float, typer.Option(help="How long to wait for stages at rest.")] = 120,
    target: TargetOption = Target.LOCAL,
    port: PortOption = None,
    state: StateOption = STATE,
) -> None:
    """Run a command that deploys, such as cdk deploy, while no stage in this account releases a model."""
    from evergreen.delivery.leases import Leases

    owner = owner or f"deploy/{getpass.getuser()}/{os.getpid()}"
    with _interruptible(), ExitStack() as held:
        for platform in _platforms_here(Place(target, port, state)):
            held.enter_context(Leases(platform, owner=owner, say=inform).held(timeout_minutes * 60))
        ended = subprocess.run(command, check=False)  # noqa: S603 - the user's own command
    raise typer.Exit(ended.returncode)


@app.command()
def train(
    commit: Annotated[str, typer.Option(help="The commit that was deployed.")],
    author: Annotated[str, typer.Option(help="The commit's author, an e-mail address.")] = "",
    repository: Annotated[str | None, typer.Option(help="CodeCommit repository to ask for the author instead.")] = None,
    target: TargetOption = Target.LOCAL,
    port: PortOption = None,
    state: StateOption = STATE,
) -> None:
    """Request a training of each model whose deployed content was never trained."""
    from evergreen.delivery.trainings import Commit, Trainings, author_of

    with _interruptible():
        place = Place(target, port, state)
        platform = _platform(None, place)
        if platform is None:
            return
        if repository:
            author = author_of(place.session(platform.stage.region), repository, commit)
        Trainings(platform, say=say).request(Commit(commit, author))


def _platform(stage_name: str | None, place: Place) -> Platform | None:
    from evergreen.delivery.accounts import platform_of
    from evergreen.deployed import find_stage

    application = read_application()
    stage = find_stage(application, stage_name)
    platform = platform_of(place.session(stage.region), application, stage)
    if platform is None:
        say(f"{stage.name} is not deployed yet: nothing to do")
    return platform


def _platforms_here(place: Place) -> Iterator[Platform]:
    """Return the deployed platforms of this account. Another account's leases need its own credentials."""
    from evergreen.deployed import find_platform

    application = read_application()
    for stage in application.stages:
        session = place.session(stage.region)
        account = session.client("sts").get_caller_identity()["Account"]
        if stage.account not in (None, account):
            inform(f"{stage.name} is in the account {stage.account}: its leases are not taken")
            continue
        platform = find_platform(session, application, stage)
        if platform is not None:
            yield platform


@contextmanager
def _interruptible() -> Iterator[None]:
    """Treat a stopped build as Ctrl-C, so that it gives back the leases that it took."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except KeyboardInterrupt:
        inform("Interrupted. Leases taken by this command were given back.")
        raise typer.Exit(_INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
