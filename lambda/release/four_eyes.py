"""Four eyes: nobody's approval of their own model counts. Pure.

The registry knows who edited a package last, not who approved it. So the approver is kept at first sight, and a later
edit replaces them only where it must be an approval of its own: it has another description, it freed the version from
quarantine, or one of the two editors is a creator, whose word neither counts nor may hide behind another's.
"""

from __future__ import annotations

from collections.abc import Collection

from release.world import Package
from shared.ledger import Approval, Quarantine

UNKNOWN = "unknown"
"""The approver where SageMaker names none."""


def current_approval(
    package: Package,
    remembered: Approval | None,
    quarantine: Quarantine | None = None,
    creators: Collection[str] = (),
) -> Approval:
    """Return the approval that counts for an approved package.

    Args:
        remembered: as it was seen first.
        quarantine: the version's, even where a later edit freed it.
        creators: who made the model, where that is known.
    """
    latest = Approval(package.version, package.modified_by, package.modified_at, package.description)
    if remembered is None:
        return latest
    if latest.at <= remembered.at:
        return remembered
    freed = quarantine is not None and remembered.at <= quarantine.at < latest.at
    by_creator = is_one_of(remembered.approver, creators) or is_one_of(latest.approver, creators)
    return latest if freed or by_creator or latest.description != remembered.description else remembered


def objection(approval: Approval, creators: Collection[str]) -> str:
    """Say why an approval does not count, or ""."""
    if approval.approver == UNKNOWN:
        return "the registry does not say who approved it, and this stage asks for four eyes"
    if is_one_of(approval.approver, creators):
        return f"{approval.approver} approved a model of their own, and this stage asks for four eyes"
    return ""


def is_one_of(person: str, people: Collection[str]) -> bool:
    """Say whether a person is among others, by any of their names."""
    return any(_names(person) & _names(one) for one in people)


def _names(person: str) -> set[str]:
    """Return what follows the last "/" of an ARN, and of an e-mail address also what stands before its "@"."""
    name = person.rpartition("/")[2].strip().casefold()
    return {name, name.partition("@")[0]} - {""}
