"""A stage between two others: its release policy, its verifier, and the events of its controller."""

from __future__ import annotations

import json
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk.assertions import Match, Template

from configuration import Pin, ReleasePolicy, Verification
from constructs.mlops.foundation.alerts import AlertTopic, DeadLetterQueue
from constructs.mlops.foundation.buckets import ArtifactBucket, Bucket, LogBucket
from constructs.mlops.foundation.encryption_key import EncryptionKey
from constructs.mlops.foundation.handler import StageResources
from constructs.mlops.foundation.ledger import LedgerTable
from constructs.mlops.foundation.stage_references import Neighbours, StageReference
from constructs.mlops.serving.release_controller import ReleaseController
from constructs.mlops.serving.release_policy import ReleasePolicyParameter
from constructs.mlops.serving.verify_function import VerifyFunction
from shared.release_policy import StagePolicy, parse_release_policy

# As in cdk.json: access logs need no ACL, and the partition is text.
CONTEXT = {"@aws-cdk/aws-s3:serverAccessLogsUseBucketPolicy": True, "@aws-cdk/core:enablePartitionLiterals": True}
HUB = StageReference("green", "prod", "222222222222")
CANARY = StageReference("green", "canary", "111111111111")
STAGING = StageReference("green", "staging", "111111111111")


def policy(release_policy: ReleasePolicy, **settings: Any) -> str:
    """Return the value of a policy parameter."""
    stack = cdk.Stack(cdk.App(), "Stack")
    ReleasePolicyParameter(stack, "Policy", name="/green/m/prod/policy", policy=release_policy, **settings)
    (parameter,) = Template.from_stack(stack).find_resources("AWS::SSM::Parameter").values()
    value: str = parameter["Properties"]["Value"]
    return value


def test_controller_parses_every_policy_that_a_stack_can_write() -> None:
    assert parse_release_policy(policy(ReleasePolicy())) == StagePolicy()
    full = parse_release_policy(
        policy(
            ReleasePolicy(approval="life-cycle", four_eyes=True, description_required=True),
            previous=STAGING,
            verification=Verification(),
            pin=Pin(version=3, until="2026-12-31", reason="audit"),
        )
    )
    assert None not in (full.verified_in, full.verify, full.pin)
    assert (full.approval, full.four_eyes, full.description_required) == ("life-cycle", True, True)


@pytest.fixture(scope="module")
def staged() -> Template:
    """Return the template of a stage that waits for the previous one and verifies for the next one."""
    stack = cdk.Stack(
        cdk.App(context=CONTEXT), "Stack", env=cdk.Environment(account="111111111111", region="us-east-1")
    )
    key, logs = EncryptionKey(stack, "Key", app="green"), LogBucket(stack, "Logs")
    alerts = AlertTopic(stack, "Alerts", key=key, emails=[])
    resources = StageResources(
        app="green",
        stage="canary",
        key=key,
        data=Bucket(stack, "Data", key=key, logs=logs),
        artifacts=ArtifactBucket(stack, "Artifacts", key=key, logs=logs),
        ledger=LedgerTable(stack, "Ledger", key=key),
        alerts=alerts,
        powertools=lambda_.LayerVersion.from_layer_version_arn(stack, "Layer", "arn:aws:lambda:::layer:p:1"),
        failures=DeadLetterQueue(stack, "Failures", holds="Failed invocations", key=key, alerts=alerts),
        undelivered=DeadLetterQueue(stack, "Undelivered", holds="Events", key=key, alerts=alerts),
        log_retention_days=30,
    )
    ReleaseController(
        stack,
        "Release",
        resources=resources,
        release_role=iam.Role(stack, "Role", assumed_by=iam.ServicePrincipal("cloudformation.amazonaws.com")),
        neighbours=Neighbours(own=CANARY, hub=HUB, previous=STAGING, following=HUB, registry_readers=(CANARY,)),
        verifier=VerifyFunction(stack, "Verify", resources=resources),
    )
    return Template.from_stack(stack)


def test_controller_knows_the_registry_and_the_verify_function(staged: Template) -> None:
    functions = staged.find_resources("AWS::Lambda::Function", {"Properties": {"Handler": "verify.handler.handler"}})
    staged.has_resource_properties(
        "AWS::Lambda::Function",
        {
            "Handler": "release.handler.handler",
            "Environment": {
                "Variables": Match.object_like(
                    {
                        "REGISTRY_ARN_PREFIX": "arn:aws:sagemaker:us-east-1:222222222222",
                        "VERIFY_FUNCTION": {"Ref": next(iter(functions))},
                    }
                )
            },
        },
    )


def test_verification_in_the_previous_stage_invokes_the_controller(staged: Template) -> None:
    staged.has_resource_properties(
        "AWS::Events::Rule",
        {
            "EventPattern": {
                "source": ["aws.s3"],
                "detail-type": ["Object Created"],
                "detail": {
                    "bucket": {"name": ["green-staging-artifacts-111111111111"]},
                    "object": {"key": [{"wildcard": "releases/*/verified.json"}]},
                },
            }
        },
    )


def test_verifier_writes_only_its_verification_besides_ledger_and_alerts(staged: Template) -> None:
    writes = ("Put", "Update", "Delete", "Create", "Publish", "Send", "Start")
    policies = staged.find_resources("AWS::IAM::Policy")
    (statements,) = (
        one["Properties"]["PolicyDocument"]["Statement"] for name, one in policies.items() if name.startswith("Verify")
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
