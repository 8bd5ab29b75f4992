"""The runbook knows every alarm and every alert. That its lines run is tried in tests/loop."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from aws_cdk import aws_cloudwatch as cloudwatch

from retrain.tells import TOPICS


@pytest.fixture(scope="module")
def headings(root: Path) -> str:
    section = (root / "docs" / "operations" / "runbook.md").read_text(encoding="utf-8").split("\n## Runbook", 1)[1]
    return "\n".join(re.findall(r"^#### .*", section.split("\n## ", 1)[0], re.M))


def test_every_alarm_of_the_templates_has_a_heading(assembly: Path, headings: str) -> None:
    """By the end of its name; an alarm without a name by the beginning of its description."""
    known = set()
    for path in assembly.glob("*.template.json"):
        resources = json.loads(path.read_text(encoding="utf-8"))["Resources"].values()
        for resource in resources:
            if resource["Type"] == cloudwatch.CfnAlarm.CFN_RESOURCE_TYPE_NAME:
                known.add(_known_as(resource["Properties"]))
    assert {"-5xx", "-latency", "-drift", "-heartbeat", "-captured-drift"} <= known
    assert sorted(name for name in known if name not in headings) == []


def _known_as(alarm: dict[str, object]) -> str:
    name = json.dumps(alarm.get("AlarmName", ""))
    found = re.search(r"-(5xx|latency|captured-drift|drift|heartbeat)\b", name)
    if found:
        return found.group(0)
    description = str(alarm["AlarmDescription"])
    return re.split(r" are waiting| for over", description)[0]


def test_every_alert_of_the_functions_has_a_heading(root: Path, headings: str) -> None:
    retraining = "".join(path.read_text(encoding="utf-8") for path in (root / "lambda" / "retrain").glob("*.py"))
    topics = set(re.findall(r'Tell\(f?"([a-z]+)', retraining)) | {topic for topic in TOPICS if "#" not in topic}
    assert {"policy", "start", "run", "request", "budget", "stuck"} <= topics
    controller = (root / "lambda" / "release" / "controller.py").read_text(encoding="utf-8")
    steps = re.findall(r"^        case (\w+)\(", controller.split("def _alert(", 1)[1], re.M)
    assert {"Refuse", "RollBack", "Hold"} <= set(steps)
    missing = [name for name in (*topics, *steps, "ChangeSetRefused", "not verified") if f"`{name}`" not in headings]
    assert missing == []
