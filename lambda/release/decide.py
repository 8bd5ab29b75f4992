"""The release decision: from the observed state of one model in one stage to one step. Pure and total.

`desired.py` determines the desired version. The actual version is the release that the endpoint serves: the endpoint's
configuration is the stack's, and the stack's release is known. The decision depends on no event, so it may be asked for
at any moment, any number of times, and repeats itself while the observed state is the same.

A quarantined version is deployed again only after a person edited the approved package later than the quarantine.
`LastModifiedTime` moves with every edit, not only with an approval. But `UpdateModelPackage` is the permission to
approve, which only approvers have, so any later edit that leaves the package Approved counts as theirs. One edit ends a
quarantine once: if the version fails again, its quarantine is the later one again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

from release.desired import (
    desired_package,
    fallback_package,
    is_expired,
    lost_approval,
    pending_version,
    wait_for_pinned,
)
from release.observation import (
    STACK_NOT_CREATED,
    DescribedPackage,
    ReleaseObservation,
    StackState,
    UnreadablePolicy,
)
from shared.ledger import Lease, LeasePurpose
from shared.release_record import NO_RELEASE, ReleaseRecord, parse_release_record, version_of
from shared.steps import Hold, Nothing, Step, Wait
from shared.verification import VerificationStatus

# The function ends after 12 minutes at most. With a minute for clock differences, its owner is gone by then, so the
# tick after a crash, 15 minutes later at most, finds the lease expired.
PREPARE_SECONDS = 13 * 60
# SageMaker allows a deployment 8 hours. Other deployers wait as long, and one hour more.
RELEASE_SECONDS = 9 * 3600
# CloudFormation gives a resource two hours, and a deployment takes one hour more at most.
_LONGEST_UPDATE = timedelta(hours=3)
# SageMaker registers a package in minutes.
_LONGEST_REGISTRATION = timedelta(hours=1)
# A verification takes a minute. One that was requested longer ago than this is lost.
VERIFY_SECONDS = 10 * 60


@dataclass(frozen=True)
class RefuseVersion:
    """Quarantine this version: it must not be deployed as it is."""

    step: ClassVar[Step] = Step.REFUSE
    version: int
    reason: str


@dataclass(frozen=True)
class Deploy:
    """Release this version."""

    step: ClassVar[Step] = Step.DEPLOY
    version: int
    release_id: str
    reason: str


@dataclass(frozen=True)
class Complete:
    """Give the lease back: the release under way is live."""

    step: ClassVar[Step] = Step.COMPLETE
    lease: Lease
    reason: str


@dataclass(frozen=True)
class Adopt:
    """Make the lease of a release a lasting one: its invocation died after it had executed the change set."""

    step: ClassVar[Step] = Step.ADOPT
    lease: Lease
    reason: str


@dataclass(frozen=True)
class Cancel:
    """Stop the release under way: its version lost its approval while it was being released."""

    step: ClassVar[Step] = Step.CANCEL
    lease: Lease
    reason: str


@dataclass(frozen=True)
class CorrectRecord:
    """Write the release record: it does not say what is live.

    Attributes:
        release: What the record must say.
    """

    step: ClassVar[Step] = Step.CORRECT_RECORD
    release: ReleaseRecord
    reason: str


@dataclass(frozen=True)
class Abandon:
    """Restore the record: a release was begun and never reached CloudFormation."""

    step: ClassVar[Step] = Step.ABANDON
    lease: Lease
    restore: ReleaseRecord
    reason: str


@dataclass(frozen=True)
class RollBack:
    """Quarantine the version and restore the record: the release under way failed.

    Attributes:
        restore: The record to write; None where that would be `none` over a live endpoint.
    """

    step: ClassVar[Step] = Step.ROLL_BACK
    lease: Lease
    restore: ReleaseRecord | None
    reason: str


@dataclass(frozen=True)
class Redeploy:
    """Bring the stack back to the record: SageMaker rolled the endpoint back without CloudFormation."""

    step: ClassVar[Step] = Step.REDEPLOY
    release: ReleaseRecord
    reason: str

    @property
    def release_id(self) -> str:
        """The id of the release."""
        return self.release.release_id


@dataclass(frozen=True)
class Verify:
    """Request a verification: the live release was not verified yet, and the next stage waits for it."""

    step: ClassVar[Step] = Step.VERIFY
    release_id: str
    reason: str


ReleaseStep = (
    Nothing
    | Wait
    | Hold
    | RefuseVersion
    | Deploy
    | Complete
    | Adopt
    | Cancel
    | CorrectRecord
    | Abandon
    | RollBack
    | Redeploy
    | Verify
)


def decide(observation: ReleaseObservation, now: datetime) -> ReleaseStep:
    """Return the one step to take now."""
    lease, seconds = observation.lease, now.timestamp()
    if lease is not None and not lease.is_controllers:
        if seconds < lease.expires_at:
            return Wait(
                f"{lease.owner} holds the lease for {lease.purpose}", f"the lease of {lease.owner}", _LONGEST_UPDATE
            )
        lease = None
    # What to restore outlives the lease, so an unfinished release is finished even if its lease is gone.
    lease = lease or observation.unfinished
    if lease is not None and lease.purpose != LeasePurpose.RELEASE and seconds < lease.expires_at:
        return Wait(f"another invocation is working on {lease.release_id}")
    if observation.busy:
        return _while_busy(observation, lease)
    if lease is not None:
        return _finish_release(observation, lease, now)
    return _begin_release(observation, now)


def _while_busy(observation: ReleaseObservation, lease: Lease | None) -> ReleaseStep:
    """Watch over a release that CloudFormation or SageMaker carries out."""
    stack = observation.stack
    if lease is not None and stack is not None and _is_updated_by(observation, stack, lease):
        package = observation.package(version_of(lease.release_id))
        lost = lost_approval(observation, package) if package else ""
        if lost and stack.status == "UPDATE_IN_PROGRESS":
            return Cancel(lease, f"{lost}, and {lease.release_id} is being released")
        if lease.purpose == LeasePurpose.PREPARE or observation.lease != lease:
            return Adopt(lease, f"{lease.release_id} is being released, and its invocation is gone")
    if stack is not None and stack.busy:
        return Wait(f"the stack is {stack.status}", "the serving stack", _LONGEST_UPDATE)
    status = observation.endpoint.status if observation.endpoint else "gone"
    return Wait(f"the endpoint is {status}", "the endpoint", _LONGEST_UPDATE)


def _is_updated_by(observation: ReleaseObservation, stack: StackState, lease: Lease) -> bool:
    """Return whether the update in progress is the release of this lease."""
    updated = stack.busy and stack.updated_at != lease.stack_updated_at
    return updated and observation.record.release_id == lease.release_id


def _finish_release(observation: ReleaseObservation, lease: Lease, now: datetime) -> ReleaseStep:
    """Finish the release that an earlier invocation began. Stack and endpoint are at rest."""
    stack = observation.stack
    if stack is None or stack.updated_at == lease.stack_updated_at:
        if now.timestamp() < lease.acquired_at + PREPARE_SECONDS:
            return Wait(f"CloudFormation is about to release {lease.release_id}")
        restore = _restorable(observation, lease)
        return Abandon(lease, restore or observation.record, f"{lease.release_id} never reached CloudFormation")
    if _updated_by_another(observation, stack, lease):
        restore = _restorable(observation, lease)
        reason = f"another deployment updated the stack before {lease.release_id} was released"
        return Abandon(lease, restore or observation.record, reason)
    moved = observation.endpoint is not None and observation.endpoint.config != lease.endpoint_config
    if stack.ready and moved and observation.serves == lease.release_id:
        return Complete(lease, f"{lease.release_id} is live")
    return RollBack(lease, _restorable(observation, lease), _failure(observation, stack, lease))


def _updated_by_another(observation: ReleaseObservation, stack: StackState, lease: Lease) -> bool:
    """Return whether another deployment updated the stack. This release is then not the cause.

    The record is written before the change set is created, so without it there was no change set. A release of this
    controller ends on its own release id, or in a rollback.
    """
    never_recorded = lease.purpose == LeasePurpose.PREPARE and observation.record.release_id != lease.release_id
    completed_elsewhere = stack.status == "UPDATE_COMPLETE" and stack.release_id != lease.release_id
    return never_recorded or completed_elsewhere


def _restorable(observation: ReleaseObservation, lease: Lease) -> ReleaseRecord | None:
    """Return the record to restore, or None where it is not known.

    `none` over a live endpoint would delete it at the next deployment. A later look then corrects the record.
    """
    try:
        previous = parse_release_record(lease.previous)
    except ValueError:
        return None
    endpoint_exists = observation.endpoint is not None and observation.endpoint.status != "Failed"
    return None if previous == NO_RELEASE and endpoint_exists else previous


def _failure(observation: ReleaseObservation, stack: StackState, lease: Lease) -> str:
    state = observation.endpoint
    endpoint = "missing" if state is None else f"{state.status} on {state.config}"
    ended = f"the release of {lease.release_id} ended with the stack in {stack.status} and the endpoint {endpoint}"
    package = observation.package(version_of(lease.release_id))
    lost = lost_approval(observation, package) if package else ""
    if lost:
        return f"{lost}, and {ended}"
    return f"{observation.alarm}, and {ended}" if observation.alarm else ended


def _begin_release(observation: ReleaseObservation, now: datetime) -> ReleaseStep:
    """Compare the desired with the actual version. Nothing is under way."""
    corrected = _correct_record(observation)
    if corrected is not None:
        return corrected
    policy = observation.policy
    if isinstance(policy, UnreadablePolicy):
        return Hold(policy.cause, policy.action)
    expired = policy.pin is not None and is_expired(policy.pin, now)
    package = fallback_package(observation) if expired else desired_package(observation)
    if policy.pin and expired and package is None:
        return Hold(
            f"the pin of version {policy.pin.version} ({policy.pin.reason}) expired on {policy.pin.until}",
            "renew the pin, or remove it",
        )
    if package is None:
        return _keep_live(observation)
    if package.version == version_of(observation.serves):
        return _watch_live(observation, package, now)
    if package.status in {"Pending", "InProgress"}:
        return Wait(
            f"version {package.version} is approved and still {package.status}",
            f"the package of version {package.version}",
            _LONGEST_REGISTRATION,
        )
    if package.status != "Completed":
        return RefuseVersion(package.version, f"its package is {package.status}")
    wanted = package.release_id
    if not wanted:
        return RefuseVersion(package.version, "it carries no registration record, so it did not come from the pipeline")
    if policy.description_required and not package.description.strip():
        return RefuseVersion(package.version, "it was approved without a description, which this stage requires")
    obstacle = _stack_obstacle(observation)
    if obstacle is not None:
        return obstacle
    if observation.has_drifted and observation.stack is not None and observation.stack.release_id == wanted:
        # CloudFormation would see no change: the stack has to go back before it can be updated to this version.
        return _redeploy_record(observation)
    reason = f"{observation.record.release_id} → {wanted}"
    if policy.pin and package.version != policy.pin.version:
        reason += f": the live version was rejected, which outranks the pin of version {policy.pin.version}"
    return Deploy(package.version, wanted, reason)


def _correct_record(observation: ReleaseObservation) -> ReleaseStep | None:
    """Return the step that makes the record and the stack say what is live again, or None.

    At rest the record must name the live release in all four fields: the next deployment serves what it says.
    """
    stack, verified = observation.stack, observation.verified_record
    if stack is None and observation.recorded == "":
        return Nothing("the model is not deployed in this stage")
    if verified is not None and observation.recorded != verified.format():
        return CorrectRecord(verified, f"the release record was changed: {observation.record_problem}")
    never_released = observation.endpoint is None and (stack is None or not stack.release_id)
    unwanted = observation.record != NO_RELEASE or observation.recorded != NO_RELEASE.format()
    if never_released and unwanted and desired_package(observation) is None:
        named = observation.record.release_id if observation.record != NO_RELEASE else observation.recorded
        return CorrectRecord(NO_RELEASE, f"the release record names {named}, which is neither live nor may become live")
    altered = stack is not None and stack.deployed_record not in ("", observation.recorded)
    live = observation.serves and observation.serves == observation.record.release_id
    if altered and live and _stack_obstacle(observation) is None:
        return Redeploy(observation.record, f"the stack was deployed with another record of {observation.serves}")
    return None


def _watch_live(observation: ReleaseObservation, package: DescribedPackage, now: datetime) -> ReleaseStep:
    """Have the live release verified for the next stage, and report what a newer version waits for."""
    live, known, policy = f"{observation.serves} is live", observation.verification, observation.policy
    if package.release_id != observation.serves:
        return Hold(
            f"{live}, and the metadata of version {package.version} name another registration record, "
            f"{package.release_id or 'none at all'}",
            "restore record_uri and record_sha256 of the version's metadata, or approve another version",
        )
    problem = observation.record_problem
    if not problem and observation.record.release_id != observation.serves:
        problem = f"its release record names {observation.record.release_id}"
    if problem:
        return Hold(f"{live}, and {problem}", "find out who changed it, or approve another version")
    passed = known is not None and known.status == VerificationStatus.PASSED
    if not isinstance(policy, UnreadablePolicy) and policy.verify and not passed:
        asked = known is not None and known.status == VerificationStatus.ASKED
        lost = known and asked and (now - known.at).total_seconds() >= VERIFY_SECONDS
        # A person's edit after the failure asks for another verification, as it does after a quarantine.
        again = known and known.status == VerificationStatus.FAILED and package.modified_at > known.at
        if known is None or lost or again:
            return Verify(observation.serves, f"{live} and is to be verified")
        if asked:
            return Wait(f"{live} and is being verified", f"the verification of {observation.serves}")
        return Nothing(f"{live} and is not released to the next stage, because {known.reason}")
    waiting = pending_version(observation, above=package.version)
    return Wait(f"{live}; {waiting}", _awaited(waiting)) if waiting else Nothing(live)


def _keep_live(observation: ReleaseObservation) -> ReleaseStep:
    """Keep the live release, because nothing is desired, and bring its stack in line."""
    if observation.has_drifted and _stack_obstacle(observation) is None:
        return _redeploy_record(observation)
    pin = observation.policy.pin if not isinstance(observation.policy, UnreadablePolicy) else None
    if pin:
        return wait_for_pinned(observation, pin)
    waiting = pending_version(observation)
    if observation.record == NO_RELEASE and observation.endpoint is None:
        if waiting:
            return Wait(waiting, _awaited(waiting))
        return Nothing("nothing is approved, nothing is live")
    live = observation.serves or observation.record.release_id
    if waiting:
        return Hold(
            f"no approved version may be served and {live} stays live: {waiting}", "wait, or approve another version"
        )
    return Hold(f"no approved version is left and {live} stays live", "approve a version, or retire the endpoint")


def _awaited(waiting: str) -> str:
    """Return what to notify people of if it does not come. A second approval is theirs to give, or not to give."""
    return waiting if "verification" in waiting else ""


def _redeploy_record(observation: ReleaseObservation) -> ReleaseStep:
    """Bring the stack back to the record, which names the release that the endpoint was rolled back to."""
    record, stack, endpoint = observation.record, observation.stack, observation.endpoint
    assert stack is not None and endpoint is not None, "only an existing endpoint can drift from its stack"
    if record.version is None or record.release_id == stack.release_id or record.version in observation.quarantine:
        return Hold(
            f"the endpoint is on {endpoint.config}, which its stack did not give it",
            f"update it to {stack.endpoint_config}, or approve another version",
        )
    return Redeploy(record, f"the endpoint went back to {record.release_id}, and its stack follows")


def _stack_obstacle(observation: ReleaseObservation) -> Hold | None:
    """Return why CloudFormation cannot release anything, or None."""
    stack, endpoint = observation.stack, observation.endpoint
    if stack is None or stack.status == STACK_NOT_CREATED:
        return Hold("a version is approved and there is no serving stack yet", "deploy the serving stack")
    if not stack.ready:
        return Hold(f"the serving stack is {stack.status} and takes no update", _stack_advice(stack.status))
    if endpoint is None:
        deleted = Hold("the endpoint was deleted outside of its stack", "retire the endpoint and deploy again")
        return deleted if stack.endpoint_config else None
    if not stack.endpoint_config:
        return Hold("an endpoint of this name exists outside of the serving stack", "delete that endpoint")
    if endpoint.status != "InService":
        return Hold(f"the endpoint is {endpoint.status} and takes no update", "retire it and deploy again")
    return None


def _stack_advice(status: str) -> str:
    """Return what CloudFormation accepts in a status. A stack that was never created cannot be repaired."""
    if status in {"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED"}:
        return "delete it in CloudFormation, and deploy again"
    if status == "UPDATE_ROLLBACK_FAILED":
        return "correct the cause, and continue its rollback in CloudFormation"
    return "repair it in CloudFormation"
