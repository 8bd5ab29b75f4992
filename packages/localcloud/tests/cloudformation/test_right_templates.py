"""What AWS makes is made: templates of the kinds that people write, and that CDK writes for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from localcloud.cloudformation import properties

Deploy = Callable[..., Any]
Resource = dict[str, Any]
ACCOUNT = "000000000000"
MEMBER = {"Ref": "AWS::Partition"}


def trust(service: str) -> dict[str, Any]:
    """A role's trust policy, as CDK writes it."""
    statement = {"Action": "sts:AssumeRole", "Effect": "Allow", "Principal": {"Service": f"{service}.amazonaws.com"}}
    return {"Statement": [statement], "Version": "2012-10-17"}


def role(service: str = "lambda") -> Resource:
    """A role as CDK writes it, with AWS's policy for functions by partition."""
    managed = {"Fn::Join": ["", ["arn:", MEMBER, ":iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"]]}
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {"AssumeRolePolicyDocument": trust(service), "ManagedPolicyArns": [managed]},
        "Metadata": {"aws:cdk:path": "Stack/Role/Resource"},
    }


def function(**properties: Any) -> Resource:
    """A function with inline code."""
    given = {
        "Code": {"ZipFile": "def handler(event, context):\n    return '${not a placeholder}'\n"},
        "Handler": "index.handler",
        "Role": {"Fn::GetAtt": ["Role", "Arn"]},
        "Runtime": "python3.12",
    }
    return {"Type": "AWS::Lambda::Function", "Properties": given | properties, "DependsOn": ["Role"]}


def resource(kind: str, **properties: Any) -> Resource:
    """A resource of a kind."""
    return {"Type": kind, "Properties": properties}


