"""Errors of SageMaker's control plane, worded as AWS words them where that is known."""

from __future__ import annotations

from localcloud.errors import AwsError, validation

__all__ = ["AwsError", "conflict", "in_use", "not_found", "unknown_operation", "unsupported", "validation"]


def not_found(message: str) -> AwsError:
    """Return a ResourceNotFound error."""
    return AwsError("ResourceNotFound", message)


def in_use(message: str) -> AwsError:
    """Return a ResourceInUse error."""
    return AwsError("ResourceInUse", message)


def conflict(message: str) -> AwsError:
    """Return a ConflictException."""
    return AwsError("ConflictException", message)


def unsupported(what: str) -> AwsError:
    """Return the error for a feature, named by `what`, that AWS has and the local cloud does not."""
    return AwsError("ValidationException", f"The local cloud does not support {what}.")


def unknown_operation(operation: str) -> AwsError:
    """Return the error for an operation that the local cloud does not support."""
    return AwsError(
        "UnknownOperationException", f"The local cloud does not support the SageMaker operation {operation}."
    )
