"""What AWS refuses is refused, before anything is made or at the resource, in CloudFormation's words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

Deploy = Callable[..., Any]
Template = dict[str, Any]
ACCOUNT = "000000000000"
LONG = "n" * 300


def one(kind: str, **properties: Any) -> Template:
    """A template with one resource."""
    return {"Resources": {"It": {"Type": kind, "Properties": properties}}}


def queue(**properties: Any) -> Template:
    """A template with one queue."""
    return one("AWS::SQS::Queue", **properties)


def trust(service: str = "lambda") -> Template:
    """A role's trust policy."""
    principal = {"Service": f"{service}.amazonaws.com"}
    return {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}],
    }


def policy(**statement: Any) -> Template:
    """A policy of one statement."""
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]}


ROLE = {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": trust()}}
CODE = {"ZipFile": "def handler(event, context): pass"}


def function(**properties: Any) -> Template:
    """A template with one function and its role."""
    given = {"Role": {"Fn::GetAtt": ["Role", "Arn"]}, "Code": CODE, "Handler": "index.handler", "Runtime": "python3.12"}
    kept = {name: value for name, value in (given | properties).items() if value is not None}
    return {"Resources": {"Role": ROLE, "It": {"Type": "AWS::Lambda::Function", "Properties": kept}}}


def table(**properties: Any) -> Template:
    """A template with one table."""
    given = {
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
        "BillingMode": "PAY_PER_REQUEST",
    }
    return one("AWS::DynamoDB::Table", **(given | properties))


def schedule(expression: str, role: Any = None) -> Template:
    """A template with one schedule of a queue."""
    target = {"Arn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:q", "RoleArn": role or {"Fn::GetAtt": ["Role", "Arn"]}}
    properties = {"ScheduleExpression": expression, "FlexibleTimeWindow": {"Mode": "OFF"}, "Target": target}
    made = {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": trust("scheduler")}}
    return {"Resources": {"Role": made, "It": {"Type": "AWS::Scheduler::Schedule", "Properties": properties}}}


QUEUE = {"Type": "AWS::SQS::Queue"}

# Refused by the request itself: nothing is made, not even a stack.
REFUSED: dict[str, tuple[Template, str]] = {
    "no resources": ({"Resources": {}}, "At least one Resources member must be defined."),
    "unknown section": ({"Resources": {"Q": QUEUE}, "Resorces": {}}, "Invalid template property or properties"),
    "wrong version": ({"AWSTemplateFormatVersion": "2020-01-01", "Resources": {"Q": QUEUE}}, "not a supported value"),
    "no type": ({"Resources": {"Q": {"Properties": {}}}}, "must contain a Type member"),
    "unknown attribute of a resource": ({"Resources": {"Q": {**QUEUE, "Propertys": {}}}}, "'Propertys'"),
    "logical id": ({"Resources": {"my-queue": QUEUE}}, "my-queue is non alphanumeric"),
    "unknown type": (one("AWS::SQS::Queu"), "Unrecognized resource types: [AWS::SQS::Queu]"),
    "unknown type that no condition makes": (
        {
            "Conditions": {"Never": {"Fn::Equals": ["a", "b"]}},
            "Resources": {"Q": QUEUE, "X": {"Type": "AWS::SQS::Queu", "Condition": "Never"}},
        },
        "Unrecognized resource types: [AWS::SQS::Queu]",
    ),
    "missing Ref": (queue(QueueName={"Ref": "Name"}), "Unresolved resource dependencies [Name] in the Resources block"),
    "missing Ref, deep": (
        queue(Tags=[{"Key": "a", "Value": {"Fn::Join": ["", ["b", {"Ref": "Gone"}]]}}]),
        "Unresolved resource dependencies [Gone]",
    ),
    "missing Ref in an output": (
        {"Resources": {"Q": QUEUE}, "Outputs": {"O": {"Value": {"Ref": "Gone"}}}},
        "Unresolved resource dependencies [Gone] in the Outputs block",
    ),
    "missing Sub": (queue(QueueName={"Fn::Sub": "${Gone}-q"}), "Unresolved resource dependencies [Gone]"),
    "missing GetAtt": (
        queue(QueueName={"Fn::GetAtt": ["Gone", "QueueName"]}),
        "instance of Fn::GetAtt references undefined resource Gone",
    ),
    "unknown attribute": (
        {"Resources": {"Q": QUEUE}, "Outputs": {"O": {"Value": {"Fn::GetAtt": ["Q", "Arnn"]}}}},
        "resource Q does not support attribute type Arnn in Fn::GetAtt",
    ),
    "unknown attribute in Sub": (
        {"Resources": {"Q": QUEUE}, "Outputs": {"O": {"Value": {"Fn::Sub": "${Q.Url}"}}}},
        "resource Q does not support attribute type Url",
    ),
    "missing DependsOn": (
        {"Resources": {"Q": {**QUEUE, "DependsOn": "Gone"}}},
        "Unresolved resource dependencies [Gone]",
    ),
    "missing condition": ({"Resources": {"Q": {**QUEUE, "Condition": "Gone"}}}, "Unresolved condition dependency Gone"),
    "missing condition in If": (
        queue(DelaySeconds={"Fn::If": ["Gone", 1, 2]}),
        "Unresolved condition dependency Gone",
    ),
    "resource in a condition": (
        {"Conditions": {"C": {"Fn::Equals": [{"Ref": "Q"}, "x"]}}, "Resources": {"Q": QUEUE}},
        "Cannot reference resources in the Conditions block",
    ),
    "circle": (
        {
            "Resources": {
                "A": {**QUEUE, "DependsOn": "B"},
                "B": {**QUEUE, "Properties": {"QueueName": {"Fn::GetAtt": ["A", "QueueName"]}}},
                "C": {**QUEUE, "DependsOn": "A"},
            }
        },
        "Circular dependency between resources: [A, B]",
    ),
    "resource that needs itself": ({"Resources": {"A": {**QUEUE, "DependsOn": "A"}}}, "Circular dependency"),
    "Join without a list": (queue(QueueName={"Fn::Join": ["-", "a"]}), "every Fn::Join object requires two parameters"),
    "If with two parts": (
        {"Conditions": {"C": {"Fn::Equals": ["a", "a"]}}, **queue(DelaySeconds={"Fn::If": ["C", 1]})},
        "Fn::If requires a list argument with three elements",
    ),
    "unknown function": (queue(QueueName={"Fn::Upper": "a"}), "unsupported function: Fn::Upper"),
    "missing mapping": (
        {"Mappings": {"M": {"a": {"b": "1"}}}, **queue(DelaySeconds={"Fn::FindInMap": ["M", "a", "c"]})},
        "Unable to get mapping for M::a::c",
    ),
    "parameter without a value": ({"Parameters": {"P": {"Type": "String"}}, **queue()}, "must have values"),
    "parameter without a type": ({"Parameters": {"P": {}}, **queue()}, "must contain a Type member"),
    "unknown parameter type": ({"Parameters": {"P": {"Type": "Text", "Default": "a"}}, **queue()}, "Text"),
    "default that is not allowed": (
        {"Parameters": {"P": {"Type": "String", "Default": "c", "AllowedValues": ["a", "b"]}}, **queue()},
        "AllowedValues",
    ),
    "DependsOn": ({"Resources": {"Q": {**QUEUE, "DependsOn": 5}}}, "DependsOn must be a string or list of strings."),
    "description": ({"Description": ["a"], "Resources": {"Q": QUEUE}}, "Description"),
    "mapping of one level": ({"Mappings": {"M": {"a": "b"}}, **queue()}, "Mappings"),
    "value for a condition": ({"Conditions": {"C": {"Ref": "AWS::Region"}}, **queue()}, "boolean operations"),
    "output without a value": ({**queue(), "Outputs": {"O": {"Description": "x"}}}, "Value"),
    "deletion policy": ({"Resources": {"Q": {**QUEUE, "DeletionPolicy": "Keep"}}}, "Unrecognized DeletionPolicy Keep"),
    # Services that the local cloud does not run.
    "VPC": (one("AWS::EC2::VPC", CidrBlock="10.0.0.0/16"), "does not run AWS::EC2"),
    "state machine": (one("AWS::StepFunctions::StateMachine", RoleArn="x"), "does not run AWS::StepFunctions"),
    "secret": (one("AWS::SecretsManager::Secret"), "does not run AWS::SecretsManager"),
    "API": (one("AWS::ApiGateway::RestApi", Name="a"), "does not run AWS::ApiGateway"),
    "secret by reference": (
        queue(QueueName="{{resolve:secretsmanager:a:SecretString:b}}"),
        "does not run AWS::SecretsManager",
    ),
    "type of a service that is run": (one("AWS::S3::StorageLens"), "does not make these types"),
}

# Refused at the resource: the stack rolls back.
FAILED: dict[str, tuple[Template, str]] = {
    "unknown property": (queue(QueName="a"), "#: extraneous key [QueName] is not permitted"),
    "unknown nested property": (
        one("AWS::S3::Bucket", VersioningConfiguration={"State": "Enabled"}),
        "#/VersioningConfiguration: extraneous key [State] is not permitted",
    ),
    "missing property": (one("AWS::IAM::Role"), "#: required key [AssumeRolePolicyDocument] not found"),
    "wrong type": (queue(DelaySeconds="soon"), "#/DelaySeconds: expected type"),
    "object for a list": (one("AWS::S3::Bucket", Tags={"a": "b"}), "#/Tags: expected type"),
    "out of range": (queue(DelaySeconds=901), "[maximum]"),
    "not one of": (one("AWS::S3::Bucket", VersioningConfiguration={"Status": "On"}), "[enum]"),
    "retention": (one("AWS::Logs::LogGroup", RetentionInDays=8), "[enum]"),
    "value of a parameter": (
        {"Parameters": {"P": {"Type": "Number", "Default": 5000}}, **queue(DelaySeconds={"Ref": "P"})},
        "[maximum]",
    ),
    "long bucket name": (one("AWS::S3::Bucket", BucketName=LONG), "[maxLength]"),
    "bucket name": (one("AWS::S3::Bucket", BucketName="Not_A_Bucket"), "BucketName"),
    "long queue name": (queue(QueueName="q" * 81), "1 to 80 in length"),
    "queue name": (queue(QueueName="a queue"), "alphanumeric"),
    "FIFO name without FIFO": (queue(QueueName="a.fifo"), "alphanumeric"),
    "FIFO without its name": (queue(QueueName="a", FifoQueue=True), "fifo"),
    "long topic name": (one("AWS::SNS::Topic", TopicName=LONG), "[maxLength]"),
    "long role name": (one("AWS::IAM::Role", RoleName="r" * 65, AssumeRolePolicyDocument=trust()), "[maxLength]"),
    "long function name": (function(FunctionName="f" * 65), "FunctionName"),
    "long table name": (table(TableName=LONG), "TableName"),
    "long rule name": (one("AWS::Events::Rule", Name="r" * 65, ScheduleExpression="rate(5 minutes)"), "Name"),
    "runtime": (function(Runtime="python9.9"), "#/Runtime"),
    "runtime that has ended": (function(Runtime="python3.7"), "python3.7"),
    "no handler": (function(Handler=None), "Handler is a required parameter"),
    "memory": (function(MemorySize=64), "[minimum]"),
    "timeout": (function(Timeout=901), "900"),
    "role that does not exist": (
        function(Role=f"arn:aws:iam::{ACCOUNT}:role/nobody"),
        "The role defined for the function cannot be assumed by Lambda.",
    ),
    "role that does not trust Lambda": (
        {
            "Resources": {
                **function()["Resources"],
                "Role": {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": trust("glue")}},
            }
        },
        "cannot be assumed by Lambda",
    ),
    "code in no bucket": (
        function(Code={"S3Bucket": "no-such-bucket", "S3Key": "a.zip"}),
        "S3 Error Code: NoSuchBucket",
    ),
    "managed policy that does not exist": (
        one(
            "AWS::IAM::Role",
            AssumeRolePolicyDocument=trust(),
            ManagedPolicyArns=["arn:aws:iam::aws:policy/AmazonNoSuchAccess"],
        ),
        "AmazonNoSuchAccess does not exist or is not attachable.",
    ),
    "policy of a role that does not exist": (
        one(
            "AWS::IAM::Policy",
            PolicyName="p",
            Roles=["nobody"],
            PolicyDocument=policy(Action="s3:GetObject", Resource="*"),
        ),
        "The role with name nobody cannot be found.",
    ),
    "policy without a resource": (
        one(
            "AWS::IAM::Role",
            AssumeRolePolicyDocument=trust(),
            Policies=[{"PolicyName": "p", "PolicyDocument": policy(Action="s3:GetObject")}],
        ),
        "Resource",
    ),
    "effect": (
        one(
            "AWS::IAM::Role",
            AssumeRolePolicyDocument={**trust(), "Statement": [{**trust()["Statement"][0], "Effect": "Permit"}]},
        ),
        "Permit",
    ),
    "event pattern": (one("AWS::Events::Rule", EventPattern={"source": "aws.s3"}), "Event pattern is not valid."),
    "operator of an event pattern": (
        one("AWS::Events::Rule", EventPattern={"source": [{"prefx": "aws"}]}),
        "Event pattern is not valid.",
    ),
    "rule without a trigger": (one("AWS::Events::Rule"), "ScheduleExpression"),
    "schedule expression": (one("AWS::Events::Rule", ScheduleExpression="every day"), "ScheduleExpression"),
    "rate of one": (one("AWS::Events::Rule", ScheduleExpression="rate(1 minutes)"), "ScheduleExpression"),
    "cron of five fields": (one("AWS::Events::Rule", ScheduleExpression="cron(0 0 * * *)"), "ScheduleExpression"),
    "both days of a cron": (one("AWS::Events::Rule", ScheduleExpression="cron(0 0 1 * MON *)"), "ScheduleExpression"),
    "bus that does not exist": (
        one("AWS::Events::Rule", EventBusName="nobody", ScheduleExpression="rate(5 minutes)"),
        "Event bus nobody does not exist.",
    ),
    "schedule of Scheduler": (schedule("daily"), "Invalid Schedule Expression daily."),
    "role of Scheduler": (schedule("rate(1 hour)", f"arn:aws:iam::{ACCOUNT}:role/no"), "Scheduler to assume the role"),
    "key that is not defined": (table(KeySchema=[{"AttributeName": "a", "KeyType": "HASH"}]), "AttributeDefinitions"),
    "type of an attribute": (
        table(AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "Text"}]),
        "[enum]",
    ),
    "table without throughput": (table(BillingMode="PROVISIONED"), "ProvisionedThroughput"),
    "permission on no function": (
        one(
            "AWS::Lambda::Permission",
            Action="lambda:InvokeFunction",
            FunctionName="nobody",
            Principal="s3.amazonaws.com",
        ),
        "Function not found",
    ),
    "subscription to no topic": (
        one(
            "AWS::SNS::Subscription", TopicArn=f"arn:aws:sns:us-east-1:{ACCOUNT}:no", Protocol="email", Endpoint="a@b.c"
        ),
        "Topic does not exist",
    ),
    "protocol": (
        {
            "Resources": {
                "T": {"Type": "AWS::SNS::Topic"},
                "S": {
                    "Type": "AWS::SNS::Subscription",
                    "Properties": {"TopicArn": {"Ref": "T"}, "Protocol": "pigeon", "Endpoint": "a"},
                },
            }
        },
        "protocol",
    ),
    "dead letters to no queue": (
        queue(RedrivePolicy={"deadLetterTargetArn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:no", "maxReceiveCount": 3}),
        "Dead letter target does not exist",
    ),
    "policy of no bucket": (
        one(
            "AWS::S3::BucketPolicy",
            Bucket="no-such-bucket",
            PolicyDocument=policy(Principal="*", Action="s3:GetObject", Resource="arn:aws:s3:::no-such-bucket/*"),
        ),
        "The specified bucket does not exist",
    ),
    "filter of no log group": (
        one(
            "AWS::Logs::MetricFilter",
            LogGroupName="no",
            FilterPattern="",
            MetricTransformations=[{"MetricName": "a", "MetricNamespace": "b", "MetricValue": "1"}],
        ),
        "The specified log group does not exist.",
    ),
    "alarm": (
        one("AWS::CloudWatch::Alarm", MetricName="a", Namespace="b", ComparisonOperator="Above", EvaluationPeriods=1),
        "[enum]",
    ),
    "kind of a parameter": (one("AWS::SSM::Parameter", Type="Text", Value="a"), "[enum]"),
    "name of a repository": (one("AWS::ECR::Repository", RepositoryName="UPPER"), "RepositoryName"),
    "key policy of another principal": (
        one("AWS::KMS::Key", KeySpec="AES", KeyPolicy=policy(Principal="*", Action="kms:*", Resource="*")),
        "KeySpec",
    ),
    "no code": (function(Code={}), "Please provide a source for function code."),
    "reserved variable": (function(Environment={"Variables": {"AWS_REGION": "x"}}), "reserved"),
    "layer that does not exist": (
        function(Layers=[f"arn:aws:lambda:us-east-1:{ACCOUNT}:layer:nobody:1"]),
        "Layer version",
    ),
    "principal that does not exist": (
        one(
            "AWS::IAM::Role",
            AssumeRolePolicyDocument=policy(
                Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:role/nobody"}, Action="sts:AssumeRole"
            ),
        ),
        "Invalid principal in policy",
    ),
    "action without a service": (
        one(
            "AWS::IAM::Role",
            AssumeRolePolicyDocument=trust(),
            Policies=[{"PolicyName": "p", "PolicyDocument": policy(Action="GetObject", Resource="*")}],
        ),
        "must be prefaced by a vendor",
    ),
    "key that nobody can manage": (
        one(
            "AWS::KMS::Key",
            KeyPolicy=policy(Principal={"Service": "s3.amazonaws.com"}, Action="kms:Encrypt", Resource="*"),
        ),
        "will not allow you to update the key policy",
    ),
    "FIFO topic without FIFO": (one("AWS::SNS::Topic", TopicName="a.fifo"), "Topic Name"),
    "alarm over a month": (
        one(
            "AWS::CloudWatch::Alarm",
            MetricName="a",
            Namespace="b",
            ComparisonOperator="GreaterThanThreshold",
            EvaluationPeriods=720,
            Period=3600,
            Statistic="Sum",
            Threshold=1,
        ),
        "Metrics cannot be checked across more than",
    ),
    "long parameter": (one("AWS::SSM::Parameter", Type="String", Value="v" * 4097), "4096 characters"),
    "target that is no ARN": (
        one("AWS::Events::Rule", ScheduleExpression="rate(5 minutes)", Targets=[{"Id": "t", "Arn": "queue"}]),
        "not in correct format",
    ),
    "six targets": (
        one(
            "AWS::Events::Rule",
            ScheduleExpression="rate(5 minutes)",
            Targets=[{"Id": f"t{index}", "Arn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:q"} for index in range(6)],
        ),
        "[maxItems]",
    ),
    "name that is taken": (
        {
            "Resources": {
                "A": {**QUEUE, "Properties": {"QueueName": "taken"}},
                "B": {**QUEUE, "Properties": {"QueueName": "taken"}},
            }
        },
        "with identifier 'taken' already exists",
    ),
    "export of one name twice": (
        {
            "Resources": {"Q": QUEUE},
            "Outputs": {name: {"Value": name, "Export": {"Name": "twice"}} for name in ("A", "B")},
        },
        "Export with name twice is already exported",
    ),
    "import of no export": (queue(QueueName={"Fn::ImportValue": "nobody"}), "nobody"),
    "tag of AWS": (queue(Tags=[{"Key": "aws:a", "Value": "b"}]), "#/Tags/0/Key"),
    "queue with less time than its function": (
        {
            "Resources": {
                **function(Timeout=300)["Resources"],
                "Q": QUEUE,
                "M": {
                    "Type": "AWS::Lambda::EventSourceMapping",
                    "Properties": {"EventSourceArn": {"Fn::GetAtt": ["Q", "Arn"]}, "FunctionName": {"Ref": "It"}},
                },
            }
        },
        "Queue visibility timeout: 30 seconds is less than Function timeout: 300 seconds",
    ),
    "logs to no bucket": (
        one("AWS::S3::Bucket", LoggingConfiguration={"DestinationBucketName": "no-such-bucket"}),
        "The target bucket for logging does not exist",
    ),
    "policy of another bucket": (
        {
            "Resources": {
                "B": {"Type": "AWS::S3::Bucket"},
                "P": {
                    "Type": "AWS::S3::BucketPolicy",
                    "Properties": {
                        "Bucket": {"Ref": "B"},
                        "PolicyDocument": policy(Principal="*", Action="s3:GetObject", Resource="arn:aws:s3:::other/*"),
                    },
                },
            }
        },
        "Policy has invalid resource",
    ),
    "custom resource of no function": (
        one("Custom::Thing", ServiceToken=f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:nobody"),
        "not found",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_template_is_refused_before_anything_is_made(deploy: Deploy, name: str) -> None:
    template, words = REFUSED[name]
    outcome = deploy(template)
    assert (outcome.status, words in outcome.reason) == ("ValidationError", True), outcome


@pytest.mark.parametrize("name", FAILED)
def test_a_wrong_resource_fails_and_rolls_the_stack_back(deploy: Deploy, name: str) -> None:
    template, words = FAILED[name]
    outcome = deploy(template)
    assert (outcome.status, words in outcome.reason) == ("ROLLBACK_COMPLETE", True), outcome


def test_an_update_is_checked_too(deploy: Deploy) -> None:
    assert deploy(queue()).status == "CREATE_COMPLETE"
    assert "Unresolved resource dependencies" in deploy(queue(QueueName={"Ref": "Gone"})).reason
    outcome = deploy(queue(VisibilityTimeout=50_000))
    assert (outcome.status, "[maximum]" in outcome.reason) == ("UPDATE_ROLLBACK_COMPLETE", True), outcome


def test_a_branch_that_no_condition_takes_is_not_checked(deploy: Deploy) -> None:
    never: Mapping[str, Any] = {"Conditions": {"Never": {"Fn::Equals": ["a", "b"]}}}
    wrong = queue(DelaySeconds={"Fn::If": ["Never", 5000, 5]})
    assert deploy({**never, **wrong}).status == "CREATE_COMPLETE"


def test_a_parameter_that_the_template_does_not_have_is_refused(deploy: Deploy) -> None:
    outcome = deploy(queue(), {"Nobody": "1"})
    assert outcome.reason == "Parameters: [Nobody] do not exist in the template"


def test_code_that_is_not_in_its_bucket_is_refused(deploy: Deploy) -> None:
    bucket = "code-of-functions"
    assert deploy(one("AWS::S3::Bucket", BucketName=bucket)).status == "CREATE_COMPLETE"
    code = {"S3Bucket": bucket, "S3Key": "gone.zip"}
    changed = {**one("AWS::S3::Bucket", BucketName=bucket)["Resources"], **function(Code=code)["Resources"]}
    changed["Bucket"] = {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": bucket}}
    outcome = deploy(
        {"Resources": {**one("AWS::S3::Bucket", BucketName=bucket)["Resources"], "Role": ROLE, "F": changed["It"]}}
    )
    assert (outcome.status, "S3 Error Code: NoSuchKey" in outcome.reason) == ("UPDATE_ROLLBACK_COMPLETE", True), outcome
