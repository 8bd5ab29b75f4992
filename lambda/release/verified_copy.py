"""Promotion by verified copy: check an approved package by hash, then copy it write-once to where Serving reads."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from shared.canonical import canonical_json, sha256_of
from shared.errors import error_code, is_missing_object, object_exists
from shared.release_record import ReleaseRecord, release_id

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker.type_defs import DescribeModelPackageOutputTypeDef

_CHUNK_BYTES = 8 * 1024 * 1024
# CopyObject copies up to 5 GiB at once.
_LARGEST_COPY_BYTES = 5 * 1024**3
_LARGEST_RECORD_BYTES = 1024 * 1024
_BASELINE = re.compile(r"(data-quality|model-quality|bias|explainability)/[a-z]+\.json")


class PackageRefused(Exception):
    """The package must not be released. The message is the reason in one sentence."""


@dataclass(frozen=True)
class Registration:
    """A package's registration record, read and verified."""

    uri: str
    sha256: str
    content: Mapping[str, Any]

    @property
    def creators(self) -> tuple[str, ...]:
        """The author of the commit and the person who started the execution, where they are known."""
        named = (self.content.get(key) for key in ("author", "started_by"))
        return tuple(name for name in named if isinstance(name, str) and name)

    @property
    def unknown_requester(self) -> bool:
        """True if a person requested the training and is not known. The execution was started by our function."""
        trigger = self.content.get("trigger")
        by_person = isinstance(trigger, Mapping) and trigger.get("kind") == "person"
        return by_person and not self.content.get("author")


def read_registration(s3: S3Client, described: DescribeModelPackageOutputTypeDef) -> Registration:
    """Read a package's registration record.

    Raises:
        PackageRefused: The record is missing, or not the one that the package was registered with.
    """
    metadata = described.get("CustomerMetadataProperties") or {}
    uri, sha256 = metadata.get("record_uri"), metadata.get("record_sha256")
    if not uri or not sha256:
        raise PackageRefused("the package carries no registration record")
    return Registration(uri, sha256, _read_record(s3, uri, sha256))


def inference_specification_sha256(specification: Mapping[str, Any]) -> str:
    """Return the hash of the canonical specification (docs/reference/contracts.md, "Registration record").

    Args:
        specification: `InferenceSpecification` as `DescribeModelPackage` returns it.

    Raises:
        PackageRefused: It does not have exactly one container.
    """
    container = _container(specification)
    canonical = {
        "image": container["Image"].partition("@")[0],
        "model_data_url": container.get("ModelDataUrl", ""),
        "environment": container.get("Environment", {}),
        "content_types": specification.get("SupportedContentTypes", []),
        "response_types": specification.get("SupportedResponseMIMETypes", []),
    }
    return sha256_of(canonical_json(canonical))


def copy_release(s3: S3Client, bucket: str, model: str, described: DescribeModelPackageOutputTypeDef) -> ReleaseRecord:
    """Verify a package against its registration record and copy its files to `releases/{model}/{release id}/`.

    Where a correct copy exists, only the record is read from the registry's side.

    Returns:
        The copied release.

    Raises:
        PackageRefused: A file is missing, or differs from what was registered.
    """
    registration = read_registration(s3, described)
    record = registration.content
    artifact_sha256 = _verify(record, model, described)
    release = ReleaseRecord(
        release_id=release_id(described["ModelPackageVersion"], registration.sha256),
        image=_pinned_image(_container(described["InferenceSpecification"])),
        package_arn=described["ModelPackageArn"],
        artifact_sha256=artifact_sha256,
    )
    folder = f"releases/{model}/{release.release_id}"
    for name, uri, digest in (
        ("record.json", registration.uri, registration.sha256),
        ("payload.csv", _text(record, "sample_payload", "uri"), _text(record, "sample_payload", "sha256")),
        *_baselines(record),
        # Last: Serving reads the artifact, and only a complete copy has it.
        ("model.tar.gz", _text(record, "artifact", "uri"), artifact_sha256),
    ):
        _copy(s3, uri, bucket, f"{folder}/{name}", digest)
    return release


def released_record(
    s3: S3Client, bucket: str, model: str, described: DescribeModelPackageOutputTypeDef, release: str
) -> ReleaseRecord:
    """Return what the record of a release must say, from its package and the registration record in its copy.

    Args:
        s3: The client.
        bucket: This stage's bucket, which has the copy.
        model: The model's name.
        described: The package of the release's version.
        release: The release id, which names the registration record by its hash.

    Raises:
        PackageRefused: The copy or the package is not the one that was released.
    """
    uri = f"s3://{bucket}/releases/{model}/{release}/record.json"
    body = _read_body(s3, uri)
    if release_id(described["ModelPackageVersion"], sha256_of(body)) != release:
        raise PackageRefused(f"{uri} is not the registration record that {release} is named by")
    record = _parse_record(uri, body)
    return ReleaseRecord(
        release_id=release,
        image=_pinned_image(_container(described["InferenceSpecification"])),
        package_arn=described["ModelPackageArn"],
        artifact_sha256=_verify(record, model, described),
    )


def _read_record(s3: S3Client, uri: str, sha256: str) -> dict[str, Any]:
    body = _read_body(s3, uri)
    if sha256_of(body) != sha256:
        raise PackageRefused(f"its registration record {uri} has SHA-256 {sha256_of(body)}, the package says {sha256}")
    return _parse_record(uri, body)


def _read_body(s3: S3Client, uri: str) -> bytes:
    bucket, key = _address(uri)
    try:
        answer = s3.get_object(Bucket=bucket, Key=key)
    except ClientError as error:
        raise _missing_or(error, uri) from error
    return answer["Body"].read(_LARGEST_RECORD_BYTES + 1)


