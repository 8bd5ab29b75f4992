"""What a stage with neighbours has besides: a policy, a verifier, and what wakes the controller."""

from __future__ import annotations

import json
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from aws_cdk.assertions import Match, Template

from configuration import Pin, Verification
from constructs.mlops.foundation.handler import StageResources
from constructs.mlops.serving.release_controller import ReleaseController
from constructs.mlops.serving.release_policy import PolicyParameter, VerifiedIn
from constructs.mlops.serving.verification import Verifier
from shared.release_policy import Policy, parse_release_policy

REGISTRY = "arn:aws:sagemaker:us-east-1:222222222222"


def policy(**settings: Any) -> str:
    stack = cdk.Stack(cdk.App(), "Stack")
    PolicyParameter(stack, "Policy", name="/green/m/prod/policy", **settings)
    (parameter,) = Template.from_stack(stack).find_resources("AWS::SSM::Parameter").values()
    value: str = parameter["Properties"]["Value"]
    return value


def test_the_controller_reads_every_policy_that_a_stack_can_write() -> None:
    assert parse_release_policy(policy()) == Policy()
    full = parse_release_policy(
        policy(
            approval="life-cycle",
            four_eyes=True,
            description_required=True,
            verified_in=VerifiedIn("staging", "green-staging-artifacts"),
            verification=Verification(),
            pin=Pin(version=3, until="2026-12-31", reason="audit"),
        )
    )
    assert None not in (full.verified_in, full.verify, full.pin)
    assert (full.approval, full.four_eyes, full.description_required) == ("life-cycle", True, True)


@pytest.fixture(scope="module")
def staged() -> Template:
    """A stage in the middle: it waits for the one before, and verifies for the one after."""
    stack = cdk.Stack(cdk.App(), "Stack", env=cdk.Environment(account="111111111111", region="us-east-1"))
    key, queue = kms.Key(stack, "Key"), sqs.Queue(stack, "Queue")
    attribute = dynamodb.Attribute(name="pk", type=dynamodb.AttributeType.STRING)
    bucket = s3.Bucket(stack, "Bucket")
    resources = StageResources(
        app="green",
        stage="canary",
        key=key,
        data=bucket,
        artifacts=bucket,
        ledger=dynamodb.Table(stack, "Table", partition_key=attribute),
        alerts=sns.Topic(stack, "Topic"),
        powertools=lambda_.LayerVersion.from_layer_version_arn(stack, "Layer", "arn:aws:lambda:::layer:p:1"),
        failures=queue,
        undelivered=queue,
        log_retention_days=30,
    )
    ReleaseController(
        stack,
        "Release",
        resources=resources,
        release_role=iam.Role(stack, "Role", assumed_by=iam.ServicePrincipal("cloudformation.amazonaws.com")),
        registry_arn_prefix=REGISTRY,
        verifier=Verifier(stack, "Verifier", resources=resources),
        verified_bucket="green-staging-artifacts",
    )
    return Template.from_stack(stack)


def test_the_controller_knows_the_registrys_account_and_who_verifies(staged: Template) -> None:
    functions = staged.find_resources("AWS::Lambda::Function", {"Properties": {"Handler": "verify.handler.handler"}})
    staged.has_resource_properties(
        "AWS::Lambda::Function",
        {
            "Handler": "release.handler.handler",
            "Environment": {
                "Variables": Match.object_like(
                    {"REGISTRY_ARN_PREFIX": REGISTRY, "VERIFY_FUNCTION": {"Ref": next(iter(functions))}}
                )
            },
        },
    )


def test_a_verification_in_the_stage_before_wakes_the_controller(staged: Template) -> None:
    staged.has_resource_properties(
        "AWS::Events::Rule",
        {
            "EventPattern": {
                "source": ["aws.s3"],
                "detail-type": ["Object Created"],
                "detail": {
                    "bucket": {"name": ["green-staging-artifacts"]},
                    "object": {"key": [{"wildcard": "releases/*/verified.json"}]},
                },
            }
        },
    )


def test_the_verifier_changes_nothing_but_its_own_word(staged: Template) -> None:
    writes = ("Put", "Update", "Delete", "Create", "Publish", "Send", "Start")
    policies = staged.find_resources("AWS::IAM::Policy")
    (statements,) = (
        one["Properties"]["PolicyDocument"]["Statement"]
        for name, one in policies.items()
        if name.startswith("Verifier")
    )
    changing = {
        action: json.dumps(statement["Resource"])
        for statement in statements
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
        if action.split(":")[1].startswith(writes)
    }
    assert changing.keys() == {
        "dynamodb:PutItem",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "s3:PutObject",
        "sns:Publish",
        "sqs:SendMessage",
    }
    assert "/releases/*/verified.json" in changing["s3:PutObject"]
