"""The stages that a command reads, opened with the credentials at hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from configuration import Application, Stage
from evergreen.deployed import Platform, find_platform, find_stage
from evergreen.errors import UsageError
from evergreen.settings import read_application
from evergreen.target import Identity, Place, Target, identity

if TYPE_CHECKING:
    import boto3


class Credentials:
    """The session of a place, and the account that it belongs to.

    Args:
        place: The target.
        region: The region of the application's stages.
    """

    def __init__(self, place: Place, region: str) -> None:
        self._local = place.target is Target.LOCAL
        self.session: boto3.Session = place.session(region)
        self.identity: Identity = identity(self.session)

    def reach(self, stage: Stage) -> bool:
        """Say whether a stage is in the account of these credentials. The local cloud has one account for all."""
        return self._local or stage.account in (None, self.identity.account)

    def require(self, stage: Stage) -> None:
        """Check that a stage can be read or changed with these credentials.

        Raises:
            UsageError: The stage is in another account.
        """
        if not self.reach(stage):
            raise UsageError(
                f"Stage {stage.name} is in account {stage.account}, and the credentials belong to "
                f"{self.identity.account}. Use credentials of {stage.account}."
            )


def open_application(place: Place) -> tuple[Application, Credentials]:
    """Return the application of `evergreen.yaml` and the credentials of a place."""
    application = read_application()
    return application, Credentials(place, application.stage.region)


def open_stage(place: Place, name: str | None) -> Platform:
    """Return the platform of a stage; without a name that of the last stage.

    Raises:
        UsageError: There is no such stage, it is in another account, or it is not deployed.
    """
    application, credentials = open_application(place)
    stage = find_stage(application, name)
    credentials.require(stage)
    platform = find_platform(credentials.session, application, stage)
    if platform is None:
        raise UsageError(f"Stage {stage.name} is not deployed. Deploy it with `make deploy TARGET={place.target}`.")
    return platform


def require_model(model: str, known: Sequence[str], stage: str) -> None:
    """Check that a model is deployed in a stage.

    Raises:
        UsageError: It is not.
    """
    if model not in known:
        raise UsageError(f"Stage {stage} has no model {model!r}; it has {', '.join(known) or 'none'}.")
