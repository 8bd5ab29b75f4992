"""Monitors that cannot be updated leave the release alone, and people are notified once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import WaiterError

from tests.unit.handlers import simulated_aws
from tests.unit.handlers.simulated_aws import Cloud, CloudFormation, Version, invoke, without_copying

CLOSED = (
    'Resource handler returned message: "Amazon SageMaker Model Monitor is no longer open to new customers. (Service: '
    'SageMaker, Status Code: 400, Request ID: {id}) (SDK Attempt Count: 1)" (RequestToken: {id}, HandlerErrorCode: '
    "AccessDenied)"
)
QUOTA = "The account-level service limit is 0 instances (Service: SageMaker, Status Code: 400, Request ID: {id})"
MONITORS = "Monitors"
TICK = timedelta(minutes=15)


@dataclass
class MonitoringStack:
    """A model's monitoring stack with managed monitors. Each of its updates ends at once.

    Attributes:
        refusal: Why an update fails, with a request's `{id}`; "" where it succeeds.
        at_once: CloudFormation refuses the change set already.
        managed: The stack has monitors of the managed engine.
    """

    refusal: str = ""
    at_once: bool = False
    managed: bool = True
    release: str = ""
    status: str = "CREATE_COMPLETE"
    attempts: int = 0
    updates: int = 0
    failed: str = ""
    change_sets: dict[str, Any] = field(default_factory=dict)

    def update(self, release: str) -> None:
        """End an update, by the controller or by a deployment."""
        self.updates += 1
        if self.refusal:
            self.status, self.failed = "UPDATE_ROLLBACK_COMPLETE", self.reason
        else:
            self.status, self.release = "UPDATE_COMPLETE", release

    @property
    def reason(self) -> str:
        return self.refusal.format(id=f"{self.attempts:08}-0000")

    def events(self) -> list[dict[str, str]]:
        """Return the last update's events, newest first, after those of an older one."""
        stack = "AWS::CloudFormation::Stack"
        return [
            {"ResourceType": stack, "ResourceStatus": "UPDATE_ROLLBACK_COMPLETE"},
            {
                "ResourceType": "AWS::SageMaker::ModelQualityJobDefinition",
                "ResourceStatus": "CREATE_FAILED",
                "ResourceStatusReason": "Resource creation cancelled",
            },
            {
                "ResourceType": "AWS::SageMaker::DataQualityJobDefinition",
                "ResourceStatus": "CREATE_FAILED",
                "ResourceStatusReason": self.failed,
            },
            {"ResourceType": stack, "ResourceStatus": "UPDATE_IN_PROGRESS", "ResourceStatusReason": "User Initiated"},
            {
                "ResourceType": "AWS::CloudWatch::Alarm",
                "ResourceStatus": "CREATE_FAILED",
                "ResourceStatusReason": "of an older update",
            },
        ]


@pytest.fixture
def monitors(monkeypatch: pytest.MonkeyPatch) -> Iterator[MonitoringStack]:
    """Give the simulated stage a monitoring stack."""
    stack = MonitoringStack()

    class Stacks(CloudFormation):
        def describe_stacks(self, **request: str) -> Any:
            if "-monitoring-" not in request["StackName"]:
                return super().describe_stacks(**request)
            described: dict[str, Any] = {
                "StackStatus": stack.status,
                "Parameters": [{"ParameterKey": "Release0badcafe"}] if stack.managed else [],
                "Outputs": [{"OutputKey": "ReleaseId", "OutputValue": stack.release}] if stack.release else [],
            }
            if stack.updates:
                described["LastUpdatedTime"] = datetime.fromtimestamp(stack.updates, UTC)
            return {"Stacks": [described]}

        def create_change_set(self, *, ChangeSetName: str, **rest: Any) -> None:
            if "-monitoring-" not in rest["StackName"]:
                super().create_change_set(ChangeSetName=ChangeSetName, **rest)
                return
            stack.attempts += 1
            stack.change_sets[ChangeSetName] = {
                "Parameters": [{"ParameterKey": "Release0badcafe", "ResolvedValue": self.cloud.record}],
                "ExecutionStatus": "AVAILABLE",
            }

        def get_waiter(self, name: str) -> Any:
            serving = super().get_waiter(name)

            def wait(**request: Any) -> None:
                if "-monitoring-" not in request["StackName"]:
                    serving.wait(**request)
                elif stack.at_once and stack.refusal:
                    raise WaiterError("wait", "failed", {"Status": "FAILED", "StatusReason": stack.reason})

            return SimpleNamespace(wait=wait)

        def describe_change_set(self, *, ChangeSetName: str, **rest: Any) -> Any:
            found = stack.change_sets.get(ChangeSetName)
            return found or super().describe_change_set(ChangeSetName=ChangeSetName, **rest)

        def execute_change_set(self, *, ChangeSetName: str, **rest: Any) -> None:
            if ChangeSetName in stack.change_sets:
                stack.update(self.cloud.record.partition("|")[0])
            else:
                super().execute_change_set(ChangeSetName=ChangeSetName, **rest)

        def get_paginator(self, _: str) -> Any:
            return SimpleNamespace(paginate=lambda **_: [{"StackEvents": stack.events()}])

    monkeypatch.setitem(simulated_aws.SERVICES, "cloudformation", Stacks)
    with without_copying():
        yield stack


