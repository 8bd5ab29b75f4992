"""The decision over every state of stack, endpoint, record, lease and registry."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import get_args

import botocore.session
import pytest

from release.decide import (
    PREPARE_SECONDS,
    RELEASE_SECONDS,
    Abandon,
    Adopt,
    Cancel,
    Complete,
    Deploy,
    Redeploy,
    RefuseVersion,
    ReleaseStep,
    RollBack,
    Verify,
    decide,
)
from release.observation import DescribedPackage, EndpointState, ReleaseObservation, StackState, UnreadablePolicy
from shared.ledger import Lease, Quarantine
from shared.release_policy import Pin, PreviousStage, StagePolicy, VerificationBounds
from shared.release_record import NO_RELEASE, ReleaseRecord
from shared.steps import Hold, Nothing, Wait

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
EARLIER = NOW - timedelta(hours=2)
SHA = {1: "1" * 64, 2: "2" * 64, 3: "3" * 64}


def release(version: int) -> ReleaseRecord:
    return ReleaseRecord(
        f"v{version}-{SHA[version][:8]}", "registry/image@sha256:0", f"arn:package/{version}", "a" * 64
    )


def package(version: int, approval: str = "Approved", *, modified_at: datetime = EARLIER) -> DescribedPackage:
    return DescribedPackage(
        version, f"arn:package/{version}", approval, "Completed", SHA[version], modified_at, "arn:approver"
    )


def stack(version: int | None, *, status: str = "UPDATE_COMPLETE", updated_at: str = "before") -> StackState:
    if version is None:
        return StackState(status, updated_at)
    return StackState(status, updated_at, f"v{version}-{SHA[version][:8]}", f"config-{version}", ("ReleaseParameter",))


def endpoint(version: int, status: str = "InService") -> EndpointState:
    return EndpointState(status, f"config-{version}")


def lease(
    version: int,
    *,
    previous: ReleaseRecord,
    purpose: str = "release",
    age: int = 60,
    owner: str = "release-controller/1",
) -> Lease:
    """Return a lease taken `age` seconds ago, when the endpoint was on the previous release's configuration."""
    began = int(NOW.timestamp()) - age
    lasts = RELEASE_SECONDS if purpose == "release" else PREPARE_SECONDS
    config = "" if previous == NO_RELEASE else f"config-{previous.version}"
    return Lease(owner, purpose, release(version).release_id, previous.format(), began, began + lasts, "before", config)


def quarantine(version: int, at: datetime = EARLIER) -> Quarantine:
    return Quarantine(version, "it failed", at, f"arn:package/{version}")


BEFORE = PreviousStage("staging", "staging-artifacts")
BOUNDS = VerificationBounds(latency_ms=500, error_percent=1, tolerance=0.001)
LIVE_1 = ReleaseObservation((package(1),), stack(1), endpoint(1), release(1))

_shapes = botocore.session.get_session()
STACK_STATUSES: list[str] = _shapes.get_service_model("cloudformation").shape_for("StackStatus").metadata["enum"]
ENDPOINT_STATUSES: list[str] = _shapes.get_service_model("sagemaker").shape_for("EndpointStatus").metadata["enum"]


