"""The runbook has a row for every alarm and every alert. That its commands run is tested in tests/loop."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import pytest
from aws_cdk import aws_cloudwatch as cloudwatch

from release.controller import alert_of
from release.decide import (
    Abandon,
    Adopt,
    Cancel,
    Complete,
    CorrectRecord,
    Deploy,
    Redeploy,
    RefuseVersion,
    ReleaseStep,
    RollBack,
    Verify,
)
from retrain.notifications import Topic
from shared.ledger import Lease
from shared.release_record import NO_RELEASE
from shared.steps import Hold, Nothing, Step, Wait
from tests.unit.docs.documents import rows
from verify.verifier import NOT_VERIFIED


@pytest.fixture(scope="module")
def subjects(root: Path) -> str:
    """Return what the rows are about: the first cells of the runbook's tables."""
    text = (root / "docs" / "operations" / "runbook.md").read_text(encoding="utf-8")
    return "\n".join(cells[0] for cells in rows(text))


def test_every_alarm_of_the_templates_has_a_row(assembly: Path, subjects: str) -> None:
    """By the end of its name; an alarm without a name by the beginning of its description."""
    known = set()
    for path in assembly.glob("*.template.json"):
        resources = json.loads(path.read_text(encoding="utf-8"))["Resources"].values()
        for resource in resources:
            if resource["Type"] == cloudwatch.CfnAlarm.CFN_RESOURCE_TYPE_NAME:
                known.add(_known_as(resource["Properties"]))
    assert {"-5xx", "-latency", "-drift", "-heartbeat", "-captured-drift", "-broken", "-captured-broken"} <= known
    assert sorted(name for name in known if name not in subjects) == []


def _known_as(alarm: dict[str, object]) -> str:
    name = json.dumps(alarm.get("AlarmName", ""))
    found = re.search(r"-(5xx|latency|captured-drift|captured-broken|drift|broken|heartbeat)\b", name)
    if found:
        return found.group(0)
    description = str(alarm["AlarmDescription"])
    return re.split(r" are in a dead-letter queue| over an hour", description)[0]


def test_every_alert_of_the_functions_has_a_row(subjects: str) -> None:
    lease = Lease("release-controller/1", "release", "v1-00000000", NO_RELEASE.format(), 0, 0)
    steps: list[ReleaseStep] = [
        Nothing("reason"),
        Wait("reason"),
        Hold("cause", "action"),
        RefuseVersion(1, "reason"),
        Deploy(1, "v1-00000000", "reason"),
        Complete(lease, "reason"),
        Adopt(lease, "reason"),
        Cancel(lease, "reason"),
        CorrectRecord(NO_RELEASE, "reason"),
        Abandon(lease, NO_RELEASE, "reason"),
        RollBack(lease, None, "reason"),
        Redeploy(NO_RELEASE, "reason"),
        Verify("v1-00000000", "reason"),
    ]
    assert {type(step) for step in steps} == set(get_args(ReleaseStep))
    alerted = {str(step.step) for step in steps if alert_of(step) is not None}
    assert alerted == {"Hold", "Refuse", "Abandon", "RollBack", "Cancel", "CorrectRecord"}
    known = {*alerted, *map(str, (Step.CHANGE_SET_REFUSED, Step.FAILED, Step.OVERDUE)), *map(str, Topic), NOT_VERIFIED}
    assert sorted(subject for subject in known if f"`{subject}`" not in subjects) == []
