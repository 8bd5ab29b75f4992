"""How AWS says that something is not there."""

from __future__ import annotations

from botocore.exceptions import ClientError


def is_missing(error: ClientError) -> bool:
    """CloudFormation and SageMaker say "not found" by a ValidationError and a sentence here, by no code of its own."""
    code = error.response["Error"]["Code"]
    message = error.response["Error"].get("Message", "").lower()
    missing = "does not exist" in message or "could not find" in message
    return code in {"ResourceNotFound", "ResourceNotFoundException"} or (code.startswith("Validation") and missing)
