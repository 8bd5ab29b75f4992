"""List what an account holds under a proof's name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError, OperationNotPageableError

from evergreen.prove.proof import Proof

# The stack that a resource came from, as CloudFormation tags what it makes.
_STACK_TAG = "aws:cloudformation:stack-name"
_STAGES = ("platform-prod", "training-{model}", "serving-{model}-prod", "monitoring-{model}-prod")


@dataclass(frozen=True)
class Listing:
    """Describe how one kind of resource is listed.

    Attributes:
        kind: For people.
        service: The client.
        operation: The client's method.
        found: The member of the answer that holds the list.
        name: The member of an item that holds its name; "" where the item is the name.
        arguments: Arguments of the call; `{app}` is the proof's name.
    """

    kind: str
    service: str
    operation: str
    found: str
    name: str = ""
    arguments: Mapping[str, str] | None = None


LISTINGS = (
    Listing("endpoint", "sagemaker", "list_endpoints", "Endpoints", "EndpointName", {"NameContains": "{app}"}),
    Listing(
        "endpoint configuration",
        "sagemaker",
        "list_endpoint_configs",
        "EndpointConfigs",
        "EndpointConfigName",
        {"NameContains": "{app}"},
    ),
    Listing("model", "sagemaker", "list_models", "Models", "ModelName", {"NameContains": "{app}"}),
    Listing(
        "package group",
        "sagemaker",
        "list_model_package_groups",
        "ModelPackageGroupSummaryList",
        "ModelPackageGroupName",
        {"NameContains": "{app}"},
    ),
    Listing(
        "pipeline", "sagemaker", "list_pipelines", "PipelineSummaries", "PipelineName", {"PipelineNamePrefix": "{app}"}
    ),
    Listing(
        "monitoring schedule",
        "sagemaker",
        "list_monitoring_schedules",
        "MonitoringScheduleSummaries",
        "MonitoringScheduleName",
        {"NameContains": "{app}"},
    ),
    Listing(
        "processing job",
        "sagemaker",
        "list_processing_jobs",
        "ProcessingJobSummaries",
        "ProcessingJobName",
        {"NameContains": "{app}"},
    ),
    Listing("bucket", "s3", "list_buckets", "Buckets", "Name"),
    Listing("table", "dynamodb", "list_tables", "TableNames"),
    Listing("function", "lambda", "list_functions", "Functions", "FunctionName"),
    Listing("layer", "lambda", "list_layers", "Layers", "LayerName"),
    Listing("queue", "sqs", "list_queues", "QueueUrls", "", {"QueueNamePrefix": "{app}"}),
    Listing("topic", "sns", "list_topics", "Topics", "TopicArn"),
    Listing("role", "iam", "list_roles", "Roles", "RoleName"),
    Listing("rule", "events", "list_rules", "Rules", "Name", {"NamePrefix": "{app}"}),
    Listing("schedule", "scheduler", "list_schedules", "Schedules", "Name", {"NamePrefix": "{app}"}),
    Listing("alarm", "cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName"),
    Listing("dashboard", "cloudwatch", "list_dashboards", "DashboardEntries", "DashboardName"),
    Listing("log group", "logs", "describe_log_groups", "logGroups", "logGroupName"),
    Listing("parameter", "ssm", "describe_parameters", "Parameters", "Name"),
)


def holds(proof: Proof) -> Iterator[tuple[str, str]]:
    """Yield kind and name of everything with the proof's name, but stacks."""
    for listing in LISTINGS:
        for name in names(proof, listing):
            yield listing.kind, name


def names(proof: Proof, listing: Listing) -> list[str]:
    """Return the names of one kind that contain the proof's name."""
    app = proof.state.name
    arguments = {key: value.replace("{app}", app) for key, value in (listing.arguments or {}).items()}
    client = proof.client(listing.service)
    try:
        pages: Any = client.get_paginator(listing.operation).paginate(**arguments)
    except OperationNotPageableError:
        pages = [getattr(client, listing.operation)(**arguments)]
    items = (item for page in pages for item in page.get(listing.found, []))
    return [name for item in items if app in (name := str(item[listing.name] if listing.name else item))]


def tagged(proof: Proof) -> list[str]:
    """Return the ARNs of what CloudFormation tagged with one of the proof's stacks, by the tagging API."""
    stacks = [f"{proof.state.name}-{stage.replace('{model}', proof.names.name)}" for stage in _STAGES]
    pages = proof.client("resourcegroupstaggingapi").get_paginator("get_resources")
    found = pages.paginate(TagFilters=[{"Key": _STACK_TAG, "Values": stacks}])
    return [resource["ResourceARN"] for page in found for resource in page["ResourceTagMappingList"]]


def keys(proof: Proof) -> dict[str, str]:
    """Return the state of each key of the proof, by its id: those of its stack, or known by their description."""
    kms, found = proof.client("kms"), {}
    known = set(proof.facts.get("keys", []))
    listed = known or {key["KeyId"] for page in kms.get_paginator("list_keys").paginate() for key in page["Keys"]}
    for key in sorted(listed):
        try:
            described = kms.describe_key(KeyId=key)["KeyMetadata"]
        except ClientError as error:
            if error.response["Error"]["Code"] in {"NotFoundException", "AccessDeniedException"}:
                continue
            raise
        if key in known or described.get("Description", "").endswith(f" of {proof.state.name}"):
            found[key] = described["KeyState"]
    return found
