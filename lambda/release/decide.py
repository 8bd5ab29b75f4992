"""The decision: what was observed of one model in one stage → one step. Pure, and total over every state.

What is desired is said by `desired.py`. Actual is what the endpoint serves: its configuration is the stack's, and the
stack's release is known. Nothing here depends on an event, so it may be asked at
any moment, any number of times; where it is asked again before the world has changed, it says the same.

A quarantined version is deployed again only after a person edited the approved package later than the quarantine.
`LastModifiedTime` moves with every edit, not only with an approval; but `UpdateModelPackage` *is* the power to approve,
which only approvers have, so any later edit that leaves the package Approved is theirs, and counts. One edit frees a
version once: if it fails again, its quarantine is the later one again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from release.desired import awaited, desired_package, expired, pin_in_the_way
from release.world import STACK_UNBORN, Package, Stack, Unreadable, World
from shared.ledger import Lease
from shared.record import NO_RELEASE, Release, parse_record
from shared.verification import ASKED, FAILED, PASSED

CONTROLLER = "release-controller/"
# A Lambda function lives 15 minutes at most; after that, and a minute for clocks that differ, its owner is surely dead.
WORKING_SECONDS = 16 * 60
# SageMaker lets a deployment take 8 hours; other deployers stay away as long, and one more.
RELEASING_SECONDS = 9 * 3600
# A verification takes a minute; one that was asked for so long ago is lost.
VERIFYING_SECONDS = 10 * 60


@dataclass(frozen=True)
class Nothing:
    """All is as it should be."""

    reason: str


@dataclass(frozen=True)
class Wait:
    """Something is under way; whoever does it, or the next tick, comes back."""

    reason: str


@dataclass(frozen=True)
class Hold:
    """What is desired cannot be had without a person; what is live stays."""

    reason: str


@dataclass(frozen=True)
class Refuse:
    """This version may never be deployed as it is: quarantine it, and say why."""

    version: int
    reason: str


@dataclass(frozen=True)
class Deploy:
    """Release this version."""

    version: int
    release_id: str
    reason: str


@dataclass(frozen=True)
class Settle:
    """The release under way is live: give the lease back."""

    lease: Lease
    reason: str


@dataclass(frozen=True)
class Abandon:
    """A release was begun and never reached CloudFormation: put the old record back."""

    lease: Lease
    restore: Release
    reason: str


@dataclass(frozen=True)
class RollBack:
    """The release under way failed: quarantine it, and put the old record back.

    Attributes:
        restore: the record to write; None where that would be `none` over a live endpoint.
    """

    lease: Lease
    restore: Release | None
    reason: str


@dataclass(frozen=True)
class Redeploy:
    """SageMaker rolled the endpoint back and CloudFormation did not notice: make the stack follow the record."""

    release: Release
    reason: str

    @property
    def release_id(self) -> str:
        return self.release.release_id


@dataclass(frozen=True)
class Verify:
    """What is live was not verified yet, and the next stage waits for it: ask for it."""

    release_id: str
    reason: str


Step = Nothing | Wait | Hold | Refuse | Deploy | Settle | Abandon | RollBack | Redeploy | Verify


def decide(world: World, now: datetime) -> Step:
    """Return the one step to take now."""
    lease = world.lease
    if lease is not None and not lease.owner.startswith(CONTROLLER):
        if now.timestamp() < lease.expires_at:
            return Wait(f"{lease.owner} holds the lease for {lease.purpose}")
        lease = None
    if lease is not None and lease.purpose != "release" and now.timestamp() < lease.expires_at:
        return Wait(f"another invocation is at work on {lease.release_id}")
    if world.stack is not None and world.stack.busy:
        return Wait(f"the stack is {world.stack.status}")
    if world.endpoint is not None and world.endpoint.busy:
        return Wait(f"the endpoint is {world.endpoint.status}")
    if lease is not None:
        return _finish(world, lease, now)
    return _begin(world, now)


def _finish(world: World, lease: Lease, now: datetime) -> Step:
    """Bring to an end what an earlier invocation began; stack and endpoint are at rest."""
    stack = world.stack
    if stack is None or stack.updated_at == lease.stack_updated_at:
        if now.timestamp() < lease.acquired_at + WORKING_SECONDS:
            return Wait(f"CloudFormation is about to release {lease.release_id}")
        restore = _restorable(world, lease)
        return Abandon(lease, restore or world.record, f"{lease.release_id} never reached CloudFormation")
    if _somebody_elses(world, stack, lease):
        restore = _restorable(world, lease)
        return Abandon(lease, restore or world.record, f"somebody else deployed before {lease.release_id} was")
    moved = world.endpoint is not None and world.endpoint.config != lease.endpoint_config
    if stack.ready and moved and world.serves == lease.release_id:
        return Settle(lease, f"{lease.release_id} is live")
    return RollBack(lease, _restorable(world, lease), _why_failed(world, stack, lease))


def _somebody_elses(world: World, stack: Stack, lease: Lease) -> bool:
    """Say whether the stack moved for another reason than this release, which then is not to blame.

    The record is written before the change set is made, so without it there was none; and a release of ours ends on its
    own release id, or in a rollback.
    """
    never_recorded = lease.purpose == "prepare" and world.record.release_id != lease.release_id
    completed_elsewhere = stack.status == "UPDATE_COMPLETE" and stack.release_id != lease.release_id
    return never_recorded or completed_elsewhere


def _restorable(world: World, lease: Lease) -> Release | None:
    """Return the record to put back, or None: `none` over a live endpoint would delete it at the next deployment."""
    previous = parse_record(lease.previous)
    endpoint_lives = world.endpoint is not None and world.endpoint.status != "Failed"
    return None if previous == NO_RELEASE and endpoint_lives else previous


def _why_failed(world: World, stack: Stack, lease: Lease) -> str:
    endpoint = "missing" if world.endpoint is None else f"{world.endpoint.status} on {world.endpoint.config}"
    ended = f"the release of {lease.release_id} ended with the stack in {stack.status} and the endpoint {endpoint}"
    return f"{world.alarm}, and {ended}" if world.alarm else ended


def _begin(world: World, now: datetime) -> Step:
    """Compare desired with actual; nothing is under way."""
    policy = world.policy
    if isinstance(policy, Unreadable):
        return Hold(policy.reason)
    if policy.pin and expired(policy.pin, now):
        return Hold(
            f"the pin of version {policy.pin.version} ({policy.pin.reason}) expired on {policy.pin.until}; "
            "renew it or take it out: until then nothing moves"
        )
    package = desired_package(world)
    if package is None:
        return _stay(world)
    if package.status in {"Pending", "InProgress"}:
        return Wait(f"version {package.version} is approved and still {package.status}")
    if package.status != "Completed":
        return Refuse(package.version, f"its package is {package.status}")
    wanted = package.release_id
    if not wanted:
        return Refuse(package.version, "it carries no registration record, so it did not come from the pipeline")
    if world.serves == wanted == world.record.release_id:
        return _watch(world, package, now)
    if policy.description_required and not package.description.strip():
        return Refuse(package.version, "it was approved without a description, which this stage asks for")
    blocked = _blocked(world)
    if blocked:
        return Hold(blocked)
    if world.adrift and world.stack is not None and world.stack.release_id == wanted:
        # CloudFormation would see nothing to change: the stack has to go back before it can come here again.
        return _follow(world)
    return Deploy(package.version, wanted, f"{world.record.release_id} → {wanted}")


def _watch(world: World, package: Package, now: datetime) -> Step:
    """What is desired is live: have it verified for the next stage, and say what a newer version waits for."""
    live, known = f"{package.release_id} is live", world.verification
    if not isinstance(world.policy, Unreadable) and world.policy.verify and (known is None or known.outcome != PASSED):
        lost = known and known.outcome == ASKED and (now - known.at).total_seconds() >= VERIFYING_SECONDS
        # An edit after the failure is a person's, as it is after a quarantine: they want to see it tried again.
        again = known and known.outcome == FAILED and package.modified_at > known.at
        if known is None or lost or again:
            return Verify(package.release_id, f"{live} and is to be verified")
        if known.outcome == ASKED:
            return Wait(f"{live} and is being verified")
        return Nothing(f"{live} and goes no further, because {known.reason}")
    waiting = awaited(world, above=package.version)
    return Wait(f"{live}; {waiting}") if waiting else Nothing(live)


def _stay(world: World) -> Step:
    """Nothing is desired: what is live stays, and its stack says so."""
    if world.adrift and not _blocked(world):
        return _follow(world)
    pin = world.policy.pin if not isinstance(world.policy, Unreadable) else None
    if pin:
        pinned = pin_in_the_way(world, pin)
        return Wait(pinned.reason) if pinned.passes else Hold(pinned.reason)
    waiting = awaited(world)
    if world.record == NO_RELEASE and world.endpoint is None:
        return Wait(waiting) if waiting else Nothing("nothing is approved, nothing is live")
    live = world.serves or world.record.release_id
    if waiting:
        return Hold(f"no approved version may be served and {live} stays; {waiting}")
    return Hold(f"no approved version is left and {live} stays; approve a version, or retire the endpoint")


def _follow(world: World) -> Step:
    """Bring the stack back to the record, which names what the endpoint was rolled back to."""
    record, stack, endpoint = world.record, world.stack, world.endpoint
    assert stack is not None and endpoint is not None, "only what is there can be adrift"
    if record.version is None or record.release_id == stack.release_id or record.version in world.quarantine:
        return Hold(
            f"the endpoint is on {endpoint.config}, which its stack did not give it; "
            f"update it to {stack.endpoint_config}, or approve another version"
        )
    return Redeploy(record, f"the endpoint went back to {record.release_id}, and its stack follows")


def _blocked(world: World) -> str:
    """Say why CloudFormation can make nothing else live and what to do, or ""."""
    stack, endpoint = world.stack, world.endpoint
    if stack is None or stack.status == STACK_UNBORN:
        return "a version is approved and there is no serving stack yet; deploy it"
    if not stack.ready:
        return f"the serving stack is {stack.status} and takes no update; repair it in CloudFormation"
    if endpoint is None:
        deleted = "the endpoint was deleted outside of its stack; retire it and deploy again"
        return deleted if stack.endpoint_config else ""
    if not stack.endpoint_config:
        return "an endpoint of this name exists outside of the serving stack; delete it"
    if endpoint.status != "InService":
        return f"the endpoint is {endpoint.status} and takes no update; retire it and deploy again"
    return ""
