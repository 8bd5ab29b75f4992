"""IAM decides on deployed roles as on AWS."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from localcloud.testing import ACCOUNT, LocalCloud


def _refused(call: Any, **request: Any) -> str:
    with pytest.raises(ClientError) as raised:
        call(**request)
    return str(raised.value.response["Error"]["Code"])


def test_a_role_may_do_what_its_policy_says_and_nothing_else(local: LocalCloud) -> None:
    local.client("s3").create_bucket(Bucket="permissions-a")
    role = local.create_role(
        [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::permissions-a/open/*"}]
    )
    local.client("s3").put_object(Bucket="permissions-a", Key="open/x", Body=b"1")
    s3 = local.client_as("s3", role)
    assert s3.get_object(Bucket="permissions-a", Key="open/x")["Body"].read() == b"1"
    assert _refused(s3.get_object, Bucket="permissions-a", Key="closed/x") == "AccessDenied"
    assert _refused(s3.put_object, Bucket="permissions-a", Key="open/y", Body=b"") == "AccessDenied"


def test_alarms_are_described_and_deleted_by_name(local: LocalCloud) -> None:
    """A model's role may look at its own rollback alarms only."""
    allowed = f"arn:aws:cloudwatch:us-east-1:{ACCOUNT}:alarm:mine-*"
    actions = ["cloudwatch:DescribeAlarms", "cloudwatch:DeleteAlarms"]
    client = local.client_as(
        "cloudwatch", local.create_role([{"Effect": "Allow", "Action": actions, "Resource": allowed}])
    )
    assert client.describe_alarms(AlarmNames=["mine-1", "mine-2"])["MetricAlarms"] == []
    client.delete_alarms(AlarmNames=["mine-1"])
    for call in (client.describe_alarms, client.delete_alarms):
        for names in (["yours"], ["mine-1", "yours"]):
            assert _refused(call, AlarmNames=names) in ("AccessDenied", "AccessDeniedException")


def test_a_bucket_policy_that_demands_tls_is_satisfied_on_loopback(local: LocalCloud) -> None:
    s3 = local.client("s3")
    s3.create_bucket(Bucket="permissions-tls")
    resources = ["arn:aws:s3:::permissions-tls", "arn:aws:s3:::permissions-tls/*"]
    deny = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": resources,
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    s3.put_bucket_policy(Bucket="permissions-tls", Policy=json.dumps({"Version": "2012-10-17", "Statement": [deny]}))
    role = local.create_role([{"Effect": "Allow", "Action": "s3:*", "Resource": resources}])
    local.client_as("s3", role).put_object(Bucket="permissions-tls", Key="k", Body=b"")


def test_sagemaker_actions_are_checked_with_their_resource(local: LocalCloud) -> None:
    prefix = "arn:aws:sagemaker:us-east-1:000000000000"
    role = local.create_role(
        [{"Effect": "Allow", "Action": "sagemaker:DescribeEndpoint", "Resource": f"{prefix}:endpoint/a-*"}]
    )
    sagemaker = local.client_as("sagemaker", role)
    assert _refused(sagemaker.describe_endpoint, EndpointName="b-one") == "AccessDeniedException"
    assert _refused(sagemaker.describe_endpoint, EndpointName="a-one") != "AccessDeniedException"
    assert _refused(sagemaker.delete_endpoint, EndpointName="a-one") == "AccessDeniedException"


def test_a_batch_of_messages_is_authorised_as_each_of_them(local: LocalCloud) -> None:
    url = local.client("sqs").create_queue(QueueName="permissions-batch")["QueueUrl"]
    arn = f"arn:aws:sqs:us-east-1:{ACCOUNT}:permissions-batch"
    entries = [{"Id": "1", "MessageBody": "a"}]
    allowed = local.create_role([{"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": arn}])
    sender = local.client_as("sqs", allowed)
    assert [one["Id"] for one in sender.send_message_batch(QueueUrl=url, Entries=entries)["Successful"]] == ["1"]
    other = local.create_role([{"Effect": "Allow", "Action": "sqs:ReceiveMessage", "Resource": arn}])
    assert "AccessDenied" in _refused(local.client_as("sqs", other).send_message_batch, QueueUrl=url, Entries=entries)