def every_observation() -> list[ReleaseObservation]:
    """Return every stack and endpoint status of AWS, combined with records, leases and registries."""
    stacks = [None, *(stack(version, status=status) for status in STACK_STATUSES for version in (None, 1, 2))]
    endpoints = [None, endpoint(2), *(endpoint(1, status) for status in ENDPOINT_STATUSES)]
    records = [NO_RELEASE, release(1), release(2)]
    own = [
        lease(2, previous=release(1), purpose=purpose, age=age)
        for purpose, age in (("prepare", 60), ("prepare", 3600), ("release", 60), ("rollback", 60), ("rollback", 3600))
    ]
    own.append(lease(2, previous=NO_RELEASE))
    foreign = [lease(2, previous=release(1), owner="pipeline", purpose="deploy", age=age) for age in (60, 3600)]
    moved = [replace(held, stack_updated_at="long before") for held in own]
    both = (package(2), package(1))
    registries: list[tuple[tuple[DescribedPackage, ...], dict[int, Quarantine], StagePolicy | UnreadablePolicy]] = [
        ((), {}, StagePolicy()),
        (both, {}, StagePolicy()),
        ((package(2, "Rejected"), package(1)), {}, StagePolicy()),
        (both, {2: quarantine(2)}, StagePolicy()),
        ((package(2, modified_at=NOW), package(1, "Rejected")), {2: quarantine(2)}, StagePolicy()),
        ((package(2, "PendingManualApproval"), package(1, "Rejected")), {}, StagePolicy()),
        (both, {}, StagePolicy(verify=BOUNDS)),
        (both, {}, StagePolicy(verified_in=BEFORE)),
        (both, {}, StagePolicy(description_required=True)),
        (both, {}, StagePolicy(pin=Pin(1, NOW.date() + timedelta(days=1), "audit"))),
        (both, {}, StagePolicy(pin=Pin(1, NOW.date(), "audit"))),
        (both, {}, UnreadablePolicy("the release policy is not JSON", "correct it")),
    ]
    return [
        ReleaseObservation(packages, at_stack, at_endpoint, record, held, quarantined, policy, frozenset({1}))
        for at_stack, at_endpoint, record, held, (packages, quarantined, policy) in product(
            stacks, endpoints, records, [None, *own, *moved, *foreign], registries
        )
    ]


@pytest.fixture(scope="module")
def decisions() -> list[tuple[ReleaseObservation, ReleaseStep]]:
    return [(observation, decide(observation, NOW)) for observation in every_observation()]


def test_every_state_has_a_decision_of_every_kind(decisions: list[tuple[ReleaseObservation, ReleaseStep]]) -> None:
    assert {type(step) for _, step in decisions} == set(get_args(ReleaseStep))


def test_only_the_highest_approved_version_out_of_quarantine_is_deployed(
    decisions: list[tuple[ReleaseObservation, ReleaseStep]],
) -> None:
    for observation, step in decisions:
        if isinstance(step, Deploy):
            free = [
                p.version
                for p in observation.packages
                if p.approval == "Approved"
                and (p.version not in observation.quarantine or p.modified_at > observation.quarantine[p.version].at)
            ]
            policy = observation.policy
            assert isinstance(policy, StagePolicy), "a policy that cannot be read holds everything"
            if policy.verified_in:
                live = observation.serves == observation.record.release_id
                free = [v for v in free if v in observation.verified or (live and release(v) == observation.record)]
            if policy.pin:
                assert policy.pin.until > NOW.date()
                free = [v for v in free if v == policy.pin.version]
            assert step.version == max(free), observation
            assert not policy.description_required


def test_nothing_is_touched_while_stack_or_endpoint_is_busy(
    decisions: list[tuple[ReleaseObservation, ReleaseStep]],
) -> None:
    busy_stack = {s for s in STACK_STATUSES if s.endswith("_IN_PROGRESS")} - {"REVIEW_IN_PROGRESS"}
    busy_endpoint = {"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"}
    for observation, step in decisions:
        if (observation.stack and observation.stack.status in busy_stack) or (
            observation.endpoint and observation.endpoint.status in busy_endpoint
        ):
            # An adoption changes the lease alone, a cancellation ends the update.
            assert isinstance(step, Wait | Adopt | Cancel), observation


def test_nothing_is_touched_while_somebody_else_is_at_work(
    decisions: list[tuple[ReleaseObservation, ReleaseStep]],
) -> None:
    for observation, step in decisions:
        held = observation.lease
        if held and held.purpose != "release" and NOW.timestamp() < held.expires_at:
            assert isinstance(step, Wait), observation


