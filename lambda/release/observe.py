"""Reads what the decision needs: registry, stack, endpoint, record, ledger. Changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from release.alarms import rollback_alarm
from release.desired import desired_package, is_barred
from release.four_eyes import UNKNOWN
from release.world import STACK_UNBORN, Endpoint, Package, Stack, Unreadable, World
from shared.environment import Environment
from shared.ledger import Lease, Ledger
from shared.missing import is_missing
from shared.record import parse_record
from shared.release_policy import Policy, PolicyError, StageBefore, parse_release_policy
from shared.verification import Verifications, verified_key

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_sagemaker.type_defs import DescribeModelPackageOutputTypeDef
    from mypy_boto3_ssm import SSMClient

    from shared.clients import Clients


def observe(clients: Clients, environment: Environment, ledger: Ledger, model: str) -> World:
    """Observe one model. The lease is read first: whatever its holder changes later is then seen, or refused."""
    lease = ledger.lease()
    quarantine, approvals = ledger.quarantined(), ledger.approvals()
    record = parse_record(clients.ssm.get_parameter(Name=environment.record_name(model))["Parameter"]["Value"])
    stack = observe_stack(clients.cloudformation, environment.serving_stack(model))
    policy = _policy(clients.ssm, environment.release_policy_name(model), stack)
    verifies = isinstance(policy, Policy) and policy.verify and record.version is not None
    answers = Verifications(clients.dynamodb, environment.ledger_table, model=model, stage=environment.stage)
    world = World(
        packages=(),
        stack=stack,
        endpoint=observe_endpoint(clients.sagemaker, environment.endpoint(model)),
        record=record,
        lease=lease,
        quarantine=quarantine,
        policy=policy,
        approvals=approvals,
        verification=answers.read(record.release_id) if verifies else None,
        alarm=_alarm(clients, environment.endpoint(model), lease, stack),
    )
    return _with_candidates(clients, environment.package_group(model), model, world)


def _alarm(clients: Clients, endpoint: str, lease: Lease | None, stack: Stack | None) -> str:
    """Say what ended a release; while CloudFormation is at work nobody needs to know yet."""
    if lease is None or lease.purpose != "release" or stack is None or stack.busy:
        return ""
    return rollback_alarm(clients.cloudwatch, endpoint, lease)


def _policy(ssm: SSMClient, name: str, stack: Stack | None) -> Policy | Unreadable:
    """Read the release policy. Without a serving stack there is none yet, and nothing to release to."""
    try:
        return parse_release_policy(ssm.get_parameter(Name=name)["Parameter"]["Value"])
    except ClientError as error:
        if error.response["Error"]["Code"] != "ParameterNotFound":
            raise
        missing = "there is no release policy, so nothing moves; deploy the serving stack, which writes it"
        return Policy() if stack is None or stack.status == STACK_UNBORN else Unreadable(missing)
    except PolicyError as error:
        return Unreadable(f"{error}; nothing moves until it is")


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


def _with_candidates(clients: Clients, group: str, model: str, world: World) -> World:
    """Describe the approved versions of this group from the highest down to the first that may be live.

    The list may lag behind an approval or a rejection; `DescribeModelPackage` is what counts. A group of a thousand
    versions costs ten calls to list and, as a rule, one to describe.
    """
    policy = world.policy
    pin = policy.pin if isinstance(policy, Policy) else None
    before = policy.verified_in if isinstance(policy, Policy) else None
    for version, arn in sorted(_approved(clients.sagemaker, group), reverse=True):
        if pin and version != pin.version:
            continue
        package = package_of(clients.sagemaker.describe_model_package(ModelPackageName=arn))
        world = replace(world, packages=(*world.packages, package))
        if before and not is_barred(world, package) and _is_verified(clients.s3, before, model, package):
            world = replace(world, verified=world.verified | {version})
        # A policy that cannot be read holds everything, however many versions there are.
        if desired_package(world) is not None or isinstance(policy, Unreadable):
            break
    return world


def _is_verified(s3: S3Client, before: StageBefore, model: str, package: Package) -> bool:
    """Say whether the stage before wrote that it verified exactly this release.

    S3 answers 403 for a missing object to who may not list, and this stage may not list another's bucket.
    """
    if not package.release_id:
        return False
    try:
        answer = s3.get_object(Bucket=before.bucket, Key=verified_key(model, package.release_id))
    except ClientError as error:
        if error.response["Error"]["Code"] in {"NoSuchKey", "AccessDenied", "404", "403"}:
            return False
        raise
    written = json.loads(answer["Body"].read())
    return isinstance(written, dict) and (written.get("release_id"), written.get("stage")) == (
        package.release_id,
        before.stage,
    )


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


def package_of(described: DescribeModelPackageOutputTypeDef) -> Package:
    """Return what matters of a package."""
    life_cycle = described.get("ModelLifeCycle")
    return Package(
        version=described["ModelPackageVersion"],
        arn=described["ModelPackageArn"],
        approval=described["ModelApprovalStatus"],
        status=described["ModelPackageStatus"],
        record_sha256=_record_sha256(described.get("CustomerMetadataProperties") or {}),
        modified_at=described.get("LastModifiedTime", described["CreationTime"]),
        modified_by=_editor(described),
        description=described.get("ApprovalDescription", ""),
        life_cycle=f"{life_cycle['Stage']}/{life_cycle['StageStatus']}" if life_cycle else "",
    )


def _record_sha256(metadata: Mapping[str, str]) -> str | None:
    digest = metadata.get("record_sha256", "")
    well_formed = len(digest) == 64 and all(character in "0123456789abcdef" for character in digest)
    return digest if well_formed and metadata.get("record_uri") else None


def _editor(described: DescribeModelPackageOutputTypeDef) -> str:
    """Return who edited the package last: at first sight of an approval, its approver."""
    user = described.get("LastModifiedBy") or {}
    identity = user.get("IamIdentity") or {}
    return user.get("UserProfileName") or identity.get("Arn") or user.get("UserProfileArn") or UNKNOWN
