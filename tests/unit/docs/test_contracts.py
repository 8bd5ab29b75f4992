"""The contracts name every value that ledger rows and alerts may hold."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from retrain.notifications import Topic
from retrain.observation import RetrainTrigger
from shared.ledger import LeasePurpose
from shared.steps import Step
from shared.verdict import CONCLUSIVE, INCONCLUSIVE, KINDS
from shared.verification import VerificationStatus
from tests.unit.docs.documents import ROOT, Document


@pytest.mark.parametrize(
    "values",
    [Step, Topic, RetrainTrigger, LeasePurpose, VerificationStatus, KINDS, (*CONCLUSIVE, *INCONCLUSIVE)],
    ids=["steps", "topics", "triggers", "leases", "verifications", "kinds", "statuses"],
)
def test_the_contracts_name_every_value(values: Iterable[str]) -> None:
    text = Document(ROOT / "docs" / "reference" / "contracts.md").text
    assert [str(value) for value in values if f"`{value}`" not in text] == []
