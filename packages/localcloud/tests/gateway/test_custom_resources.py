"""Custom resources: the CDK's own helpers work, and one that does not answer is named."""

from __future__ import annotations

import io
import json
import time
import zipfile
from pathlib import Path
from typing import Any

from localcloud.testing import LocalCloud, wait_until

_SILENT = "def handler(event, context):\n    pass\n"
_BROKEN = "def handler(event, context):\n    raise ValueError('no such table')\n"


def _function(local: LocalCloud, code: str, *actions: str) -> str:
    allow = [{"Effect": "Allow", "Action": list(actions), "Resource": "*"}] if actions else []
    return local.create_function(code, local.create_role(allow, service="lambda.amazonaws.com"))


def _template(**resources: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return {"Resources": {name: {"Type": kind, "Properties": given} for name, (kind, given) in resources.items()}}


def test_the_cdks_helpers_do_what_their_functions_do_with_their_roles(local: LocalCloud) -> None:
    s3 = local.client("s3")
    for name in ("helpers-source", "helpers-target", "helpers-emptied"):
        s3.create_bucket(Bucket=name)
    s3.put_bucket_tagging(
        Bucket="helpers-emptied", Tagging={"TagSet": [{"Key": "aws-cdk:auto-delete-objects", "Value": "true"}]}
    )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("index.html", "<p>MARKER</p>")
        archive.writestr("data/x.txt", "1")
    s3.put_object(Bucket="helpers-source", Key="a.zip", Body=packed.getvalue())
    s3.put_object(Bucket="helpers-target", Key="site/old.txt", Body=b"")
    for version in range(2):
        s3.put_object(Bucket="helpers-emptied", Key="k", Body=str(version).encode())
    able = _function(local, _SILENT, "s3:*", "logs:*", "iam:*")
    deployment = {
        "ServiceToken": able,
        "SourceBucketNames": ["helpers-source"],
        "SourceObjectKeys": ["a.zip"],
        "SourceMarkers": [{"MARKER": "value"}],
        "DestinationBucketName": "helpers-target",
        "DestinationBucketKeyPrefix": "site",
        "SystemMetadata": {"cache-control": "no-store"},
        "Prune": True,
        "RetainOnDelete": False,
    }
    provider = {"ServiceToken": able, "Url": "https://helpers.example.com", "ClientIDList": ["sts.amazonaws.com"]}
    template = _template(
        Empty=("Custom::S3AutoDeleteObjects", {"ServiceToken": able, "BucketName": "helpers-emptied"}),
        Deploy=("Custom::CDKBucketDeployment", deployment),
        Keep=("Custom::LogRetention", {"ServiceToken": able, "LogGroupName": "/helpers/f", "RetentionInDays": 7}),
        Oidc=("Custom::AWSCDKOpenIdConnectProvider", provider),
    )
    assert local.deploy_stack("helpers", template)["StackStatus"] == "CREATE_COMPLETE"
    listed = [one["Key"] for one in s3.list_objects_v2(Bucket="helpers-target")["Contents"]]
    assert listed == ["site/data/x.txt", "site/index.html"]
    page = s3.get_object(Bucket="helpers-target", Key="site/index.html")
    assert (page["Body"].read(), page["ContentType"], page["CacheControl"]) == (
        b"<p>value</p>",
        "text/html",
        "no-store",
    )
    (group,) = local.client("logs").describe_log_groups(logGroupNamePrefix="/helpers/f")["logGroups"]
    assert group["retentionInDays"] == 7
    providers = json.dumps(local.client("iam").list_open_id_connect_providers()["OpenIDConnectProviderList"])
    assert "helpers.example.com" in providers
    local.client("cloudformation").delete_stack(StackName="helpers")
    wait_until(lambda: "Contents" not in s3.list_objects_v2(Bucket="helpers-emptied"))
    wait_until(lambda: "Contents" not in s3.list_objects_v2(Bucket="helpers-target"))
    poor = _function(local, _SILENT)
    denied = _template(Deploy=("Custom::CDKBucketDeployment", {**deployment, "ServiceToken": poor}))
    assert local.deploy_stack("helpers-denied", denied)["StackStatus"] == "ROLLBACK_COMPLETE"
    assert "s3:GetObject" in _reasons(local, "helpers-denied")


def _reasons(local: LocalCloud, stack: str) -> str:
    events = local.client("cloudformation").describe_stack_events(StackName=stack)["StackEvents"]
    return "\n".join(event.get("ResourceStatusReason", "") for event in events)


def test_a_function_that_fails_fails_its_resource_at_once(local: LocalCloud) -> None:
    token = _function(local, _BROKEN)
    stack = local.deploy_stack("broken-helper", _template(Own=("Custom::Own", {"ServiceToken": token})))
    assert stack["StackStatus"] == "ROLLBACK_COMPLETE"
    assert "did not receive a response from your custom resource" in _reasons(local, "broken-helper")
    assert "no such table" in _reasons(local, "broken-helper")


def test_a_function_without_an_answer_is_named_and_does_not_hold_the_end(tmp_path: Path) -> None:
    with LocalCloud(tmp_path / "state") as cloud:
        token = _function(cloud, _SILENT)
        template = json.dumps(_template(Own=("Custom::Own", {"ServiceToken": token})))
        cloud.client("cloudformation").create_stack(StackName="silent", TemplateBody=template)
        wait_until(lambda: "has ended without an answer" in _reasons(cloud, "silent"))
        began = time.monotonic()
        cloud.down()
        assert time.monotonic() - began < 20
