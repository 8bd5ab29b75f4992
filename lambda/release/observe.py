"""Reads what the decision needs: registry, stack, endpoint, record, ledger. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from release.world import Endpoint, Package, Stack, World
from shared.environment import Environment
from shared.ledger import Ledger, Quarantine
from shared.missing import is_missing
from shared.record import parse_record

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_sagemaker.type_defs import DescribeModelPackageOutputTypeDef

    from shared.clients import Clients


def observe(clients: Clients, environment: Environment, ledger: Ledger, model: str) -> World:
    """Observe one model. The lease is read first: whatever its holder changes later is then seen, or refused."""
    lease = ledger.lease()
    quarantine = ledger.quarantined()
    record = clients.ssm.get_parameter(Name=environment.record_name(model))["Parameter"]["Value"]
    return World(
        packages=tuple(_candidates(clients.sagemaker, environment.package_group(model), quarantine)),
        stack=observe_stack(clients.cloudformation, environment.serving_stack(model)),
        endpoint=observe_endpoint(clients.sagemaker, environment.endpoint(model)),
        record=parse_record(record),
        lease=lease,
        quarantine=quarantine,
    )


def observe_stack(cloudformation: CloudFormationClient, name: str) -> Stack | None:
    """Describe the serving stack, None when there is none."""
    try:
        stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if is_missing(error):
            return None
        raise
    if stack["StackStatus"] == "DELETE_COMPLETE":
        return None
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
    updated_at = stack.get("LastUpdatedTime")
    return Stack(
        status=stack["StackStatus"],
        updated_at=updated_at.isoformat() if updated_at else "",
        release_id=outputs.get("ReleaseId", ""),
        endpoint_config=outputs.get("EndpointConfigName", ""),
        parameters=tuple(parameter["ParameterKey"] for parameter in stack.get("Parameters", [])),
    )


def observe_endpoint(sagemaker: SageMakerClient, name: str) -> Endpoint | None:
    """Describe the endpoint, None when there is none."""
    try:
        described = sagemaker.describe_endpoint(EndpointName=name)
    except ClientError as error:
        if is_missing(error):
            return None
        raise
    # An endpoint that failed while it was being created has no configuration to speak of.
    return Endpoint(status=described["EndpointStatus"], config=described.get("EndpointConfigName", ""))


def _candidates(sagemaker: SageMakerClient, group: str, quarantine: Mapping[int, Quarantine]) -> Iterator[Package]:
    """Describe the approved versions of this group from the highest down to the first that is surely not quarantined.

    The list may lag behind an approval or a rejection; `DescribeModelPackage` is what counts. A group of a thousand
    versions costs ten calls to list and one to describe.
    """
    for version, arn in sorted(_approved(sagemaker, group), reverse=True):
        package = _package(version, sagemaker.describe_model_package(ModelPackageName=arn))
        yield package
        if package.approval == "Approved" and version not in quarantine:
            return


def _approved(sagemaker: SageMakerClient, group: str) -> Iterator[tuple[int, str]]:
    pages = sagemaker.get_paginator("list_model_packages").paginate(
        ModelPackageGroupName=group,
        ModelApprovalStatus="Approved",
        SortBy="CreationTime",
        SortOrder="Descending",
        PaginationConfig={"PageSize": 100},
    )
    try:
        for page in pages:
            for summary in page["ModelPackageSummaryList"]:
                yield summary["ModelPackageVersion"], summary["ModelPackageArn"]
    except ClientError as error:
        # The record comes with Platform, the group with Training: between the two there is nothing to release.
        if not is_missing(error):
            raise


def _package(version: int, described: DescribeModelPackageOutputTypeDef) -> Package:
    return Package(
        version=version,
        arn=described["ModelPackageArn"],
        approval=described["ModelApprovalStatus"],
        status=described["ModelPackageStatus"],
        record_sha256=_record_sha256(described.get("CustomerMetadataProperties") or {}),
        modified_at=described.get("LastModifiedTime", described["CreationTime"]),
        modified_by=_editor(described),
    )


def _record_sha256(metadata: Mapping[str, str]) -> str | None:
    digest = metadata.get("record_sha256", "")
    well_formed = len(digest) == 64 and all(character in "0123456789abcdef" for character in digest)
    return digest if well_formed and metadata.get("record_uri") else None


def _editor(described: DescribeModelPackageOutputTypeDef) -> str:
    """Return who edited the package last: at first sight of an approval, its approver."""
    user = described.get("LastModifiedBy") or {}
    identity = user.get("IamIdentity") or {}
    return user.get("UserProfileName") or identity.get("Arn") or user.get("UserProfileArn") or "unknown"
