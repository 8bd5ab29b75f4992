"""What the controller sees of one model in one stage. Immutable, and free of any client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from shared.ledger import Approval, Lease, Quarantine
from shared.record import Release, release_id
from shared.release_policy import Policy
from shared.verification import Verification

# CloudFormation accepts an update in these, and in these only.
STACK_READY = frozenset(
    {"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE", "IMPORT_ROLLBACK_COMPLETE"}
)
# Ends in _IN_PROGRESS, yet nothing is in progress: a first change set that nobody has executed.
STACK_UNBORN = "REVIEW_IN_PROGRESS"

ENDPOINT_BUSY = frozenset({"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"})


@dataclass(frozen=True)
class Package:
    """A model package version, as `DescribeModelPackage` gave it.

    Attributes:
        approval: `Approved`, `Rejected` or `PendingManualApproval`.
        status: `Completed` when it may be used.
        record_sha256: hash of its registration record, or None for a package registered by hand.
        modified_at: its last edit, of whatever field.
        modified_by: who made that edit.
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
    def release_id(self) -> str:
        """The release it would be, or "" for a package registered by hand."""
        return release_id(self.version, self.record_sha256) if self.record_sha256 else ""


@dataclass(frozen=True)
class Unreadable:
    """A release policy that is not there or not valid, and so holds everything."""

    reason: str


@dataclass(frozen=True)
class Stack:
    """The serving stack. The outputs are "" while their condition is false.

    Attributes:
        updated_at: LastUpdatedTime, "" when never updated.
        release_id: output `ReleaseId`.
        endpoint_config: output `EndpointConfigName`.
        parameters: the names of its parameters.
    """

    status: str
    updated_at: str = ""
    release_id: str = ""
    endpoint_config: str = ""
    parameters: tuple[str, ...] = ()

    @property
    def busy(self) -> bool:
        return self.status.endswith("_IN_PROGRESS") and self.status != STACK_UNBORN

    @property
    def ready(self) -> bool:
        return self.status in STACK_READY


@dataclass(frozen=True)
class Endpoint:
    """The endpoint as SageMaker describes it."""

    status: str
    config: str

    @property
    def busy(self) -> bool:
        return self.status in ENDPOINT_BUSY


@dataclass(frozen=True)
class World:
    """One model in one stage at one moment.

    Attributes:
        packages: versions of the model's own group: all that may matter, the others may be left out.
        stack: None while there is no serving stack.
        endpoint: None while there is no endpoint.
        record: the release record.
        quarantine: by version.
        policy: when a version may become live.
        verified: versions that were verified in the stage before, where the policy names one.
        approvals: as they were first seen, by version.
        verification: of the record's release in this stage.
        alarm: which rollback alarm of the release under way went off, and its figure, in a clause; "" for none.
    """

    packages: tuple[Package, ...]
    stack: Stack | None
    endpoint: Endpoint | None
    record: Release
    lease: Lease | None = None
    quarantine: Mapping[int, Quarantine] = field(default_factory=dict)
    policy: Policy | Unreadable = field(default_factory=Policy)
    verified: frozenset[int] = frozenset()
    approvals: Mapping[int, Approval] = field(default_factory=dict)
    verification: Verification | None = None
    alarm: str = ""

    @property
    def serves(self) -> str:
        """The release that provably answers requests, or "" when that cannot be said.

        Success is the endpoint's configuration being the stack's, never a status alone: after an automatic rollback an
        endpoint is InService too, on the old configuration.
        """
        if self.stack is None or self.endpoint is None or self.endpoint.status != "InService":
            return ""
        return "" if self.adrift else self.stack.release_id

    @property
    def adrift(self) -> bool:
        """The endpoint is on another configuration than the one its stack gave it."""
        if self.stack is None or self.endpoint is None:
            return False
        return self.endpoint.config != self.stack.endpoint_config
