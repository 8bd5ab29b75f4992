"""A wildcard needs a reason beside it, or the synth fails."""

from __future__ import annotations

import aws_cdk as cdk
import pytest
from aws_cdk import aws_iam as iam

from constructs.mlops.foundation.permissions import Permissions, acknowledge, acknowledge_wildcards, arn


@pytest.fixture
def role() -> iam.Role:
    stack = cdk.Stack(cdk.App(), "Stack", env=cdk.Environment(region="us-east-1"))
    return iam.Role(stack, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))


def test_wildcard_without_a_reason_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a reason"):
        Permissions().allow(["s3:GetObject"], on=["arn:aws:s3:::bucket/*"])


def test_acknowledgement_without_a_reason_is_refused(role: iam.Role) -> None:
    with pytest.raises(ValueError, match="needs a reason"):
        acknowledge(role, "IAM4", reason="  ")


def test_wildcard_in_an_action_is_refused() -> None:
    with pytest.raises(ValueError, match=r"name each action, got \['s3:Get\*'\]"):
        Permissions().allow(["s3:PutObject", "s3:Get*"], on=["arn:aws:s3:::bucket"])


def test_arn_has_the_stacks_region_and_account(role: iam.Role) -> None:
    stack = cdk.Stack.of(role)
    assert stack.resolve(arn(role, "sagemaker", "endpoint/a/b")) == {
        "Fn::Join": [
            "",
            ["arn:", {"Ref": "AWS::Partition"}, ":sagemaker:us-east-1:", {"Ref": "AWS::AccountId"}, ":endpoint/a/b"],
        ]
    }


def test_wildcard_of_cdk_without_a_matching_reason_fails_the_synth() -> None:
    stack = cdk.Stack(cdk.App(), "stack")
    policy = iam.Policy(stack, "Policy", statements=[iam.PolicyStatement(actions=["s3:Get*"], resources=["arn:one"])])
    acknowledge_wildcards(policy, [(r"^Action::s3:", "The role reads the only bucket.")])
    with pytest.raises(ValueError, match=r"stack/Policy has a wildcard without a reason: Action::s3:Get\*"):
        acknowledge_wildcards(policy, [(r"^Action::kms:", "Keys only.")])
