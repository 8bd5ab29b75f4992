"""KMS keys on the volumes of SageMaker's instances.

Source: Amazon SageMaker Developer Guide, "SageMaker AI API permissions reference": `kms:CreateGrant` is required where
a volume has a key, unless the associated role has a policy that permits it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from localcloud.cloud import RoleError
from localcloud.ministack_adapter import keys, permissions
from localcloud.ministack_adapter.keys import Use

_SERVICE = "sagemaker.amazonaws.com"


def refusal(operation: str, request: Mapping[str, Any], access_key: str) -> str | None:
    """Return why SageMaker cannot encrypt a volume for a request, or None."""
    for key in _volume_keys(operation, request):
        use = Use(key, ("CreateGrant",), "sagemaker", for_grant=True)
        refused = keys.refused(access_key, use)
        if refused is not None and refused.kind == "denied" and _role_may(request, use):
            continue
        if refused is not None:
            return refused.message
    return None


def _volume_keys(operation: str, request: Mapping[str, Any]) -> Iterator[str]:
    if operation == "CreateEndpointConfig" and request.get("KmsKeyId"):
        yield str(request["KmsKeyId"])
    for value in _values(request, "VolumeKmsKeyId"):
        if operation.startswith("Create") and value:
            yield str(value)


def _role_may(request: Mapping[str, Any], use: Use) -> bool:
    for role in _values(request, "RoleArn"):
        try:
            credentials = permissions.role_credentials(str(role), _SERVICE, "SageMaker")
        except RoleError:
            continue
        if keys.refused(credentials["AWS_ACCESS_KEY_ID"], use) is None:
            return True
    return False


def _values(request: Any, member: str) -> Iterator[Any]:
    if isinstance(request, Mapping):
        for name, value in request.items():
            if name == member:
                yield value
            else:
                yield from _values(value, member)
    elif isinstance(request, list):
        for value in request:
            yield from _values(value, member)
