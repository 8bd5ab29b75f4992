"""Histories of two stages: production serves only what was verified in staging and approved by another person.

Events do not appear here. A lost event leaves out an invocation, a duplicated one repeats it and a reordered one moves
it, so histories of invocations in any order cover them all.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.handlers.simulated_aws import (
    CREATORS,
    VERSIONS,
    Cloud,
    Registry,
    Version,
    fail,
    intended,
    invoke,
    invoke_with,
    kill,
    needs_a_person,
    without_copying,
)

VERIFIES = json.dumps({"verify": {"latency_ms": 500, "error_percent": 1, "tolerance": 0.001}})
PRODUCTION = {
    "verified_in": {"stage": "staging", "bucket": "staging-artifacts"},
    "four_eyes": True,
    "description_required": True,
}
EDITORS = ("ada", "bob", "eve")

Action = tuple[str, int, int]


class Stages:
    """Staging, production, and their registry."""

    def __init__(self, **policy: object) -> None:
        self.registry = Registry()
        self.staging = Cloud(registry=self.registry, stage="staging", policy=VERIFIES)
        self.production = Cloud(registry=self.registry, stage="prod", policy=json.dumps({**PRODUCTION, **policy}))

    def edit(self, version: int, approval: str, by: str, description: str, life_cycle: str = "") -> None:
        self.registry.now += timedelta(seconds=1)
        if approval == "Approved" and (by == CREATORS[version] or not description):
            self.registry.objectionable.add(version)
        self.registry.packages[version] = Version(approval, self.registry.now, by, description, life_cycle)

    def play(self, action: Action) -> None:
        kind, n, m = action
        self.registry.now += timedelta(seconds=1)
        version, cloud = VERSIONS[n % 3], (self.staging, self.production)[m % 2]
        match kind:
            case "approve":
                self.edit(version, "Approved", EDITORS[m % 3], "good" if m < 6 else "", self._life_cycle(version))
            case "approve for production" if version in self.registry.packages:
                one = self.registry.packages[version]
                self.edit(version, one.approval, EDITORS[m % 3], one.description, "Production/Approved")
            case "reject":
                self.edit(version, "Rejected", EDITORS[m % 3], "", self._life_cycle(version))
            case "verify":
                self.staging.answer_verification(passes=m % 4 != 0)
            case "success" | "stack rolls back" | "endpoint rolls back":
                cloud.finish(kind)
            case "time":
                self.registry.now += timedelta(minutes=n)
            case "invoke":
                invoke(cloud)
            case "invoke twice at once":
                invoke_with(cloud, n, lambda: invoke(cloud))
            case "invoke and edit":
                invoke_with(cloud, n, partial(self._edit_in_between, cloud, n, m))
            case "invoke and kill":
                invoke_with(cloud, n, kill)
            case "invoke and fail":
                invoke_with(cloud, n, fail)

    def _edit_in_between(self, cloud: Cloud, n: int, m: int) -> None:
        """Edit a version during an invocation. After its last look the invocation cannot know of it."""
        if cloud.called[-1] != "execute_change_set":
            self.play(("reject" if n % 4 == 0 else "approve", n, m))

    def _life_cycle(self, version: int) -> str:
        return self.registry.packages[version].life_cycle if version in self.registry.packages else ""

    def settle(self, *, verified: bool = True) -> None:
        """Run without faults: deployments succeed, verifications are answered, ticks come."""
        for _ in range(14):
            self.registry.now += timedelta(minutes=20)
            for cloud in (self.staging, self.production):
                cloud.finish("success")
                invoke(cloud)
            self.staging.answer_verification(passes=verified)

    def approve(self, version: int, by: str = "eve", description: str = "good", life_cycle: str = "") -> None:
        self.edit(version, "Approved", by, description, life_cycle)

    def last_reason(self, cloud: Cloud) -> tuple[str, str]:
        row = cloud.rows[max(key for key in cloud.rows if key.startswith("decision#"))]
        return row["step"]["S"], row["reason"]["S"]


ACTIONS = st.one_of(
    st.tuples(st.sampled_from(["approve", "approve for production", "reject"]), st.integers(0, 2), st.integers(0, 8)),
    st.tuples(st.sampled_from(["invoke", "invoke", "success", "verify"]), st.integers(0, 2), st.integers(0, 7)),
    st.tuples(st.sampled_from(["stack rolls back", "endpoint rolls back"]), st.just(0), st.integers(0, 1)),
    st.tuples(st.just("time"), st.integers(1, 40), st.just(0)),
    st.tuples(
        st.sampled_from(["invoke and kill", "invoke and fail", "invoke twice at once"]),
        st.integers(1, 50),
        st.integers(0, 1),
    ),
    st.tuples(st.just("invoke and edit"), st.integers(1, 50), st.integers(0, 8)),
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(["registry", "life-cycle"]), st.lists(ACTIONS, min_size=5, max_size=50))
def test_production_ends_on_the_highest_version_that_may_be_live(approval: str, history: list[Action]) -> None:
    """`Cloud` checks at each execution of a change set that no other version is deployed."""
    stages = Stages(approval=approval)
    with without_copying():
        for action in history:
            stages.play(action)
        was_live = stages.production.serves
        stages.settle()
        at_rest = [(c.record, c.stack.operations, len(c.rows)) for c in (stages.staging, stages.production)]
        for cloud in (stages.staging, stages.production):
            invoke(cloud)
    for cloud, before in zip((stages.staging, stages.production), at_rest, strict=True):
        assert (cloud.record, cloud.stack.operations, len(cloud.rows)) == before, "it does not come to rest"
        assert "lease" not in cloud.rows
        quarantined = {int(key.removeprefix("quarantine#")) for key in cloud.rows if key.startswith("quarantine#")}
        assert quarantined <= cloud.blamable | stages.registry.objectionable
        wanted = intended(cloud)
        assert wanted in (None, cloud.serves) or needs_a_person(cloud)
    assert stages.production.serves is not None or was_live is None


@pytest.fixture
def stages() -> Stages:
    return Stages()


def test_what_fails_its_verification_never_reaches_production(stages: Stages) -> None:
    with without_copying():
        stages.approve(1)
        stages.settle()
        stages.approve(2)
        stages.settle(verified=False)
        assert (stages.staging.serves, stages.production.serves) == (2, 1)
        assert stages.last_reason(stages.staging)[1].endswith("is not released to the next stage, because measured")
        assert stages.last_reason(stages.production) == (
            "Wait",
            "v1-00000001 is live; version 2 waits for its verification in staging",
        )
        # A new approval asks for another verification.
        stages.approve(2, by="eve", description="again")
        stages.settle()
    assert stages.production.serves == 2


def test_of_two_approvals_at_the_same_moment_the_higher_version_wins(stages: Stages) -> None:
    with without_copying():
        stages.approve(2)
        stages.approve(3, by="bob")
        stages.settle()
    assert (stages.staging.serves, stages.production.serves) == (3, 3)
    assert stages.staging.stack.operations == stages.production.stack.operations == 1


def test_a_creator_cannot_approve_and_somebody_else_can(stages: Stages) -> None:
    with without_copying():
        stages.approve(1, by="ada")
        stages.settle()
        assert (stages.staging.serves, stages.production.serves) == (1, None)
        assert "approved a model of their own" in stages.production.rows["quarantine#000001"]["reason"]["S"]
        stages.approve(1, by="ada", description="really")
        stages.settle()
        assert stages.production.serves is None
        stages.approve(1, by="eve")
        stages.settle()
    assert stages.production.serves == 1
    assert stages.production.rows["approval#000001"]["approver"]["S"].endswith("/eve")


def test_a_creators_edit_after_anothers_approval_is_no_way_around(stages: Stages) -> None:
    with without_copying():
        stages.approve(1, by="eve")
        invoke(stages.production)
        stages.approve(1, by="ada")
        stages.settle()
    assert stages.production.serves is None


def test_an_approval_without_a_description_needs_one(stages: Stages) -> None:
    with without_copying():
        stages.approve(1, description="")
        stages.settle()
        assert stages.production.serves is None
        assert "without a description" in stages.production.rows["quarantine#000001"]["reason"]["S"]
        stages.approve(1, description="AUC is up")
        stages.settle()
    assert stages.production.serves == 1


def test_a_second_approval_is_given_and_taken_back_in_the_life_cycle() -> None:
    stages = Stages(approval="life-cycle")
    with without_copying():
        stages.approve(1)
        stages.settle()
        assert (stages.staging.serves, stages.production.serves) == (1, None)
        assert "waits for Production/Approved" in stages.last_reason(stages.production)[1]
        stages.approve(1, life_cycle="Production/Approved")
        stages.approve(2, life_cycle="Production/Approved")
        stages.settle()
        assert stages.production.serves == 2
        stages.approve(2, life_cycle="Production/Rejected")
        stages.settle()
    assert (stages.staging.serves, stages.production.serves) == (2, 1)


def pinned(version: int, until: str) -> dict[str, object]:
    return {"version": version, "until": until, "reason": "audit"}


def test_a_pin_overrides_what_is_approved_until_it_expires(stages: Stages) -> None:
    with without_copying():
        for version in (1, 2):
            stages.approve(version)
            stages.settle()
        assert stages.production.serves == 2
        stages.production.policy = json.dumps({**PRODUCTION, "pin": pinned(1, "2026-11-25")})
        stages.settle()
        assert stages.production.serves == 1
        stages.approve(3, by="bob")
        stages.settle()
        assert (stages.staging.serves, stages.production.serves) == (3, 1)
        stages.registry.now = replace_date(stages.registry.now, "2026-11-25")
        stages.settle()
        assert stages.production.serves == 1, "an expired pin is no wish for the newest"
        step, reason = stages.last_reason(stages.production)
        assert step == "Hold"
        assert reason.startswith("the pin of version 1 (audit) expired on 2026-11-25")
        stages.production.policy = json.dumps(PRODUCTION)
        stages.settle()
    assert stages.production.serves == 3


def test_a_rejected_version_is_never_served_not_even_pinned(stages: Stages) -> None:
    with without_copying():
        stages.approve(1)
        stages.settle()
        stages.edit(2, "Rejected", "eve", "")
        stages.production.policy = json.dumps({**PRODUCTION, "pin": pinned(2, "2027-01-01")})
        stages.settle()
    assert stages.production.serves == 1
    assert stages.last_reason(stages.production)[1].startswith("version 2 is pinned and not approved")


def test_a_stricter_policy_moves_nothing_that_is_live(stages: Stages) -> None:
    stages.production.policy = "{}"
    with without_copying():
        stages.approve(1)
        invoke(stages.production)
        stages.production.finish("success")
        invoke(stages.production)
        stages.production.policy = json.dumps(PRODUCTION)
        invoke(stages.production)
    assert stages.last_reason(stages.production) == ("Nothing", "v1-00000001 is live")


def test_a_policy_with_mistakes_holds_everything_and_names_them(stages: Stages) -> None:
    stages.production.policy = json.dumps({"four_eyes": "yes", "approvel": "registry"})
    with without_copying():
        stages.approve(1)
        stages.settle()
    assert stages.production.serves is None
    step, reason = stages.last_reason(stages.production)
    assert step == "Hold"
    assert "approvel is not known; four_eyes must be true or false" in reason


def test_a_verification_that_got_lost_is_asked_for_again(stages: Stages) -> None:
    with without_copying():
        stages.approve(1)
        invoke(stages.staging)
        stages.staging.finish("success")
        invoke(stages.staging)
        assert stages.staging.verifies
        stages.staging.verifies = ""
        invoke(stages.staging)
        assert not stages.staging.verifies, "it was asked a moment ago"
        stages.registry.now += timedelta(minutes=11)
        invoke(stages.staging)
    assert stages.staging.verifies


def replace_date(moment: datetime, day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=moment.tzinfo)
