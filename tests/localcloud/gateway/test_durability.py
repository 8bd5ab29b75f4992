"""What was acknowledged survives `kill -9`, and what was under way ends as AWS would show it."""

from __future__ import annotations

import io
import json
import os
import signal
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.localcloud.gateway.harness import ACCOUNT, REGION, Local, free_port, until


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Local]:
    """A local cloud to be killed."""
    cloud = Local(free_port(), tmp_path / "state")
    cloud.up()
    yield cloud
    cloud.run("down", "--purge")


def _kill(cloud: Local) -> None:
    pid = cloud.pid
    os.kill(pid, signal.SIGKILL)
    until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_what_was_acknowledged_a_second_ago_survives_a_kill(mortal: Local) -> None:
    s3, table = mortal.client("s3"), mortal.client("dynamodb")
    s3.create_bucket(Bucket="kept")
    s3.put_bucket_versioning(Bucket="kept", VersioningConfiguration={"Status": "Enabled"})
    versions = [s3.put_object(Bucket="kept", Key="a/b", Body=text)["VersionId"] for text in (b"one", b"two")]
    table.create_table(
        TableName="kept",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
    )
    table.put_item(TableName="kept", Item={"pk": {"S": "x"}, "n": {"N": "1"}})
    mortal.client("ssm").put_parameter(Name="/kept", Value="v", Type="String")
    url, _ = mortal.queue()
    mortal.client("sqs").send_message(QueueUrl=url, MessageBody="kept")
    topic = mortal.client("sns").create_topic(Name="kept")["TopicArn"]
    role = mortal.role([], service="lambda.amazonaws.com")
    function = mortal.function("def handler(event, context):\n    return 7\n", role)
    mortal.client("cloudwatch").put_metric_data(Namespace="Kept", MetricData=[{"MetricName": "m", "Value": 3}])
    mortal.client("logs").create_log_group(logGroupName="/kept")
    mortal.client("events").put_rule(Name="kept", EventPattern='{"source": ["x"]}')
    key = mortal.client("kms").create_key()["KeyMetadata"]["KeyId"]
    secret = mortal.client("kms").encrypt(KeyId=key, Plaintext=b"kept")["CiphertextBlob"]
    time.sleep(1)
    _kill(mortal)
    mortal.up()
    read = [s3.get_object(Bucket="kept", Key="a/b", VersionId=version)["Body"].read() for version in versions]
    assert read == [b"one", b"two"]
    assert table.get_item(TableName="kept", Key={"pk": {"S": "x"}})["Item"]["n"] == {"N": "1"}
    assert mortal.client("ssm").get_parameter(Name="/kept")["Parameter"]["Value"] == "v"
    assert mortal.message(url)["Body"] == "kept"
    assert topic in [found["TopicArn"] for found in mortal.client("sns").list_topics()["Topics"]]
    assert mortal.client("iam").get_role(RoleName=role.rpartition("/")[2])["Role"]["Arn"] == role
    assert json.loads(mortal.client("lambda").invoke(FunctionName=function)["Payload"].read()) == 7
    assert mortal.client("cloudwatch").list_metrics(Namespace="Kept")["Metrics"]
    assert mortal.client("logs").describe_log_groups(logGroupNamePrefix="/kept")["logGroups"]
    assert mortal.client("events").describe_rule(Name="kept")["State"] == "ENABLED"
    assert mortal.client("kms").decrypt(CiphertextBlob=secret)["Plaintext"] == b"kept"


def _slow(cloud: Local) -> str:
    """The ARN of a custom resource's provider that never answers."""
    return cloud.function(
        "import time\ndef handler(event, context):\n    if event['RequestType'] != 'Delete':\n        time.sleep(15)\n",
        cloud.role([], service="lambda.amazonaws.com"),
    )


def _template(provider: str, topic: str, *, stuck: bool) -> dict[str, Any]:
    resources: dict[str, Any] = {
        "Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": f"{topic}-bucket"}},
        "Topic": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": topic, "DisplayName": f"stuck {stuck}"}},
    }
    if stuck:
        resources["Stuck"] = {
            "Type": "Custom::Stuck",
            "DependsOn": ["Bucket", "Topic"],
            "Properties": {"ServiceToken": provider},
        }
    return {"Resources": resources}


def _begin(cloud: Local, action: str, name: str, template: dict[str, Any]) -> None:
    getattr(cloud.client("cloudformation"), action)(StackName=name, TemplateBody=json.dumps(template))

    def stuck() -> bool:
        events = cloud.client("cloudformation").describe_stack_events(StackName=name)["StackEvents"]
        return any(event["LogicalResourceId"] == "Stuck" for event in events)

    until(stuck)
    time.sleep(1)


