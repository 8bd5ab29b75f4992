"""Approvers approve and reject, and nothing else; no role of the application or of CDK can become one."""

from __future__ import annotations

from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk.assertions import Template

from constructs.mlops.retraining.approver import Approver


@pytest.fixture(scope="module")
def role() -> dict[str, Any]:
    app = cdk.App(context={"@aws-cdk/core:enablePartitionLiterals": True})
    stack = cdk.Stack(app, "stack", env=cdk.Environment(account="123456789012", region="us-east-1"))
    Approver(stack, "Approver", app="evergreen")
    (found,) = Template.from_stack(stack).find_resources("AWS::IAM::Role").values()
    properties: dict[str, Any] = found["Properties"]
    return properties


def test_approver_changes_only_the_approval_of_a_version(role: dict[str, Any]) -> None:
    (policy,) = role["Policies"]
    writes = [s for s in policy["PolicyDocument"]["Statement"] if s["Action"] == "sagemaker:UpdateModelPackage"]
    assert [statement["Condition"]["StringEquals"] for statement in writes] == [
        {"sagemaker:ModelApprovalStatus": ["Approved", "Rejected"]},
        {
            "sagemaker:ModelLifeCycle:stage": ["Production"],
            "sagemaker:ModelLifeCycle:stageStatus": ["Approved", "Rejected"],
        },
    ]
    others = [s["Action"] for s in policy["PolicyDocument"]["Statement"] if s not in writes]
    reads = {action for action_list in others for action in action_list}
    assert all(action.split(":")[1].startswith(("Describe", "List")) for action in reads)


def test_roles_of_the_application_and_of_cdk_cannot_become_approvers(role: dict[str, Any]) -> None:
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Condition"] == {
        "ArnNotLike": {
            "aws:PrincipalArn": [f"arn:aws:iam::123456789012:role/{prefix}-*" for prefix in ("evergreen", "cdk")]
        }
    }
