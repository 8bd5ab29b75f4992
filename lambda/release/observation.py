"""The observed state of one model in one stage. Immutable, and independent of any client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from shared.ledger import Approval, Lease, Quarantine
from shared.notifications import NotificationState
from shared.release_policy import StagePolicy
from shared.release_record import ReleaseRecord, release_id
from shared.verification import VerificationRow

# The only statuses in which CloudFormation accepts an update.
STACK_READY = frozenset(
    {"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE", "IMPORT_ROLLBACK_COMPLETE"}
)
# Ends in _IN_PROGRESS although nothing is in progress: a first change set was not executed.
STACK_NOT_CREATED = "REVIEW_IN_PROGRESS"

# The release record's parameter; CDK's own is BootstrapVersion (docs/reference/contracts.md, "Release record").
RELEASE_PARAMETER = "Release"

# The stage of an archived version's life cycle.
ARCHIVED = "Archived/"

ENDPOINT_BUSY = frozenset({"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"})


@dataclass(frozen=True)
class DescribedPackage:
    """A model package version, as `DescribeModelPackage` returned it.

    Attributes:
        approval: `Approved`, `Rejected` or `PendingManualApproval`.
        status: `Completed` when it may be used.
        record_sha256: Hash of its registration record; None for a package that was registered manually.
        modified_at: Time of its last edit, of any field.
        modified_by: Author of that edit.
        description: `ApprovalDescription`, "" where there is none.
        life_cycle: `<Stage>/<StageStatus>` of its `ModelLifeCycle`, "" where there is none.
    """

    version: int
    arn: str
    approval: str
    status: str
    record_sha256: str | None
    modified_at: datetime
    modified_by: str
    description: str = ""
    life_cycle: str = ""

    @property
    def archived(self) -> bool:
        """True once the archive function has exported it (docs/adr/0012-what-archived-means.md)."""
        return self.life_cycle.startswith(ARCHIVED)

    @property
    def release_id(self) -> str:
        """The id of its release, "" for a package that was registered manually."""
        return release_id(self.version, self.record_sha256) if self.record_sha256 else ""


@dataclass(frozen=True)
class UnreadablePolicy:
    """A release policy that is missing or not valid. It holds everything.

    Attributes:
        cause: The problem.
        action: What a person has to do.
    """

    cause: str
    action: str


@dataclass(frozen=True)
class StackState:
    """A stack that reads the release record. Outputs are "" while their condition is false.

    Attributes:
        updated_at: LastUpdatedTime, "" when never updated.
        release_id: Output `ReleaseId`.
        endpoint_config: Output `EndpointConfigName`.
        parameters: The names of its parameters.
        deployed_record: The release record that it was deployed with; "" where CloudFormation does not return it.
    """

    status: str
    updated_at: str = ""
    release_id: str = ""
    endpoint_config: str = ""
    parameters: tuple[str, ...] = ()
    deployed_record: str = ""

    @property
    def busy(self) -> bool:
        """True while an operation is in progress."""
        return self.status.endswith("_IN_PROGRESS") and self.status != STACK_NOT_CREATED

    @property
    def ready(self) -> bool:
        """True if CloudFormation accepts an update."""
        return self.status in STACK_READY


@dataclass(frozen=True)
class EndpointState:
    """The endpoint, as SageMaker describes it."""

    status: str
    config: str

    @property
    def busy(self) -> bool:
        """True while an operation is in progress."""
        return self.status in ENDPOINT_BUSY


@dataclass(frozen=True)
class ReleaseObservation:
    """The observed state at one moment.

    Attributes:
        packages: Versions of the model's group. Those that cannot matter may be left out.
        stack: The serving stack, None while there is none.
        endpoint: None while there is no endpoint.
        record: The release record.
        quarantine: Entries by version.
        verified: Versions that were verified in the previous stage, where the policy names one.
        approvals: First observed approvals by version.
        verification: The verification of the record's release in this stage.
        alarm: A clause that names the rollback alarm of the release under way and its figure; "" for none.
        unfinished: The release that was begun and not ended, with what to restore. It outlives its lease.
        told: What people were told, by topic.
        awaited: What is awaited and since when, as the last look recorded it.
        unreadable: The rows of the ledger that cannot be read.
        record_text: The release record as it was read; None for `record` itself.
        verified_record: The record of the live release by its package and its registration record; None if unknown.
        record_problem: Why `record` is not the live release's, or cannot be compared with it, in a clause; "" for none.
    """

    packages: tuple[DescribedPackage, ...]
    stack: StackState | None
    endpoint: EndpointState | None
    record: ReleaseRecord
    lease: Lease | None = None
    quarantine: Mapping[int, Quarantine] = field(default_factory=dict)
    policy: StagePolicy | UnreadablePolicy = field(default_factory=StagePolicy)
    verified: frozenset[int] = frozenset()
    approvals: Mapping[int, Approval] = field(default_factory=dict)
    verification: VerificationRow | None = None
    alarm: str = ""
    unfinished: Lease | None = None
    told: Mapping[str, NotificationState] = field(default_factory=dict)
    awaited: tuple[str, datetime] | None = None
    unreadable: tuple[str, ...] = ()
    record_text: str | None = None
    verified_record: ReleaseRecord | None = None
    record_problem: str = ""

    @property
    def recorded(self) -> str:
        """The release record as it was read."""
        return self.record.format() if self.record_text is None else self.record_text

    @property
    def live_release(self) -> str:
        """The release that answers requests, or else the one that the record names; `none` without a release."""
        return self.serves or self.record.release_id

    @property
    def busy(self) -> bool:
        """True while CloudFormation or SageMaker is at work."""
        return (self.stack is not None and self.stack.busy) or (self.endpoint is not None and self.endpoint.busy)

    def package(self, version: int | None) -> DescribedPackage | None:
        """Return a version of the model, None where it was not described."""
        return next((package for package in self.packages if package.version == version), None)

    @property
    def serves(self) -> str:
        """The release that provably answers requests, or "" when it cannot be determined.

        A release succeeded when the endpoint is on the stack's configuration. The status proves nothing: after an
        automatic rollback the endpoint is InService too, on the old configuration.
        """
        if self.stack is None or self.endpoint is None or self.endpoint.status != "InService":
            return ""
        return "" if self.has_drifted else self.stack.release_id

    @property
    def has_drifted(self) -> bool:
        """True if the endpoint is on another configuration than its stack's (configuration drift)."""
        if self.stack is None or self.endpoint is None:
            return False
        return self.endpoint.config != self.stack.endpoint_config