def _parse_record(uri: str, body: bytes) -> dict[str, Any]:
    try:
        record = json.loads(body)
    except ValueError as error:
        raise PackageRefused(f"its registration record {uri} is not JSON") from error
    if not isinstance(record, dict) or record.get("version") != 1:
        raise PackageRefused(f"its registration record {uri} is not of version 1, the only one supported")
    return record


def _verify(record: Mapping[str, Any], model: str, described: DescribeModelPackageOutputTypeDef) -> str:
    """Compare record and package; return the artifact's SHA-256."""
    if record.get("model") != model:
        raise PackageRefused(f"its registration record is of the model {record.get('model')!r}, not of {model}")
    specification = described.get("InferenceSpecification")
    if specification is None:
        raise PackageRefused("the package has no inference specification")
    found = inference_specification_sha256(specification)
    registered = _text(record, "inference_specification_sha256")
    if found != registered:
        raise PackageRefused(f"its inference specification was changed after registration: {found}, was {registered}")
    uri = _text(record, "artifact", "uri")
    served = _container(specification).get("ModelDataUrl", "")
    if uri != served:
        raise PackageRefused(f"it would serve {served}, and {uri} was registered")
    return _text(record, "artifact", "sha256")


def _baselines(record: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return name in the release, address and SHA-256 of each baseline. A model without monitors has none."""
    listed = record.get("baselines", {})
    if not isinstance(listed, Mapping):
        raise PackageRefused("its registration record's baselines are not an object")
    for file in listed:
        # The name becomes part of a key.
        if not _BASELINE.fullmatch(file):
            raise PackageRefused(f"its registration record names the baseline {file!r}, which is not a baseline's name")
    return [
        (f"baselines/{file}", _text(record, "baselines", file, "uri"), _text(record, "baselines", file, "sha256"))
        for file in sorted(listed)
    ]


def _copy(s3: S3Client, source_uri: str, bucket: str, key: str, sha256: str) -> None:
    """Copy one object write-once, verified before and after."""
    there = _hash_object(s3, bucket, key)
    if there is None:
        source_bucket, source_key = _address(source_uri)
        source = _hash_object(s3, source_bucket, source_key)
        if source is None:
            raise PackageRefused(f"{source_uri} does not exist")
        digest, etag = source
        if digest != sha256:
            raise PackageRefused(f"{source_uri} has SHA-256 {digest}, registered was {sha256}")
        _copy_object(s3, source_bucket, source_key, etag, bucket, key)
        there = _hash_object(s3, bucket, key)
    if there is None or there[0] != sha256:
        raise PackageRefused(f"s3://{bucket}/{key} does not hold what was registered ({sha256}); find out who wrote it")


def _copy_object(s3: S3Client, source_bucket: str, source_key: str, etag: str, bucket: str, key: str) -> None:
    """Copy exactly the object that was hashed, by its ETag, only where none exists yet."""
    try:
        s3.copy_object(
            Bucket=bucket,
            Key=key,
            CopySource={"Bucket": source_bucket, "Key": source_key},
            CopySourceIfMatch=etag,
            IfNoneMatch="*",
            MetadataDirective="REPLACE",
            TaggingDirective="REPLACE",
        )
    except ClientError as error:
        # Another writer was faster: the caller checks the hash of what exists now.
        if not object_exists(error):
            raise


def _hash_object(s3: S3Client, bucket: str, key: str) -> tuple[str, str] | None:
    """Return an object's SHA-256, streamed, and its ETag; None when it does not exist."""
    try:
        answer = s3.get_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if _is_missing(error):
            return None
        raise
    if answer["ContentLength"] > _LARGEST_COPY_BYTES:
        size = answer["ContentLength"]
        raise PackageRefused(f"s3://{bucket}/{key} has {size} bytes, and at most {_LARGEST_COPY_BYTES} are supported")
    digest = hashlib.sha256()
    for chunk in answer["Body"].iter_chunks(_CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest(), answer["ETag"]


def _container(specification: Mapping[str, Any]) -> Mapping[str, Any]:
    containers = specification.get("Containers", [])
    if len(containers) != 1:
        raise PackageRefused(
            f"its inference specification has {len(containers)} containers, and exactly one is supported"
        )
    container: Mapping[str, Any] = containers[0]
    return container


def _pinned_image(container: Mapping[str, Any]) -> str:
    """Return the image by digest, without its tag, which could be moved."""
    image, _, given = container["Image"].partition("@")
    digest = container.get("ImageDigest") or given
    if not digest.startswith("sha256:"):
        raise PackageRefused(f"the registry gives no digest for its image {image}")
    if given and given != digest:
        raise PackageRefused(f"its image {container['Image']} was resolved to another digest, {digest}")
    registry, slash, repository = image.rpartition("/")
    return f"{registry}{slash}{repository.partition(':')[0]}@{digest}"


def _text(record: Mapping[str, Any], *path: str) -> str:
    value: Any = record
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    if not isinstance(value, str) or not value:
        raise PackageRefused(f"its registration record has no {'.'.join(path)}")
    return value


def _address(uri: str) -> tuple[str, str]:
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not bucket or not key:
        raise PackageRefused(f"{uri!r} is not the address of an S3 object")
    return bucket, key


def _missing_or(error: ClientError, uri: str) -> Exception:
    return PackageRefused(f"{uri} does not exist") if _is_missing(error) else error


def _is_missing(error: ClientError) -> bool:
    return is_missing_object(error) or error_code(error) == "NoSuchBucket"
