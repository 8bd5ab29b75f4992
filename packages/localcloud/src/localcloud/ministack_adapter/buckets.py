"""S3 bucket encryption: from templates, and with AWS's default key where a request names none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from xml.sax.saxutils import escape

from ministack.services import s3
from ministack.services.cloudformation import provisioners

from localcloud.ministack_adapter.environment import ACCOUNT, REGION
from localcloud.ministack_adapter.patching import wrap

_KEY_HEADER = "x-amz-server-side-encryption-aws-kms-key-id"
_AWS_KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/aws/s3"


def install() -> None:
    """Apply `BucketEncryption`, which ministack's handlers drop, and add the key to an `aws:kms` write without one."""
    wrap(s3, "_resolve_sse_write_headers", _with_default_key)
    handlers = provisioners._RESOURCE_HANDLERS["AWS::S3::Bucket"]
    create, update = handlers["create"], handlers["update"]

    def create_all(logical_id: str, properties: Mapping[str, Any], stack_name: str) -> Any:
        name, attributes = create(logical_id, properties, stack_name)
        _apply_encryption(name, properties)
        return name, attributes

    def update_all(physical_id: str, old: Mapping[str, Any], new: Mapping[str, Any], stack_name: str) -> Any:
        name, attributes = update(physical_id, old, new, stack_name)
        _apply_encryption(name, new)
        return name, attributes

    handlers["create"], handlers["update"] = create_all, update_all


def _with_default_key(original: Callable[..., Any]) -> Callable[..., Any]:
    def resolve(headers: Mapping[str, str], bucket: str) -> Any:
        if headers.get("x-amz-server-side-encryption") == "aws:kms" and not headers.get(_KEY_HEADER):
            default = s3._bucket_default_sse_headers(bucket).get(_KEY_HEADER) or _AWS_KEY
            headers = {**headers, _KEY_HEADER: default}
        return original(headers, bucket)

    return resolve


def _apply_encryption(bucket: str, properties: Mapping[str, Any]) -> None:
    rules = (properties.get("BucketEncryption") or {}).get("ServerSideEncryptionConfiguration")
    if not rules:
        s3._bucket_encryption.pop(bucket, None)
        return
    s3._bucket_encryption[bucket] = _encryption_xml(rules)


def _encryption_xml(rules: list[Mapping[str, Any]]) -> str:
    parts = []
    for rule in rules:
        default = rule.get("ServerSideEncryptionByDefault") or {}
        inner = "".join(
            f"<{tag}>{escape(str(default[member]))}</{tag}>"
            for member, tag in (("SSEAlgorithm", "SSEAlgorithm"), ("KMSMasterKeyID", "KMSMasterKeyID"))
            if member in default
        )
        bucket_key = str(rule.get("BucketKeyEnabled", False)).lower()
        parts.append(
            f"<Rule><ApplyServerSideEncryptionByDefault>{inner}</ApplyServerSideEncryptionByDefault>"
            f"<BucketKeyEnabled>{bucket_key}</BucketKeyEnabled></Rule>"
        )
    return (
        '<ServerSideEncryptionConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"{''.join(parts)}</ServerSideEncryptionConfiguration>"
    )
