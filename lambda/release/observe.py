"""Read the observed state: registry, stack, endpoint, record, ledger. Nothing is changed here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from release.alarms import rollback_alarm
from release.desired import APPROVED_FOR_PRODUCTION, desired_package, is_live_rejected, is_quarantined
from release.four_eyes import UNKNOWN
from release.observation import (
    ARCHIVED,
    RELEASE_PARAMETER,
    STACK_NOT_CREATED,
    DescribedPackage,
    EndpointState,
    ReleaseObservation,
    StackState,
    UnreadablePolicy,
)
from release.verified_copy import PackageRefused, released_record
from shared.environment import ReleaseEnvironment
from shared.errors import PolicyError, error_code, is_missing, is_missing_object
from shared.ledger import Lease, ReleaseLedger
from shared.log import logger
from shared.release_policy import LIFE_CYCLE, PreviousStage, StagePolicy, parse_release_policy
from shared.release_record import NO_RELEASE, ReleaseRecord, parse_release_record, version_of
from shared.told import ToldTopics
from shared.verification import VerificationRows, verified_key

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_sagemaker.type_defs import DescribeModelPackageOutputTypeDef, ModelPackageSummaryTypeDef
    from mypy_boto3_ssm import SSMClient

    from shared.clients import Clients

# More approved versions than ever wait at once. Each costs a call at every look.
_MOST_DESCRIBED = 20


def observe(
    clients: Clients,
    environment: ReleaseEnvironment,
    ledger: ReleaseLedger,
    model: str,
    topics: ToldTopics | None = None,
) -> ReleaseObservation:
    """Observe one model.

    The lease is read first: a later change by its holder is then observed, or refused by a condition.
    """
    lease, unfinished = ledger.lease(), ledger.unfinished()
    quarantine, approvals = ledger.quarantined(), ledger.approvals()
    text = read_record(clients.ssm, environment.record_name(model))
    record, problem = _parsed(text)
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
        alarm=_alarm(clients, environment.endpoint(model), lease or unfinished, stack),
        unfinished=unfinished,
        told=topics.read() if topics else {},
        awaited=ledger.waiting(),
        unreadable=ledger.unreadable(),
        record_text=text,
        record_problem=problem,
    )
    observation = _with_live(clients, environment, model, observation)
    return _with_candidates(clients, environment.package_group(model), model, observation)


def read_record(ssm: SSMClient, name: str) -> str:
    """Read the release record, "" where somebody deleted it."""
    try:
        return ssm.get_parameter(Name=name)["Parameter"]["Value"]
    except ClientError as error:
        if is_missing(error):
            return ""
        raise


def _parsed(text: str) -> tuple[ReleaseRecord, str]:
    """Return the release record, and why it is not one, in a clause. A record that cannot be read names no release."""
    if not text:
        return NO_RELEASE, "it was deleted"
    try:
        record = parse_release_record(text)
    except ValueError as error:
        return NO_RELEASE, str(error)
    return record, record.malformed_field


def _alarm(clients: Clients, endpoint: str, lease: Lease | None, stack: StackState | None) -> str:
    """Return which alarm ended a release. It is not needed while CloudFormation is at work.

    It only completes a sentence, so a failure to read it keeps no release from being rolled back.
    """
    if lease is None or not lease.is_controllers or stack is None or stack.busy:
        return ""
    try:
        return rollback_alarm(clients.cloudwatch, endpoint, lease)
    except (ClientError, BotoCoreError, ValueError) as error:
        logger.warning("the history of the rollback alarms cannot be read", reason=str(error))
        return ""


def _with_live(
    clients: Clients, environment: ReleaseEnvironment, model: str, observation: ReleaseObservation
) -> ReleaseObservation:
    """Describe the live version and that of the release under way, and compare the record with the live one."""
    live = observation.live_release
    under_way = observation.lease or observation.unfinished
    versions = {version_of(live), version_of(under_way.release_id) if under_way else None} - {None}
    for version in versions:
        assert version is not None
        arn = environment.package(model, version)
        try:
            described = clients.sagemaker.describe_model_package(ModelPackageName=arn)
        except ClientError as error:
            if not is_missing(error):
                raise
            continue
        observation = replace(observation, packages=(*observation.packages, describe_package(described)))
        if version == version_of(live):
            observation = _compared(clients, environment, model, observation, described)
    if version_of(live) is not None and observation.package(version_of(live)) is None:
        problem = f"version {version_of(live)}, which is live, is not in the registry any more"
        observation = replace(observation, record_problem=observation.record_problem or problem)
    return observation


def _compared(
    clients: Clients,
    environment: ReleaseEnvironment,
    model: str,
    observation: ReleaseObservation,
    described: DescribeModelPackageOutputTypeDef,
) -> ReleaseObservation:
    """Compare all fields of the record with the live release's package and registration record."""
    live = observation.live_release
    try:
        verified = released_record(clients.s3, environment.artifact_bucket, model, described, live)
    except PackageRefused as refusal:
        problem = f"the record of {live} cannot be verified, because {refusal}"
        return replace(observation, record_problem=observation.record_problem or problem)
    except ClientError as error:
        # A rejection must be carried out even where this stage's copy cannot be read.
        problem = f"the record of {live} cannot be verified: {error}"
        return replace(observation, record_problem=observation.record_problem or problem)
    problem = observation.record_problem or _difference(observation.record, verified)
    return replace(observation, verified_record=verified, record_problem=problem)


