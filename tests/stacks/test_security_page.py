"""docs/security.md has a row for every role, and says of each what it may change."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
STACKS = ("platform-prod", "training-flight-delays", "serving-flight-delays-prod", "monitoring-flight-delays-prod")
# What the logical id of a role begins with, and the first cell of its row.
ROWS = {
    "TrainingPipelineRole": "pipeline",
    "TrainingJobRole": "job",
    "TrainingToolRole": "tool",
    "ServedRole": "model (endpoint)",
    "ReleaseHandlerRole": "release controller",
    "ReleaseRole": "release role",
    "RecordsHandlerRole": "first records",
    "HubRetrainHandlerRole": "retrain controller",
    "HubArchiveHandlerRole": "archive",
    "CaptureHandlerRole": "monitor functions",
    "MonitorHandlerRole": "monitor functions",
    "ManagedBuiltinRole": "schedules of the built-in engine",
    "JobsRole": "monitor job",
    "HubApproverRole": "approver (people)",
    "DeliveryRole": "delivery role, one a stage",
}
# Actions that change something, and words of the row's second cell that admit them.
CHANGES = {
    "cloudformation:ExecuteChangeSet": "execute",
    "cloudformation:CancelUpdateStack": "cancel",
    "cloudwatch:SetAlarmState": "set a release's rollback alarm",
    "dynamodb:PutItem": "rows|ledger",
    "iam:CreateServiceLinkedRole": "service-linked role",
    "iam:PassRole": "pass|with the (release|monitor) role",
    "lambda:InvokeFunction": "call|invoke",
    "sagemaker:CreateEndpoint": "endpoints",
    "sagemaker:CreateModelPackage": "create packages",
    "sagemaker:CreateMonitoringSchedule": "monitoring schedules",
    "sagemaker:CreateProcessingJob": "start",
    "sagemaker:CreateTrainingJob": "start",
    "sagemaker:DeleteEndpointConfig": "delete|endpoint configurations",
    "sagemaker:DeleteModel": "delete|models",
    "sagemaker:StartPipelineExecution": "start the application's pipelines",
    "sagemaker:UpdateModelPackage": "approve|life cycle",
    "sns:Publish": "publish alerts",
    "ssm:PutParameter": "records",
    "ssm:DeleteParameter": "delete release records",
}


@pytest.fixture(scope="module")
def cells() -> dict[str, str]:
    """Return what each role may do, by the first cell of its row."""
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    section = text.partition("## Roles")[2].partition("\n## ")[0]
    rows = [re.split(r"(?<!\\)\|", line)[1:4] for line in section.splitlines() if line.startswith("| ")]
    return {row[0].strip(): row[1] for row in rows}


@pytest.fixture(scope="module")
def roles(template: Callable[[str], dict[str, object]]) -> dict[str, set[str]]:
    """Return the actions of every role of the application, by logical id."""
    found: dict[str, set[str]] = {}
    for stack in STACKS:
        resources: Any = template(f"evergreen-{stack}")["Resources"]
        for name, role in resources.items():
            if role["Type"] != "AWS::IAM::Role":
                continue
            policies = list(role["Properties"].get("Policies", []))
            policies += [
                one["Properties"]
                for one in resources.values()
                if one["Type"] == "AWS::IAM::Policy" and {"Ref": name} in one["Properties"]["Roles"]
            ]
            statements = [one for policy in policies for one in policy["PolicyDocument"]["Statement"]]
            actions = [one["Action"] for one in statements]
            found[name] = {action for one in actions for action in ([one] if isinstance(one, str) else one)}
    return found


def row_of(role: str) -> str:
    """Return the row of a role; the longest beginning counts."""
    (*_, prefix) = sorted((prefix for prefix in ROWS if role.startswith(prefix)), key=len) or [""]
    return ROWS.get(prefix, "")


def test_every_role_has_a_row_that_says_what_it_changes(roles: dict[str, set[str]], cells: dict[str, str]) -> None:
    silent = [
        f"{name} ({row_of(name)}): {action}"
        for name, actions in roles.items()
        for action in sorted(actions & set(CHANGES))
        if not re.search(CHANGES[action], cells.get(row_of(name), ""))
    ]
    assert [name for name in roles if row_of(name) not in cells] == []
    assert silent == []
