"""Leases, which stop a stage's release controllers during a deployment (docs/reference/contracts.md, "Delivery")."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from evergreen.delivery.settled import unsettled
from evergreen.deployed import Platform
from evergreen.errors import FailedError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# Longer than a deployment without a release takes. A lease that is not given back expires then.
LEASE_SECONDS = 3600
# Several renewals may fail before a lease expires.
_RENEW_SECONDS = 300
_POLL_SECONDS = 15
_PURPOSE = "deploy"
# Only the release controller may end its own leases: they say what to restore (docs/reference/contracts.md, "Ledger").
_CONTROLLER = "release-controller/"

Say = Callable[[str], None]


class NotSettledError(FailedError):
    """The stage was not at rest in time. The message names what was still changing."""


class Leases:
    """The leases of all models of a stage, taken and given back together.

    Args:
        platform: The stage.
        owner: Holder of the leases. The same owner may take them again, so a stage can be retried.
        say: Prints a line.
        now: Returns the time, epoch seconds.
        sleep: Waits for a number of seconds.
    """

    def __init__(
        self,
        platform: Platform,
        *,
        owner: str,
        say: Say,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._platform, self._owner, self._say, self._now, self._sleep = platform, owner, say, now, sleep
        self._dynamodb: DynamoDBClient = platform.session.client("dynamodb")
        self._table = platform.output("LedgerTableName")

    def take(self, timeout_seconds: float) -> None:
        """Take every model's lease, and wait until no release and no deployment is under way.

        Leases are kept while the others are awaited, and given back if the wait fails or is interrupted.

        Raises:
            NotSettledError: The stage is not at rest in time.
        """
        models, deadline, said = self._platform.models(), self._now() + timeout_seconds, ""
        try:
            while waiting := self._awaited(models):
                if self._now() >= deadline:
                    raise NotSettledError(
                        f"{self._stage} is not at rest after {timeout_seconds / 60:.0f} minutes: {waiting}"
                    )
                if waiting != said:
                    self._say(f"{self._stage}: waiting, because {waiting}")
                    said = waiting
                self._sleep(_POLL_SECONDS)
        except BaseException:
            self.give(models)
            raise
        self._say(f"{self._stage}: {self._owner} holds {', '.join(models) or 'no models'}")

    @contextmanager
    def held(self, timeout_seconds: float) -> Iterator[None]:
        """Hold the leases: take them, renew them in the background, and give them back, also after a failure.

        Raises:
            NotSettledError: The stage is not at rest in time.
        """
        self.take(timeout_seconds)
        models, ended = self._platform.models(), threading.Event()
        renewal = threading.Thread(target=self._renew, args=(models, ended), daemon=True)
        renewal.start()
        try:
            yield
        finally:
            ended.set()
            renewal.join()
            self.give(models)

    def _renew(self, models: list[str], ended: threading.Event) -> None:
        while not ended.wait(_RENEW_SECONDS):
            try:
                lost = [model for model in models if not self._hold(model)]
            except (ClientError, BotoCoreError) as error:
                self._say(f"{self._stage}: the leases could not be renewed and are tried again: {error}")
                continue
            if lost:
                self._say(f"{self._stage}: another owner took the lease of {', '.join(lost)}")

    def give(self, models: list[str] | None = None) -> None:
        """Give back the leases that this owner holds.

        Args:
            models: Whose leases; None for every model of the stage.
        """
        given = [model for model in (self._platform.models() if models is None else models) if self._give(model)]
        self._say(f"{self._stage}: {self._owner} gave back {', '.join(given) or 'nothing'}")

    @property
    def _stage(self) -> str:
        return self._platform.stage.name

    def _awaited(self, models: list[str]) -> str:
        """Take or renew the leases. Return what is still awaited, "" for nothing."""
        waiting = [f"another owner holds the lease of {model}" for model in models if not self._hold(model)]
        return "; ".join(waiting + [reason for model in models for reason in unsettled(self._platform, model)])

    def _hold(self, model: str) -> bool:
        now = int(self._now())
        texts = {"owner": self._owner, "purpose": _PURPOSE, "release_id": "", "previous": ""}
        try:
            self._dynamodb.put_item(
                TableName=self._table,
                Item={
                    "pk": {"S": f"{model}#{self._stage}"},
                    "sk": {"S": "lease"},
                    **{name: {"S": value} for name, value in texts.items()},
                    "acquired_at": {"N": str(now)},
                    "expires_at": {"N": str(now + LEASE_SECONDS)},
                    "stack_updated_at": {"S": ""},
                    "endpoint_config": {"S": ""},
                },
                ConditionExpression=(
                    "attribute_not_exists(pk) OR #owner = :owner "
                    "OR (expires_at < :now AND NOT begins_with(#owner, :controller))"
                ),
                ExpressionAttributeNames={"#owner": "owner"},
                ExpressionAttributeValues={
                    ":now": {"N": str(now)},
                    ":owner": {"S": self._owner},
                    ":controller": {"S": _CONTROLLER},
                },
            )
        except ClientError as error:
            return _condition_held(error)
        return True

    def _give(self, model: str) -> bool:
        try:
            self._dynamodb.delete_item(
                TableName=self._table,
                Key={"pk": {"S": f"{model}#{self._stage}"}, "sk": {"S": "lease"}},
                ConditionExpression="#owner = :owner",
                ExpressionAttributeNames={"#owner": "owner"},
                ExpressionAttributeValues={":owner": {"S": self._owner}},
            )
        except ClientError as error:
            return _condition_held(error)
        return True


def _condition_held(error: ClientError) -> bool:
    """Return False for a write whose condition did not hold.

    Raises:
        ClientError: It was another error.
    """
    if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
        return False
    raise error
