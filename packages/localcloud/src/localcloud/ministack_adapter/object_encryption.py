"""S3 objects with KMS keys, and what S3 says about objects that do not exist.

Sources: Amazon S3 User Guide, "Using server-side encryption with AWS KMS keys"; API Reference, GetObject and
HeadObject, "Permissions" (403 instead of 404 without `s3:ListBucket`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from ministack.services import s3

from localcloud.ministack_adapter import encryption, keys, permissions
from localcloud.ministack_adapter.environment import ACCOUNT
from localcloud.ministack_adapter.keys import Refusal, Use
from localcloud.ministack_adapter.patching import wrap

_SSE, _KEY = "x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id"
_CODES = {
    "disabled": "KMS.DisabledException",
    "state": "KMS.KMSInvalidStateException",
    "missing": "KMS.NotFoundException",
}
_WITH_CHECKSUM = "x-amz-checksum-mode"


def install() -> None:
    """Ask KMS before objects are written and read, and before S3 sends notifications."""
    wrap(s3, "_put_object", _writing)
    wrap(s3, "_create_multipart_upload", _writing)
    wrap(s3, "_copy_object", _copying)
    wrap(s3, "_upload_part", _uploading)
    wrap(s3, "_upload_part_copy", _uploading)
    wrap(s3, "_complete_multipart_upload", _uploading)
    wrap(s3, "_get_object", _reading(always=True))
    wrap(s3, "_head_object", _reading(always=False))
    wrap(s3, "_get_object_attributes", _reading(always=False))
    wrap(s3, "_notification_destination_allows", _destination)
    wrap(s3, "_deliver_event_to_sqs", _notification(encryption.queue_refusal))
    wrap(s3, "_deliver_event_to_sns", _notification(encryption.topic_refusal))


def _writing(original: Callable[..., Any]) -> Callable[..., Any]:
    def write(bucket: str, key: str, *args: Any) -> Any:
        return _write_refusal(bucket, key, args[-1]) or original(bucket, key, *args)

    return write


def _copying(original: Callable[..., Any]) -> Callable[..., Any]:
    def copy(bucket: str, key: str, headers: Mapping[str, str]) -> Any:
        source, name = unquote(headers.get("x-amz-copy-source", "").lstrip("/").partition("?")[0]).partition("/")[::2]
        missing = _missing_object(source, name)
        read = _refused_use(source, name, _stored_key(source, name), "Decrypt")
        return missing or read or _write_refusal(bucket, key, headers) or original(bucket, key, headers)

    return copy


def _uploading(original: Callable[..., Any]) -> Callable[..., Any]:
    """A part is encrypted with the key of its upload, and decrypted when the upload is completed."""

    def upload(bucket: str, key: str, *args: Any, **kwargs: Any) -> Any:
        query = next((one for one in args if isinstance(one, Mapping) and "uploadId" in one), {})
        record = s3._multipart_uploads.get(s3._qp(query, "uploadId")) or {}
        used = (record.get("preserved_headers") or {}).get(_KEY)
        return _refused_use(bucket, key, used, "GenerateDataKey", "Decrypt") or original(bucket, key, *args, **kwargs)

    return upload


def _reading(*, always: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Check reads of a body always, those of its properties where they ask for checksums."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def read(bucket: str, key: str, headers: Any = None, query: Any = None) -> Any:
            missing = _missing_object(bucket, key) if not (query or {}).get("versionId") else None
            if missing is not None:
                return missing
            status, answered, body = original(bucket, key, headers, query)
            if status >= 300 or not (always or _WITH_CHECKSUM in (headers or {})):
                return status, answered, body
            return _refused_use(bucket, key, answered.get(_KEY), "Decrypt") or (status, answered, body)

        return read

    return make


def _missing_object(bucket: str, key: str) -> Any:
    """Return 403 for an object that does not exist, to a caller who may not list the bucket."""
    found = s3._buckets.get(bucket)
    if found is None or key in found["objects"]:
        return None
    denied = permissions.denied_to_caller("s3:ListBucket", f"arn:aws:s3:::{bucket}")
    return None if denied is None else s3._error("AccessDenied", denied, 403, f"/{bucket}/{key}")


def _write_refusal(bucket: str, key: str, headers: Mapping[str, str]) -> Any:
    chosen, error = s3._resolve_sse_write_headers(headers, bucket)
    if error is not None or (chosen or {}).get(_SSE) != "aws:kms":
        return None
    return _refused_use(bucket, key, chosen.get(_KEY), "GenerateDataKey")


def _refused_use(bucket: str, key: str, used: str | None, *actions: str) -> Any:
    if not used:
        return None
    bucket_key = "<BucketKeyEnabled>true" in str(s3._bucket_encryption.get(bucket) or "")
    arn = f"arn:aws:s3:::{bucket}" if bucket_key else f"arn:aws:s3:::{bucket}/{key}"
    refusal = keys.refused_to_caller(Use(used, actions, "s3", {"aws:s3:arn": arn}))
    if refusal is None:
        return None
    if refusal.kind == "denied":
        return s3._error("AccessDenied", refusal.message, 403, f"/{bucket}/{key}")
    return s3._error(_CODES[refusal.kind], refusal.message, 400, f"/{bucket}/{key}")


def _stored_key(bucket: str, key: str) -> str | None:
    record = ((s3._buckets.get(bucket) or {}).get("objects") or {}).get(key) or {}
    return (record.get("preserved_headers") or {}).get(_KEY)


def _source(bucket: str) -> dict[str, str]:
    return {"aws:sourcearn": f"arn:aws:s3:::{bucket}", "aws:sourceaccount": ACCOUNT}


def _destination(original: Callable[..., bool]) -> Callable[..., bool]:
    def allows(kind: str, arn: str, bucket: str, owner: str) -> bool:
        refusal = encryption.queue_refusal if kind == "sqs" else encryption.topic_refusal
        return original(kind, arn, bucket, owner) and refusal(arn, "s3.amazonaws.com", _source(bucket)) is None

    return allows


def _notification(
    refusal: Callable[[str, str, Mapping[str, str]], Refusal | None],
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def make(original: Callable[..., None]) -> Callable[..., None]:
        def deliver(arn: str, event: Any, region: str, bucket: str = "") -> None:
            refused = refusal(arn, "s3.amazonaws.com", _source(bucket))
            if refused is not None:
                s3.logger.warning("S3 could not notify %s of %s: %s", arn, bucket, refused.message)
                return
            original(arn, event, region, bucket)

        return deliver

    return make
