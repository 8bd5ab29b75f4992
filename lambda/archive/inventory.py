"""The inventory: what the archive observes of one model. Immutable, and independent of any client."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

ARCHIVED = "Archived"
"""The `Stage` in the `ModelLifeCycle` of a package that was exported and has no further use."""


@dataclass(frozen=True)
class ArchiveCandidate:
    """A model package version.

    Attributes:
        approval: `Approved`, `Rejected` or `PendingManualApproval`.
        modified_at: Its last edit. For an archived package this is when it was archived.
        stage: The stage of its life cycle, or "".
        pinned: Whether a person wants to keep it.
    """

    version: int
    arn: str
    approval: str
    created_at: datetime
    modified_at: datetime
    stage: str = ""
    pinned: bool = False


@dataclass(frozen=True)
class RetainedResource:
    """A SageMaker model or endpoint configuration that a release may have left behind.

    Attributes:
        models: The models that a configuration names; empty for a model.
    """

    name: str
    created_at: datetime
    models: tuple[str, ...] = ()


@dataclass(frozen=True)
class Hosting:
    """The serving resources of the account, read once for all models.

    Attributes:
        endpoints: An endpoint's configuration by its name; "" while it changes or has none.
        pending: Configurations that deployments under way go to.
        configs: Endpoint configurations of the application.
        owner: SageMaker model name → the application's model whose release in this stage it serves.
        models: SageMaker models of the application.
    """

    endpoints: dict[str, str]
    pending: frozenset[str]
    configs: tuple[RetainedResource, ...]
    owner: dict[str, str]
    models: tuple[RetainedResource, ...]


@dataclass(frozen=True)
class Inventory:
    """One model's packages and serving resources.

    Attributes:
        releasing: A lease is held, or endpoint or stack is not at rest. Nothing is touched then.
        live: Versions that the release record of any stage names.
        quarantined: Quarantined versions.
        packages: The packages that are old enough to matter.
        approved: All approved versions.
        promoted: Those that have the second approval, in their life cycle, too.
        in_use: Configurations that an endpoint is on or goes to, or that the stack names.
        live_config: The configuration of this stage's endpoint, "" where there is no endpoint.
        configs: Endpoint configurations of this model in this stage.
        models: SageMaker models of this model in this stage.
        referenced: SageMaker models that any configuration of the application names.
    """

    releasing: bool = False
    live: frozenset[int] = frozenset()
    quarantined: frozenset[int] = frozenset()
    packages: tuple[ArchiveCandidate, ...] = ()
    approved: frozenset[int] = frozenset()
    in_use: frozenset[str] = frozenset()
    live_config: str = ""
    configs: tuple[RetainedResource, ...] = ()
    models: tuple[RetainedResource, ...] = ()
    referenced: frozenset[str] = frozenset()
    promoted: frozenset[int] = frozenset()
