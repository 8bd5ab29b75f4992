"""The model registry: groups, versions, approval and events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

FIXTURES = Path(__file__).parent / "fixtures"


def _register(harness: Any, specification: dict[str, Any], **members: Any) -> str:
    arn: str = harness.sagemaker.create_model_package(
        ModelPackageGroupName="churn-prod", InferenceSpecification=specification, **members
    )["ModelPackageArn"]
    return arn


@pytest.fixture
def group(harness: Any) -> Any:
    harness.sagemaker.create_model_package_group(ModelPackageGroupName="churn-prod", Tags=[{"Key": "a", "Value": "b"}])
    return harness


def test_version_numbers_increase_and_are_never_reused(group: Any, specification: dict[str, Any]) -> None:
    arns = [_register(group, specification) for _ in range(3)]
    assert [arn.rpartition("/")[2] for arn in arns] == ["1", "2", "3"]
    group.sagemaker.delete_model_package(ModelPackageName=arns[2])
    assert _register(group, specification).endswith("churn-prod/4")


def test_a_package_is_pending_and_has_its_images_digest(group: Any, specification: dict[str, Any]) -> None:
    described = group.sagemaker.describe_model_package(ModelPackageName=_register(group, specification))
    assert described["ModelApprovalStatus"] == "PendingManualApproval"
    assert described["ModelPackageStatus"] == "Completed"
    digest = described["InferenceSpecification"]["Containers"][0]["ImageDigest"]
    assert digest.startswith("sha256:") and len(digest) == 71
    pinned = {**specification, "Containers": [{"Image": f"r/x@sha256:{'a' * 64}"}]}
    again = group.sagemaker.describe_model_package(ModelPackageName=_register(group, pinned))
    assert again["InferenceSpecification"]["Containers"][0]["ImageDigest"] == f"sha256:{'a' * 64}"


def test_the_last_editor_is_recorded_beside_the_creator(group: Any, specification: dict[str, Any]) -> None:
    arn = _register(group, specification)
    approver = group.client("sagemaker", role_arn="arn:aws:iam::000000000000:role/alice")
    approver.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Approved", ApprovalDescription="good")
    described = group.sagemaker.describe_model_package(ModelPackageName=arn)
    assert described["CreatedBy"]["IamIdentity"]["Arn"].endswith(":root")
    assert "assumed-role/alice" in described["LastModifiedBy"]["IamIdentity"]["Arn"]
    assert (described["ModelApprovalStatus"], described["ApprovalDescription"]) == ("Approved", "good")


@pytest.mark.parametrize(
    ("fixture", "update"),
    [
        ("model_package_created_pending", None),
        ("model_package_approved", {"ModelApprovalStatus": "Approved", "ApprovalDescription": "ok"}),
        ("model_package_rejected", {"ModelApprovalStatus": "Rejected"}),
        (
            "model_package_lifecycle",
            {"ModelLifeCycle": {"Stage": "Production", "StageStatus": "Approved", "StageDescription": "CHG-1"}},
        ),
        ("model_package_metadata_only_while_approved", {"CustomerMetadataProperties": {"note": "x"}}),
    ],
)
def test_events_have_awss_fields(group: Any, specification: dict[str, Any], fixture: str, update: Any) -> None:
    want = json.loads((FIXTURES / f"{fixture}.json").read_text())
    quality = {"ModelQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": "s3://x/evaluation.json"}}}
    initial: dict[str, Any] = {"MetadataProperties": {"GeneratedBy": "arn:x"}, "ModelMetrics": quality}
    if "metadata_only" in fixture or "lifecycle" in fixture:
        initial["ModelApprovalStatus"] = "Approved"
    arn = _register(group, specification, **initial)
    if update is not None:
        group.sagemaker.update_model_package(ModelPackageArn=arn, **update)
    kind, resources, detail = group.events[-1]
    assert (kind, resources) == (want["detail-type"], [arn])
    assert set(detail) == set(want["detail"])
    for name, value in want["detail"].items():
        assert type(detail[name]) is type(value), name
    for name in ("UpdatedModelPackageFields", "ModelApprovalStatus", "ModelLifeCycle", "ModelPackageStatusDetails"):
        if name in want["detail"]:
            assert detail[name] == want["detail"][name]
    assert len(detail["CreationTime"]) == len(want["detail"]["CreationTime"]) == 20


def test_lists_filter_sort_and_page_without_repeating(group: Any, specification: dict[str, Any]) -> None:
    arns = [_register(group, specification) for _ in range(12)]
    group.sagemaker.update_model_package(ModelPackageArn=arns[4], ModelApprovalStatus="Approved")
    group.sagemaker.create_model_package(ModelPackageName="lonely", InferenceSpecification=specification)
    client = group.sagemaker
    first = client.list_model_packages(ModelPackageGroupName="churn-prod")
    assert len(first["ModelPackageSummaryList"]) == 10
    assert first["ModelPackageSummaryList"][0]["ModelPackageArn"] == arns[-1]
    _register(group, specification)  # a new item does not shift the pages
    rest = client.list_model_packages(ModelPackageGroupName="churn-prod", NextToken=first["NextToken"])
    assert [one["ModelPackageVersion"] for one in rest["ModelPackageSummaryList"]] == [2, 1]
    approved = client.list_model_packages(ModelPackageGroupName="churn-prod", ModelApprovalStatus="Approved")
    assert [one["ModelPackageArn"] for one in approved["ModelPackageSummaryList"]] == [arns[4]]
    alone = client.list_model_packages()["ModelPackageSummaryList"]
    assert [one["ModelPackageName"] for one in alone] == ["lonely"]
    both = client.get_paginator("list_model_packages").paginate(ModelPackageType="Both", SortOrder="Ascending")
    assert sum(len(page["ModelPackageSummaryList"]) for page in both) == 14
    with pytest.raises(ClientError, match="Invalid NextToken"):
        client.list_model_packages(NextToken="bm9uc2Vuc2U=")


def test_metadata_are_merged_and_removed_by_key(group: Any, specification: dict[str, Any]) -> None:
    arn = _register(group, specification, CustomerMetadataProperties={"a": "1", "b": "2"})
    group.sagemaker.update_model_package(
        ModelPackageArn=arn, CustomerMetadataProperties={"b": "3"}, CustomerMetadataPropertiesToRemove=["a"]
    )
    described = group.sagemaker.describe_model_package(ModelPackageName=arn)
    assert described["CustomerMetadataProperties"] == {"b": "3"}


def test_a_repeated_registration_registers_once(group: Any, specification: dict[str, Any]) -> None:
    first = _register(group, specification, ClientToken="t-1")
    assert _register(group, specification, ClientToken="t-1") == first
    with pytest.raises(ClientError, match="ConflictException"):
        _register(group, specification, ClientToken="t-1", ModelPackageDescription="other")


def test_missing_and_existing_resources_give_awss_errors(group: Any, specification: dict[str, Any]) -> None:
    client = group.sagemaker
    with pytest.raises(ClientError, match="Model Package Group already exists: arn:aws:sagemaker"):
        client.create_model_package_group(ModelPackageGroupName="churn-prod")
    with pytest.raises(ClientError, match=r"ValidationException.*ModelPackageGroup arn:.*/nope does not exist"):
        client.describe_model_package_group(ModelPackageGroupName="nope")
    with pytest.raises(ClientError, match=r"ModelPackage arn:.*model-package/churn-prod/9 does not exist"):
        client.describe_model_package(
            ModelPackageName="arn:aws:sagemaker:us-east-1:000000000000:model-package/churn-prod/9"
        )
    arn = _register(group, specification)
    with pytest.raises(ClientError, match="ConflictException"):
        client.delete_model_package_group(ModelPackageGroupName="churn-prod")
    batch = client.batch_describe_model_package(ModelPackageArnList=[arn, arn + "0"])
    assert list(batch["ModelPackageSummaries"]) == [arn]
    assert list(batch["BatchDescribeModelPackageErrorMap"]) == [arn + "0"]


def test_deleting_a_group_deletes_its_policy_and_tags(group: Any) -> None:
    client = group.sagemaker
    policy = json.dumps({"Version": "2012-10-17", "Statement": []})
    arn = client.put_model_package_group_policy(ModelPackageGroupName="churn-prod", ResourcePolicy=policy)[
        "ModelPackageGroupArn"
    ]
    assert client.get_model_package_group_policy(ModelPackageGroupName="churn-prod")["ResourcePolicy"] == policy
    client.add_tags(ResourceArn=arn, Tags=[{"Key": "c", "Value": "d"}])
    client.delete_tags(ResourceArn=arn, TagKeys=["a"])
    assert client.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "c", "Value": "d"}]
    client.delete_model_package_group_policy(ModelPackageGroupName="churn-prod")
    with pytest.raises(ClientError, match="Cannot find resource policy"):
        client.get_model_package_group_policy(ModelPackageGroupName="churn-prod")
    client.delete_model_package_group(ModelPackageGroupName="churn-prod")
    with pytest.raises(ClientError, match="Could not find resource"):
        client.list_tags(ResourceArn=arn)


def test_an_acknowledged_change_survives_a_kill(group: Any, specification: dict[str, Any]) -> None:
    arn = _register(group, specification)
    group.crash()
    assert group.sagemaker.describe_model_package(ModelPackageName=arn)["ModelPackageVersion"] == 1