def test_the_managed_policy_for_sagemaker_allows_what_it_does_on_aws(local: LocalCloud) -> None:
    role = local.create_role([])
    policy = "arn:aws:iam::aws:policy/AmazonSageMakerFullAccess"
    local.client("iam").attach_role_policy(RoleName=role.rpartition("/")[2], PolicyArn=policy)
    for bucket in ("permissions-sagemaker", "permissions-other"):
        local.client("s3").create_bucket(Bucket=bucket)
    s3 = local.client_as("s3", role)
    s3.put_object(Bucket="permissions-sagemaker", Key="k", Body=b"")
    assert _refused(s3.put_object, Bucket="permissions-other", Key="k", Body=b"") == "AccessDenied"
    assert local.client_as("sagemaker", role).list_endpoints()["Endpoints"] is not None
    assert _refused(local.client_as("iam", role).delete_role, RoleName="nobody") == "AccessDenied"


def test_approving_can_be_forbidden_by_condition_key(local: LocalCloud) -> None:
    group = "arn:aws:sagemaker:us-east-1:000000000000:model-package/g/*"
    role = local.create_role(
        [
            {"Effect": "Allow", "Action": "sagemaker:UpdateModelPackage", "Resource": group},
            {
                "Effect": "Deny",
                "Action": "sagemaker:UpdateModelPackage",
                "Resource": "*",
                "Condition": {"StringEquals": {"sagemaker:ModelApprovalStatus": "Approved"}},
            },
        ]
    )
    sagemaker = local.client_as("sagemaker", role)
    package = "arn:aws:sagemaker:us-east-1:000000000000:model-package/g/1"

    def update(status: str) -> str:
        return _refused(sagemaker.update_model_package, ModelPackageArn=package, ModelApprovalStatus=status)

    assert update("Approved") == "AccessDeniedException"
    assert update("Rejected") != "AccessDeniedException"


def test_invoking_an_endpoint_needs_permission_for_that_endpoint(local: LocalCloud) -> None:
    prefix = "arn:aws:sagemaker:us-east-1:000000000000"
    role = local.create_role(
        [{"Effect": "Allow", "Action": "sagemaker:InvokeEndpoint", "Resource": f"{prefix}:endpoint/mine"}]
    )
    runtime = local.client_as("sagemaker-runtime", role)
    assert _refused(runtime.invoke_endpoint, EndpointName="theirs", Body=b"1") == "AccessDeniedException"
    assert _refused(runtime.invoke_endpoint, EndpointName="mine", Body=b"1") != "AccessDeniedException"


def test_a_payload_is_not_read_as_a_request(local: LocalCloud) -> None:
    big = {"StringEquals": {"sagemaker:InstanceTypes": "ml.p5.48xlarge"}}
    invoke = {"Action": "sagemaker:InvokeEndpoint", "Resource": "*"}
    role = local.create_role([{"Effect": "Allow", **invoke}, {"Effect": "Deny", **invoke, "Condition": big}])
    payload = json.dumps({"InstanceType": "ml.p5.48xlarge"}).encode()
    runtime = local.client_as("sagemaker-runtime", role)
    assert _refused(runtime.invoke_endpoint, EndpointName="none", Body=payload) == "ValidationError"


