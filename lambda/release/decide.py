"""The decision: what was observed of one model in one stage → one step. Pure, and total over every state.

Desired is the highest version that is Approved and not quarantined. Actual is what the endpoint serves: its
configuration is the stack's, and the stack's release is known. Nothing here depends on an event, so it may be asked at
any moment, any number of times; where it is asked again before the world has changed, it says the same.

A quarantined version is deployed again only after a person edited the approved package later than the quarantine.
`LastModifiedTime` moves with every edit, not only with an approval; but `UpdateModelPackage` *is* the power to approve,
which only approvers have, so any later edit that leaves the package Approved is theirs, and counts. One edit frees a
version once: if it fails again, its quarantine is the later one again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from release.world import Package, Stack, World
from shared.ledger import Lease
from shared.record import NO_RELEASE, Release, parse_record, release_id

CONTROLLER = "release-controller/"
# A Lambda function lives 15 minutes at most; after that, and a minute for clocks that differ, its owner is surely dead.
WORKING_SECONDS = 16 * 60
# SageMaker lets a deployment take 8 hours; other deployers stay away as long, and one more.
RELEASING_SECONDS = 9 * 3600


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
        redeploy: SageMaker rolled the endpoint back and CloudFormation did not notice: the stack must follow.
    """

    lease: Lease
    restore: Release | None
    redeploy: bool
    reason: str


Step = Nothing | Wait | Hold | Refuse | Deploy | Settle | Abandon | RollBack


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
    return _begin(world)


def desired_package(world: World) -> Package | None:
    """Return the highest version that is approved and not quarantined."""
    wanted = (package for package in world.packages if package.approval == "Approved" and not _barred(world, package))
    return max(wanted, key=lambda package: package.version, default=None)


def _barred(world: World, package: Package) -> bool:
    entry = world.quarantine.get(package.version)
    return entry is not None and package.modified_at <= entry.at


def _finish(world: World, lease: Lease, now: datetime) -> Step:
    """Bring to an end what an earlier invocation began; stack and endpoint are at rest."""
    stack = world.stack
    if stack is None or stack.updated_at == lease.stack_updated_at:
        if now.timestamp() < lease.acquired_at + WORKING_SECONDS:
            return Wait(f"CloudFormation is about to release {lease.release_id}")
        restore = _restorable(world, lease)
        return Abandon(lease, restore or world.record, f"{lease.release_id} never reached CloudFormation")
    moved = world.endpoint is not None and world.endpoint.config != lease.endpoint_config
    if stack.ready and moved and world.serves == lease.release_id:
        return Settle(lease, f"{lease.release_id} is live")
    restore = _restorable(world, lease)
    redeploy = restore is not None and _stack_is_ahead(world, stack, lease)
    return RollBack(lease, restore, redeploy, _why_failed(world, stack, lease))


def _restorable(world: World, lease: Lease) -> Release | None:
    """Return the record to put back, or None: `none` over a live endpoint would delete it at the next deployment."""
    previous = parse_record(lease.previous)
    endpoint_lives = world.endpoint is not None and world.endpoint.status != "Failed"
    return None if previous == NO_RELEASE and endpoint_lives else previous


def _stack_is_ahead(world: World, stack: Stack, lease: Lease) -> bool:
    return (
        stack.ready
        and stack.release_id == lease.release_id
        and lease.previous != NO_RELEASE.format()
        and world.endpoint is not None
        and world.endpoint.status == "InService"
        and world.endpoint.config != stack.endpoint_config
    )


def _why_failed(world: World, stack: Stack, lease: Lease) -> str:
    endpoint = "missing" if world.endpoint is None else f"{world.endpoint.status} on {world.endpoint.config}"
    return f"the release of {lease.release_id} ended with the stack in {stack.status} and the endpoint {endpoint}"


def _begin(world: World) -> Step:
    """Compare desired with actual; nothing is under way."""
    package = desired_package(world)
    if package is None:
        if world.record == NO_RELEASE and world.endpoint is None:
            return Nothing("nothing is approved, nothing is live")
        live = world.serves or world.record.release_id
        return Hold(f"no approved version is left and {live} stays; approve a version, or retire the endpoint")
    if package.status in {"Pending", "InProgress"}:
        return Wait(f"version {package.version} is approved and still {package.status}")
    if package.status != "Completed":
        return Refuse(package.version, f"its package is {package.status}")
    if package.record_sha256 is None:
        return Refuse(package.version, "it carries no registration record, so it did not come from the pipeline")
    wanted = release_id(package.version, package.record_sha256)
    if world.serves == wanted == world.record.release_id:
        return Nothing(f"{wanted} is live")
    blocked = _blocked(world, wanted)
    return Hold(blocked) if blocked else Deploy(package.version, wanted, f"{world.record.release_id} → {wanted}")


def _blocked(world: World, wanted: str) -> str:
    """Say why CloudFormation cannot make `wanted` live and what to do, or ""."""
    stack, endpoint = world.stack, world.endpoint
    if stack is None or stack.status == "REVIEW_IN_PROGRESS":
        return f"{wanted} is approved and there is no serving stack yet; deploy it"
    if not stack.ready:
        return f"the serving stack is {stack.status} and takes no update; repair it in CloudFormation"
    if endpoint is None:
        deleted = "the endpoint was deleted outside of its stack; retire it and deploy again"
        return deleted if stack.endpoint_config else ""
    if not stack.endpoint_config:
        return "an endpoint of this name exists outside of the serving stack; delete it"
    if endpoint.status != "InService":
        return f"the endpoint is {endpoint.status} and takes no update; retire it and deploy again"
    if stack.release_id == wanted and endpoint.config != stack.endpoint_config:
        return (
            f"the endpoint is on {endpoint.config}, which its stack did not give it; "
            f"update it to {stack.endpoint_config}, or approve another version"
        )
    return ""
