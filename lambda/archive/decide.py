"""The archive decision: what to archive and what to collect. Pure.

The same inventory always gives the same actions, the most urgent first. Everything is kept that may still be needed to
serve, to roll back to or to be judged; in doubt it is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar

from archive.inventory import ARCHIVED, ArchiveCandidate, Inventory
from archive.rules import ArchiveRules


class ActionKind(StrEnum):
    """The kinds of action. Their values are in the function's answer and in its log."""

    ARCHIVE = "Archive"
    DELETE_CONFIG = "DeleteConfig"
    DELETE_MODEL = "DeleteModel"


@dataclass(frozen=True)
class _ResourceAction:
    kind: ClassVar[ActionKind]
    name: str
    reason: str

    @property
    def sentence(self) -> str:
        """The action and its reason."""
        return f"{self.kind} {self.name}: {self.reason}"


@dataclass(frozen=True)
class ArchivePackage:
    """Export a package, then mark it as archived in the registry."""

    kind: ClassVar[ActionKind] = ActionKind.ARCHIVE
    package: ArchiveCandidate
    reason: str

    @property
    def sentence(self) -> str:
        """The action and its reason."""
        return f"{self.kind} version {self.package.version}: {self.reason}"


@dataclass(frozen=True)
class DeleteConfig(_ResourceAction):
    """Delete an endpoint configuration that a release left behind."""

    kind = ActionKind.DELETE_CONFIG


@dataclass(frozen=True)
class DeleteModel(_ResourceAction):
    """Delete a SageMaker model that no configuration names."""

    kind = ActionKind.DELETE_MODEL


Action = ArchivePackage | DeleteConfig | DeleteModel


def decide(inventory: Inventory, rules: ArchiveRules, now: datetime) -> tuple[Action, ...]:
    """Return the actions to take now. Dependent ones, such as on a configuration's model, follow the next time."""
    if inventory.releasing:
        return ()
    return (*_packages(inventory, rules, now), *_configs(inventory, rules, now), *_models(inventory, rules, now))


def kept_versions(inventory: Inventory) -> frozenset[int]:
    """Return the versions to keep: live, rollback targets, desired, and quarantined.

    A quarantined version is no rollback target. Where a stage asks for a second approval, its target is the highest
    version below the live one that has it, which may be another one than the highest approved.
    """
    kept = inventory.live | inventory.quarantined
    for candidates in (inventory.approved, inventory.promoted):
        free = candidates - inventory.quarantined
        kept |= {max((v for v in free if v < live), default=live) for live in inventory.live}
        kept |= {max(candidates)} if candidates else set()
    return kept


def _packages(inventory: Inventory, rules: ArchiveRules, now: datetime) -> Iterator[Action]:
    kept = kept_versions(inventory)
    for package in sorted(inventory.packages, key=lambda package: package.version):
        if package.version in kept or package.pinned or package.stage == ARCHIVED:
            continue
        if package.approval == "Rejected" and _older(package.modified_at, rules.rejected_days, now):
            yield ArchivePackage(package, f"it was rejected {rules.rejected_days} days ago")
        elif _superseded(inventory, package) and _older(package.created_at, rules.superseded_days, now):
            yield ArchivePackage(package, f"it is older than what is live, and than {rules.superseded_days} days")


def _superseded(inventory: Inventory, package: ArchiveCandidate) -> bool:
    """Return whether a version is older than the oldest one that any stage serves."""
    return bool(inventory.live) and package.version < min(inventory.live)


def _older(moment: datetime, days: int, now: datetime) -> bool:
    return now - moment >= timedelta(days=days)


def _configs(inventory: Inventory, rules: ArchiveRules, now: datetime) -> Iterator[Action]:
    live = next((config for config in inventory.configs if config.name == inventory.live_config), None)
    if inventory.live_config and live is None:
        return  # the endpoint is on a foreign configuration, so its rollback target is not known
    before = [c for c in inventory.configs if live is not None and c.created_at < live.created_at]
    target = max(before, key=lambda config: config.created_at, default=None)
    for config in inventory.configs:
        old = _older(config.created_at, rules.retained_days, now)
        if old and config.name not in inventory.in_use and config != target:
            yield DeleteConfig(config.name, "no endpoint is on it, and none would go back to it")


def _models(inventory: Inventory, rules: ArchiveRules, now: datetime) -> Iterator[Action]:
    for model in inventory.models:
        if model.name not in inventory.referenced and _older(model.created_at, rules.retained_days, now):
            yield DeleteModel(model.name, "no endpoint configuration names it")