def test_a_release_begins_only_where_cloudformation_can_take_it(
    decisions: list[tuple[ReleaseObservation, ReleaseStep]],
) -> None:
    takes_updates = {
        "CREATE_COMPLETE",
        "UPDATE_COMPLETE",
        "UPDATE_ROLLBACK_COMPLETE",
        "IMPORT_COMPLETE",
        "IMPORT_ROLLBACK_COMPLETE",
    }
    for observation, step in decisions:
        if isinstance(step, Deploy | Redeploy):
            assert observation.stack is not None
            assert observation.stack.status in takes_updates
            assert observation.endpoint is None or observation.endpoint.status == "InService"
        if isinstance(step, Deploy) and observation.stack and observation.stack.release_id == step.release_id:
            # CloudFormation would see nothing to change: only the record may be behind.
            assert observation.serves == step.release_id != observation.record.release_id


def test_none_is_never_recorded_over_a_live_endpoint(decisions: list[tuple[ReleaseObservation, ReleaseStep]]) -> None:
    for observation, step in decisions:
        if isinstance(step, Abandon | RollBack) and step.restore == NO_RELEASE and observation.record != NO_RELEASE:
            assert observation.endpoint is None or observation.endpoint.status == "Failed", observation


def test_success_is_the_configuration_being_the_stacks_and_a_new_one(
    decisions: list[tuple[ReleaseObservation, ReleaseStep]],
) -> None:
    for observation, step in decisions:
        if isinstance(step, Complete):
            assert observation.stack and observation.endpoint and observation.lease
            assert observation.endpoint.status == "InService"
            assert observation.endpoint.config == observation.stack.endpoint_config != observation.lease.endpoint_config
            assert observation.stack.release_id == observation.lease.release_id


def test_a_version_is_blamed_only_after_its_stack_moved(
    decisions: list[tuple[ReleaseObservation, ReleaseStep]],
) -> None:
    for observation, step in decisions:
        if isinstance(step, RollBack):
            assert observation.stack and observation.lease
            assert observation.stack.updated_at != observation.lease.stack_updated_at, observation


def test_rejecting_the_live_version_is_the_rollback() -> None:
    observation = ReleaseObservation((package(2, "Rejected"), package(1)), stack(2), endpoint(2), release(2))
    step = decide(observation, NOW)
    assert isinstance(step, Deploy)
    assert step.version == 1


def test_only_what_is_live_and_nothing_else_is_verified(
    decisions: list[tuple[ReleaseObservation, ReleaseStep]],
) -> None:
    for observation, step in decisions:
        if isinstance(step, Verify):
            assert step.release_id == observation.serves == observation.record.release_id, observation
            assert isinstance(observation.policy, StagePolicy)
            assert observation.policy.verify is not None


def test_the_last_approved_version_rejected_stays_live_and_a_person_is_told() -> None:
    assert isinstance(decide(replace(LIVE_1, packages=(package(1, "Rejected"),)), NOW), Hold)


def test_the_first_release_needs_a_stack_and_then_begins() -> None:
    new = ReleaseObservation((package(1),), None, None, NO_RELEASE)
    assert isinstance(decide(new, NOW), Hold)
    assert isinstance(decide(replace(new, stack=StackState("REVIEW_IN_PROGRESS")), NOW), Hold)
    assert isinstance(decide(replace(new, stack=stack(None, status="CREATE_COMPLETE")), NOW), Deploy)


def test_a_rolled_back_stack_quarantines_the_version_and_restores_the_record() -> None:
    held = replace(lease(2, previous=release(1)), stack_updated_at="long before")
    observation = ReleaseObservation(
        (package(2),), stack(1, status="UPDATE_ROLLBACK_COMPLETE"), endpoint(1), release(2), held
    )
    step = decide(observation, NOW)
    assert isinstance(step, RollBack)
    assert step.restore == release(1)


