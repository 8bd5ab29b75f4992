"""Read the inventory: registry, release records, endpoints, configurations, models, ledger. Nothing is changed here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from archive.inventory import ARCHIVED, ArchiveCandidate, Hosting, Inventory, RetainedResource
from archive.rules import ArchiveRules
from shared.clients import Clients
from shared.environment import ArchiveEnvironment
from shared.errors import is_missing
from shared.ledger import ReleaseLedger
from shared.release_record import version_of

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_sagemaker.type_defs import ModelPackageSummaryTypeDef

_PROMOTED = ("Production", "Approved")


def observe_hosting(clients: Clients, environment: ArchiveEnvironment) -> Hosting:
    """Observe the account's endpoints, and the configurations and models that CloudFormation named after `app`."""
    sagemaker, app = clients.sagemaker, environment.app
    endpoints: dict[str, str] = {}
    pending: set[str] = set()
    for page in sagemaker.get_paginator("list_endpoints").paginate():
        for summary in page["Endpoints"]:
            described = sagemaker.describe_endpoint(EndpointName=summary["EndpointName"])
            at_rest = described["EndpointStatus"] == "InService"
            endpoints[summary["EndpointName"]] = described.get("EndpointConfigName", "") if at_rest else ""
            pending.add(described.get("EndpointConfigName", ""))
            pending.add(described.get("PendingDeploymentSummary", {}).get("EndpointConfigName", ""))
    models = tuple(_models(sagemaker, app))
    return Hosting(
        endpoints=endpoints,
        pending=frozenset(pending),
        configs=tuple(_configs(sagemaker, app)),
        owner={model.name: owner for model in models if (owner := _owner(sagemaker, environment, model.name))},
        models=models,
    )


def observe(
    clients: Clients, environment: ArchiveEnvironment, hosting: Hosting, model: str, rules: ArchiveRules, now: datetime
) -> Inventory:
    """Observe one model."""
    ledger = ReleaseLedger(clients.dynamodb, environment.ledger_table, model=model, stage=environment.stage)
    stack, stack_at_rest = _stack_config(clients.cloudformation, environment.serving_stack(model))
    endpoint = hosting.endpoints.get(environment.endpoint(model))
    summaries = list(_summaries(clients.sagemaker, environment.package_group(model)))
    youngest = timedelta(days=min(rules.rejected_days, rules.superseded_days))
    old = [one for one in summaries if now - one["CreationTime"] >= youngest]
    described = (one for one in old if _stage(one) != ARCHIVED)
    releasing = ledger.lease() is not None or ledger.unfinished() is not None
    approved = [one for one in summaries if one.get("ModelApprovalStatus") == "Approved"]
    configs = tuple(c for c in hosting.configs if c.models and {hosting.owner.get(m) for m in c.models} == {model})
    return Inventory(
        # A stack without an endpoint has no known rollback target either.
        releasing=releasing or not stack_at_rest or endpoint == "" or (bool(stack) and not endpoint),
        live=frozenset(_live_versions(clients, environment, model)),
        quarantined=frozenset(ledger.quarantined()),
        packages=tuple(_package(clients.sagemaker, one["ModelPackageArn"]) for one in described),
        approved=frozenset(v["ModelPackageVersion"] for v in approved),
        promoted=frozenset(v["ModelPackageVersion"] for v in approved if _life_cycle(v) == _PROMOTED),
        in_use=hosting.pending | {stack},
        live_config=endpoint or "",
        configs=configs,
        models=tuple(one for one in hosting.models if hosting.owner.get(one.name) == model),
        referenced=frozenset(name for config in hosting.configs for name in config.models),
    )


def _live_versions(clients: Clients, environment: ArchiveEnvironment, model: str) -> Iterator[int]:
    """Return the versions that the release records of all stages in this account name."""
    path = f"/{environment.app}/{model}"
    for page in clients.ssm.get_paginator("get_parameters_by_path").paginate(Path=path, Recursive=True):
        for parameter in page["Parameters"]:
            if parameter["Name"].endswith("/release"):
                # The release controller corrects a record that somebody changed. Until then it names its version.
                version = version_of(parameter["Value"].partition("|")[0])
                if version is not None:
                    yield version


def _stack_config(cloudformation: CloudFormationClient, name: str) -> tuple[str, bool]:
    """Return the configuration that the stack names, and whether the stack is at rest."""
    try:
        stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if is_missing(error):
            return "", True
        raise
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
    return outputs.get("EndpointConfigName", ""), stack["StackStatus"].endswith("_COMPLETE")


def _summaries(sagemaker: SageMakerClient, group: str) -> Iterator[ModelPackageSummaryTypeDef]:
    pages = sagemaker.get_paginator("list_model_packages").paginate(ModelPackageGroupName=group)
    try:
        for page in pages:
            yield from page["ModelPackageSummaryList"]
    except ClientError as error:
        if not is_missing(error):
            raise


def _life_cycle(package: ModelPackageSummaryTypeDef) -> tuple[str, str]:
    life_cycle = package.get("ModelLifeCycle")
    return (life_cycle["Stage"], life_cycle["StageStatus"]) if life_cycle else ("", "")


def _stage(package: ModelPackageSummaryTypeDef) -> str:
    return package.get("ModelLifeCycle", {}).get("Stage", "")


def _package(sagemaker: SageMakerClient, arn: str) -> ArchiveCandidate:
    described = sagemaker.describe_model_package(ModelPackageName=arn)
    return ArchiveCandidate(
        version=described["ModelPackageVersion"],
        arn=arn,
        approval=described.get("ModelApprovalStatus", ""),
        created_at=described["CreationTime"],
        modified_at=described.get("LastModifiedTime", described["CreationTime"]),
        stage=described.get("ModelLifeCycle", {}).get("Stage", ""),
        pinned=bool(described.get("CustomerMetadataProperties", {}).get("pinned")),
    )


def _configs(sagemaker: SageMakerClient, app: str) -> Iterator[RetainedResource]:
    for page in sagemaker.get_paginator("list_endpoint_configs").paginate(NameContains=app):
        for summary in page["EndpointConfigs"]:
            name = summary["EndpointConfigName"]
            if name.startswith(app):
                variants = sagemaker.describe_endpoint_config(EndpointConfigName=name)["ProductionVariants"]
                named = tuple(variant.get("ModelName", "") for variant in variants)
                yield RetainedResource(name, summary["CreationTime"], named)


def _models(sagemaker: SageMakerClient, app: str) -> Iterator[RetainedResource]:
    for page in sagemaker.get_paginator("list_models").paginate(NameContains=app):
        for summary in page["Models"]:
            if summary["ModelName"].startswith(app):
                yield RetainedResource(summary["ModelName"], summary["CreationTime"])


def _owner(sagemaker: SageMakerClient, environment: ArchiveEnvironment, name: str) -> str | None:
    """Return the model whose release in this stage a SageMaker model serves.

    Only the Serving stacks' models read from the releases in this bucket.
    """
    url = sagemaker.describe_model(ModelName=name).get("PrimaryContainer", {}).get("ModelDataUrl", "")
    match = re.fullmatch(rf"s3://{re.escape(environment.artifact_bucket)}/releases/([^/]+)/[^/]+/model\.tar\.gz", url)
    return match.group(1) if match else None
