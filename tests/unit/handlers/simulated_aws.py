"""AWS in memory for the simulations of the release controller: the behaviour of AWS, with a fault at any call.

The real controller runs against it. A simulation kills an invocation, or runs another one, right before a chosen call,
and plays hundreds of histories. It models:

- CloudFormation: one update at a time, change sets that become obsolete, and the three ends of an update: success, a
  rollback of the stack, and SageMaker's rollback of the endpoint that CloudFormation does not notice.
- SageMaker: registry edits with their author and time, and an endpoint whose real content (`serves`) no API returns.
- DynamoDB: the conditions that the ledger writes with, on the rows of one model.
- SSM, SNS, S3, Lambda and CloudWatch: the few calls that the controller makes.
- Other deployers, who take the lease, and people, who edit packages between two calls.

It raises `Broken` on what must never happen: two updates at once, `none` deployed over a live endpoint, or a version
deployed that its people did not allow. Why it is not another fake:

- moto completes every update and every endpoint at once. Updates in progress, and their three ends, are the subject of
  these simulations. Its CloudFormation also needs packages that are not installed here.
- The local cloud models updates in progress and rollbacks, but as a process with durable state and one clock that only
  advances. Each history needs fresh state and its own clock, and has to run in milliseconds.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

from botocore.exceptions import ClientError, WaiterError

from release import execute, observe
from release.controller import reconcile_releases
from release.verified_copy import Registration
from shared.clients import Clients
from shared.environment import ReleaseEnvironment
from shared.reconcile import ReconcileError
from shared.release_record import NO_RELEASE, ReleaseRecord, parse_release_record

VERSIONS = (1, 2, 3)
CREATORS = {1: "ada", 2: "bob", 3: "ada"}


class Killed(BaseException):
    """The invocation ended: timeout, out of memory or a dead machine. None of its code runs afterwards."""


class Broken(BaseException):
    """A property was violated. No handler of the code under test may swallow this."""


def error(code: str, message: str = "message") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "call")


REGISTRY = "arn:aws:sagemaker:us-east-1:111122223333"


def released(version: int) -> ReleaseRecord:
    return ReleaseRecord(
        f"v{version}-{version:08x}",
        f"registry/image@sha256:{version:064x}",
        f"{REGISTRY}:model-package/evergreen-churn/{version}",
        f"{version:064x}",
    )


@dataclass
class SimulatedStack:
    """A serving stack: the deployed release, and the one being deployed."""

    deployed: ReleaseRecord = NO_RELEASE
    config: str = ""
    status: str = "CREATE_COMPLETE"
    operations: int = 0
    pending: ReleaseRecord | None = None


@dataclass(frozen=True)
class Version:
    """A package version in the registry."""

    approval: str
    modified_at: datetime
    modified_by: str = "eve"
    description: str = "looks good"
    life_cycle: str = ""


def _life_cycle(one: Version) -> dict[str, Any]:
    stage, _, status = one.life_cycle.partition("/")
    return {"ModelLifeCycle": {"Stage": stage, "StageStatus": status}} if one.life_cycle else {}


@dataclass
class Registry:
    """The state that stages share: the clock, the registry, and the verifications for the next stage."""

    now: datetime = datetime(2026, 11, 22, tzinfo=UTC)
    packages: dict[int, Version] = field(default_factory=dict)
    verified: dict[str, bytes] = field(default_factory=dict)
    objectionable: set[int] = field(default_factory=set)


@dataclass
class Calls:
    """The calls to a simulated AWS, and a fault at one of them.

    Attributes:
        called: The calls made, in order.
        fault: Runs right before call number `fault_at`.
        denied: The operation that IAM denies.
    """

    called: list[str] = field(default_factory=list)
    fault: Callable[[], None] | None = None
    fault_at: int = -1
    denied: str = ""

    @property
    def calls(self) -> int:
        return len(self.called)


class Counted:
    """A client that counts calls, and runs the fault right before the chosen one."""

    def __init__(self, calls: Calls, service: object) -> None:
        self._calls, self._service = calls, service

    def __getattr__(self, name: str) -> Any:
        self._calls.called.append(name)
        if self._calls.fault is not None and self._calls.calls == self._calls.fault_at:
            fault, self._calls.fault = self._calls.fault, None
            fault()
        if name == self._calls.denied:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "not authorized"}}, name)
        return getattr(self._service, name)


@dataclass
class Cloud(Calls):
    """The state of AWS in one stage.

    Attributes:
        serves: The version that the endpoint really serves. No API returns it.
        verifies: The release whose verification was requested and not answered.
        blamable: Versions whose deployment failed.
        cancelled: The update under way was cancelled, and rolls back.
        alerts: The messages published.
    """

    registry: Registry = field(default_factory=Registry)
    stage: str = "staging"
    policy: str = "{}"
    record: str = NO_RELEASE.format()
    verifies: str = ""
    stack: SimulatedStack = field(default_factory=SimulatedStack)
    endpoint: str = ""
    busy: bool = False
    serves: int | None = None
    change_sets: dict[str, dict[str, Any]] = field(default_factory=dict)
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    blamable: set[int] = field(default_factory=set)
    alerts: list[str] = field(default_factory=list)
    cancelled: bool = False

    @property
    def now(self) -> datetime:
        return self.registry.now

    @now.setter
    def now(self, value: datetime) -> None:
        self.registry.now = value

    @property
    def packages(self) -> dict[int, Version]:
        return self.registry.packages

    def answer_verification(self, *, passes: bool) -> None:
        """Answer as the verify function does, where the requested release is live."""
        asked, self.verifies = self.verifies, ""
        if not asked or self.busy or self.serves is None or released(self.serves).release_id != asked:
            return
        if passes:
            body = json.dumps({"release_id": asked, "stage": self.stage}).encode()
            self.registry.verified.setdefault(f"releases/churn/{asked}/verified.json", body)
        self.rows[f"verification#{asked}"] = {
            "outcome": {"S": "passed" if passes else "failed"},
            "at": {"S": self.now.isoformat()},
            "reason": {"S": "measured"},
        }

    def begin(self, pending: ReleaseRecord) -> None:
        """Begin an update of the stack: never two at once, and never one that deletes a live endpoint."""
        if self.stack.pending is not None:
            raise Broken("two updates at once")
        if pending == NO_RELEASE and self.serves is not None:
            raise Broken("none was deployed over a live endpoint")
        self.stack.pending = pending
        self.stack.operations += 1
        self.stack.status = "UPDATE_IN_PROGRESS"
        self.busy = bool(self.endpoint)

    def finish(self, outcome: str) -> None:
        """End the update: with success, a rollback, or SageMaker's rollback that CloudFormation does not notice."""
        pending = self.stack.pending
        if pending is None:
            return
        if self.cancelled:
            outcome = "stack rolls back"
        self.stack.pending, self.busy, self.cancelled = None, False, False
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

    def expect_allowed(self, release: ReleaseRecord) -> None:
        """Fail unless people and the policy allow this release to become live."""
        one, policy = self.packages.get(release.version or 0), json.loads(self.policy)
        if one is None or one.approval != "Approved":
            raise Broken(f"{release.release_id} is not approved and was deployed")
        if policy.get("verified_in") and not any(release.release_id in key for key in self.registry.verified):
            raise Broken(f"{release.release_id} was not verified and was deployed")
        if policy.get("four_eyes") and one.modified_by == CREATORS[release.version or 0]:
            raise Broken(f"{release.release_id} was approved by its creator and was deployed")
        if policy.get("description_required") and not one.description:
            raise Broken(f"{release.release_id} was approved without a word and was deployed")
        if policy.get("approval") == "life-cycle" and one.life_cycle != "Production/Approved":
            raise Broken(f"{release.release_id} has no second approval and was deployed")
        pinned = self.packages.get(policy.get("pin", {}).get("version"))
        if pinned and pinned.approval == "Approved" and policy["pin"]["version"] != release.version:
            raise Broken(f"{release.release_id} is not the pinned one and was deployed")

    def take_lease(self) -> bool:
        """Take the lease for an hour, as any other deployer does. It never ends a lease of the controller."""
        now, row = int(self.now.timestamp()), self.rows.get("lease")
        if row and (now < int(row["expires_at"]["N"]) or row["owner"]["S"].startswith("release-controller/")):
            return False
        self.rows["lease"] = {
            **{name: {"S": value} for name, value in (("owner", "pipeline"), ("purpose", "deploy"))},
            **{name: {"N": str(at)} for name, at in (("acquired_at", now), ("expires_at", now + 3600))},
        }
        return True

    def clients(self) -> Clients:
        services = {name: Counted(self, make(self)) for name, make in SERVICES.items()}
        return cast("Clients", SimpleNamespace(**services))