def live() -> Cloud:
    """Return a stage whose first version is live, before the controller looked at its monitors."""
    cloud = Cloud()
    release(cloud, 1)
    return cloud


def release(cloud: Cloud, version: int) -> None:
    cloud.packages[version] = Version("Approved", cloud.now)
    invoke(cloud)
    cloud.finish("success")


def days(cloud: Cloud, count: int = 1) -> None:
    """Let the controller look at each tick of some days."""
    for _ in range(count * 96):
        cloud.now += TICK
        invoke(cloud)


def decisions(cloud: Cloud) -> list[str]:
    return [row["step"]["S"] for key, row in sorted(cloud.rows.items()) if key.startswith("decision#")]


@pytest.mark.parametrize("at_once", [False, True], ids=["the update fails", "the change set is refused"])
@pytest.mark.parametrize(
    "refusal",
    [
        CLOSED,
        "Thank you for your interest. The service is no longer available to new customers.",
        "CreateDataQualityJobDefinition is not available for this account (HandlerErrorCode: InvalidRequest)",
        "The request is not allowed: OperationNotAllowedException. Existing customers can continue.",
    ],
)
def test_an_account_without_model_monitor_keeps_its_release_and_is_told_once(
    monitors: MonitoringStack, refusal: str, *, at_once: bool
) -> None:
    monitors.refusal, monitors.at_once = refusal, at_once
    cloud = live()
    days(cloud, 2)
    assert (cloud.serves, cloud.alerts, monitors.attempts) == (1, [cloud.alerts[0]], 1)
    assert "v1-00000001 stays live" in cloud.alerts[0]
    assert "Set model_monitor: closed for the stage staging in evergreen.yaml, and deploy." in cloud.alerts[0]
    assert not any(word in cloud.alerts[0] for word in ("Request ID", "RequestToken", "Resource handler"))
    assert decisions(cloud).count("MonitorsRefused") == 1
    release(cloud, 2)
    days(cloud)
    assert (cloud.serves, len(cloud.alerts), monitors.attempts) == (2, 1, 1), "neither does a later release try again"


def test_a_deployment_ends_a_refusal(monitors: MonitoringStack) -> None:
    monitors.refusal = CLOSED
    cloud = live()
    days(cloud)
    monitors.update("v1-00000001")
    days(cloud)
    assert (len(cloud.alerts), monitors.attempts) == (1, 1), "another deployment was refused as well"
    monitors.managed, monitors.refusal = False, ""
    monitors.update("")
    days(cloud)
    assert "monitors" not in cloud.rows, "the built-in engine needs no update"
    monitors.managed, monitors.refusal = True, CLOSED
    monitors.update("v1-00000001")
    days(cloud)
    assert len(cloud.alerts) == 2, "the line was changed back"


def test_monitors_that_fail_for_another_reason_are_tried_again_each_hour_and_told_once(
    monitors: MonitoringStack,
) -> None:
    monitors.refusal = QUOTA
    cloud = live()
    days(cloud)
    assert 20 <= monitors.attempts <= 24
    (alert,) = cloud.alerts
    assert "could not be updated to v1-00000001, because The account-level service limit is 0 instances." in alert
    assert decisions(cloud).count("MonitorsFailed") == 1
    monitors.refusal = ""
    days(cloud)
    assert monitors.release == "v1-00000001"
    assert "monitors" not in cloud.rows
    monitors.refusal = QUOTA
    release(cloud, 2)
    days(cloud)
    assert len(cloud.alerts) == 2, "it is another failure"


def test_monitors_that_wait_for_their_release_are_no_failure(monitors: MonitoringStack) -> None:
    cloud = live()
    days(cloud)
    assert (monitors.release, monitors.attempts, cloud.alerts) == ("v1-00000001", 1, [])
