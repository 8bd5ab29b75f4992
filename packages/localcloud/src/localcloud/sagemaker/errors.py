"""The errors that SageMaker's control plane answers with, in AWS's words where AWS's words are known."""

from __future__ import annotations

from localcloud.errors import AwsError, validation

__all__ = ["AwsError", "conflict", "in_use", "not_found", "unknown_operation", "unsupported", "validation"]


def not_found(message: str) -> AwsError:
    return AwsError("ResourceNotFound", message)


def in_use(message: str) -> AwsError:
    return AwsError("ResourceInUse", message)


def conflict(message: str) -> AwsError:
    return AwsError("ConflictException", message)


def unsupported(what: str) -> AwsError:
    """Refuse by name what AWS would do and the local cloud does not."""
    return AwsError("ValidationException", f"The local cloud does not support {what}.")


def unknown_operation(operation: str) -> AwsError:
    return AwsError(
        "UnknownOperationException", f"The local cloud does not support the SageMaker operation {operation}."
    )
