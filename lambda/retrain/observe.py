"""Read the observed state: policy, record, runs, registry, new data, ledger. Nothing is changed here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from retrain.observation import NewData, PackageSummary, PipelineRun, RetrainObservation
from retrain.policy import RetrainPolicy, parse_retrain_policy
from retrain.store import RetrainStore
from shared.clients import Clients
from shared.environment import RetrainEnvironment
from shared.errors import PolicyError, is_missing
from shared.ledger import ReleaseLedger
from shared.release_record import parse_release_record
from shared.verdict import Verdicts

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_ssm import SSMClient
    from mypy_boto3_ssm.type_defs import ParameterTypeDef

# More runs or versions than anybody starts or approves within a budget's window.
_NEWEST = 100


def observe(
    clients: Clients, environment: RetrainEnvironment, store: RetrainStore, model: str, now: datetime
) -> RetrainObservation:
    """Observe one model.

    The ledger is read before the runs: an attempt that another invocation records later makes this one's conditional
    write fail.
    """
    default = RetrainPolicy(environment.stage)
    try:
        policy = _policy(clients.ssm, environment.retrain_policy_name(model))
    except PolicyError as error:
        return RetrainObservation(model, default, policy_problem=str(error), state=store.read())
    if policy is None:
        return RetrainObservation(model, default, inactive="it has no retraining policy")
    if policy.stage != environment.stage:
        return RetrainObservation(model, policy, inactive=f"its policy uses the verdicts of {policy.stage}")
    return _observe_active(clients, environment, store, model, policy, now)


def _observe_active(
    clients: Clients,
    environment: RetrainEnvironment,
    store: RetrainStore,
    model: str,
    policy: RetrainPolicy,
    now: datetime,
) -> RetrainObservation:
    state = store.read()
    verdicts = Verdicts(clients.dynamodb, environment.ledger_table, model=model, stage=environment.stage)
    name = environment.record_name(model)
    parameter = _parameter(clients.ssm, name)
    release, version = _named_release(parameter.get("Value", ""))
    found, unreadable = verdicts.read(now - timedelta(days=policy.evidence_days))
    observation = RetrainObservation(
        model=model,
        policy=policy,
        release_id=release,
        version=version,
        verdicts=found,
        runs=tuple(_runs(clients.sagemaker, environment.pipeline(model))),
        packages=tuple(_packages(clients.sagemaker, environment.package_group(model))),
        state=state,
        unreadable=unreadable,
        released_at=parameter.get("LastModifiedDate"),
    )
    ledger = ReleaseLedger(clients.dynamodb, environment.ledger_table, model=model, stage=environment.stage)
    observation = replace(observation, quarantined=frozenset(_quarantined(clients.sagemaker, ledger, observation)))
    if policy.new_data_objects is None:
        return observation
    since = observation.last_start() or datetime.min.replace(tzinfo=UTC)
    new_data = _new_data(clients.s3, environment.data_bucket, f"{model}/{policy.raw_prefix}", since)
    return replace(observation, new_data=new_data)


def _parameter(ssm: SSMClient, name: str) -> ParameterTypeDef:
    """Read a parameter, an empty one where it does not exist."""
    try:
        return ssm.get_parameter(Name=name)["Parameter"]
    except ClientError as error:
        if is_missing(error):
            return {}
        raise


def _named_release(text: str) -> tuple[str, int | None]:
    """Return the release that the record names, and its version. The release controller corrects a changed record."""
    try:
        record = parse_release_record(text)
    except ValueError:
        return "unknown", None
    return record.release_id, record.version


def _policy(ssm: SSMClient, name: str) -> RetrainPolicy | None:
    try:
        value = ssm.get_parameter(Name=name)["Parameter"]["Value"]
    except ClientError as error:
        if is_missing(error):
            return None
        raise
    return parse_retrain_policy(value)


def _runs(sagemaker: SageMakerClient, pipeline: str) -> Iterator[PipelineRun]:
    try:
        found = sagemaker.list_pipeline_executions(
            PipelineName=pipeline, SortBy="CreationTime", SortOrder="Descending", MaxResults=_NEWEST
        )["PipelineExecutionSummaries"]
    except ClientError as error:
        # Training creates the policy and the pipeline, and either may exist for a moment without the other.
        if is_missing(error):
            return
        raise
    for run in found:
        yield PipelineRun(
            arn=run["PipelineExecutionArn"],
            name=run.get("PipelineExecutionDisplayName") or run["PipelineExecutionArn"].rsplit("/", 1)[-1],
            status=run["PipelineExecutionStatus"],
            started_at=run["StartTime"],
        )


def _packages(sagemaker: SageMakerClient, group: str) -> Iterator[PackageSummary]:
    try:
        found = sagemaker.list_model_packages(
            ModelPackageGroupName=group, SortBy="CreationTime", SortOrder="Descending", MaxResults=_NEWEST
        )["ModelPackageSummaryList"]
    except ClientError as error:
        if is_missing(error):
            return
        raise
    for package in found:
        approval = package.get("ModelApprovalStatus", "")
        yield PackageSummary(
            package["ModelPackageVersion"], approval, package["CreationTime"], package["ModelPackageArn"]
        )


def _quarantined(sagemaker: SageMakerClient, ledger: ReleaseLedger, observation: RetrainObservation) -> Iterator[int]:
    quarantine = ledger.quarantined()
    for package in observation.packages:
        entry = quarantine.get(package.version)
        if entry is None or package.approval != "Approved" or package.version <= (observation.version or 0):
            continue
        try:
            edited = sagemaker.describe_model_package(ModelPackageName=package.arn)
        except ClientError as error:
            if is_missing(error):
                continue
            raise
        if entry.applies_to(edited.get("LastModifiedTime", edited["CreationTime"])):
            yield package.version


def _new_data(s3: S3Client, bucket: str, prefix: str, since: datetime) -> NewData | None:
    """List the objects that arrived after `since`. The listing is complete; an Object Created event may be lost."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    times = [one["LastModified"] for page in pages for one in page.get("Contents", []) if one["LastModified"] > since]
    return NewData(len(times), min(times), max(times)) if times else None
