"""The archive decision: actions, and what no action may touch."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from archive.decide import ArchivePackage, DeleteConfig, DeleteModel, decide
from archive.inventory import ARCHIVED, ArchiveCandidate, Inventory, RetainedResource
from archive.rules import ArchiveRules

NOW = datetime(2026, 11, 22, tzinfo=UTC)
RULES = ArchiveRules()


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def package(version: int, approval: str = "Approved", *, days: float = 999, stage: str = "") -> ArchiveCandidate:
    return ArchiveCandidate(version, f"arn:{version}", approval, ago(days), ago(days), stage)


def retained(name: str, days: float, *models: str) -> RetainedResource:
    return RetainedResource(name, ago(days), models)


packages = st.lists(
    st.builds(
        ArchiveCandidate,
        version=st.integers(1, 8),
        arn=st.just("arn"),
        approval=st.sampled_from(["Approved", "Rejected", "PendingManualApproval"]),
        created_at=st.integers(0, 900).map(ago),
        modified_at=st.integers(0, 900).map(ago),
        stage=st.sampled_from(["", ARCHIVED, "Production"]),
        pinned=st.booleans(),
    ),
    unique_by=lambda one: one.version,
)
configs = st.lists(
    st.builds(retained, st.sampled_from("abcdef"), st.integers(0, 30), st.sampled_from("mno")),
    unique_by=lambda one: one.name,
)


@given(
    packages,
    configs,
    st.frozensets(st.integers(1, 8), max_size=2),
    st.frozensets(st.integers(1, 8), max_size=2),
    st.sampled_from("abcdef"),
    st.frozensets(st.sampled_from("abcdef")),
    st.booleans(),
)
def test_what_may_still_be_needed_is_never_touched(
    found: list[ArchiveCandidate],
    made: list[RetainedResource],
    live: frozenset[int],
    quarantined: frozenset[int],
    on: str,
    in_use: frozenset[str],
    releasing: bool,
) -> None:
    approved = frozenset(one.version for one in found if one.approval == "Approved")
    models = tuple(retained(name, 20) for name in "mno")
    referenced = frozenset(name for config in made for name in config.models)
    inventory = Inventory(
        releasing, live, quarantined, tuple(found), approved, in_use | {on}, on, tuple(made), models, referenced
    )
    actions = decide(inventory, RULES, NOW)
    assert not (releasing and actions)
    by_version = {one.version: one for one in found}
    for action in actions:
        match action:
            case ArchivePackage(one, _):
                assert one.stage != ARCHIVED
                assert one.version not in live | quarantined
                assert not by_version[one.version].pinned
                below = [version for version in approved if live and version < max(live)]
                assert one.version != max(below, default=None), "the rollback target"
                assert one.version != max(approved, default=None), "what is desired"
                assert one.approval == "Rejected" or one.version < min(live)
            case DeleteConfig(name, _):
                assert name != on and name not in in_use
                at = {config.name: config.created_at for config in made}
                before = [created for created in at.values() if created < at[on]]
                assert not before or at[name] != max(before) or sum(c == max(before) for c in before) > 1
            case DeleteModel(name, _):
                assert name not in referenced


def test_rejected_and_superseded_versions_are_archived_when_they_are_old_enough() -> None:
    found = (package(1), package(2), package(3), package(4, "Rejected"), package(5), package(6, "Rejected", days=29))
    inventory = Inventory(live=frozenset({5}), packages=found, approved=frozenset({1, 2, 3, 5}))
    actions = decide(inventory, ArchiveRules(), NOW)
    assert [action.package.version for action in actions if isinstance(action, ArchivePackage)] == [1, 2, 4]


def test_a_quarantined_version_is_no_rollback_target() -> None:
    found = tuple(package(version) for version in range(1, 7))
    inventory = Inventory(
        live=frozenset({6}), packages=found, approved=frozenset(range(1, 7)), quarantined=frozenset({5})
    )
    actions = decide(inventory, ArchiveRules(), NOW)
    assert [action.package.version for action in actions if isinstance(action, ArchivePackage)] == [1, 2, 3]


def test_the_rollback_target_of_a_second_approval_is_kept() -> None:
    found = tuple(package(version) for version in range(1, 7))
    inventory = Inventory(
        live=frozenset({6}), packages=found, approved=frozenset(range(1, 7)), promoted=frozenset({3, 6})
    )
    actions = decide(inventory, ArchiveRules(), NOW)
    assert [action.package.version for action in actions if isinstance(action, ArchivePackage)] == [1, 2, 4]


def test_the_configurations_before_the_rollback_target_are_collected_and_then_their_models() -> None:
    made = (retained("c1", 40, "m1"), retained("c2", 30, "m2"), retained("c3", 20, "m3"), retained("c4", 1, "m4"))
    models = tuple(retained(f"m{n}", 40) for n in range(1, 5))
    inventory = Inventory(
        in_use=frozenset({"c3"}),
        live_config="c3",
        configs=made,
        models=models,
        referenced=frozenset({"m1", "m2", "m3", "m4"}),
    )
    assert [action for action in decide(inventory, RULES, NOW) if isinstance(action, DeleteConfig)] == [
        DeleteConfig("c1", "no endpoint is on it, and none would go back to it")
    ]
    later = replace(inventory, configs=made[1:], referenced=frozenset({"m2", "m3", "m4"}))
    assert decide(later, RULES, NOW) == (DeleteModel("m1", "no endpoint configuration names it"),)


def test_an_endpoint_on_somebody_elses_configuration_lets_nothing_be_collected() -> None:
    inventory = Inventory(live_config="by-hand", in_use=frozenset({"by-hand"}), configs=(retained("c1", 40, "m1"),))
    assert decide(inventory, RULES, NOW) == ()