TEMPLATES: dict[str, dict[str, Any]] = {
    "buckets": {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "Two buckets",
        "Resources": {
            "Logs": resource(
                "AWS::S3::Bucket", OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerPreferred"}]}
            ),
            "Data": {
                **resource(
                    "AWS::S3::Bucket",
                    BucketEncryption={
                        "ServerSideEncryptionConfiguration": [
                            {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
                        ]
                    },
                    LifecycleConfiguration={"Rules": [{"Status": "Enabled", "ExpirationInDays": 30, "Prefix": "tmp/"}]},
                    PublicAccessBlockConfiguration={
                        "BlockPublicAcls": True,
                        "BlockPublicPolicy": "true",
                        "IgnorePublicAcls": True,
                        "RestrictPublicBuckets": True,
                    },
                    VersioningConfiguration={"Status": "Enabled"},
                    Tags=[{"Key": "team", "Value": "data"}],
                ),
                "DeletionPolicy": "Retain",
                "UpdateReplacePolicy": "Retain",
            },
            "Policy": resource(
                "AWS::S3::BucketPolicy",
                Bucket={"Ref": "Data"},
                PolicyDocument={
                    "Version": "2012-10-17",
                    "Statement": [
                        {
                            "Action": "s3:*",
                            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                            "Effect": "Deny",
                            "Principal": {"AWS": "*"},
                            "Resource": [
                                {"Fn::GetAtt": ["Data", "Arn"]},
                                {"Fn::Join": ["", [{"Fn::GetAtt": ["Data", "Arn"]}, "/*"]]},
                            ],
                        }
                    ],
                },
            ),
        },
        "Outputs": {
            "Name": {"Value": {"Ref": "Data"}, "Export": {"Name": {"Fn::Sub": "${AWS::StackName}-data"}}},
            "Domain": {"Value": {"Fn::GetAtt": ["Data", "RegionalDomainName"]}},
        },
    },
    "queues and topics": {
        "Parameters": {
            "Delay": {"Type": "Number", "Default": "15", "MinValue": 0, "MaxValue": 900},
            "Names": {"Type": "CommaDelimitedList", "Default": "one,two"},
        },
        "Mappings": {"ByRegion": {"us-east-1": {"Retention": "86400"}}},
        "Conditions": {"Encrypted": {"Fn::Not": [{"Fn::Equals": [{"Ref": "Delay"}, "0"]}]}},
        "Resources": {
            "Dead": resource("AWS::SQS::Queue", SqsManagedSseEnabled=True),
            "Work": resource(
                "AWS::SQS::Queue",
                DelaySeconds={"Ref": "Delay"},
                MessageRetentionPeriod={"Fn::FindInMap": ["ByRegion", {"Ref": "AWS::Region"}, "Retention"]},
                RedrivePolicy={"deadLetterTargetArn": {"Fn::GetAtt": ["Dead", "Arn"]}, "maxReceiveCount": 3},
                KmsMasterKeyId={"Fn::If": ["Encrypted", {"Ref": "AWS::NoValue"}, "alias/aws/sqs"]},
            ),
            "Ordered": resource("AWS::SQS::Queue", FifoQueue="true", ContentBasedDeduplication="true"),
            "Topic": resource("AWS::SNS::Topic", DisplayName={"Fn::Select": [0, {"Ref": "Names"}]}),
            "Subscription": resource(
                "AWS::SNS::Subscription",
                Protocol="sqs",
                TopicArn={"Ref": "Topic"},
                Endpoint={"Fn::GetAtt": ["Work", "Arn"]},
                FilterPolicy={"kind": ["a", {"prefix": "b"}]},
                RawMessageDelivery=True,
            ),
            "QueuePolicy": resource(
                "AWS::SQS::QueuePolicy",
                Queues=[{"Ref": "Work"}],
                PolicyDocument={
                    "Version": "2012-10-17",
                    "Statement": [
                        {
                            "Action": "sqs:SendMessage",
                            "Condition": {"ArnEquals": {"aws:SourceArn": {"Ref": "Topic"}}},
                            "Effect": "Allow",
                            "Principal": {"Service": "sns.amazonaws.com"},
                            "Resource": {"Fn::GetAtt": ["Work", "Arn"]},
                        }
                    ],
                },
            ),
        },
        "Outputs": {"Url": {"Value": {"Ref": "Work"}}, "Name": {"Value": {"Fn::GetAtt": ["Work", "QueueName"]}}},
    },
    "functions": {
        "Resources": {
            "Role": role(),
            "RoleDefaultPolicy": resource(
                "AWS::IAM::Policy",
                PolicyName="Default",
                Roles=[{"Ref": "Role"}],
                PolicyDocument={
                    "Statement": [
                        {"Action": ["sqs:ReceiveMessage"], "Effect": "Allow", "Resource": {"Fn::GetAtt": ["Q", "Arn"]}}
                    ],
                    "Version": "2012-10-17",
                },
            ),
            "Q": {"Type": "AWS::SQS::Queue"},
            "Function": function(
                Environment={"Variables": {"QUEUE": {"Ref": "Q"}}},
                MemorySize=256,
                Timeout=30,
                Architectures=["arm64"],
                LoggingConfig={"LogFormat": "JSON", "LogGroup": {"Ref": "Log"}},
                TracingConfig={"Mode": "Active"},
            ),
            "Log": resource("AWS::Logs::LogGroup", RetentionInDays=30),
            "Version": resource("AWS::Lambda::Version", FunctionName={"Ref": "Function"}),
            "Mapping": resource(
                "AWS::Lambda::EventSourceMapping",
                EventSourceArn={"Fn::GetAtt": ["Q", "Arn"]},
                FunctionName={"Ref": "Function"},
                BatchSize=5,
            ),
            "Async": resource(
                "AWS::Lambda::EventInvokeConfig",
                FunctionName={"Ref": "Function"},
                Qualifier="$LATEST",
                MaximumRetryAttempts=1,
            ),
            "Rule": resource(
                "AWS::Events::Rule",
                EventPattern={
                    "source": ["aws.s3"],
                    "detail": {"bucket": {"name": [{"prefix": "data"}]}, "object": {"size": [{"numeric": [">", 0]}]}},
                },
                State="ENABLED",
                Targets=[
                    {
                        "Arn": {"Fn::GetAtt": ["Function", "Arn"]},
                        "Id": "Target0",
                        "RetryPolicy": {"MaximumRetryAttempts": 2},
                    }
                ],
            ),
            "Daily": resource("AWS::Events::Rule", ScheduleExpression="cron(0 6 ? * MON-FRI *)"),
            "Permission": resource(
                "AWS::Lambda::Permission",
                Action="lambda:InvokeFunction",
                FunctionName={"Fn::GetAtt": ["Function", "Arn"]},
                Principal="events.amazonaws.com",
                SourceArn={"Fn::GetAtt": ["Rule", "Arn"]},
            ),
            "CDKMetadata": {"Type": "AWS::CDK::Metadata", "Properties": {"Analytics": "v2:deflate64:H4s"}},
        }
    },
    "tables, keys and parameters": {
        "Resources": {
            "Key": resource(
                "AWS::KMS::Key",
                EnableKeyRotation=True,
                KeyPolicy={
                    "Version": "2012-10-17",
                    "Statement": [
                        {
                            "Action": "kms:*",
                            "Effect": "Allow",
                            "Principal": {"AWS": {"Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"}},
                            "Resource": "*",
                        }
                    ],
                },
            ),
            "Alias": resource("AWS::KMS::Alias", AliasName="alias/things", TargetKeyId={"Fn::GetAtt": ["Key", "Arn"]}),
            "Table": resource(
                "AWS::DynamoDB::Table",
                AttributeDefinitions=[
                    {"AttributeName": "pk", "AttributeType": "S"},
                    {"AttributeName": "sk", "AttributeType": "N"},
                    {"AttributeName": "kind", "AttributeType": "S"},
                ],
                BillingMode="PAY_PER_REQUEST",
                GlobalSecondaryIndexes=[
                    {
                        "IndexName": "by-kind",
                        "KeySchema": [{"AttributeName": "kind", "KeyType": "HASH"}],
                        "Projection": {"ProjectionType": "ALL"},
                    }
                ],
                KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
                PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True},
                SSESpecification={
                    "SSEEnabled": True,
                    "SSEType": "KMS",
                    "KMSMasterKeyId": {"Fn::GetAtt": ["Key", "Arn"]},
                },
                StreamSpecification={"StreamViewType": "NEW_IMAGE"},
                TimeToLiveSpecification={"AttributeName": "ttl", "Enabled": True},
            ),
            "Name": resource("AWS::SSM::Parameter", Type="String", Value={"Ref": "Table"}, Name="/right/table"),
            "Text": resource("AWS::SSM::Parameter", Type="String", Value="a literal ${x} and {{y}}"),
            "Alarm": resource(
                "AWS::CloudWatch::Alarm",
                ComparisonOperator="GreaterThanOrEqualToThreshold",
                EvaluationPeriods=3,
                DatapointsToAlarm=2,
                Dimensions=[{"Name": "TableName", "Value": {"Ref": "Table"}}],
                MetricName="ThrottledRequests",
                Namespace="AWS/DynamoDB",
                Period=60,
                Statistic="Sum",
                Threshold=1,
                TreatMissingData="notBreaching",
            ),
            "Repository": resource("AWS::ECR::Repository", ImageScanningConfiguration={"ScanOnPush": True}),
        },
        "Outputs": {"Stream": {"Value": {"Fn::GetAtt": ["Table", "StreamArn"]}}},
    },
    "roles": {
        "Resources": {
            "Boundary": resource(
                "AWS::IAM::ManagedPolicy",
                PolicyDocument={
                    "Version": "2012-10-17",
                    "Statement": [{"Effect": "Allow", "Action": ["s3:*", "logs:*"], "Resource": "*"}],
                },
            ),
            "Role": resource(
                "AWS::IAM::Role",
                Path="/service/",
                AssumeRolePolicyDocument=trust("events"),
                PermissionsBoundary={"Ref": "Boundary"},
                ManagedPolicyArns=[{"Ref": "Boundary"}],
                Policies=[
                    {
                        "PolicyName": "inline",
                        "PolicyDocument": {
                            "Version": "2012-10-17",
                            "Statement": {
                                "Effect": "Allow",
                                "Action": "sqs:*",
                                "Resource": {"Fn::GetAtt": ["Q", "Arn"]},
                            },
                        },
                    }
                ],
                MaxSessionDuration=7200,
                Tags=[{"Key": "a", "Value": "b"}],
            ),
            "Q": {"Type": "AWS::SQS::Queue"},
            "User": {"Type": "AWS::IAM::User"},
            "Bus": resource("AWS::Events::EventBus", Name="right-bus"),
            "OnBus": resource(
                "AWS::Events::Rule", EventBusName={"Ref": "Bus"}, EventPattern={"account": [{"Ref": "AWS::AccountId"}]}
            ),
            "Sender": role("scheduler"),
            "Schedule": resource(
                "AWS::Scheduler::Schedule",
                FlexibleTimeWindow={"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 15},
                ScheduleExpression="at(2030-01-31T09:00:00)",
                ScheduleExpressionTimezone="Europe/Berlin",
                Target={
                    "Arn": {"Fn::GetAtt": ["Q", "Arn"]},
                    "RoleArn": {"Fn::GetAtt": ["Sender", "Arn"]},
                    "Input": "{}",
                },
            ),
        }
    },
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_right_template_is_made(deploy: Deploy, name: str) -> None:
    outcome = deploy(TEMPLATES[name])
    assert outcome.status == "CREATE_COMPLETE", outcome


def test_a_value_that_only_a_parameter_gives_is_checked(deploy: Deploy) -> None:
    template = TEMPLATES["queues and topics"]
    outcome = deploy(template, {"Delay": "20"})
    assert outcome.status == "CREATE_COMPLETE", outcome


OWN_TAGS = [{"Key": "aws:cloudformation:stack-name", "Value": "s"}]
MODEL: Mapping[str, Any] = {
    "ExecutionRoleArn": f"arn:aws:iam::{ACCOUNT}:role/model",
    "PrimaryContainer": {"Image": f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/x:1", "ModelDataUrl": "s3://b/m.tar.gz"},
}


@pytest.mark.parametrize(
    ("kind", "given", "words"),
    [
        ("Model", MODEL, None),
        (
            "Model",
            {
                **MODEL,
                "EnableNetworkIsolation": "true",
                "Tags": [{"Key": "aws:cloudformation:stack-name", "Value": "y"}],
            },
            None,
        ),
        ("Model", {**MODEL, "ExecutionRoleArn": "model"}, "#/ExecutionRoleArn: failed validation constraint"),
        ("Model", {**MODEL, "Containerz": []}, "#: extraneous key [Containerz] is not permitted"),
        ("EndpointConfig", {}, "#: required key [ProductionVariants] not found"),
        (
            "EndpointConfig",
            {"ProductionVariants": [{"VariantName": "v", "ModelName": "m", "InstanceType": "ml.huge"}]},
            "#/ProductionVariants/0/InstanceType: failed validation constraint for keyword [enum]",
        ),
    ],
)
def test_properties_of_sagemaker_are_checked(kind: str, given: Mapping[str, Any], words: str | None) -> None:
    found = properties.problem(f"AWS::SageMaker::{kind}", "It", given)
    if words is None:
        assert found is None
    else:
        assert found is not None
        assert found.startswith("Properties validation failed for resource It with message:")
        assert words in found
