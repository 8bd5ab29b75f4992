"""What a person rejected, what failed and what nobody registered never goes live, whoever deploys meanwhile."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from release.decide import PREPARE_SECONDS, CorrectRecord, Deploy, decide
from release.verified_copy import Registration
from shared.release_policy import Pin, StagePolicy
from shared.release_record import NO_RELEASE, ReleaseRecord, parse_release_record
from shared.steps import Hold, Nothing
from tests.unit.handlers.simulated_aws import Cloud, Version, invoke, invoke_with, kill, released, without_copying
from tests.unit.handlers.test_release_decide import LIVE_1, NOW, endpoint, package, release, stack
from tests.unit.handlers.test_release_simulation import play, with_first_release

TICK = timedelta(minutes=15)


@pytest.fixture(autouse=True)
def no_copying() -> Iterator[None]:
    with without_copying():
        yield


def tick(cloud: Cloud) -> None:
    """Let a tick pass, on every second of which a delivery deploys before it if it gets the lease."""
    cloud.now += TICK
    if cloud.now.minute // 15 % 2:
        play(cloud, ("cdk deploy", 0))
    invoke(cloud)


def last_step(cloud: Cloud) -> tuple[str, str]:
    row = cloud.rows[max(key for key in cloud.rows if key.startswith("decision#"))]
    return row["step"]["S"], row["reason"]["S"]


@pytest.mark.parametrize("call", range(1, 56))
def test_a_rejection_after_a_crash_at_any_call_wins_over_waiting_deliveries(call: int) -> None:
    cloud = with_first_release()
    play(cloud, ("approve", 1))
    invoke_with(cloud, call, kill)
    cloud.now += timedelta(minutes=2)
    play(cloud, ("reject", 1))
    for _ in range(6):
        tick(cloud)
        assert cloud.stack.pending is None or cloud.stack.pending.version == 1 or cloud.cancelled
        cloud.finish("success")
        assert cloud.serves == 1
    invoke(cloud)
    assert parse_release_record(cloud.record).version == 1
    assert not {"lease", "unfinished"} & set(cloud.rows)


@pytest.mark.parametrize("call", range(1, 56))
def test_a_failed_canary_after_a_crash_at_any_call_is_deployed_once_and_told_once(call: int) -> None:
    cloud = with_first_release()
    play(cloud, ("approve", 1))
    invoke_with(cloud, call, kill)
    failures = 0
    for _ in range(8):
        tick(cloud)
        failures += cloud.stack.pending == released(2)
        cloud.finish("stack rolls back" if cloud.stack.pending == released(2) else "success")
    invoke(cloud)
    assert failures == 1
    assert cloud.serves == 1
    assert "quarantine#000002" in cloud.rows
    assert len([alert for alert in cloud.alerts if "rolled back" in alert]) == 1


def test_an_invocation_that_died_after_the_execution_is_followed_by_an_adoption() -> None:
    cloud = with_first_release()
    play(cloud, ("approve", 1))
    rehearsal = with_first_release()
    play(rehearsal, ("approve", 1))
    begin = rehearsal.calls
    invoke(rehearsal)
    execution = rehearsal.called.index("execute_change_set", begin) - begin + 1
    invoke_with(cloud, execution + 1, kill)
    assert cloud.stack.pending == released(2)
    assert cloud.rows["lease"]["purpose"]["S"] == "prepare"
    tick(cloud)
    assert last_step(cloud)[0] == "Adopt"
    assert cloud.rows["lease"]["purpose"]["S"] == "release"
    cloud.finish("success")
    cloud.now += timedelta(minutes=1)
    invoke(cloud)
    assert (last_step(cloud)[0], cloud.serves, "lease" in cloud.rows) == ("Nothing", 2, False)


def test_the_prepare_lease_ends_before_the_next_tick() -> None:
    assert timedelta(seconds=PREPARE_SECONDS) < TICK


@pytest.mark.parametrize("outcome", ["success", "stack rolls back"])
def test_what_to_restore_survives_the_lease(outcome: str) -> None:
    cloud = with_first_release()
    play(cloud, ("approve", 1))
    invoke(cloud)
    del cloud.rows["lease"]
    cloud.now += TICK
    cloud.finish(outcome)
    invoke(cloud)
    assert cloud.serves == (2 if outcome == "success" else 1)
    assert parse_release_record(cloud.record).version == cloud.serves
    assert "unfinished" not in cloud.rows


ALTERED = [
    replace(released(1), image="999999999999.dkr.ecr.eu-west-1.amazonaws.com/other@sha256:" + "b" * 64).format(),
    replace(released(1), image="registry/image:latest").format(),
    replace(released(1), image="registry/image@sha256:bad").format(),
    replace(released(1), package_arn=released(2).package_arn).format(),
    replace(released(1), artifact_sha256="c" * 64).format(),
    released(1).format() + "\n",
    released(2).format(),
    NO_RELEASE.format(),
    "none",
    "",
    "a|b|c|d|e",
]


@pytest.mark.parametrize("altered", ALTERED)
@pytest.mark.parametrize("deployed", [False, True])
def test_a_record_that_was_changed_by_hand_is_restored_and_told_once(altered: str, deployed: bool) -> None:
    cloud = with_first_release()
    cloud.packages[2] = Version("Rejected", cloud.now)
    cloud.record = altered
    same_release = altered.startswith("v1-")
    if deployed and same_release:
        cloud.begin(ReleaseRecord(*altered.split("|")))
        cloud.finish("success")
    for _ in range(4):
        invoke(cloud)
        cloud.now += TICK
        cloud.finish("success")
    assert cloud.record == cloud.stack.deployed.format() == released(1).format()
    assert len(cloud.alerts) == 1
    assert "the release record was changed" in cloud.alerts[0]
    assert last_step(cloud) == ("Nothing", "v1-00000001 is live")


@pytest.mark.parametrize("approval", ["Rejected", "PendingManualApproval"])
@pytest.mark.parametrize("first", [False, True])
def test_a_version_that_is_rejected_while_it_bakes_never_gets_all_traffic(approval: str, first: bool) -> None:
    cloud = Cloud() if first else with_first_release()
    play(cloud, ("approve", 1))
    invoke(cloud)
    assert cloud.stack.pending == released(2)
    cloud.packages[2] = Version(approval, cloud.now + timedelta(minutes=2))
    for _ in range(3):
        cloud.now += timedelta(minutes=3)
        invoke(cloud)
    cloud.finish("success")
    for _ in range(2):
        invoke(cloud)
        cloud.now += TICK
    assert cloud.serves == (None if first else 1)
    assert parse_release_record(cloud.record).version == cloud.serves
    (cancelled, rolled_back) = cloud.alerts[:2]
    assert f"version 2 is {approval}, and v2-00000002 is being released. Evergreen cancels" in cancelled
    assert f"v2-00000002 was rolled back, because version 2 is {approval}" in rolled_back
    play(cloud, ("release", 1))
    assert cloud.serves == 2


def pinned(version: int, *, expired: bool = False) -> StagePolicy:
    return StagePolicy(pin=Pin(version, NOW.date() + timedelta(days=-1 if expired else 1), "audit"))


LIVE_2 = replace(LIVE_1, packages=(package(2, "Rejected"), package(1)), stack=stack(2), endpoint=endpoint(2))
LIVE_2 = replace(LIVE_2, record=release(2))


@pytest.mark.parametrize("expired", [False, True])
@pytest.mark.parametrize("approval", ["Rejected", "PendingManualApproval"])
@pytest.mark.parametrize("pin", [1, 2, 3])
def test_a_rejection_outranks_a_pin(expired: bool, approval: str, pin: int) -> None:
    observed = replace(LIVE_2, packages=(package(2, approval), package(1)), policy=pinned(pin, expired=expired))
    step = decide(observed, NOW)
    assert isinstance(step, Deploy)
    assert step.version == 1


@pytest.mark.parametrize("pin", [1, 2])
def test_an_approved_live_version_stays_under_an_expired_pin(pin: int) -> None:
    observed = replace(LIVE_2, packages=(package(3), package(2), package(1)), policy=pinned(pin, expired=True))
    assert isinstance(decide(observed, NOW), Hold)


def test_a_rejected_pinned_version_goes_back_and_says_so() -> None:
    cloud = with_first_release()
    play(cloud, ("release", 1))
    cloud.policy = json.dumps({"pin": {"version": 2, "until": "2027-01-01", "reason": "audit"}})
    play(cloud, ("reject", 1))
    invoke(cloud)
    assert cloud.stack.pending == released(1)
    cloud.finish("success")
    invoke(cloud)
    assert cloud.serves == 1
    assert last_step(cloud)[0] == "Hold"
    assert "version 2 is pinned and not approved" in cloud.alerts[-1]


def test_the_record_of_a_failed_first_release_names_none_once_its_endpoint_is_gone() -> None:
    observed = replace(LIVE_1, packages=(package(1, "Rejected"),), stack=stack(None), endpoint=None)
    step = decide(observed, NOW)
    assert isinstance(step, CorrectRecord)
    assert step.release == NO_RELEASE


@pytest.mark.parametrize("digest", [None, "f" * 64])
def test_an_edit_of_the_live_versions_metadata_moves_nothing_and_is_told(digest: str | None) -> None:
    edited = replace(package(2), record_sha256=digest)
    step = decide(replace(LIVE_2, packages=(edited, package(1))), NOW)
    assert isinstance(step, Hold)
    assert "the metadata of version 2 name another registration record" in step.reason
    newer = decide(replace(LIVE_2, packages=(package(3), edited, package(1))), NOW)
    assert isinstance(newer, Deploy)


def test_the_live_version_may_fail_its_registration_later_and_stays() -> None:
    observed = replace(LIVE_2, packages=(replace(package(2), status="Failed"), package(1)))
    assert isinstance(decide(observed, NOW), Nothing)


def test_archiving_a_quarantined_version_frees_it_nowhere() -> None:
    cloud = with_first_release()
    play(cloud, ("approve", 1))
    invoke(cloud)
    cloud.finish("stack rolls back")
    invoke(cloud)
    assert "quarantine#000002" in cloud.rows
    cloud.now += TICK
    cloud.packages[2] = Version("Approved", cloud.now, "archive", life_cycle="Archived/Exported")
    for _ in range(3):
        tick(cloud)
        assert cloud.stack.pending in (None, released(1))
        cloud.finish("success")
    assert cloud.serves == 1


def test_a_training_that_somebody_without_a_name_asked_for_is_refused_under_four_eyes() -> None:
    asked = {"trigger": {"kind": "person", "evidence": "please"}, "author": "", "started_by": "arn:role/retrain"}
    assert Registration("s3://b/k", "", asked).unknown_requester
    assert not Registration("s3://b/k", "", asked | {"author": "ada@example.com"}).unknown_requester
    assert not Registration("s3://b/k", "", asked | {"trigger": {"kind": "drift"}}).unknown_requester
