"""What to archive, delete and collect. Pure: the same inventory always gives the same actions, most urgent first.

Whatever may still be needed to serve, to roll back or to be judged is kept: when in doubt, it stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from archive.environment import Rules

ARCHIVED = "Archived"
"""The `Stage` in a package's `ModelLifeCycle` that says: exported, and of no more use."""


@dataclass(frozen=True)
class Package:
    """A model package version.

    Attributes:
        approval: `Approved`, `Rejected` or `PendingManualApproval`.
        modified_at: its last edit: for what is archived, when that was.
        stage: of its life cycle, or "".
        pinned: a person wants it kept.
    """

    version: int
    arn: str
    approval: str
    created_at: datetime
    modified_at: datetime
    stage: str = ""
    pinned: bool = False


@dataclass(frozen=True)
class Retained:
    """A model or endpoint configuration that may have been left behind by a release.

    Attributes:
        models: the models a configuration names; empty for a model.
    """

    name: str
    created_at: datetime
    models: tuple[str, ...] = ()


@dataclass(frozen=True)
class Inventory:
    """One model's things.

    Attributes:
        releasing: a lease is held, or the endpoint or stack is not at rest: nothing is touched.
        live: versions that any stage's release record names.
        quarantined: versions under review.
        packages: those old enough to matter.
        approved: all approved versions.
        in_use: configurations that an endpoint is on or going to, or that the stack means.
        live_config: this stage's endpoint's configuration, "" where there is no endpoint.
        configs: of this model in this stage.
        models: of this model in this stage.
        referenced: models that any configuration names, whosever it is.
    """

    releasing: bool = False
    live: frozenset[int] = frozenset()
    quarantined: frozenset[int] = frozenset()
    packages: tuple[Package, ...] = ()
    approved: frozenset[int] = frozenset()
    in_use: frozenset[str] = frozenset()
    live_config: str = ""
    configs: tuple[Retained, ...] = ()
    models: tuple[Retained, ...] = ()
    referenced: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Archive:
    """Export a package, then say in the registry that it is archived."""

    package: Package
    reason: str


@dataclass(frozen=True)
class Delete:
    """Delete a package that was archived long ago; its export stays."""

    package: Package
    reason: str


@dataclass(frozen=True)
class DeleteConfig:
    """Delete an endpoint configuration that a release left behind."""

    name: str
    reason: str


@dataclass(frozen=True)
class DeleteModel:
    """Delete a SageMaker model that no configuration names."""

    name: str
    reason: str


Action = Archive | Delete | DeleteConfig | DeleteModel


def decide(inventory: Inventory, rules: Rules, now: datetime) -> tuple[Action, ...]:
    """Return what to do now. What depends on it, such as a configuration's model, is done the next time."""
    if inventory.releasing:
        return ()
    return (*_packages(inventory, rules, now), *_configs(inventory, rules, now), *_models(inventory, rules, now))


def kept_versions(inventory: Inventory) -> frozenset[int]:
    """Return the versions never to be touched: live, what a rollback goes back to, desired, and under review."""
    targets = {max((v for v in inventory.approved if v < live), default=live) for live in inventory.live}
    desired = {max(inventory.approved)} if inventory.approved else set()
    return inventory.live | inventory.quarantined | targets | desired


def _packages(inventory: Inventory, rules: Rules, now: datetime) -> Iterator[Action]:
    kept = kept_versions(inventory)
    for package in sorted(inventory.packages, key=lambda package: package.version):
        if package.version in kept or package.pinned:
            continue
        if package.stage == ARCHIVED:
            if rules.delete_days is not None and _older(package.modified_at, rules.delete_days, now):
                yield Delete(package, f"it was archived {rules.delete_days} days ago")
        elif package.approval == "Rejected" and _older(package.modified_at, rules.rejected_days, now):
            yield Archive(package, f"it was rejected {rules.rejected_days} days ago")
        elif _superseded(inventory, package) and _older(package.created_at, rules.superseded_days, now):
            yield Archive(package, f"it is older than what is live, and than {rules.superseded_days} days")


def _superseded(inventory: Inventory, package: Package) -> bool:
    """Of all the stages that serve the model, the one that is furthest behind counts."""
    return bool(inventory.live) and package.version < min(inventory.live)


def _older(moment: datetime, days: int, now: datetime) -> bool:
    return now - moment >= timedelta(days=days)


def _configs(inventory: Inventory, rules: Rules, now: datetime) -> Iterator[Action]:
    live = next((config for config in inventory.configs if config.name == inventory.live_config), None)
    if inventory.live_config and live is None:
        return  # the endpoint is on something of somebody else's: what it would go back to cannot be told
    before = [c for c in inventory.configs if live is not None and c.created_at < live.created_at]
    target = max(before, key=lambda config: config.created_at, default=None)
    for config in inventory.configs:
        old = _older(config.created_at, rules.retained_days, now)
        if old and config.name not in inventory.in_use and config != target:
            yield DeleteConfig(config.name, "no endpoint is on it, and none would go back to it")


def _models(inventory: Inventory, rules: Rules, now: datetime) -> Iterator[Action]:
    for model in inventory.models:
        if model.name not in inventory.referenced and _older(model.created_at, rules.retained_days, now):
            yield DeleteModel(model.name, "no endpoint configuration names it")
