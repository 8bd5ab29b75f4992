"""CloudFormation may do no more than the role of the stack: for each call that its handlers make."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ministack.services import iam

from localcloud.cloudformation import handlers

Deploy = Callable[..., Any]
ACCOUNT = "000000000000"
JOBS = f"arn:aws:sqs:us-east-1:{ACCOUNT}:jobs"
QUEUE = {"Resources": {"It": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "jobs"}}}}


@pytest.fixture
def role() -> Iterator[Callable[..., str]]:
    """Return a function that makes a role with some actions on some resources, and returns its ARN."""
    made: list[str] = []

    def make(*actions: str, on: str = "*", effect: str = "Allow") -> str:
        name = f"stack-role-{len(made)}"
        statement = {"Effect": effect, "Action": list(actions), "Resource": on}
        also = [] if effect == "Allow" else [{"Effect": "Allow", "Action": "*", "Resource": "*"}]
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement, *also]})
        arn = f"arn:aws:iam::{ACCOUNT}:role/{name}"
        iam._roles[name] = {
            "RoleName": name,
            "Arn": arn,
            "AttachedPolicies": [],
            "InlinePolicies": {"p": document},
            "Tags": [],
        }
        made.append(name)
        return arn

    yield make
    for name in made:
        del iam._roles[name]


ALL = ("sqs:CreateQueue", "sqs:GetQueueUrl", "sqs:GetQueueAttributes", "sqs:ListQueueTags", "sqs:DeleteQueue")


def test_a_role_that_may_do_what_the_handlers_call_suffices(deploy: Deploy, role: Callable[..., str]) -> None:
    assert deploy(QUEUE, role=role(*ALL, on=JOBS)).status == "CREATE_COMPLETE"


@pytest.mark.parametrize("missing", ["sqs:CreateQueue", "sqs:GetQueueAttributes", "sqs:ListQueueTags"])
def test_each_call_of_a_handler_needs_the_roles_permission(
    deploy: Deploy, role: Callable[..., str], missing: str
) -> None:
    outcome = deploy(QUEUE, role=role(*(one for one in ALL if one != missing)))
    assert outcome.status == "ROLLBACK_COMPLETE"
    assert f"is not authorized to perform: {missing} on resource: {JOBS}" in outcome.reason
    assert "HandlerErrorCode: AccessDenied" in outcome.reason


def test_a_permission_on_another_resource_does_not_suffice(deploy: Deploy, role: Callable[..., str]) -> None:
    assert deploy(QUEUE, role=role(*ALL, on=f"arn:aws:sqs:us-east-1:{ACCOUNT}:others-*")).status == "ROLLBACK_COMPLETE"


def test_a_denial_wins(deploy: Deploy, role: Callable[..., str]) -> None:
    assert "sqs:CreateQueue" in deploy(QUEUE, role=role("sqs:CreateQueue", effect="Deny")).reason


def test_a_release_needs_to_list_tags_and_scheduled_actions() -> None:
    """The two calls that a first deployment in AWS met, and nobody thinks of."""
    definition = handlers.calls("AWS::SageMaker::DataQualityJobDefinition", "create", {}, "d")
    assert "sagemaker:ListTags" in dict(definition)
    target = handlers.calls("AWS::ApplicationAutoScaling::ScalableTarget", "create", {}, "t")
    assert ("application-autoscaling:DescribeScheduledActions", "*") in target


@pytest.mark.parametrize(
    ("kind", "properties", "physical", "arn"),
    [
        ("SQS::Queue", {}, f"http://queue/{ACCOUNT}/jobs", JOBS),
        ("SNS::Topic", {}, f"arn:aws:sns:us-east-1:{ACCOUNT}:t", f"arn:aws:sns:us-east-1:{ACCOUNT}:t"),
        ("SSM::Parameter", {"Name": "/a/b"}, "/a/b", f"arn:aws:ssm:us-east-1:{ACCOUNT}:parameter/a/b"),
        ("Logs::LogGroup", {}, "/aws/lambda/f", f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:/aws/lambda/f:*"),
        ("IAM::Role", {"Path": "/team/"}, "r", f"arn:aws:iam::{ACCOUNT}:role/team/r"),
    ],
)
def test_a_deletion_is_on_the_resource_itself(kind: str, properties: dict[str, str], physical: str, arn: str) -> None:
    assert {resource for _, resource in handlers.calls(f"AWS::{kind}", "delete", properties, physical)} == {arn}
