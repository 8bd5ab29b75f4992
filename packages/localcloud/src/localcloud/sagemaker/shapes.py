"""SageMaker's requests and responses against botocore's model of the service."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from botocore.model import OperationModel, ServiceModel, Shape

from localcloud import shapes

_SERVICE = "sagemaker"


def service_model(service: str = _SERVICE) -> ServiceModel:
    return shapes.service_model(service)


def operation_model(operation: str) -> OperationModel:
    return shapes.operation_model(_SERVICE, operation)


@cache
def shape(name: str) -> Shape:
    return service_model().shape_for(name)


def validated(operation: str, request: Any) -> dict[str, Any]:
    """The request as the input shape types it; AwsError as `localcloud.shapes.validated` raises it."""
    return shapes.validated(_SERVICE, operation, request)


def serialised(operation: str, response: Mapping[str, Any]) -> dict[str, Any]:
    """Return only what the output shape knows, without absent members."""
    return shapes.serialised(_SERVICE, operation, response)
