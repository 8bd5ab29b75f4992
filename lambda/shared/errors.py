"""Errors that several functions raise, and the AWS error codes that they handle."""

from __future__ import annotations

from botocore.exceptions import ClientError

_MISSING_RESOURCE = frozenset({"ResourceNotFound", "ResourceNotFoundException", "ParameterNotFound"})
_MISSING_OBJECT = frozenset({"NoSuchKey", "404"})
# 409: another conditional write of the same object is under way.
_OBJECT_EXISTS = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})


class Overtaken(Exception):
    """Another invocation changed the observed state first. Nothing was changed; the next look decides again."""


class PolicyError(ValueError):
    """A release or retraining policy is not valid. The message names every problem in one line."""


def error_code(error: ClientError) -> str:
    """Return the code of an AWS error."""
    return error.response["Error"]["Code"]


def is_missing(error: ClientError) -> bool:
    """Return whether a resource does not exist.

    CloudFormation and SageMaker report a missing resource as a ValidationError with a sentence, not by a code.
    """
    code, message = error_code(error), error.response["Error"].get("Message", "").lower()
    missing = "does not exist" in message or "could not find" in message
    return code in _MISSING_RESOURCE or (code.startswith("Validation") and missing)


def is_missing_object(error: ClientError) -> bool:
    """Return whether an S3 object does not exist."""
    return error_code(error) in _MISSING_OBJECT


def object_exists(error: ClientError) -> bool:
    """Return whether S3 refused a write-once put or copy because the object exists already."""
    return error_code(error) in _OBJECT_EXISTS


def is_failed_condition(error: ClientError) -> bool:
    """Return whether DynamoDB refused a conditional write."""
    return error_code(error) == "ConditionalCheckFailedException"
