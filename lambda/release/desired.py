"""What a stage should serve: the highest version that may, or the pinned one. Pure.

A version may become live when it is approved, is not quarantined, was verified in the stage before, and has the second
approval where the stage asks for one. What is live already keeps its place without a new verification: a policy that
became stricter is no reason to move, a rejection is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from release.world import Package, World
from shared.release_policy import LIFE_CYCLE, Pin, Policy

APPROVED_FOR_PRODUCTION = "Production/Approved"


@dataclass(frozen=True)
class Pinned:
    """Why a pin cannot be followed.

    Attributes:
        passes: time or another stage will do; no person has to.
    """

    reason: str
    passes: bool = False


def desired_package(world: World) -> Package | None:
    """Return the version to serve, or None."""
    return max((p for p in _free(world) if not lacks(world, p)), key=lambda package: package.version, default=None)


def lacks(world: World, package: Package) -> str:
    """Say what an approved version still waits for, or ""."""
    policy = world.policy
    if not isinstance(policy, Policy):
        return "a release policy"
    if policy.approval == LIFE_CYCLE and package.life_cycle != APPROVED_FOR_PRODUCTION:
        return f"{APPROVED_FOR_PRODUCTION} in its life cycle, which says {package.life_cycle or 'nothing'}"
    before = policy.verified_in
    if before and package.record_sha256 and package.version not in world.verified and not _is_live(world, package):
        return f"its verification in {before.stage}"
    return ""


def awaited(world: World, *, above: int = 0) -> str:
    """Say what the highest free version above another waits for, or ""."""
    waiting = [package for package in _free(world) if package.version > above and lacks(world, package)]
    newest = max(waiting, key=lambda package: package.version, default=None)
    return f"version {newest.version} waits for {lacks(world, newest)}" if newest else ""


def is_barred(world: World, package: Package) -> bool:
    """Say whether a version is quarantined and was not edited since."""
    entry = world.quarantine.get(package.version)
    return entry is not None and entry.bars(package.modified_at)


def expired(pin: Pin, now: datetime) -> bool:
    """Say whether a pin holds no longer."""
    return now.astimezone(UTC).date() >= pin.until


def pin_in_the_way(world: World, pin: Pin) -> Pinned:
    """Say why the pinned version is not the desired one, given that it is not."""
    name = f"version {pin.version} is pinned"
    package = next((p for p in world.packages if p.version == pin.version and p.approval == "Approved"), None)
    if package is None:
        return Pinned(f"{name} and not approved; approve it, or take the pin out")
    if is_barred(world, package):
        reason = world.quarantine[pin.version].reason
        return Pinned(f"{name} and quarantined, because {reason}; approve it again, or take the pin out")
    return Pinned(f"{name} and waits for {lacks(world, package)}", passes=True)


def _free(world: World) -> Iterator[Package]:
    """The approved versions that nothing bars, only the pinned one where there is a pin."""
    pin = world.policy.pin if isinstance(world.policy, Policy) else None
    for package in world.packages:
        if pin and package.version != pin.version:
            continue
        if package.approval == "Approved" and not is_barred(world, package):
            yield package


def _is_live(world: World, package: Package) -> bool:
    return package.release_id == world.record.release_id == world.serves
