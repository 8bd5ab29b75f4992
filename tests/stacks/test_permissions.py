"""A wildcard stands beside its reason, or there is no template."""

from __future__ import annotations

import aws_cdk as cdk
import pytest
from aws_cdk import aws_iam as iam

from constructs.mlops.foundation.permissions import acknowledge, allow, arn


@pytest.fixture
def role() -> iam.Role:
    stack = cdk.Stack(cdk.App(), "Stack", env=cdk.Environment(region="us-east-1"))
    return iam.Role(stack, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))


def test_a_wildcard_without_a_reason_is_refused(role: iam.Role) -> None:
    with pytest.raises(ValueError, match="needs a reason"):
        allow(role, ["s3:GetObject"], on=["arn:aws:s3:::bucket/*"])


def test_an_acknowledgement_without_a_reason_is_refused(role: iam.Role) -> None:
    with pytest.raises(ValueError, match="needs a reason"):
        acknowledge(role, "IAM4", reason="  ")


def test_a_wildcard_among_the_actions_is_refused(role: iam.Role) -> None:
    with pytest.raises(ValueError, match=r"name each action, got \['s3:Get\*'\]"):
        allow(role, ["s3:PutObject", "s3:Get*"], on=["arn:aws:s3:::bucket"])


def test_an_arn_is_of_the_stacks_own_region_and_account(role: iam.Role) -> None:
    stack = cdk.Stack.of(role)
    assert stack.resolve(arn(role, "sagemaker", "endpoint/a/b")) == {
        "Fn::Join": [
            "",
            ["arn:", {"Ref": "AWS::Partition"}, ":sagemaker:us-east-1:", {"Ref": "AWS::AccountId"}, ":endpoint/a/b"],
        ]
    }
