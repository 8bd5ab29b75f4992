"""The platform of a stage: no event is lost, nothing is public, everything is encrypted."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_events as events
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from aws_cdk.assertions import Match, Template

Resources = Mapping[str, Mapping[str, Any]]


@pytest.fixture(scope="module")
def platform(template: Callable[[str], dict[str, object]]) -> Template:
    return Template.from_json(template("evergreen-platform-prod"))


def test_every_rule_has_a_target_retries_and_a_dead_letter_queue(platform: Template) -> None:
    rules = platform.find_resources(events.CfnRule.CFN_RESOURCE_TYPE_NAME)
    assert rules
    for rule in rules.values():
        (target,) = rule["Properties"]["Targets"]
        assert target["DeadLetterConfig"]["Arn"]
        assert target["RetryPolicy"]["MaximumRetryAttempts"] > 0


def test_every_function_has_a_failure_destination(platform: Template) -> None:
    functions = platform.find_resources(lambda_.CfnFunction.CFN_RESOURCE_TYPE_NAME)
    configured = platform.find_resources(lambda_.CfnEventInvokeConfig.CFN_RESOURCE_TYPE_NAME)
    queues = platform.find_resources(sqs.CfnQueue.CFN_RESOURCE_TYPE_NAME)
    assert functions.keys() == {config["Properties"]["FunctionName"]["Ref"] for config in configured.values()}
    for config in configured.values():
        assert config["Properties"]["DestinationConfig"]["OnFailure"]["Destination"]["Fn::GetAtt"][0] in queues


def test_every_dead_letter_queue_has_an_alarm_with_the_alert_topic(platform: Template) -> None:
    (topic,) = platform.find_resources(sns.CfnTopic.CFN_RESOURCE_TYPE_NAME)
    alarms = platform.find_resources(cloudwatch.CfnAlarm.CFN_RESOURCE_TYPE_NAME)
    monitored = set()
    for alarm in alarms.values():
        assert alarm["Properties"]["AlarmActions"] == [{"Ref": topic}]
        (dimension,) = alarm["Properties"]["Dimensions"]
        monitored.add(dimension["Value"]["Fn::GetAtt"][0])
    assert monitored == platform.find_resources(sqs.CfnQueue.CFN_RESOURCE_TYPE_NAME).keys()


def test_alarms_and_events_may_use_the_key_of_their_targets(platform: Template) -> None:
    (key,) = platform.find_resources(kms.CfnKey.CFN_RESOURCE_TYPE_NAME).values()
    allowed: set[str] = set()
    for statement in key["Properties"]["KeyPolicy"]["Statement"]:
        if {"kms:Decrypt", "kms:GenerateDataKey*"} <= set(statement["Action"]):
            services = statement["Principal"].get("Service", [])
            allowed |= {services} if isinstance(services, str) else set(services)
    assert {"events.amazonaws.com", "cloudwatch.amazonaws.com", "logs.us-east-1.amazonaws.com"} <= allowed
    platform.has_resource_properties(
        sns.CfnTopicPolicy.CFN_RESOURCE_TYPE_NAME,
        {
            "PolicyDocument": {
                "Statement": Match.array_with(
                    [
                        Match.object_like(
                            {
                                "Effect": "Allow",
                                "Action": "sns:Publish",
                                "Principal": {"Service": "cloudwatch.amazonaws.com"},
                            }
                        )
                    ]
                )
            }
        },
    )


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (sqs.CfnQueue, ["KmsMasterKeyId"]),
        (sns.CfnTopic, ["KmsMasterKeyId"]),
        (dynamodb.CfnTable, ["SSESpecification", "KMSMasterKeyId"]),
        (logs.CfnLogGroup, ["KmsKeyId"]),
        (lambda_.CfnFunction, ["KmsKeyArn"]),
    ],
)
def test_every_store_is_encrypted_with_the_stage_key(platform: Template, kind: Any, path: list[str]) -> None:
    (key,) = platform.find_resources(kms.CfnKey.CFN_RESOURCE_TYPE_NAME)
    resources = platform.find_resources(kind.CFN_RESOURCE_TYPE_NAME)
    assert resources
    for resource in resources.values():
        value = resource["Properties"]
        for name in path:
            value = value[name]
        assert value == {"Fn::GetAtt": [key, "Arn"]}


def test_every_bucket_is_versioned_private_and_requires_tls(platform: Template) -> None:
    buckets = platform.find_resources(s3.CfnBucket.CFN_RESOURCE_TYPE_NAME)
    refusing = set()
    for policy in platform.find_resources(s3.CfnBucketPolicy.CFN_RESOURCE_TYPE_NAME).values():
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
            if statement["Effect"] == "Deny" and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}:
                refusing.add(policy["Properties"]["Bucket"]["Ref"])
    assert refusing == buckets.keys()
    for bucket in buckets.values():
        assert bucket["Properties"]["VersioningConfiguration"] == {"Status": "Enabled"}
        assert set(bucket["Properties"]["PublicAccessBlockConfiguration"].values()) == {True}


def test_data_and_artifact_buckets_log_access_and_send_events(platform: Template) -> None:
    sending = platform.find_resources(
        s3.CfnBucket.CFN_RESOURCE_TYPE_NAME,
        {
            "Properties": {
                "NotificationConfiguration": {"EventBridgeConfiguration": {"EventBridgeEnabled": True}},
                "LoggingConfiguration": {"DestinationBucketName": Match.any_value()},
            }
        },
    )
    outputs = platform.find_outputs("*")
    assert sending.keys() == {outputs[name]["Value"]["Ref"] for name in ("DataBucketName", "ArtifactBucketName")}


@pytest.mark.parametrize("kind", [s3.CfnBucket, dynamodb.CfnTable, kms.CfnKey])
def test_data_models_and_audit_trail_are_retained(platform: Template, kind: Any) -> None:
    for resource in platform.find_resources(kind.CFN_RESOURCE_TYPE_NAME).values():
        assert resource["DeletionPolicy"] == resource["UpdateReplacePolicy"] == "Retain"


def test_ledger_has_point_in_time_recovery_and_expiry(platform: Template) -> None:
    platform.has_resource_properties(
        dynamodb.CfnTable.CFN_RESOURCE_TYPE_NAME,
        {
            "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
            "TimeToLiveSpecification": {"AttributeName": "ttl", "Enabled": True},
            "KeySchema": [
                {"AttributeName": "pk", "KeyType": "HASH"},
                {"AttributeName": "sk", "KeyType": "RANGE"},
            ],
        },
    )


def test_metadata_edit_of_a_version_does_not_invoke_the_controller(platform: Template) -> None:
    platform.has_resource_properties(
        events.CfnRule.CFN_RESOURCE_TYPE_NAME,
        {
            "EventPattern": {
                "source": ["aws.sagemaker"],
                "detail-type": ["SageMaker Model Package State Change"],
                "detail": {
                    "ModelPackageGroupName": [{"prefix": "evergreen-"}],
                    "ModelApprovalStatus": ["Approved", "Rejected"],
                    "$or": [
                        {"UpdatedModelPackageFields": ["ModelApprovalStatus", "ModelLifeCycle", "ApprovalDescription"]},
                        {"UpdatedModelPackageFields": [{"exists": False}]},
                    ],
                },
            }
        },
    )


def test_controllers_reconcile_every_15_minutes(platform: Template) -> None:
    platform.has_resource_properties(
        events.CfnRule.CFN_RESOURCE_TYPE_NAME,
        {
            "ScheduleExpression": "rate(15 minutes)",
            "Targets": [Match.object_like({"Input": json.dumps({"source": "evergreen.tick"}, separators=(",", ":"))})],
        },
    )


def test_controller_creates_change_sets_with_the_release_role_only(platform: Template) -> None:
    statements = [s for s in statements_of(platform) if "cloudformation:CreateChangeSet" in s["Action"]]
    (statement,) = statements
    role = statement["Condition"]["StringEquals"]["cloudformation:RoleArn"]["Fn::GetAtt"][0]
    properties = platform.find_resources("AWS::IAM::Role")[role]["Properties"]
    principals = [s["Principal"] for s in properties["AssumeRolePolicyDocument"]["Statement"]]
    assert principals == [{"Service": "cloudformation.amazonaws.com"}]
    assert statement["Condition"]["Null"] == {"cloudformation:TemplateUrl": "true"}


def test_dashboard_has_drift_and_quality_of_each_monitored_model(platform: Template) -> None:
    (dashboard,) = platform.find_resources(cloudwatch.CfnDashboard.CFN_RESOURCE_TYPE_NAME).values()
    body = dashboard["Properties"]["DashboardBody"]
    text = body if isinstance(body, str) else "".join(str(part) for part in body["Fn::Join"][1])
    for title, metric in (("windows that drifted", "data_drift"), ("quality", "label_coverage")):
        assert f"flight-delays: {title}" in text
        assert f'\\"{metric}\\"' in text.replace("\\\\", "\\")


def test_no_function_can_approve_or_change_identities(platform: Template) -> None:
    actions = {action for statement in statements_of(platform) for action in statement["Action"]}
    updates = [s for s in statements_of(platform) if "sagemaker:UpdateModelPackage" in s["Action"]]
    assert [statement["Condition"] for statement in updates] == [
        {
            "StringEquals": {"sagemaker:ModelLifeCycle:stage": "Archived"},
            "Null": {"sagemaker:ModelApprovalStatus": "true"},
        }
    ]
    assert {action for action in actions if action.startswith("iam:")} == {
        "iam:PassRole",
        "iam:CreateServiceLinkedRole",
    }
    assert not [action for action in actions if "*" in action]


def test_no_role_has_an_aws_managed_policy(platform: Template) -> None:
    for role in platform.find_resources("AWS::IAM::Role").values():
        assert "ManagedPolicyArns" not in role["Properties"]


def statements_of(template: Template) -> list[dict[str, Any]]:
    statements = []
    for policy in template.find_resources("AWS::IAM::Policy").values():
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
            actions = statement["Action"]
            statements.append({**statement, "Action": [actions] if isinstance(actions, str) else actions})
    return statements


@pytest.fixture(scope="module")
def model_queues(platform: Template) -> Resources:
    found = platform.find_resources(sqs.CfnQueue.CFN_RESOURCE_TYPE_NAME, {"Properties": {"FifoQueue": True}})
    return {key: resource["Properties"] for key, resource in found.items()}


def test_each_controller_has_one_queue_and_one_for_its_failures(model_queues: Resources) -> None:
    sources = [one for one in model_queues.values() if "RedrivePolicy" in one]
    assert len(model_queues) == 4
    assert len(sources) == 2
    for one in sources:
        assert one["DeduplicationScope"] == "messageGroup"
        assert one["FifoThroughputLimit"] == "perMessageGroupId"
        assert "KmsMasterKeyId" in one
    timeouts = sorted(int(one["VisibilityTimeout"]) for one in sources)
    assert timeouts == [360, 780]


def test_messages_are_handled_one_model_at_a_time_and_ten_at_once(platform: Template) -> None:
    platform.resource_properties_count_is(
        lambda_.CfnEventSourceMapping.CFN_RESOURCE_TYPE_NAME,
        Match.object_like(
            {
                "BatchSize": 1,
                "FunctionResponseTypes": ["ReportBatchItemFailures"],
                "ScalingConfig": {"MaximumConcurrency": 10},
            }
        ),
        2,
    )


def test_the_age_of_the_oldest_message_is_watched(platform: Template) -> None:
    for task in ("release", "retrain"):
        platform.has_resource_properties(
            cloudwatch.CfnAlarm.CFN_RESOURCE_TYPE_NAME,
            {
                "MetricName": "ApproximateAgeOfOldestMessage",
                "AlarmDescription": Match.string_like_regexp(f"^Models to {task} have waited"),
            },
        )
