"""`evergreen preflight`: what an account can do, and which line to change, before anything is deployed."""

from __future__ import annotations

from typing import Annotated

import typer

from evergreen.errors import UsageError
from evergreen.options import STATE, JsonOption, PortOption, StateOption, Target, TargetOption
from evergreen.output import say, say_json
from evergreen.settings import read_configuration
from evergreen.target import Place


def preflight(
    target: TargetOption = Target.LOCAL,
    port: PortOption = None,
    state: StateOption = STATE,
    as_json: JsonOption = False,
    before_deploy: Annotated[
        bool, typer.Option("--before-deploy", help="Do not count what `make deploy` changes itself.")
    ] = False,
) -> None:
    """Report whether the account can run the application.

    It only reads. The exit code is 1 where something must change.
    """
    configuration = read_configuration()
    session = Place(target, port, state).session(configuration.application.stage.region)
    from botocore.exceptions import BotoCoreError, ClientError

    from evergreen.preflight.checks import Answer, answers

    found: list[Answer] = []
    try:
        for answer in answers(session, configuration.application, configuration.models):
            found.append(answer)
            if not as_json:
                say(str(answer))
    except (BotoCoreError, ClientError) as error:
        # Credentials that are missing or refused: nothing can be said about the account.
        raise UsageError(str(error)) from error
    if as_json:
        say_json([answer.as_dict() for answer in found])
    if not all(answer.good or (before_deploy and answer.by_deploy) for answer in found):
        raise typer.Exit(1)
