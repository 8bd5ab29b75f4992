"""The desired version of a stage: the highest version that may become live, or the pinned one. Pure.

A version may become live when it is approved, is not quarantined, was verified in the previous stage, and has the
second approval where the stage asks for one. The live version needs no new verification: a stricter policy is no reason
to move, a rejection is. A rejection of the live version also outranks a pin.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from release.observation import DescribedPackage, ReleaseObservation
from shared.release_policy import LIFE_CYCLE, Pin, StagePolicy
from shared.release_record import version_of
from shared.steps import Hold, Wait

APPROVED_FOR_PRODUCTION = "Production/Approved"
APPROVED = "Approved"


def desired_package(observation: ReleaseObservation) -> DescribedPackage | None:
    """Return the version to serve, or None.

    It is the pinned version where there is a pin. If the live version was rejected and the pinned one may not become
    live, it is the highest version below the live one.
    """
    ready = (package for package in _eligible(observation) if not missing_condition(observation, package))
    return max(ready, key=lambda package: package.version, default=None) or fallback_package(observation)


def fallback_package(observation: ReleaseObservation) -> DescribedPackage | None:
    """Return the version to go back to under a pin, because the live version was rejected; or None."""
    policy, live = observation.policy, version_of(observation.live_release)
    if not isinstance(policy, StagePolicy) or policy.pin is None or live is None or not is_live_rejected(observation):
        return None
    below = (
        package
        for package in observation.packages
        if package.version < live
        and package.approval == APPROVED
        and not is_quarantined(observation, package)
        and not package.archived
        and not missing_condition(observation, package)
    )
    return max(below, key=lambda package: package.version, default=None)


def is_live_rejected(observation: ReleaseObservation) -> bool:
    """Return whether the live version has lost its approval."""
    package = observation.package(version_of(observation.live_release))
    return package is not None and lost_approval(observation, package) != ""


def lost_approval(observation: ReleaseObservation, package: DescribedPackage) -> str:
    """Return how a version that is or becomes live lost its approval, in a clause; "" while it has it."""
    if package.approval != APPROVED:
        return f"version {package.version} is {package.approval}"
    policy = observation.policy
    second = isinstance(policy, StagePolicy) and policy.approval == LIFE_CYCLE
    if second and package.life_cycle != APPROVED_FOR_PRODUCTION:
        return f"version {package.version} is {package.life_cycle or 'without a stage'} in its life cycle"
    return ""


def missing_condition(observation: ReleaseObservation, package: DescribedPackage) -> str:
    """Return what an approved version still waits for, or ""."""
    policy = observation.policy
    if not isinstance(policy, StagePolicy):
        return "a release policy"
    if policy.approval == LIFE_CYCLE and package.life_cycle != APPROVED_FOR_PRODUCTION:
        return f"{APPROVED_FOR_PRODUCTION} in its life cycle, which is {package.life_cycle or 'not set'}"
    previous = policy.verified_in
    verified = package.version in observation.verified or _is_live(observation, package)
    if previous and package.record_sha256 and not verified:
        return f"its verification in {previous.stage}"
    return ""


def pending_version(observation: ReleaseObservation, *, above: int = 0) -> str:
    """Return what the highest eligible version above another one waits for, in a clause, or ""."""
    waiting = [
        package
        for package in _eligible(observation)
        if package.version > above and missing_condition(observation, package)
    ]
    newest = max(waiting, key=lambda package: package.version, default=None)
    return f"version {newest.version} waits for {missing_condition(observation, newest)}" if newest else ""


def is_quarantined(observation: ReleaseObservation, package: DescribedPackage) -> bool:
    """Return whether a version is quarantined and was not edited since."""
    entry = observation.quarantine.get(package.version)
    return entry is not None and entry.applies_to(package.modified_at)


def is_expired(pin: Pin, now: datetime) -> bool:
    """Return whether a pin no longer holds."""
    return now.astimezone(UTC).date() >= pin.until


def wait_for_pinned(observation: ReleaseObservation, pin: Pin) -> Wait | Hold:
    """Return the step for a pinned version that is not the desired one, with the reason."""
    name = f"version {pin.version} is pinned"
    package = observation.package(pin.version)
    if package is None or package.approval != APPROVED:
        if version_of(observation.live_release) == pin.version:
            return Hold(
                f"{name} and live, it is not approved any more, and no earlier version may replace it",
                "approve an earlier version, or retire the endpoint",
            )
        return Hold(f"{name} and not approved", "approve it, or remove the pin")
    if is_quarantined(observation, package):
        reason = observation.quarantine[pin.version].reason
        return Hold(f"{name} and quarantined, because {reason}", "approve it again, or remove the pin")
    return Wait(f"{name} and waits for {missing_condition(observation, package)}")


def _eligible(observation: ReleaseObservation) -> Iterator[DescribedPackage]:
    """Return the approved versions out of quarantine; only the pinned one where there is a pin.

    An archived version is none of them: to archive it is an edit, which would otherwise end its quarantine here.
    """
    pin = observation.policy.pin if isinstance(observation.policy, StagePolicy) else None
    for package in observation.packages:
        if pin and package.version != pin.version:
            continue
        if package.approval == APPROVED and not is_quarantined(observation, package) and not package.archived:
            yield package


def _is_live(observation: ReleaseObservation, package: DescribedPackage) -> bool:
    return package.version == version_of(observation.serves)
