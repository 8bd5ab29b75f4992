"""The four-eyes rule: an approval by a model's own creator does not count. Pure.

The registry knows who edited a package last, not who approved it. The first observed editor of an approved package is
therefore recorded as its approver. A later edit replaces that approval only where it must be an approval of its own: it
has another description, it ended a quarantine, or one of the two editors is a creator. A creator's approval does not
count, and no other approval may hide it.
"""

from __future__ import annotations

from collections.abc import Collection

from release.observation import DescribedPackage
from shared.ledger import Approval, Quarantine

UNKNOWN = "unknown"
"""The approver where SageMaker names none."""


def current_approval(
    package: DescribedPackage,
    recorded: Approval | None,
    quarantine: Quarantine | None = None,
    creators: Collection[str] = (),
) -> Approval:
    """Return the approval that counts for an approved package.

    Args:
        package: The package as it is now.
        recorded: The recorded approval.
        quarantine: The version's quarantine, even where a later edit ended it.
        creators: The people who made the model, where they are known.
    """
    latest = Approval(package.version, package.modified_by, package.modified_at, package.description)
    if recorded is None:
        return latest
    if latest.at <= recorded.at:
        return recorded
    freed = quarantine is not None and recorded.at <= quarantine.at < latest.at
    by_creator = is_one_of(recorded.approver, creators) or is_one_of(latest.approver, creators)
    return latest if freed or by_creator or latest.description != recorded.description else recorded


def objection(approval: Approval, creators: Collection[str]) -> str:
    """Return why an approval does not count, or ""."""
    if approval.approver == UNKNOWN:
        return "the registry does not name its approver, and this stage requires four eyes"
    if is_one_of(approval.approver, creators):
        return f"{approval.approver} approved a model of their own, and this stage requires four eyes"
    return ""


def is_one_of(person: str, people: Collection[str]) -> bool:
    """Return whether a person is among others, by any of their names."""
    return any(_names(person) & _names(one) for one in people)


def _names(person: str) -> set[str]:
    """Return the part after the last "/" of an ARN, and of an e-mail address also the part before its "@"."""
    name = person.rpartition("/")[2].strip().casefold()
    return {name, name.partition("@")[0]} - {""}