@dataclass
class Service:
    cloud: Cloud


class Sns(Service):
    def publish(self, **message: str) -> None:
        assert "\n" not in message["Message"]
        self.cloud.alerts.append(message["Message"])


class Ssm(Service):
    def get_parameter(self, *, Name: str) -> Any:
        return {"Parameter": {"Value": self.cloud.policy if Name.endswith("/policy") else self.cloud.record}}

    def put_parameter(self, *, Value: str, **_: Any) -> None:
        self.cloud.record = Value

    def get_paginator(self, _: str) -> Any:
        page = {"Parameters": [{"Name": f"/evergreen/churn/{self.cloud.stage}/release"}]}
        return SimpleNamespace(paginate=lambda **_: [page])


class SageMaker(Service):
    def get_paginator(self, _: str) -> Any:
        approved = [v for v, one in self.cloud.packages.items() if one.approval == "Approved"]
        page = {
            "ModelPackageSummaryList": [
                {
                    "ModelPackageVersion": v,
                    "ModelPackageArn": released(v).package_arn,
                    **_life_cycle(self.cloud.packages[v]),
                }
                for v in approved
            ]
        }
        return SimpleNamespace(paginate=lambda **_: [page])

    def describe_model_package(self, *, ModelPackageName: str) -> Any:
        version = int(ModelPackageName.rsplit("/", 1)[-1])
        if version not in self.cloud.packages:
            raise error("ValidationException", f"ModelPackage {ModelPackageName} does not exist.")
        one = self.cloud.packages[version]
        described: dict[str, Any] = {
            "ModelPackageArn": ModelPackageName,
            "ModelPackageVersion": version,
            "ModelApprovalStatus": one.approval,
            "ModelPackageStatus": "Completed",
            "CreationTime": one.modified_at,
            "LastModifiedTime": one.modified_at,
            "LastModifiedBy": {"IamIdentity": {"Arn": f"arn:aws:sts::1:assumed-role/approver/{one.modified_by}"}},
            "ApprovalDescription": one.description,
            "CustomerMetadataProperties": {"record_uri": "s3://b/k", "record_sha256": f"{version:08x}" + "0" * 56},
        }
        return described | _life_cycle(one)

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
            "Parameters": [{"ParameterKey": "ReleaseParameter", "ResolvedValue": stack.deployed.format()}],
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
        changes = parse_release_record(self.cloud.record) != self.cloud.stack.deployed
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

    def cancel_update_stack(self, **_: str) -> None:
        if self.cloud.stack.status != "UPDATE_IN_PROGRESS":
            raise error("ValidationError", "CancelUpdateStack cannot be called from current stack status")
        self.cloud.cancelled, self.cloud.stack.status = True, "UPDATE_ROLLBACK_IN_PROGRESS"

    def execute_change_set(self, *, ChangeSetName: str, **_: Any) -> None:
        change_set, cloud = self.cloud.change_sets[ChangeSetName], self.cloud
        if change_set["operations"] != cloud.stack.operations or change_set["ExecutionStatus"] != "AVAILABLE":
            raise error("InvalidChangeSetStatus", "the change set is obsolete")
        change_set["ExecutionStatus"] = "EXECUTE_IN_PROGRESS"
        pending = parse_release_record(change_set["Parameters"][0]["ResolvedValue"])
        if pending.version != cloud.serves:
            cloud.expect_allowed(pending)
        cloud.begin(pending)