def test_an_endpoint_rolled_back_under_a_complete_stack_takes_the_stack_along() -> None:
    held = replace(lease(2, previous=release(1)), stack_updated_at="long before")
    observation = ReleaseObservation((package(2),), stack(2, status="UPDATE_COMPLETE"), endpoint(1), release(2), held)
    step = decide(observation, NOW)
    assert isinstance(step, RollBack)
    assert step.restore == release(1)
    back = replace(observation, record=step.restore, lease=None, quarantine={2: quarantine(2, NOW)})
    assert isinstance(decide(back, NOW), Redeploy)
    # Approved again meanwhile: CloudFormation sees a change only after the stack went back.
    assert isinstance(decide(replace(back, packages=(package(2, modified_at=NOW + timedelta(1)),)), NOW), Redeploy)


def test_a_release_that_succeeded_is_not_blamed_for_a_later_failed_deployment() -> None:
    held = replace(lease(2, previous=release(1)), stack_updated_at="long before")
    observation = ReleaseObservation(
        (package(2),), stack(2, status="UPDATE_ROLLBACK_COMPLETE"), endpoint(2), release(2), held
    )
    assert isinstance(decide(observation, NOW), Complete)


def test_outputs_of_a_rolled_back_stack_alone_are_no_success() -> None:
    # What a rollback makes of SSM values is not documented: outputs may name the new release on the old configuration.
    held = replace(lease(2, previous=release(1)), stack_updated_at="long before")
    confused = replace(stack(2, status="UPDATE_ROLLBACK_COMPLETE"), endpoint_config="config-1")
    assert isinstance(decide(ReleaseObservation((package(2),), confused, endpoint(1), release(2), held), NOW), RollBack)


def test_a_release_that_never_reached_cloudformation_is_undone_once_its_owner_is_dead() -> None:
    held = lease(2, previous=release(1), purpose="prepare")
    observation = ReleaseObservation((package(2),), stack(1), endpoint(1), release(2), held)
    assert isinstance(decide(observation, NOW), Wait)
    step = decide(observation, NOW + timedelta(seconds=PREPARE_SECONDS))
    assert isinstance(step, Abandon)
    assert step.restore == release(1)


def test_an_expired_lease_of_another_deployer_does_not_stop_releases() -> None:
    held = lease(2, previous=release(1), owner="pipeline", purpose="deploy", age=3600)
    assert isinstance(decide(ReleaseObservation((package(2),), stack(1), endpoint(1), release(1), held), NOW), Deploy)


@pytest.mark.parametrize(
    ("edited", "expected"), [(timedelta(seconds=-1), Nothing), (timedelta(), Nothing), (timedelta(seconds=1), Deploy)]
)
def test_only_an_approval_after_the_quarantine_frees_a_version(edited: timedelta, expected: type[ReleaseStep]) -> None:
    observation = replace(
        LIVE_1, packages=(package(2, modified_at=EARLIER + edited), package(1)), quarantine={2: quarantine(2)}
    )
    assert isinstance(decide(observation, NOW), expected)


def test_an_unusable_package_is_refused_with_its_reason() -> None:
    by_hand = decide(replace(LIVE_1, packages=(replace(package(2), record_sha256=None), package(1))), NOW)
    assert by_hand == RefuseVersion(2, "it carries no registration record, so it did not come from the pipeline")
    failed = decide(replace(LIVE_1, packages=(replace(package(2), status="Failed"), package(1))), NOW)
    assert failed == RefuseVersion(2, "its package is Failed")
    assert isinstance(decide(replace(LIVE_1, packages=(replace(package(2), status="InProgress"),)), NOW), Wait)


def test_an_endpoint_changed_by_hand_is_reported_not_fought_over() -> None:
    step = decide(replace(LIVE_1, endpoint=EndpointState("InService", "by-hand")), NOW)
    assert isinstance(step, Hold)
    assert "by-hand" in step.reason
