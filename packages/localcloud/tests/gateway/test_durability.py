"""Acknowledged changes survive `kill -9`, and interrupted operations end as on AWS."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psutil
import pytest

from localcloud.testing import ACCOUNT, REGION, LocalCloud, wait_until

pytestmark = pytest.mark.xdist_group("durability")


@dataclass(frozen=True)
class Before:
    """What the cloud held, and what was in progress, when it was killed."""

    versions: list[str]
    queue: str
    topic: str
    role: str
    function: str
    secret: bytes
    template: dict[str, Any]
    workers: list[psutil.Process]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """Yield a local cloud that the tests kill."""
    with LocalCloud(tmp_path_factory.mktemp("killed") / "state") as cloud:
        yield cloud


@pytest.fixture(scope="module")
def before(killed: LocalCloud) -> Before:
    """Fill the cloud, kill it during many operations, and start it again: once for all tests."""
    kept = _keep(killed)
    template = _template(_slow(killed), "updated", stuck=False)
    killed.deploy_stack("updated", template)
    _begin(killed, "update_stack", "updated", _template(_slow(killed), "updated", stuck=True))
    _begin(killed, "create_stack", "killed", _template(_slow(killed), "killed", stuck=True))
    cloudformation, sagemaker = killed.client("cloudformation"), killed.client("sagemaker")
    cloudformation.create_stack(StackName="endpoint", TemplateBody=json.dumps(_endpoint_template(killed)))
    wait_until(lambda: [e for e in sagemaker.list_endpoints()["Endpoints"] if e["EndpointStatus"] == "Creating"])
    workers = _workers(killed)
    assert workers
    topic = killed.client("sns").get_topic_attributes(TopicArn=f"arn:aws:sns:{REGION}:{ACCOUNT}:updated")
    assert topic["Attributes"]["DisplayName"] == "stuck True"
    time.sleep(2)  # the promised second, and what a busy machine takes on top of it
    pid = killed.pid
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    killed.up()
    return Before(**kept, template=template, workers=workers)


def _keep(cloud: LocalCloud) -> dict[str, Any]:
    s3, table, kms = cloud.client("s3"), cloud.client("dynamodb"), cloud.client("kms")
    s3.create_bucket(Bucket="kept")
    s3.put_bucket_versioning(Bucket="kept", VersioningConfiguration={"Status": "Enabled"})
    table.create_table(
        TableName="kept",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
    )
    table.put_item(TableName="kept", Item={"pk": {"S": "x"}, "n": {"N": "1"}})
    cloud.client("ssm").put_parameter(Name="/kept", Value="v", Type="String")
    queue, _ = cloud.create_queue()
    cloud.client("sqs").send_message(QueueUrl=queue, MessageBody="kept")
    role = cloud.create_role([], service="lambda.amazonaws.com")
    cloud.client("cloudwatch").put_metric_data(Namespace="Kept", MetricData=[{"MetricName": "m", "Value": 3}])
    cloud.client("logs").create_log_group(logGroupName="/kept")
    cloud.client("events").put_rule(Name="kept", EventPattern='{"source": ["x"]}')
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    return {
        "versions": [s3.put_object(Bucket="kept", Key="a/b", Body=text)["VersionId"] for text in (b"one", b"two")],
        "queue": queue,
        "topic": cloud.client("sns").create_topic(Name="kept")["TopicArn"],
        "role": role,
        "function": cloud.create_function("def handler(event, context):\n    return 7\n", role),
        "secret": kms.encrypt(KeyId=key, Plaintext=b"kept")["CiphertextBlob"],
    }


def test_what_was_acknowledged_a_second_ago_survives_a_kill(killed: LocalCloud, before: Before) -> None:
    s3, table = killed.client("s3"), killed.client("dynamodb")
    read = [s3.get_object(Bucket="kept", Key="a/b", VersionId=version)["Body"].read() for version in before.versions]
    assert read == [b"one", b"two"]
    assert table.get_item(TableName="kept", Key={"pk": {"S": "x"}})["Item"]["n"] == {"N": "1"}
    assert killed.client("ssm").get_parameter(Name="/kept")["Parameter"]["Value"] == "v"
    assert killed.receive_message(before.queue)["Body"] == "kept"
    assert before.topic in [found["TopicArn"] for found in killed.client("sns").list_topics()["Topics"]]
    assert killed.client("iam").get_role(RoleName=before.role.rpartition("/")[2])["Role"]["Arn"] == before.role
    assert json.loads(killed.client("lambda").invoke(FunctionName=before.function)["Payload"].read()) == 7
    assert killed.client("cloudwatch").list_metrics(Namespace="Kept")["Metrics"]
    assert killed.client("logs").describe_log_groups(logGroupNamePrefix="/kept")["logGroups"]
    assert killed.client("events").describe_rule(Name="kept")["State"] == "ENABLED"
    assert killed.client("kms").decrypt(CiphertextBlob=before.secret)["Plaintext"] == b"kept"


def _slow(cloud: LocalCloud) -> str:
    """Return the ARN of a custom resource's provider that never answers."""
    return cloud.create_function(
        "import time\ndef handler(event, context):\n    if event['RequestType'] != 'Delete':\n        time.sleep(60)\n",
        cloud.create_role([], service="lambda.amazonaws.com"),
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


def _begin(cloud: LocalCloud, action: str, name: str, template: dict[str, Any]) -> None:
    getattr(cloud.client("cloudformation"), action)(StackName=name, TemplateBody=json.dumps(template))

    def stuck() -> bool:
        events = cloud.client("cloudformation").describe_stack_events(StackName=name)["StackEvents"]
        return any(event["LogicalResourceId"] == "Stuck" for event in events)

    wait_until(stuck)


def _workers(cloud: LocalCloud) -> list[psutil.Process]:
    """Return the functions' processes."""
    home = str(cloud.state / "tmp")
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd().startswith(home):
                found.append(process)
    return found


def _delete(cloud: LocalCloud, name: str) -> None:
    cloudformation = cloud.client("cloudformation")
    cloudformation.delete_stack(StackName=name)
    wait_until(lambda: name not in [stack["StackName"] for stack in cloudformation.describe_stacks()["Stacks"]])


def test_a_create_that_was_killed_is_rolled_back_and_can_be_made_again(killed: LocalCloud, before: Before) -> None:
    assert killed.wait_for_stack("killed")["StackStatus"] == "ROLLBACK_COMPLETE"
    assert "killed-bucket" not in [bucket["Name"] for bucket in killed.client("s3").list_buckets()["Buckets"]]
    assert ":killed" not in str(killed.client("sns").list_topics()["Topics"])
    _delete(killed, "killed")
    assert killed.deploy_stack("killed", _template("", "killed", stuck=False))["StackStatus"] == "CREATE_COMPLETE"


def test_an_update_that_was_killed_goes_back_to_the_previous_template(killed: LocalCloud, before: Before) -> None:
    assert killed.wait_for_stack("updated")["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    topic = killed.client("sns").get_topic_attributes(TopicArn=f"arn:aws:sns:{REGION}:{ACCOUNT}:updated")
    assert topic["Attributes"]["DisplayName"] == "stuck False"
    kept = killed.client("cloudformation").get_template(StackName="updated")["TemplateBody"]
    assert (json.loads(kept) if isinstance(kept, str) else kept) == before.template


def test_a_killed_gateway_leaves_no_function_running_after_the_next_start(killed: LocalCloud, before: Before) -> None:
    assert not [one for one in before.workers if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def _endpoint_template(cloud: LocalCloud) -> dict[str, Any]:
    """Return a model, its configuration and an endpoint whose container starts slowly."""
    packed = io.BytesIO()
    script = b"import time\ndef model_fn(folder):\n    time.sleep(5)\n"
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        entry = tarfile.TarInfo("code/inference.py")
        entry.size = len(script)
        archive.addfile(entry, io.BytesIO(script))
    cloud.client("s3").create_bucket(Bucket="models")
    cloud.client("s3").put_object(Bucket="models", Key="model.tar.gz", Body=packed.getvalue())
    read = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket", "ecr:*"], "Resource": "*"}
    container = {
        "Image": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/sagemaker-scikit-learn:1.4-2",
        "ModelDataUrl": "s3://models/model.tar.gz",
        "Environment": {
            "SAGEMAKER_PROGRAM": "inference.py",
            "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code",
            "PIP_NO_BUILD_ISOLATION": "0",
        },
    }
    variant = {
        "ModelName": {"Fn::GetAtt": ["Model", "ModelName"]},
        "VariantName": "AllTraffic",
        "InitialInstanceCount": 1,
        "InstanceType": "ml.m5.large",
        "InitialVariantWeight": 1,
    }
    properties = {
        "Model": {
            "ExecutionRoleArn": cloud.create_role([read], "sagemaker.amazonaws.com"),
            "PrimaryContainer": container,
        },
        "EndpointConfig": {"ProductionVariants": [variant]},
        "Endpoint": {"EndpointConfigName": {"Fn::GetAtt": ["EndpointConfig", "EndpointConfigName"]}},
    }
    return {"Resources": {name: {"Type": f"AWS::SageMaker::{name}", "Properties": p} for name, p in properties.items()}}


def test_an_endpoint_that_was_being_made_when_killed_is_taken_back_with_its_stack(
    killed: LocalCloud, before: Before
) -> None:
    assert killed.wait_for_stack("endpoint")["StackStatus"] == "ROLLBACK_COMPLETE"
    sagemaker = killed.client("sagemaker")
    assert sagemaker.list_endpoints()["Endpoints"] == []
    assert sagemaker.list_endpoint_configs()["EndpointConfigs"] == []
    assert sagemaker.list_models()["Models"] == []
    _delete(killed, "endpoint")