class S3(Service):
    def get_object(self, *, Bucket: str, Key: str) -> Any:
        assert Bucket == "staging-artifacts", "a stage reads only the verification of the previous one"
        if Key not in self.cloud.registry.verified:
            raise error("AccessDenied", "Access Denied")
        return {"Body": io.BytesIO(self.cloud.registry.verified[Key])}


class Functions(Service):
    def invoke(self, *, Payload: bytes, **_: str) -> None:
        self.cloud.verifies = json.loads(Payload)["release_id"]


class CloudWatch(Service):
    def describe_alarm_history(self, **_: Any) -> Any:
        return {"AlarmHistoryItems": []}

    def set_alarm_state(self, *, AlarmName: str, StateValue: str, **_: str) -> None:
        """Set an alarm. SageMaker goes back while it deploys to an existing endpoint."""
        pending = self.cloud.stack.pending
        assert StateValue == "ALARM"
        if pending is not None and pending.release_id in AlarmName and self.cloud.endpoint:
            self.cloud.cancelled = True


class DynamoDb(Service):
    def _check(self, key: str, values: dict[str, Any] | None) -> None:
        row = self.cloud.rows.get(key)
        if values and ":passed" in values:
            if row is not None and row["outcome"] == values[":passed"]:
                raise error("ConditionalCheckFailedException", "the conditional request failed")
            return
        if values and ":about" in values:
            if row is None or (row["about"], row["told_at"]) != (values[":about"], values[":at"]):
                raise error("ConditionalCheckFailedException", "the conditional request failed")
            return
        if values and ":at" in values:
            if row is not None and row["at"]["S"] >= values[":at"]["S"]:
                raise error("ConditionalCheckFailedException", "the conditional request failed")
            return
        names = {
            ":owner": "owner",
            ":purpose": "purpose",
            ":acquired": "acquired_at",
            ":expires": "expires_at",
            ":release": "release_id",
        }
        if (row is not None) if values is None else any((row or {}).get(names[k]) != v for k, v in values.items()):
            raise error("ConditionalCheckFailedException", "the conditional request failed")

    def get_item(self, *, Key: Any, **_: Any) -> Any:
        row = self.cloud.rows.get(Key["sk"]["S"])
        return {"Item": row} if row else {}

    def put_item(self, *, Item: Any, **rest: Any) -> None:
        if "ConditionExpression" in rest:
            self._check(Item["sk"]["S"], rest.get("ExpressionAttributeValues"))
        self.cloud.rows[Item["sk"]["S"]] = Item

    def delete_item(self, *, Key: Any, **rest: Any) -> None:
        if "ConditionExpression" in rest:
            self._check(Key["sk"]["S"], rest["ExpressionAttributeValues"])
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
    "s3": S3,
    "functions": Functions,
    "cloudwatch": CloudWatch,
}


