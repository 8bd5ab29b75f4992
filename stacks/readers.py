"""Who reads in the hub from an account of its own."""

from __future__ import annotations

from configuration import Application, Stage
from constructs.mlops.foundation.across_accounts import Foreigner, release_role_name


def readers(application: Application) -> list[Foreigner]:
    """The release controllers of the stages in other accounts than the hub's."""
    hub = application.stage.account
    return [reader(application, stage) for stage in application.stages if stage.account and stage.account != hub]


def reader(application: Application, stage: Stage) -> Foreigner:
    """A stage's release controller, as another account knows it.

    Raises:
        ValueError: The stage has no account of its own.
    """
    if stage.account is None:
        raise ValueError(f"stage {stage.name} names no account, so nobody can be admitted from it")
    return Foreigner(stage.account, release_role_name(application.name, stage.name))
