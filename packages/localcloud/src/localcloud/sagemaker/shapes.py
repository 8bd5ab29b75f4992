"""Validation of SageMaker's requests and responses against botocore's service model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore.model import OperationModel

from localcloud import shapes

_SERVICE = "sagemaker"


def operation_model(operation: str) -> OperationModel:
    """Return botocore's model of a SageMaker operation."""
    return shapes.operation_model(_SERVICE, operation)


def validated(operation: str, request: Any) -> dict[str, Any]:
    """Return the request as the input shape types it; raise AwsError as `localcloud.shapes.validated` does."""
    return shapes.validated(_SERVICE, operation, request)


def serialised(operation: str, response: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members that the output shape has, without those that are None."""
    return shapes.serialised(_SERVICE, operation, response)
