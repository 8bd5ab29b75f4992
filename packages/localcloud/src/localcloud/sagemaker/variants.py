"""Production variants: their summaries in an endpoint, and the specification that the fleet runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from localcloud.runtime.contract import VariantSpec
from localcloud.sagemaker.context import Document
from localcloud.sagemaker.models import Models
from localcloud.sagemaker.rollout import TrafficStep

_DEFAULT_STARTUP_TIMEOUT = 60.0


def specification(
    endpoint_name: str, variant: Mapping[str, Any], capture: Mapping[str, Any] | None, models: Models
) -> VariantSpec:
    """Return what the fleet runs for one variant; raise AwsError where the model or its package is gone."""
    model = models.find(variant["ModelName"])
    container = models.container(variant["ModelName"])
    source = container.get("ModelDataSource") or {}
    return VariantSpec(
        endpoint_name=endpoint_name,
        variant_name=variant["VariantName"],
        image=container["Image"],
        role_arn=model["ExecutionRoleArn"],
        model_data_url=container.get("ModelDataUrl"),
        model_data_source=source.get("S3DataSource"),
        environment=dict(container.get("Environment") or {}),
        network_isolation=model["EnableNetworkIsolation"],
        data_capture=capture,
        startup_timeout=variant.get("ContainerStartupHealthCheckTimeoutInSeconds", _DEFAULT_STARTUP_TIMEOUT),
    )


def summaries(config: Document, models: Models, now: float, kept: Mapping[str, Document]) -> list[Document]:
    """Return `DescribeEndpoint.ProductionVariants` of a configuration in service.

    Args:
        config: the endpoint configuration.
        models: the models.
        now: epoch seconds.
        kept: by variant name, the desired weight and count that survive an update (`RetainAllVariantProperties`).
    """
    return [
        _summary(variant, models, now, kept.get(variant["VariantName"], {})) for variant in config["ProductionVariants"]
    ]


def _summary(variant: Document, models: Models, now: float, kept: Mapping[str, Any]) -> Document:
    weight = kept.get("DesiredWeight", variant["InitialVariantWeight"])
    summary: Document = {
        "VariantName": variant["VariantName"],
        "DeployedImages": [_image(models.container(variant["ModelName"])["Image"], now)],
        "CurrentWeight": weight,
        "DesiredWeight": weight,
    }
    if "ServerlessConfig" in variant:
        return summary | {
            "CurrentInstanceCount": 0,
            "DesiredInstanceCount": 0,
            "CurrentServerlessConfig": variant["ServerlessConfig"],
        }
    count = kept.get("DesiredInstanceCount", variant["InitialInstanceCount"])
    return summary | {
        "CurrentInstanceCount": count,
        "DesiredInstanceCount": count,
        "RoutingConfig": variant.get("RoutingConfig"),
    }


def _image(image: str, now: float) -> Document:
    return {"SpecifiedImage": image, "ResolvedImage": image, "ResolutionTime": now}


def pending(
    config: Document,
    began: float,
    now: float,
    status: str,
    message: str,
    *,
    kept: Mapping[str, Document],
    step: TrafficStep | None = None,
) -> Document:
    """Return `PendingDeploymentSummary` while `config` is being deployed.

    Args:
        config: the endpoint configuration.
        began: when the deployment started (epoch seconds).
        now: when this status started (epoch seconds).
        status: `VariantStatus.Status`.
        message: `VariantStatus.StatusMessage`.
        kept: as in `summaries`.
        step: the current traffic step; None where the new fleet has no traffic.
    """
    variants = []
    for variant in config["ProductionVariants"]:
        kept_values = kept.get(variant["VariantName"], {})
        weight = kept_values.get("DesiredWeight", variant["InitialVariantWeight"])
        summary: Document = {
            "VariantName": variant["VariantName"],
            "DesiredWeight": weight,
            "CurrentWeight": weight if step is not None else 0.0,
            "VariantStatus": [{"Status": status, "StatusMessage": message, "StartTime": now}],
        }
        if "InitialInstanceCount" in variant:
            count = kept_values.get("DesiredInstanceCount", variant["InitialInstanceCount"])
            summary["DesiredInstanceCount"] = count
            summary["CurrentInstanceCount"] = step.active(count) if step is not None else 0
            summary["InstanceType"] = variant["InstanceType"]
        else:
            summary["DesiredServerlessConfig"] = variant["ServerlessConfig"]
        variants.append(summary)
    return {"EndpointConfigName": config["EndpointConfigName"], "StartTime": began, "ProductionVariants": variants}


def rolled_back(pending: Document, now: float) -> Document:
    """Return the `PendingDeploymentSummary` while its fleet, which has no traffic any more, is deleted."""
    status = {"Status": "Deleting", "StatusMessage": "Rolling back to the old fleet.", "StartTime": now}
    none = {"CurrentWeight": 0.0, "VariantStatus": [status]}
    counted = {**none, "CurrentInstanceCount": 0}
    shown = [
        {**variant, **(counted if "DesiredInstanceCount" in variant else none)}
        for variant in pending["ProductionVariants"]
    ]
    return {**pending, "ProductionVariants": shown}


def capture_summary(capture: Mapping[str, Any] | None) -> Document | None:
    """Return `DescribeEndpoint.DataCaptureConfig`."""
    if capture is None:
        return None
    enabled = capture.get("EnableCapture", False)
    return {
        "EnableCapture": enabled,
        "CaptureStatus": "Started" if enabled else "Stopped",
        "CurrentSamplingPercentage": capture["InitialSamplingPercentage"],
        "DestinationS3Uri": capture["DestinationS3Uri"],
        "KmsKeyId": capture.get("KmsKeyId", ""),
    }


def retained(endpoint: Document, excluded: Sequence[str]) -> dict[str, Document]:
    """Return the properties that `RetainAllVariantProperties` keeps, by variant name."""
    members = {"DesiredWeight", "DesiredInstanceCount"} - set(excluded)
    return {
        variant["VariantName"]: {member: variant[member] for member in members if variant.get(member) is not None}
        for variant in endpoint.get("ProductionVariants", ())
    }
