"""Histories of one stage: people, pipelines, crashes, duplicated and lost events, rollbacks.

The real controller runs on a simulated AWS. At every call an invocation may be killed, or another one may run from
beginning to end. After each history the faults stop, and the stage must end on the approved version.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.release_record import parse_release_record
from tests.unit.handlers.simulated_aws import (
    CREATORS,
    VERSIONS,
    Cloud,
    Version,
    fail,
    intended,
    invoke,
    invoke_with,
    kill,
    needs_a_person,
    released,
    without_copying,
)


def play(cloud: Cloud, action: tuple[str, int]) -> None:
    kind, n = action
    cloud.now += timedelta(seconds=1)
    version = VERSIONS[n % len(VERSIONS)]
    match kind:
        case "approve":
            cloud.packages[version] = Version("Approved", cloud.now)
        case "reject":
            cloud.packages[version] = Version("Rejected", cloud.now)
        case "cdk deploy" if cloud.stack.pending is None and cloud.take_lease():
            # A template change, so there is always something to do.
            record = parse_release_record(cloud.record)
            if record.version not in (None, cloud.serves):
                cloud.expect_allowed(record)
            cloud.begin(record)
        case "success" | "stack rolls back" | "endpoint rolls back":
            cloud.finish(kind)
        case "time":
            cloud.now += timedelta(minutes=n)
        case "invoke":
            invoke(cloud)
        case "release":
            cloud.packages[version] = Version("Approved", cloud.now)
            invoke(cloud)
            cloud.finish("success")
            invoke(cloud)
        case "invoke twice at once":
            invoke_with(cloud, n, lambda: invoke(cloud))
        case "invoke and kill":
            invoke_with(cloud, n, kill)
        case "invoke and fail":
            invoke_with(cloud, n, fail)
        case "invoke and deploy":
            invoke_with(cloud, n, lambda: play(cloud, ("cdk deploy", 0)))
        case "invoke and release":
            invoke_with(cloud, n, lambda: play(cloud, ("release", n)))


ACTIONS = st.one_of(
    st.tuples(
        st.sampled_from(["approve", "reject", "cdk deploy", "invoke", "success", "stack rolls back"]), st.integers(0, 2)
    ),
    st.tuples(st.just("endpoint rolls back"), st.just(0)),
    st.tuples(st.just("time"), st.integers(1, 40)),
    st.tuples(
        st.sampled_from([f"invoke and {fault}" for fault in ("kill", "fail", "deploy", "release")]), st.integers(1, 55)
    ),
    st.tuples(st.just("invoke twice at once"), st.integers(1, 55)),
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ACTIONS, min_size=5, max_size=40))
def test_every_history_ends_on_what_was_approved(history: list[tuple[str, int]]) -> None:
    cloud = Cloud()
    with without_copying():
        for action in history:
            play(cloud, action)
            was_live = cloud.serves
        for _ in range(12):
            cloud.now += timedelta(minutes=20)
            cloud.finish("success")
            invoke(cloud)
        before = (cloud.record, cloud.stack.operations, len(cloud.rows))
        invoke(cloud)
    wanted = intended(cloud)
    assert wanted in (None, cloud.serves) or needs_a_person(cloud)
    assert cloud.serves is not None or was_live is None
    assert "lease" not in cloud.rows
    assert (cloud.record, cloud.stack.operations, len(cloud.rows)) == before, "it does not come to rest"
    quarantined = {int(key.removeprefix("quarantine#")) for key in cloud.rows if key.startswith("quarantine#")}
    assert quarantined <= cloud.blamable


def with_first_release() -> Cloud:
    cloud = Cloud()
    play(cloud, ("release", 0))
    assert cloud.serves == 1
    return cloud


@pytest.fixture
def no_copying() -> Iterator[None]:
    with without_copying():
        yield


@pytest.mark.parametrize("call", range(1, 56))
def test_a_release_that_fails_at_any_call_puts_the_old_record_back_at_once(no_copying: None, call: int) -> None:
    cloud = with_first_release()
    play(cloud, ("approve", 1))
    invoke_with(cloud, call, fail)
    begun = cloud.stack.pending == released(2)
    assert cloud.record == released(2 if begun else 1).format()
    assert ("lease" in cloud.rows) == begun


@pytest.mark.parametrize("call", range(1, 56))
def test_what_was_decided_before_another_release_passed_by_is_not_done(no_copying: None, call: int) -> None:
    cloud = with_first_release()
    play(cloud, ("approve", 1))
    invoke_with(cloud, call, lambda: play(cloud, ("release", 2)))
    # One of the two was deployed; where that was version 2, version 3 may already follow it.
    assert cloud.stack.operations == 2 or cloud.stack.pending == released(3)


@pytest.mark.parametrize("call", range(1, 56))
def test_a_rollback_is_notified_once_whoever_looks_meanwhile(no_copying: None, call: int) -> None:
    cloud = with_first_release()
    play(cloud, ("approve", 1))
    invoke(cloud)
    cloud.finish("stack rolls back")
    invoke_with(cloud, call, lambda: invoke(cloud))
    (alert,) = cloud.alerts
    assert "v2-00000002 was rolled back, because" in alert
    assert "Evergreen quarantined it; v1-00000001 stays live." in alert


@pytest.mark.parametrize("call", range(1, 56))
def test_a_refusal_is_notified_once_whoever_looks_meanwhile(no_copying: None, call: int) -> None:
    cloud = with_first_release()
    cloud.policy = json.dumps({"four_eyes": True})
    cloud.packages[2] = Version("Approved", cloud.now, CREATORS[2])
    invoke_with(cloud, call, lambda: invoke(cloud))
    (alert,) = cloud.alerts
    assert "version 2 was approved and is refused, because arn:aws:sts::1:assumed-role/approver/bob approved" in alert


def test_a_version_rejected_before_its_change_set_is_executed_is_not_deployed(no_copying: None) -> None:
    rehearsal = with_first_release()
    play(rehearsal, ("approve", 1))
    begin = rehearsal.calls
    invoke(rehearsal)
    execution = rehearsal.called.index("execute_change_set", begin) - begin + 1
    # The look right before the execution is the last one; a rejection after it is the next invocation's.
    for call in range(1, execution):
        cloud = with_first_release()
        play(cloud, ("approve", 1))
        invoke_with(cloud, call, partial(play, cloud, ("reject", 1)))
        assert cloud.stack.pending is None
        assert cloud.record == released(1).format()
        assert "lease" not in cloud.rows
