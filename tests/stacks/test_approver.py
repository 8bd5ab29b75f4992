"""Who approves can approve and reject, and nothing else; no machine of the application can."""

from __future__ import annotations

from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_iam as iam
from aws_cdk.assertions import Template

from constructs.mlops.foundation.approver import Approver
from constructs.mlops.foundation.permissions import argue_for_wildcards


@pytest.fixture(scope="module")
def role() -> dict[str, Any]:
    app = cdk.App(context={"@aws-cdk/core:enablePartitionLiterals": True})
    stack = cdk.Stack(app, "stack", env=cdk.Environment(account="123456789012", region="us-east-1"))
    Approver(stack, "Approver", app="evergreen")
    (found,) = Template.from_stack(stack).find_resources("AWS::IAM::Role").values()
    properties: dict[str, Any] = found["Properties"]
    return properties


def test_an_approver_changes_the_approval_and_nothing_else_of_a_version(role: dict[str, Any]) -> None:
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


def test_no_role_of_the_application_or_of_cdk_becomes_an_approver(role: dict[str, Any]) -> None:
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Condition"] == {
        "ArnNotLike": {
            "aws:PrincipalArn": [f"arn:aws:iam::123456789012:role/{prefix}-*" for prefix in ("evergreen", "cdk")]
        }
    }


def test_a_wildcard_of_cdks_that_nobody_argued_for_fails_the_synth() -> None:
    stack = cdk.Stack(cdk.App(), "stack")
    policy = iam.Policy(stack, "Policy", statements=[iam.PolicyStatement(actions=["s3:Get*"], resources=["arn:one"])])
    argue_for_wildcards(policy, [(r"^Action::s3:", "Reading what is in the one bucket.")])
    with pytest.raises(ValueError, match=r"stack/Policy has a wildcard that nobody argued for: Action::s3:Get\*"):
        argue_for_wildcards(policy, [(r"^Action::kms:", "Keys only.")])
