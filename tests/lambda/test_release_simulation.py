"""Histories: people, pipelines, crashes, doubled and lost events, rollbacks; the real controller on a cloud in memory.

Only what AWS would do is faked. Every call is a place where an invocation may be killed, or where another one may run
from beginning to end; after each history the faults stop, and the stage must end on what its people approved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import pytest
from botocore.exceptions import ClientError, WaiterError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from release import act
from release.controller import Controller, ReconcileFailed
from shared.clients import Clients
from shared.environment import Environment
from shared.record import NO_RELEASE, Release, parse_record

ENVIRONMENT = Environment("evergreen", "staging", "ledger", "bucket", "arn:topic", "arn:role")
VERSIONS = (1, 2, 3)


class Killed(BaseException):
    """The invocation is gone: timeout, out of memory, a machine that died. Nothing of ours runs after it."""


class Broken(BaseException):
    """What must never happen, happened. No handler of the code under test may swallow it."""


def error(code: str, message: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "call")


def released(version: int) -> Release:
    return Release(f"v{version}-{version:08x}", "image@sha256:0", f"arn:{version}", "a" * 64)


@dataclass
class Stack:
    """A serving stack: what it was deployed with, and what is being deployed."""

    deployed: Release = NO_RELEASE
    config: str = ""
    status: str = "CREATE_COMPLETE"
    operations: int = 0
    pending: Release | None = None


@dataclass
class Cloud:
    """What AWS holds. `serves` is the truth about the endpoint, which no API tells."""

    now: datetime = datetime(2026, 11, 22, tzinfo=UTC)
    record: str = NO_RELEASE.format()
    packages: dict[int, tuple[str, datetime]] = field(default_factory=dict)
    stack: Stack = field(default_factory=Stack)
    endpoint: str = ""
    busy: bool = False
    serves: int | None = None
    change_sets: dict[str, dict[str, Any]] = field(default_factory=dict)
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    blamable: set[int] = field(default_factory=set)
    called: list[str] = field(default_factory=list)
    fault: Callable[[], None] | None = None
    fault_at: int = -1

    @property
    def calls(self) -> int:
        return len(self.called)

    def begin(self, pending: Release) -> None:
        """CloudFormation begins an update: never two at once, and never one that deletes a live endpoint."""
        if self.stack.pending is not None:
            raise Broken("two updates at once")
        if pending == NO_RELEASE and self.serves is not None:
            raise Broken("none was deployed over a live endpoint")
        self.stack.pending = pending
        self.stack.operations += 1
        self.stack.status = "UPDATE_IN_PROGRESS"
        self.busy = bool(self.endpoint)

    def finish(self, outcome: str) -> None:
        """The update ends: well, rolled back, or rolled back by SageMaker without CloudFormation noticing."""
        pending = self.stack.pending
        if pending is None:
            return
        self.stack.pending, self.busy = None, False
        if self.rows.get("lease", {}).get("owner") == {"S": "pipeline"}:
            del self.rows["lease"]
        if outcome != "success" and pending.version:
            self.blamable.add(pending.version)
        if outcome == "stack rolls back" or (outcome == "endpoint rolls back" and not self.endpoint):
            self.stack.status = "UPDATE_ROLLBACK_COMPLETE"
            return
        self.stack.status, self.stack.deployed = "UPDATE_COMPLETE", pending
        if pending == NO_RELEASE:
            return
        self.stack.config = f"config-{self.stack.operations}"
        if outcome == "success":
            self.endpoint, self.serves = self.stack.config, pending.version

    def take_lease(self) -> bool:
        """Take the lease as any other deployer would, for an hour."""
        now = int(self.now.timestamp())
        if "lease" in self.rows and now < int(self.rows["lease"]["expires_at"]["N"]):
            return False
        self.rows["lease"] = {
            **{name: {"S": value} for name, value in (("owner", "pipeline"), ("purpose", "deploy"))},
            **{name: {"N": str(at)} for name, at in (("acquired_at", now), ("expires_at", now + 3600))},
        }
        return True

    def clients(self) -> Clients:
        services = {name: Counted(self, make(self)) for name, make in SERVICES.items()}
        return cast("Clients", SimpleNamespace(**services))


class Counted:
    """A client whose every call counts, and at a chosen one something happens first."""

    def __init__(self, cloud: Cloud, service: object) -> None:
        self._cloud, self._service = cloud, service

    def __getattr__(self, name: str) -> Any:
        self._cloud.called.append(name)
        if self._cloud.fault is not None and self._cloud.calls == self._cloud.fault_at:
            fault, self._cloud.fault = self._cloud.fault, None
            fault()
        return getattr(self._service, name)


@dataclass
class Service:
    cloud: Cloud


class Sns(Service):
    def publish(self, **message: str) -> None:
        assert "\n" not in message["Message"]


class Ssm(Service):
    def get_parameter(self, **_: str) -> Any:
        return {"Parameter": {"Value": self.cloud.record}}

    def put_parameter(self, *, Value: str, **_: Any) -> None:
        self.cloud.record = Value

    def get_paginator(self, _: str) -> Any:
        page = {"Parameters": [{"Name": "/evergreen/churn/staging/release"}]}
        return SimpleNamespace(paginate=lambda **_: [page])


class SageMaker(Service):
    def get_paginator(self, _: str) -> Any:
        approved = [v for v, (approval, _) in self.cloud.packages.items() if approval == "Approved"]
        page = {
            "ModelPackageSummaryList": [{"ModelPackageVersion": v, "ModelPackageArn": f"arn:{v}"} for v in approved]
        }
        return SimpleNamespace(paginate=lambda **_: [page])

    def describe_model_package(self, *, ModelPackageName: str) -> Any:
        version = int(ModelPackageName.removeprefix("arn:"))
        approval, modified = self.cloud.packages[version]
        return {
            "ModelPackageArn": ModelPackageName,
            "ModelPackageVersion": version,
            "ModelApprovalStatus": approval,
            "ModelPackageStatus": "Completed",
            "CreationTime": modified,
            "LastModifiedTime": modified,
            "CustomerMetadataProperties": {"record_uri": "s3://b/k", "record_sha256": f"{version:08x}" + "0" * 56},
        }

    def describe_endpoint(self, **_: str) -> Any:
        if not self.cloud.endpoint:
            raise error("ValidationException", "Could not find endpoint")
        status = "Updating" if self.cloud.busy else "InService"
        return {"EndpointStatus": status, "EndpointConfigName": self.cloud.endpoint}


class CloudFormation(Service):
    def describe_stacks(self, **_: str) -> Any:
        stack = self.cloud.stack
        described: dict[str, Any] = {
            "StackStatus": stack.status,
            "Parameters": [{"ParameterKey": "ReleaseParameter"}],
            "LastUpdatedTime": datetime.fromtimestamp(stack.operations, UTC),
        }
        if stack.deployed != NO_RELEASE:
            described["Outputs"] = [
                {"OutputKey": "ReleaseId", "OutputValue": stack.deployed.release_id},
                {"OutputKey": "EndpointConfigName", "OutputValue": stack.config},
            ]
        return {"Stacks": [described]}

    def set_stack_policy(self, **_: str) -> None:
        pass

    def create_change_set(self, *, ChangeSetName: str, **_: Any) -> None:
        if self.cloud.stack.pending is not None:
            raise error("ValidationError", "the stack is in UPDATE_IN_PROGRESS state and can not be updated")
        changes = parse_record(self.cloud.record) != self.cloud.stack.deployed
        self.cloud.change_sets[ChangeSetName] = {
            "Status": "CREATE_COMPLETE" if changes else "FAILED",
            "ExecutionStatus": "AVAILABLE" if changes else "UNAVAILABLE",
            "Parameters": [{"ParameterKey": "ReleaseParameter", "ResolvedValue": self.cloud.record}],
            "operations": self.cloud.stack.operations,
        }

    def get_waiter(self, _: str) -> Any:
        def wait(*, ChangeSetName: str, **_: Any) -> None:
            if self.cloud.change_sets[ChangeSetName]["Status"] == "FAILED":
                raise WaiterError("wait", "failed", {"Status": "FAILED", "StatusReason": "no changes"})

        return SimpleNamespace(wait=wait)

    def describe_change_set(self, *, ChangeSetName: str, **_: Any) -> Any:
        return self.cloud.change_sets[ChangeSetName]

    def delete_change_set(self, *, ChangeSetName: str, **_: Any) -> None:
        self.cloud.change_sets.pop(ChangeSetName, None)

    def execute_change_set(self, *, ChangeSetName: str, **_: Any) -> None:
        change_set, cloud = self.cloud.change_sets[ChangeSetName], self.cloud
        if change_set["operations"] != cloud.stack.operations or change_set["ExecutionStatus"] != "AVAILABLE":
            raise error("InvalidChangeSetStatus", "the change set is obsolete")
        change_set["ExecutionStatus"] = "EXECUTE_IN_PROGRESS"
        pending = parse_record(change_set["Parameters"][0]["ResolvedValue"])
        approved = pending.version in cloud.packages and cloud.packages[pending.version][0] == "Approved"
        if not approved and pending.version != cloud.serves:
            raise Broken(f"v{pending.version} is not approved and was deployed")
        cloud.begin(pending)


class DynamoDb(Service):
    def _check(self, key: str, values: dict[str, Any] | None) -> None:
        row = self.cloud.rows.get(key)
        names = {":owner": "owner", ":purpose": "purpose", ":acquired": "acquired_at", ":expires": "expires_at"}
        if (row is not None) if values is None else any((row or {}).get(names[k]) != v for k, v in values.items()):
            raise error("ConditionalCheckFailedException", "the conditional request failed")

    def get_item(self, *, Key: Any, **_: Any) -> Any:
        row = self.cloud.rows.get(Key["sk"]["S"])
        return {"Item": row} if row else {}

    def put_item(self, *, Item: Any, **rest: Any) -> None:
        if "ConditionExpression" in rest:
            self._check(Item["sk"]["S"], rest.get("ExpressionAttributeValues"))
        self.cloud.rows[Item["sk"]["S"]] = Item

    def delete_item(self, *, Key: Any, ExpressionAttributeValues: Any, **_: Any) -> None:
        self._check(Key["sk"]["S"], ExpressionAttributeValues)
        del self.cloud.rows[Key["sk"]["S"]]

    def query(self, *, ExpressionAttributeValues: Any, **_: Any) -> Any:
        prefix = ExpressionAttributeValues[":prefix"]["S"]
        keys = sorted(key for key in self.cloud.rows if key.startswith(prefix))
        return {"Items": [self.cloud.rows[key] for key in reversed(keys)]}

    def get_paginator(self, _: str) -> Any:
        return SimpleNamespace(paginate=lambda **query: [self.query(**query)])


SERVICES: dict[str, Callable[[Cloud], Service]] = {
    "sns": Sns,
    "ssm": Ssm,
    "sagemaker": SageMaker,
    "cloudformation": CloudFormation,
    "dynamodb": DynamoDb,
    "s3": Service,
}


def invoke(cloud: Cloud) -> None:
    """One invocation; what it raises is Lambda's to retry, and the next tick's."""
    controller = Controller(cloud.clients(), ENVIRONMENT, invocation=f"i{cloud.calls}", now=lambda: cloud.now)
    with suppress_failures():
        controller.reconcile({})


@contextmanager
def suppress_failures() -> Iterator[None]:
    try:
        yield
    except (ReconcileFailed, ClientError, Killed):
        return


def kill() -> None:
    raise Killed


def fail() -> None:
    raise error("ThrottlingException", "Rate exceeded")


def play(cloud: Cloud, action: tuple[str, int]) -> None:
    kind, n = action
    cloud.now += timedelta(seconds=1)
    version = VERSIONS[n % len(VERSIONS)]
    match kind:
        case "approve":
            cloud.packages[version] = ("Approved", cloud.now)
        case "reject":
            cloud.packages[version] = ("Rejected", cloud.now)
        case "cdk deploy" if cloud.stack.pending is None and cloud.take_lease():
            # A template change, so there is always something to do.
            cloud.begin(parse_record(cloud.record))
        case "success" | "stack rolls back" | "endpoint rolls back":
            cloud.finish(kind)
        case "time":
            cloud.now += timedelta(minutes=n)
        case "invoke":
            invoke(cloud)
        case "release":
            cloud.packages[version] = ("Approved", cloud.now)
            invoke(cloud)
            cloud.finish("success")
            invoke(cloud)
        case "invoke twice at once":
            invoke_with(cloud, n, lambda: invoke(cloud))
        case "invoke and kill":
            invoke_with(cloud, n, kill)
        case "invoke and fail":
            invoke_with(cloud, n, fail)
        case "invoke and deploy":
            invoke_with(cloud, n, lambda: play(cloud, ("cdk deploy", 0)))
        case "invoke and release":
            invoke_with(cloud, n, lambda: play(cloud, ("release", n)))


def invoke_with(cloud: Cloud, call: int, fault: Callable[[], None]) -> None:
    """Invoke, and let something happen right before the given call to AWS."""
    cloud.fault, cloud.fault_at = fault, cloud.calls + call
    invoke(cloud)
    cloud.fault = None


ACTIONS = st.one_of(
    st.tuples(
        st.sampled_from(["approve", "reject", "cdk deploy", "invoke", "success", "stack rolls back"]), st.integers(0, 2)
    ),
    st.tuples(st.just("endpoint rolls back"), st.just(0)),
    st.tuples(st.just("time"), st.integers(1, 40)),
    st.tuples(
        st.sampled_from([f"invoke and {fault}" for fault in ("kill", "fail", "deploy", "release")]), st.integers(1, 45)
    ),
    st.tuples(st.just("invoke twice at once"), st.integers(1, 45)),
)


def intended(cloud: Cloud) -> int | None:
    """The highest version that is approved, and was not found wanting since."""
    barred = {
        int(key.removeprefix("quarantine#")): datetime.fromisoformat(row["at"]["S"])
        for key, row in cloud.rows.items()
        if key.startswith("quarantine#")
    }
    free = [
        version
        for version, (approval, modified) in cloud.packages.items()
        if approval == "Approved" and (version not in barred or modified > barred[version])
    ]
    return max(free, default=None)


def could_not_be_brought_back(cloud: Cloud) -> bool:
    """SageMaker rolled back unseen by CloudFormation, the stack failed to follow, and a person was told what to do."""
    last = cloud.rows[max(key for key in cloud.rows if key.startswith("decision#"))]
    live = f"quarantine#{parse_record(cloud.record).version:06d}"
    return last["step"]["S"] == "Hold" and "its stack did not give it" in last["reason"]["S"] and live in cloud.rows


def copied(_s3: object, _bucket: str, _model: str, described: dict[str, Any]) -> Release:
    return released(described["ModelPackageVersion"])


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ACTIONS, min_size=5, max_size=40))
def test_every_history_ends_on_what_was_approved(history: list[tuple[str, int]]) -> None:
    cloud = Cloud()
    with patch.object(act, "copy_release", copied):
        for action in history:
            play(cloud, action)
            was_live = cloud.serves
        for _ in range(12):
            cloud.now += timedelta(minutes=20)
            cloud.finish("success")
            invoke(cloud)
        before = (cloud.record, cloud.stack.operations, len(cloud.rows))
        invoke(cloud)
    wanted = intended(cloud)
    assert wanted in (None, cloud.serves) or could_not_be_brought_back(cloud)
    assert cloud.serves is not None or was_live is None
    assert "lease" not in cloud.rows
    assert (cloud.record, cloud.stack.operations, len(cloud.rows)) == before, "it does not come to rest"
    quarantined = {int(key.removeprefix("quarantine#")) for key in cloud.rows if key.startswith("quarantine#")}
    assert quarantined <= cloud.blamable


def with_first_release() -> Cloud:
    cloud = Cloud()
    play(cloud, ("release", 0))
    assert cloud.serves == 1
    return cloud


@pytest.fixture
def no_copying() -> Iterator[None]:
    with patch.object(act, "copy_release", copied):
        yield


@pytest.mark.parametrize("call", range(1, 46))
def test_a_release_that_fails_at_any_call_puts_the_old_record_back_at_once(no_copying: None, call: int) -> None:
    cloud = with_first_release()
    play(cloud, ("approve", 1))
    invoke_with(cloud, call, fail)
    begun = cloud.stack.pending == released(2)
    assert cloud.record == released(2 if begun else 1).format()
    assert ("lease" in cloud.rows) == begun


@pytest.mark.parametrize("call", range(1, 46))
def test_what_was_decided_before_another_release_passed_by_is_not_done(no_copying: None, call: int) -> None:
    cloud = with_first_release()
    play(cloud, ("approve", 1))
    invoke_with(cloud, call, lambda: play(cloud, ("release", 2)))
    # One of the two was deployed; where that was version 2, version 3 may already follow it.
    assert cloud.stack.operations == 2 or cloud.stack.pending == released(3)


def test_a_version_rejected_before_its_change_set_is_executed_is_not_deployed(no_copying: None) -> None:
    rehearsal = with_first_release()
    play(rehearsal, ("approve", 1))
    begin = rehearsal.calls
    invoke(rehearsal)
    execution = rehearsal.called.index("execute_change_set", begin) - begin + 1
    # The look right before the execution is the last one; a rejection after it is the next invocation's.
    for call in range(1, execution):
        cloud = with_first_release()
        play(cloud, ("approve", 1))
        invoke_with(cloud, call, partial(play, cloud, ("reject", 1)))
        assert cloud.stack.pending is None
        assert cloud.record == released(1).format()
        assert "lease" not in cloud.rows
