"""Read the observed state: registry, stack, endpoint, record, ledger. Nothing is changed here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from release.alarms import rollback_alarm
from release.desired import desired_package, is_quarantined
from release.four_eyes import UNKNOWN
from release.observation import (
    STACK_NOT_CREATED,
    DescribedPackage,
    EndpointState,
    ReleaseObservation,
    StackState,
    UnreadablePolicy,
)
from shared.environment import ReleaseEnvironment
from shared.errors import PolicyError, error_code, is_missing, is_missing_object
from shared.ledger import Lease, LeasePurpose, ReleaseLedger
from shared.release_policy import PreviousStage, StagePolicy, parse_release_policy
from shared.release_record import parse_release_record
from shared.verification import VerificationRows, verified_key

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_sagemaker.type_defs import DescribeModelPackageOutputTypeDef
    from mypy_boto3_ssm import SSMClient

    from shared.clients import Clients


def observe(clients: Clients, environment: ReleaseEnvironment, ledger: ReleaseLedger, model: str) -> ReleaseObservation:
    """Observe one model.

    The lease is read first: a later change by its holder is then observed, or refused by a condition.
    """
    lease = ledger.lease()
    quarantine, approvals = ledger.quarantined(), ledger.approvals()
    value = clients.ssm.get_parameter(Name=environment.record_name(model))["Parameter"]["Value"]
    record = parse_release_record(value)
    stack = observe_stack(clients.cloudformation, environment.serving_stack(model))
    policy = _policy(clients.ssm, environment.release_policy_name(model), stack)
    verifies = isinstance(policy, StagePolicy) and policy.verify and record.version is not None
    verifications = VerificationRows(clients.dynamodb, environment.ledger_table, model=model, stage=environment.stage)
    observation = ReleaseObservation(
        packages=(),
        stack=stack,
        endpoint=observe_endpoint(clients.sagemaker, environment.endpoint(model)),
        record=record,
        lease=lease,
        quarantine=quarantine,
        policy=policy,
        approvals=approvals,
        verification=verifications.read(record.release_id) if verifies else None,
        alarm=_alarm(clients, environment.endpoint(model), lease, stack),
    )
    return _with_candidates(clients, environment.package_group(model), model, observation)


def _alarm(clients: Clients, endpoint: str, lease: Lease | None, stack: StackState | None) -> str:
    """Return which alarm ended a release. It is not needed while CloudFormation is at work."""
    if lease is None or lease.purpose != LeasePurpose.RELEASE or stack is None or stack.busy:
        return ""
    return rollback_alarm(clients.cloudwatch, endpoint, lease)


def _policy(ssm: SSMClient, name: str, stack: StackState | None) -> StagePolicy | UnreadablePolicy:
    """Read the release policy. Without a serving stack there is no policy yet, and nothing to release to."""
    try:
        return parse_release_policy(ssm.get_parameter(Name=name)["Parameter"]["Value"])
    except ClientError as error:
        if not is_missing(error):
            raise
        if stack is None or stack.status == STACK_NOT_CREATED:
            return StagePolicy()
        return UnreadablePolicy("there is no release policy", "deploy the serving stack, which writes it")
    except PolicyError as error:
        return UnreadablePolicy(str(error), "correct it in model.yaml or evergreen.yaml, and deploy")


def observe_stack(cloudformation: CloudFormationClient, name: str) -> StackState | None:
    """Describe a stack, None when there is none."""
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
    return StackState(
        status=stack["StackStatus"],
        updated_at=updated_at.isoformat() if updated_at else "",
        release_id=outputs.get("ReleaseId", ""),
        endpoint_config=outputs.get("EndpointConfigName", ""),
        parameters=tuple(parameter["ParameterKey"] for parameter in stack.get("Parameters", [])),
    )


def observe_endpoint(sagemaker: SageMakerClient, name: str) -> EndpointState | None:
    """Describe the endpoint, None when there is none."""
    try:
        described = sagemaker.describe_endpoint(EndpointName=name)
    except ClientError as error:
        if is_missing(error):
            return None
        raise
    # An endpoint that failed while it was being created has no configuration.
    return EndpointState(status=described["EndpointStatus"], config=described.get("EndpointConfigName", ""))


def _with_candidates(clients: Clients, group: str, model: str, observation: ReleaseObservation) -> ReleaseObservation:
    """Describe the approved versions of this group from the highest down to the first that may be live.

    The list may lag behind an approval or a rejection; `DescribeModelPackage` is authoritative. A group of a thousand
    versions costs ten calls to list and, as a rule, one to describe.
    """
    policy = observation.policy
    pin = policy.pin if isinstance(policy, StagePolicy) else None
    previous = policy.verified_in if isinstance(policy, StagePolicy) else None
    for version, arn in sorted(_approved(clients.sagemaker, group), reverse=True):
        if pin and version != pin.version:
            continue
        package = describe_package(clients.sagemaker.describe_model_package(ModelPackageName=arn))
        observation = replace(observation, packages=(*observation.packages, package))
        if previous and not is_quarantined(observation, package) and _is_verified(clients.s3, previous, model, package):
            observation = replace(observation, verified=observation.verified | {version})
        # An unreadable policy holds everything, however many versions there are.
        if desired_package(observation) is not None or isinstance(policy, UnreadablePolicy):
            break
    return observation


def _is_verified(s3: S3Client, previous: PreviousStage, model: str, package: DescribedPackage) -> bool:
    """Return whether the previous stage wrote that it verified exactly this release.

    S3 answers 403 for a missing object to a caller without `s3:ListBucket`, and this stage may not list another's
    bucket.
    """
    if not package.release_id:
        return False
    try:
        answer = s3.get_object(Bucket=previous.bucket, Key=verified_key(model, package.release_id))
    except ClientError as error:
        if is_missing_object(error) or error_code(error) in {"AccessDenied", "403"}:
            return False
        raise
    written = json.loads(answer["Body"].read())
    return isinstance(written, dict) and (written.get("release_id"), written.get("stage")) == (
        package.release_id,
        previous.stage,
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
        # Platform creates the record, Training the group: between the two there is nothing to release.
        if not is_missing(error):
            raise


def describe_package(described: DescribeModelPackageOutputTypeDef) -> DescribedPackage:
    """Return the relevant fields of a described package."""
    life_cycle = described.get("ModelLifeCycle")
    return DescribedPackage(
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
    """Return who edited the package last. When the approval is first observed, this is its approver."""
    user = described.get("LastModifiedBy") or {}
    identity = user.get("IamIdentity") or {}
    return user.get("UserProfileName") or identity.get("Arn") or user.get("UserProfileArn") or UNKNOWN
