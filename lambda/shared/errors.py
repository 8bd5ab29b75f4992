"""Errors that several functions raise, and the AWS error codes that they handle."""

from __future__ import annotations

from botocore.exceptions import ClientError, ConnectionError, HTTPClientError  # noqa: A004 - botocore's own name

_MISSING_RESOURCE = frozenset({"ResourceNotFound", "ResourceNotFoundException", "ParameterNotFound"})
_SENTENCE_CHARACTERS = 500
_MISSING_OBJECT = frozenset({"NoSuchKey", "404"})
# 409: another conditional write of the same object is under way.
_OBJECT_EXISTS = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})


# A later attempt may succeed. Anything else needs a person, and is the same at each attempt.
_TRANSIENT = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottledException",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)


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


def is_transient(error: Exception) -> bool:
    """Return whether a retry may succeed without anybody's help: a throttle, a time-out, an error of the service."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return error_code(error) in _TRANSIENT or status >= 500
    return isinstance(error, HTTPClientError | ConnectionError)


def failure_kind(error: Exception) -> str:
    """Return what two failures of the same cause have in common. Messages may hold ids of requests."""
    if isinstance(error, ClientError):
        return f"{error.operation_name} {error_code(error)}"
    return type(error).__name__


def failure_sentence(error: Exception) -> str:
    """Return an error in one line: of AWS its code, the call and the message, else its kind and text."""
    if isinstance(error, ClientError):
        message = error.response["Error"].get("Message", "no message")
        sentence = f"{error.operation_name} answered {error_code(error)}: {message}"
    else:
        sentence = f"{type(error).__name__}: {error}"
    return " ".join(sentence.split())[:_SENTENCE_CHARACTERS]