def test_a_create_that_was_killed_is_rolled_back_and_can_be_made_again(mortal: Local) -> None:
    provider = _slow(mortal)
    _begin(mortal, "create_stack", "killed", _template(provider, "killed", stuck=True))
    _kill(mortal)
    mortal.up()
    assert mortal.settled("killed")["StackStatus"] == "ROLLBACK_COMPLETE"
    assert mortal.client("s3").list_buckets()["Buckets"] == []
    assert mortal.client("sns").list_topics()["Topics"] == []
    mortal.client("cloudformation").delete_stack(StackName="killed")
    until(lambda: not mortal.client("cloudformation").describe_stacks()["Stacks"])
    again = mortal.deploy("killed", _template(provider, "killed", stuck=False))
    assert again["StackStatus"] == "CREATE_COMPLETE"


def test_an_update_that_was_killed_goes_back_to_the_previous_template(mortal: Local) -> None:
    provider = _slow(mortal)
    before = _template(provider, "updated", stuck=False)
    mortal.deploy("updated", before)
    _begin(mortal, "update_stack", "updated", _template(provider, "updated", stuck=True))
    topic = f"arn:aws:sns:{REGION}:{ACCOUNT}:updated"
    sns = mortal.client("sns")
    assert sns.get_topic_attributes(TopicArn=topic)["Attributes"]["DisplayName"] == "stuck True"
    _kill(mortal)
    mortal.up()
    assert mortal.settled("updated")["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert sns.get_topic_attributes(TopicArn=topic)["Attributes"]["DisplayName"] == "stuck False"
    kept = mortal.client("cloudformation").get_template(StackName="updated")["TemplateBody"]
    assert json.loads(kept) if isinstance(kept, str) else kept == before


def test_a_killed_gateway_leaves_no_function_running_after_the_next_start(mortal: Local) -> None:
    function = mortal.function(
        "import time\ndef handler(event, context):\n    time.sleep(60)\n",
        mortal.role([], service="lambda.amazonaws.com"),
    )
    mortal.client("lambda").invoke(FunctionName=function, InvocationType="Event")
    home = str(mortal.state / "tmp")

    def workers() -> list[int]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.cwd().startswith(home):
                    found.append(process.pid)
            except psutil.Error:
                continue
        return found

    until(workers)
    time.sleep(0.5)
    _kill(mortal)
    mortal.up()
    assert workers() == []


def _endpoint_template(cloud: Local) -> dict[str, Any]:
    """A model, its configuration and an endpoint whose container takes its time to start."""
    packed = io.BytesIO()
    script = b"import time\ndef model_fn(folder):\n    time.sleep(5)\n"
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        entry = tarfile.TarInfo("code/inference.py")
        entry.size = len(script)
        archive.addfile(entry, io.BytesIO(script))
    cloud.client("s3").create_bucket(Bucket="models")
    cloud.client("s3").put_object(Bucket="models", Key="model.tar.gz", Body=packed.getvalue())
    read = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"}
    container = {
        "Image": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/sagemaker-scikit-learn:1.4-2",
        "ModelDataUrl": "s3://models/model.tar.gz",
        "Environment": {"SAGEMAKER_PROGRAM": "inference.py", "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code"},
    }
    variant = {
        "ModelName": {"Fn::GetAtt": ["Model", "ModelName"]},
        "VariantName": "AllTraffic",
        "InitialInstanceCount": 1,
        "InstanceType": "ml.m5.large",
        "InitialVariantWeight": 1,
    }
    properties = {
        "Model": {"ExecutionRoleArn": cloud.role([read], "sagemaker.amazonaws.com"), "PrimaryContainer": container},
        "EndpointConfig": {"ProductionVariants": [variant]},
        "Endpoint": {"EndpointConfigName": {"Fn::GetAtt": ["EndpointConfig", "EndpointConfigName"]}},
    }
    return {"Resources": {name: {"Type": f"AWS::SageMaker::{name}", "Properties": p} for name, p in properties.items()}}


def test_an_endpoint_that_was_being_made_when_killed_is_taken_back_with_its_stack(mortal: Local) -> None:
    cloudformation, sagemaker = mortal.client("cloudformation"), mortal.client("sagemaker")
    cloudformation.create_stack(StackName="endpoint", TemplateBody=json.dumps(_endpoint_template(mortal)))
    until(lambda: [e for e in sagemaker.list_endpoints()["Endpoints"] if e["EndpointStatus"] == "Creating"])
    time.sleep(1)
    _kill(mortal)
    mortal.up()
    assert mortal.settled("endpoint")["StackStatus"] == "ROLLBACK_COMPLETE"
    assert sagemaker.list_endpoints()["Endpoints"] == []
    assert sagemaker.list_endpoint_configs()["EndpointConfigs"] == []
    assert sagemaker.list_models()["Models"] == []
    cloudformation.delete_stack(StackName="endpoint")
    until(lambda: not cloudformation.describe_stacks()["Stacks"])
