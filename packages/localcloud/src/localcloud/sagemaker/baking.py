"""Baking periods of deployments, measured on the cloud's clock; rollback alarms end them early.

With the real clock a period takes its full length. With the accelerated clock a deployment that only bakes does not
hold the clock: the end of each period is a due event, and the alarms are checked before and after every jump.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from botocore.exceptions import ClientError

from localcloud.cloud import RoleError
from localcloud.sagemaker.context import Context
from localcloud.sagemaker.errors import AwsError, validation

_CHECK_SECONDS = 1.0


class WaitInterrupted(Exception):
    """The local cloud is stopping, so a wait ended early."""


@dataclass(frozen=True)
class RollbackAlarms:
    """A deployment's rollback alarms.

    Attributes:
        names: their names.
        role_arn: the model's execution role, with which SageMaker asks for their state (Developer Guide,
            "Auto-Rollback Configuration and Monitoring").
    """

    names: Sequence[str]
    role_arn: str


@dataclass
class _Wait:
    until: float
    alarms: RollbackAlarms
    alarming: list[str] = field(default_factory=list)
    error: AwsError | None = None
    over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)


class BakingPeriods:
    """The baking periods in progress; a source of due events for the clock (`localcloud.clockwork.Source`)."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._open: dict[str, _Wait] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def wait_until(self, arn: str, until: float, alarms: RollbackAlarms) -> list[str]:
        """Wait until the clock reaches `until` or one of the alarms is in ALARM.

        Args:
            arn: of the endpoint.
            until: epoch seconds.
            alarms: the rollback alarms.

        Returns:
            The names of the alarms that are in ALARM.

        Raises:
            WaitInterrupted: the local cloud is stopping.
            AwsError: the model's role may not describe the alarms.
        """
        wait = _Wait(until, alarms)
        with self._lock:
            self._open[arn] = wait
        try:
            while not self._evaluate(wait):
                wait.over.wait(_CHECK_SECONDS)
            if self._closed.is_set():  # `close` ended the wait before the baking period was over
                raise WaitInterrupted
            if wait.error is not None:
                raise wait.error
            return wait.alarming
        finally:
            with self._lock:
                del self._open[arn]

    def waiting(self) -> frozenset[str]:
        """Return the ARNs of the endpoints whose deployment waits only for time to pass."""
        now = self._context.now()
        return frozenset(arn for arn, wait in self._all() if now < wait.until and not wait.over.is_set())

    def check_alarms(self) -> bool:
        """Check the alarms of every wait now; return whether a wait ended."""
        ended = [self._evaluate(wait) for _, wait in self._all()]
        return any(ended)

    def next_due(self, _now: float) -> float | None:
        """Return when the next wait ends (epoch seconds), or None."""
        return min((wait.until for _, wait in self._all()), default=None)

    def run_due(self) -> None:
        """End the waits that have expired or have an alarm in ALARM."""
        self.check_alarms()

    def close(self) -> None:
        """Interrupt all waits."""
        self._closed.set()
        for _, wait in self._all():
            wait.over.set()

    def alarming(self, alarms: RollbackAlarms) -> list[str]:
        """Return the sorted names of those alarms that are in ALARM.

        Raises:
            AwsError: the model's role may not describe the alarms.
        """
        if not alarms.names:
            return []
        try:
            client = self._context.cloud.client("cloudwatch", role_arn=alarms.role_arn)
            found = client.describe_alarms(AlarmNames=list(alarms.names), AlarmTypes=["MetricAlarm", "CompositeAlarm"])
        except (ClientError, RoleError) as error:
            raise validation(
                f"Unable to describe the rollback alarms {', '.join(alarms.names)} with the role {alarms.role_arn}, "
                f"which needs cloudwatch:DescribeAlarms: {error}"
            ) from error
        both = [*found.get("MetricAlarms", ()), *found.get("CompositeAlarms", ())]
        return sorted(alarm["AlarmName"] for alarm in both if alarm["StateValue"] == "ALARM")

    def _all(self) -> list[tuple[str, _Wait]]:
        with self._lock:
            return list(self._open.items())

    def _evaluate(self, wait: _Wait) -> bool:
        """Return whether the wait is over; alarms are checked before the time, so that a late alarm still counts."""
        if self._closed.is_set():
            wait.over.set()
        with wait.lock:  # the clock's thread calls this too, and must not overwrite an alarm that was found
            if not wait.over.is_set():
                try:
                    wait.alarming = self.alarming(wait.alarms)
                except AwsError as error:  # for the deployment's thread, which is not always this one
                    wait.error = error
                if wait.error or wait.alarming or self._context.now() >= wait.until:
                    wait.over.set()
        return wait.over.is_set()