def _difference(record: ReleaseRecord, verified: ReleaseRecord) -> str:
    """Return the first field in which the record differs from the live release, in a clause; "" for none."""
    for name in ReleaseRecord.__dataclass_fields__:
        found, expected = getattr(record, name), getattr(verified, name)
        if found != expected:
            return f"it names the {name.replace('_', ' ')} {found}, and {verified.release_id} has {expected}"
    return ""


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
        deployed_record=next(
            (
                parameter.get("ResolvedValue", "")
                for parameter in stack.get("Parameters", [])
                if parameter["ParameterKey"].startswith(RELEASE_PARAMETER)
            ),
            "",
        ),
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
    versions costs ten calls to list and, as a rule, one to describe. However many versions wait, at most twenty are
    described; the live one is always among those that are.
    """
    policy = observation.policy
    pin = policy.pin if isinstance(policy, StagePolicy) else None
    previous = policy.verified_in if isinstance(policy, StagePolicy) else None
    second = isinstance(policy, StagePolicy) and policy.approval == LIFE_CYCLE
    # A rejected live version goes back to an earlier one, whatever is pinned.
    first_only = pin is not None and not is_live_rejected(observation)
    described = 0
    for position, (version, arn, life_cycle) in enumerate(_approved(clients.sagemaker, group)):
        if first_only and pin and version != pin.version:
            if version < pin.version:
                break
            continue
        if life_cycle.startswith(ARCHIVED):
            continue
        # The first one is named in a sentence that says what it waits for.
        if second and position > 0 and life_cycle != APPROVED_FOR_PRODUCTION:
            continue
        package = observation.package(version)
        if package is None:
            if described == _MOST_DESCRIBED:
                break
            described += 1
            package = _described(clients.sagemaker, arn)
            if package is None:
                continue
            observation = replace(observation, packages=(*observation.packages, package))
        if previous and not is_quarantined(observation, package) and _is_verified(clients.s3, previous, model, package):
            observation = replace(observation, verified=observation.verified | {version})
        desired = desired_package(observation)
        # An unreadable policy holds everything, however many versions there are.
        if (desired is not None and desired.version >= version) or isinstance(policy, UnreadablePolicy):
            break
    return observation


def _described(sagemaker: SageMakerClient, arn: str) -> DescribedPackage | None:
    """Describe a version, None where it was deleted since it was listed."""
    try:
        return describe_package(sagemaker.describe_model_package(ModelPackageName=arn))
    except ClientError as error:
        if is_missing(error):
            return None
        raise


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


def _approved(sagemaker: SageMakerClient, group: str) -> Iterator[tuple[int, str, str]]:
    """Return version, ARN and life cycle of the approved versions, the newest first, a page at a time."""
    pages = sagemaker.get_paginator("list_model_packages").paginate(
        ModelPackageGroupName=group,
        ModelApprovalStatus="Approved",
        SortBy="CreationTime",
        SortOrder="Descending",
        PaginationConfig={"PageSize": 100},
    )
    try:
        for page in pages:
            for summary in sorted(
                page["ModelPackageSummaryList"], key=lambda one: one["ModelPackageVersion"], reverse=True
            ):
                yield summary["ModelPackageVersion"], summary["ModelPackageArn"], _life_cycle(summary)
    except ClientError as error:
        # Platform creates the record, Training the group: between the two there is nothing to release.
        if not is_missing(error):
            raise


def describe_package(described: DescribeModelPackageOutputTypeDef) -> DescribedPackage:
    """Return the relevant fields of a described package."""
    return DescribedPackage(
        version=described["ModelPackageVersion"],
        arn=described["ModelPackageArn"],
        approval=described["ModelApprovalStatus"],
        status=described["ModelPackageStatus"],
        record_sha256=_record_sha256(described.get("CustomerMetadataProperties") or {}),
        modified_at=described.get("LastModifiedTime", described["CreationTime"]),
        modified_by=_editor(described),
        description=described.get("ApprovalDescription", ""),
        life_cycle=_life_cycle(described),
    )


def _life_cycle(package: DescribeModelPackageOutputTypeDef | ModelPackageSummaryTypeDef) -> str:
    life_cycle = package.get("ModelLifeCycle")
    return f"{life_cycle['Stage']}/{life_cycle['StageStatus']}" if life_cycle else ""


def _record_sha256(metadata: Mapping[str, str]) -> str | None:
    digest = metadata.get("record_sha256", "")
    well_formed = len(digest) == 64 and all(character in "0123456789abcdef" for character in digest)
    return digest if well_formed and metadata.get("record_uri") else None


def _editor(described: DescribeModelPackageOutputTypeDef) -> str:
    """Return who edited the package last. When the approval is first observed, this is its approver."""
    user = described.get("LastModifiedBy") or {}
    identity = user.get("IamIdentity") or {}
    return user.get("UserProfileName") or identity.get("Arn") or user.get("UserProfileArn") or UNKNOWN