def test_passing_a_role_needs_permission_for_that_role_and_service(local: LocalCloud) -> None:
    passed = local.create_role([], service="sagemaker.amazonaws.com")
    create = {"Effect": "Allow", "Action": "sagemaker:CreateModel", "Resource": "*"}
    allow = {
        "Effect": "Allow",
        "Action": "iam:PassRole",
        "Resource": passed,
        "Condition": {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
    }
    request = {"ModelName": "m", "ExecutionRoleArn": passed, "PrimaryContainer": {"Image": "x"}}
    without = local.client_as("sagemaker", local.create_role([create]))
    assert _refused(without.create_model, **request) == "AccessDeniedException"
    with pytest.raises(ClientError) as raised:
        without.create_model(**request)
    assert "iam:PassRole" in str(raised.value)
    role = local.create_role([create, allow])
    try:
        local.client_as("sagemaker", role).create_model(**request)
    except ClientError as error:
        assert error.response["Error"]["Code"] != "AccessDeniedException"


def test_a_function_acts_with_its_roles_rights_on_this_cloud(local: LocalCloud) -> None:
    code = (
        "import boto3\n"
        "def handler(event, context):\n"
        "    who = boto3.client('sts').get_caller_identity()['Arn']\n"
        "    try:\n"
        "        boto3.client('s3').list_buckets()\n"
        "    except Exception as error:\n"
        "        return [who, type(error).__name__, str(error)]\n"
    )
    role = local.create_role([], service="lambda.amazonaws.com")
    arn = local.create_function(code, role)
    who, kind, text = json.loads(local.client("lambda").invoke(FunctionName=arn)["Payload"].read())
    assert f"assumed-role/{role.rpartition('/')[2]}/" in who
    assert kind == "AccessDenied"
    assert "s3:ListAllMyBuckets" in text


def test_a_role_is_assumed_by_whom_its_trust_and_its_tags_say(local: LocalCloud) -> None:
    """Cover the CDK's self-mutation (bootstrap roles selected by a tag) and a trust in `aws:PrincipalArn`."""
    tagged = {"StringEquals": {"iam:ResourceTag/of": "delivery"}}
    one, other = (
        local.create_role([{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*", "Condition": tagged}])
        for _ in range(2)
    )
    iam = local.client("iam")
    principal = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    condition = {"ArnEquals": {"aws:PrincipalArn": one}}
    statement = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal, "Condition": condition}
    target = iam.create_role(RoleName="trusts-one", AssumeRolePolicyDocument=json.dumps({"Statement": [statement]}))
    request = {"RoleArn": target["Role"]["Arn"], "RoleSessionName": "test"}
    assert _refused(local.client_as("sts", one).assume_role, **request) == "AccessDenied"
    iam.tag_role(RoleName="trusts-one", Tags=[{"Key": "of", "Value": "delivery"}])
    assert local.client_as("sts", one).assume_role(**request)["Credentials"]
    assert _refused(local.client_as("sts", other).assume_role, **request) == "AccessDenied"


def test_a_missing_object_is_403_without_the_right_to_list(local: LocalCloud) -> None:
    local.client("s3").create_bucket(Bucket="permissions-missing")
    objects = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::permissions-missing/*"}
    lists = {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::permissions-missing"}
    blind, seeing = (local.client_as("s3", local.create_role(given)) for given in ([objects], [objects, lists]))
    missing = {"Bucket": "permissions-missing", "Key": "none"}
    assert _refused(blind.get_object, **missing) == "AccessDenied"
    assert _refused(blind.head_object, **missing) == "403"
    assert _refused(seeing.get_object, **missing) == "NoSuchKey"
    assert _refused(seeing.head_object, **missing) == "404"


_TRUST = json.dumps({"Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "x"}}]})
_EMPTY_ZIP = b"PK\x05\x06" + b"\0" * 18
_TAG = {"Key": "k", "Value": "v"}


def _passing(role: str) -> list[tuple[str, str, dict[str, Any]]]:
    function = {"FunctionName": "f", "Role": role, "Handler": "a.b", "Runtime": "python3.14"}
    target = {"Arn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:q", "RoleArn": role}
    schedule = {"Name": "s", "ScheduleExpression": "rate(1 day)", "FlexibleTimeWindow": {"Mode": "OFF"}}
    return [
        ("lambda", "create_function", {**function, "Code": {"ZipFile": _EMPTY_ZIP}}),
        ("lambda", "update_function_configuration", {"FunctionName": "f", "Role": role}),
        ("scheduler", "create_schedule", {**schedule, "Target": target}),
        ("scheduler", "update_schedule", {**schedule, "Target": target}),
        ("cloudformation", "create_stack", {"StackName": "s", "TemplateBody": "{}", "RoleARN": role}),
        ("events", "put_targets", {"Rule": "r", "Targets": [{"Id": "1", "Arn": target["Arn"], "RoleArn": role}]}),
    ]


def test_each_service_that_is_given_a_role_needs_pass_role(local: LocalCloud) -> None:
    passed = local.create_role([], service="lambda.amazonaws.com")
    role = local.create_role([{"Effect": "Allow", "Action": ["lambda:*", "scheduler:*", "cloudformation:*", "events:*"],
                               "Resource": "*"}])  # fmt: skip
    for service, operation, request in _passing(passed):
        with pytest.raises(ClientError, match="iam:PassRole") as raised:
            getattr(local.client_as(service, role), operation)(**request)
        assert "AccessDenied" in raised.value.response["Error"]["Code"], operation


def test_tags_at_creation_need_the_services_action_for_tags(local: LocalCloud) -> None:
    local.client("s3").create_bucket(Bucket="permissions-tags")
    table = {
        "TableName": "t",
        "AttributeDefinitions": [{"AttributeName": "k", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "k", "KeyType": "HASH"}],
        "BillingMode": "PAY_PER_REQUEST",
    }
    alarm = {"AlarmName": "a", "EvaluationPeriods": 1, "ComparisonOperator": "GreaterThanThreshold"}
    metric = {"Namespace": "n", "MetricName": "m", "Period": 60, "Statistic": "Sum", "Threshold": 1.0}
    requests: list[tuple[str, str, str, dict[str, Any]]] = [
        ("sagemaker", "create_model_package_group", "sagemaker:AddTags", {"ModelPackageGroupName": "g"}),
        ("dynamodb", "create_table", "dynamodb:TagResource", table),
        ("sns", "create_topic", "sns:TagResource", {"Name": "t"}),
        ("events", "put_rule", "events:TagResource", {"Name": "r", "ScheduleExpression": "rate(1 day)"}),
        ("iam", "create_role", "iam:TagRole", {"RoleName": "tagged", "AssumeRolePolicyDocument": _TRUST}),
        ("ecr", "create_repository", "ecr:TagResource", {"repositoryName": "repository"}),
        ("cloudwatch", "put_metric_alarm", "cloudwatch:TagResource", {**alarm, **metric}),
        ("ssm", "put_parameter", "ssm:AddTagsToResource", {"Name": "/p", "Value": "v", "Type": "String"}),
    ]
    others: list[tuple[str, str, str, dict[str, Any]]] = [
        ("sqs", "create_queue", "sqs:TagQueue", {"QueueName": "q", "tags": {"k": "v"}}),
        ("logs", "create_log_group", "logs:TagResource", {"logGroupName": "g", "tags": {"k": "v"}}),
        ("kms", "create_key", "kms:TagResource", {"Tags": [{"TagKey": "k", "TagValue": "v"}]}),
        ("s3", "put_object", "s3:PutObjectTagging",
         {"Bucket": "permissions-tags", "Key": "k", "Body": b"", "Tagging": "k=v"}),
    ]  # fmt: skip
    services = {action.partition(":")[0] for _, _, action, _ in [*requests, *others]}
    creations = [f"{service}:{verb}*" for service in sorted(services) for verb in ("Create", "Put")]
    role = local.create_role(
        [{"Effect": "Allow", "Action": creations, "Resource": "*"},
         {"Effect": "Deny", "Action": "s3:PutObjectTagging", "Resource": "*"}]
    )  # fmt: skip
    for service, operation, action, request in requests:
        others.append((service, operation, action, {**request, "tags" if service == "ecr" else "Tags": [_TAG]}))
    for service, operation, action, request in others:
        with pytest.raises(ClientError, match=r"AccessDenied|AuthorizationError") as raised:
            getattr(local.client_as(service, role), operation)(**request)
        assert action in str(raised.value), operation


_OUTSIDE_OF_A_REQUEST = """
import sys
from pathlib import Path
from localcloud.ministack_adapter import environment
environment.configure(Path(sys.argv[1]), 4829)
from ministack.core import iam_evaluator
from localcloud.ministack_adapter import permissions
permissions.install()
context = iam_evaluator.EvalContext("p", "Service", "", "sns:Publish", "*", "us-east-1")
print(context.secure_transport)
"""


def test_what_services_do_outside_of_a_request_counts_as_tls(tmp_path: Path) -> None:
    """An alarm that its timer judges publishes to a topic whose policy demands TLS."""
    command = [sys.executable, "-c", _OUTSIDE_OF_A_REQUEST, str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "True\n"
