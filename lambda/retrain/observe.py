"""Reads what the decision needs: policy, record, runs, registry, arrivals, ledger. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from retrain.causes import last_start
from retrain.environment import RetrainEnvironment
from retrain.memory import Memory
from retrain.policy import Policy, parse_policy
from retrain.world import Arrivals, Package, Run, World
from shared.clients import Clients
from shared.ledger import Ledger
from shared.missing import is_missing
from shared.record import parse_record
from shared.verdict import Verdicts

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_ssm import SSMClient

# More runs or versions than anybody starts or approves within a budget's window.
_NEWEST = 100


def observe_policy(ssm: SSMClient, environment: RetrainEnvironment, model: str) -> Policy | None:
    """Read the model's policy, None where it has none.

    Raises:
        PolicyError: it is not valid.
    """
    try:
        value = ssm.get_parameter(Name=environment.policy_name(model))["Parameter"]["Value"]
    except ssm.exceptions.ParameterNotFound:
        return None
    return parse_policy(value)


def observe(
    clients: Clients, environment: RetrainEnvironment, memory: Memory, model: str, policy: Policy, now: datetime
) -> World:
    """Observe one model. The ledger is read first: a flight that is claimed later fails the claim by its condition."""
    remembered = memory.read()
    verdicts = Verdicts(clients.dynamodb, environment.ledger_table, model=model, stage=environment.stage)
    name = environment.record_name(model)
    record = parse_record(clients.ssm.get_parameter(Name=name)["Parameter"]["Value"])
    world = World(
        model=model,
        policy=policy,
        release_id=record.release_id,
        version=record.version,
        verdicts=tuple(verdicts.since(now - timedelta(days=policy.evidence_days))),
        runs=tuple(_runs(clients.sagemaker, environment.pipeline(model))),
        packages=tuple(_packages(clients.sagemaker, environment.package_group(model))),
        attempts=remembered.attempts,
        flight=remembered.flight,
        settled=remembered.settled,
        requests=remembered.requests,
        told=remembered.told,
    )
    ledger = Ledger(clients.dynamodb, environment.ledger_table, model=model, stage=environment.stage)
    world = replace(world, barred=frozenset(_barred(clients.sagemaker, ledger, world)))
    if policy.new_data_objects is None:
        return world
    since = last_start(world) or datetime.min.replace(tzinfo=UTC)
    return replace(world, arrivals=_arrivals(clients.s3, environment.data_bucket, f"{model}/raw/", since))


def _runs(sagemaker: SageMakerClient, pipeline: str) -> Iterator[Run]:
    try:
        found = sagemaker.list_pipeline_executions(
            PipelineName=pipeline, SortBy="CreationTime", SortOrder="Descending", MaxResults=_NEWEST
        )["PipelineExecutionSummaries"]
    except ClientError as error:
        # The policy comes with Training, and may outlive its pipeline by a moment.
        if is_missing(error):
            return
        raise
    for run in found:
        yield Run(
            arn=run["PipelineExecutionArn"],
            name=run.get("PipelineExecutionDisplayName") or run["PipelineExecutionArn"].rsplit("/", 1)[-1],
            status=run["PipelineExecutionStatus"],
            started_at=run["StartTime"],
        )


def _packages(sagemaker: SageMakerClient, group: str) -> Iterator[Package]:
    try:
        found = sagemaker.list_model_packages(
            ModelPackageGroupName=group, SortBy="CreationTime", SortOrder="Descending", MaxResults=_NEWEST
        )["ModelPackageSummaryList"]
    except ClientError as error:
        if is_missing(error):
            return
        raise
    for package in found:
        yield Package(package["ModelPackageVersion"], package.get("ModelApprovalStatus", ""), package["CreationTime"])


def _barred(sagemaker: SageMakerClient, ledger: Ledger, world: World) -> Iterator[int]:
    quarantine = ledger.quarantined()
    for package in world.packages:
        entry = quarantine.get(package.version)
        if entry is None or package.approval != "Approved" or package.version <= (world.version or 0):
            continue
        edited = sagemaker.describe_model_package(ModelPackageName=entry.package_arn)
        if entry.bars(edited.get("LastModifiedTime", edited["CreationTime"])):
            yield package.version


def _arrivals(s3: S3Client, bucket: str, prefix: str, since: datetime) -> Arrivals | None:
    """List what landed after `since`; a listing is the truth, an Object Created event may be lost."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    landed = [one["LastModified"] for page in pages for one in page.get("Contents", []) if one["LastModified"] > since]
    return Arrivals(len(landed), min(landed), max(landed)) if landed else None