def invoke(cloud: Cloud) -> None:
    """Invoke the controller. Lambda or the next tick retries after an error."""
    environment = ReleaseEnvironment(
        "evergreen", cloud.stage, "ledger", "bucket", "arn:topic", "arn:role", REGISTRY, "verify"
    )
    with suppress(ReconcileError, ClientError, Killed):
        reconcile_releases({}, cloud.clients(), environment, invocation=f"i{cloud.calls}", now=lambda: cloud.now)


def kill() -> None:
    raise Killed


def fail() -> None:
    raise error("ThrottlingException", "Rate exceeded")


def invoke_with(cloud: Cloud, call: int, fault: Callable[[], None]) -> None:
    """Invoke, with a fault right before the given call to AWS."""
    cloud.fault, cloud.fault_at = fault, cloud.calls + call
    invoke(cloud)
    cloud.fault = None


def intended(cloud: Cloud) -> int | None:
    """Return the highest version that is approved, may be live here, and did not fail since."""
    quarantined = {
        int(key.removeprefix("quarantine#")): datetime.fromisoformat(row["at"]["S"])
        for key, row in cloud.rows.items()
        if key.startswith("quarantine#")
    }
    policy = json.loads(cloud.policy)
    verified = {key.split("/")[2] for key in cloud.registry.verified}
    free = [
        version
        for version, one in cloud.packages.items()
        if one.approval == "Approved"
        and (version not in quarantined or one.modified_at > quarantined[version])
        and (not policy.get("verified_in") or released(version).release_id in verified)
        and (policy.get("approval") != "life-cycle" or one.life_cycle == "Production/Approved")
    ]
    return max(free, default=None)


def needs_a_person(cloud: Cloud) -> bool:
    """Return whether SageMaker rolled back unnoticed, the stack failed to follow, and a person was notified."""
    last = cloud.rows[max(key for key in cloud.rows if key.startswith("decision#"))]
    live = f"quarantine#{parse_release_record(cloud.record).version:06d}"
    return last["step"]["S"] == "Hold" and "its stack did not give it" in last["reason"]["S"] and live in cloud.rows


def copied(_s3: object, _bucket: str, _model: str, described: dict[str, Any]) -> ReleaseRecord:
    return released(described["ModelPackageVersion"])


def registered(_s3: object, described: dict[str, Any]) -> Registration:
    return Registration("s3://b/k", "", {"author": f"{CREATORS[described['ModelPackageVersion']]}@example.com"})


def verified(_s3: object, _bucket: str, _model: str, described: dict[str, Any], release: str) -> ReleaseRecord:
    record = released(described["ModelPackageVersion"])
    assert record.release_id == release
    return record


@contextmanager
def without_copying() -> Iterator[None]:
    """Replace the verified copy, which test_release_aws.py tests."""
    with (
        patch.object(execute, "copy_release", copied),
        patch.object(execute, "read_registration", registered),
        patch.object(observe, "released_record", verified),
    ):
        yield
