"""The CDK's own custom resources, whose functions need the AWS SDK for JavaScript or AWS's layer with its CLI.

Each does what its function does, with that function's role. Source: aws-cdk-lib, `custom-resource-handlers`.
"""

from __future__ import annotations

import fnmatch
import io
import json
import mimetypes
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

_CONTENT_HEADERS = {
    "cache-control": "CacheControl",
    "content-disposition": "ContentDisposition",
    "content-encoding": "ContentEncoding",
    "content-language": "ContentLanguage",
    "content-type": "ContentType",
    "storage-class": "StorageClass",
    "sse": "ServerSideEncryption",
    "sse-kms-key-id": "SSEKMSKeyId",
    "acl": "ACL",
}


class HelperError(RuntimeError):
    """A helper cannot do what the template asks for; the text is the resource's failure reason."""


@dataclass(frozen=True)
class Request:
    """One request to a custom resource.

    Attributes:
        kind: `Create`, `Update` or `Delete`.
        properties: the resource's properties; all of their values are text.
        old: the properties before an update.
        physical_id: empty for a creation.
        client: service → a client with the rights of the resource's function.
    """

    kind: str
    properties: Mapping[str, Any]
    old: Mapping[str, Any]
    physical_id: str
    client: Callable[[str], Any]


@dataclass(frozen=True)
class Answer:
    """The resource's physical id and attributes."""

    physical_id: str
    data: dict[str, Any] = field(default_factory=dict)


def auto_delete_objects(request: Request) -> Answer:
    """Empty the bucket when the resource is deleted, or moves to another bucket."""
    name, before = str(request.properties["BucketName"]), str(request.old.get("BucketName", ""))
    physical_id = request.physical_id or f"auto-delete-{name}"
    if request.kind == "Delete":
        _empty_if_tagged(request.client("s3"), name)
    elif request.kind == "Update" and before not in ("", name):
        _empty_if_tagged(request.client("s3"), before)
    return Answer(physical_id)


def _empty_if_tagged(s3: Any, bucket: str) -> None:
    try:
        tags = s3.get_bucket_tagging(Bucket=bucket)["TagSet"]
    except ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchBucket", "NoSuchTagSet"):
            return
        raise
    if {"Key": "aws-cdk:auto-delete-objects", "Value": "true"} not in tags:
        return
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        found = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
        objects = [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in found]
        _delete(s3, bucket, objects)


def bucket_deployment(request: Request) -> Answer:
    """Copy the sources' files to the bucket, and delete what is not among them."""
    properties = request.properties
    if properties.get("DistributionId"):
        raise HelperError("BucketDeployment with a distribution is not supported: CloudFront is not run here")
    s3, bucket = request.client("s3"), str(properties["DestinationBucketName"])
    prefix = str(properties.get("DestinationBucketKeyPrefix", "")).strip("/")
    physical_id = request.physical_id or f"aws.cdk.s3deployment.{uuid.uuid4()}"
    keeps = str(properties.get("RetainOnDelete", "true")).lower() == "true"
    if request.kind == "Delete":
        if not keeps:
            _delete_below(s3, bucket, prefix, frozenset(), lambda _: True)
        return Answer(physical_id)
    old_bucket = str(request.old.get("DestinationBucketName", bucket))
    old_prefix = str(request.old.get("DestinationBucketKeyPrefix", "")).strip("/")
    if request.kind == "Update" and not keeps and (old_bucket, old_prefix) != (bucket, prefix):
        _delete_below(s3, old_bucket, old_prefix, frozenset(), lambda _: True)
    chosen = _filter(properties)
    written = set()
    for name, body in _files(s3, properties):
        if not chosen(name):
            continue
        key = f"{prefix}/{name}" if prefix else name
        s3.put_object(Bucket=bucket, Key=key, Body=body, **_metadata(name, properties))
        written.add(key)
    if str(properties.get("Prune", "true")).lower() == "true":
        _delete_below(s3, bucket, prefix, frozenset(written), chosen)
    data = {"DestinationBucketArn": f"arn:aws:s3:::{bucket}"}
    if str(properties.get("OutputObjectKeys", "true")).lower() == "true":
        data["SourceObjectKeys"] = list(properties.get("SourceObjectKeys", ()))  # type: ignore[assignment]
    return Answer(physical_id, data)


def _files(s3: Any, properties: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    buckets, keys = properties["SourceBucketNames"], properties["SourceObjectKeys"]
    markers = properties.get("SourceMarkers") or [{}] * len(keys)
    extract = str(properties.get("Extract", "true")).lower() == "true"
    for bucket, key, replaced in zip(buckets, keys, markers, strict=True):
        body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        if not extract:
            yield key.rpartition("/")[2], body
            continue
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            for member in archive.infolist():
                if not member.is_dir():
                    yield member.filename, _with_values(archive.read(member), replaced)


def _with_values(body: bytes, markers: Mapping[str, str]) -> bytes:
    for marker, value in markers.items():
        body = body.replace(marker.encode(), value.encode())
    return body


def _filter(properties: Mapping[str, Any]) -> Callable[[str], bool]:
    """Return whether a file is meant, by `aws s3 sync`'s rule that the last matching filter decides."""
    rules = [(pattern, False) for pattern in properties.get("Exclude") or ()]
    rules += [(pattern, True) for pattern in properties.get("Include") or ()]

    def chosen(name: str) -> bool:
        verdict = True
        for pattern, included in rules:
            if fnmatch.fnmatch(name, pattern):
                verdict = included
        return verdict

    return chosen


def _metadata(name: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"ContentType": mimetypes.guess_type(name)[0] or "binary/octet-stream"}
    for header, value in (properties.get("SystemMetadata") or {}).items():
        if header not in _CONTENT_HEADERS:
            raise HelperError(f"BucketDeployment with the metadata {header} is not supported")
        found[_CONTENT_HEADERS[header]] = value
    if properties.get("UserMetadata"):
        found["Metadata"] = dict(properties["UserMetadata"])
    return found


def _delete_below(s3: Any, bucket: str, prefix: str, kept: frozenset[str], chosen: Callable[[str], bool]) -> None:
    below = f"{prefix}/" if prefix else ""
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=below):
        keys = [one["Key"] for one in page.get("Contents", ())]
        gone = [{"Key": key} for key in keys if key not in kept and chosen(key[len(below) :])]
        _delete(s3, bucket, gone)


def _delete(s3: Any, bucket: str, objects: list[dict[str, str]]) -> None:
    if objects:
        s3.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})


def log_retention(request: Request) -> Answer:
    """Create the log group where it is missing, and set its retention."""
    name = str(request.properties["LogGroupName"])
    logs = request.client("logs")
    if request.kind == "Delete":
        if request.properties.get("RemovalPolicy") == "destroy":
            _ignoring("ResourceNotFoundException", logs.delete_log_group, logGroupName=name)
        return Answer(name)
    _ignoring("ResourceAlreadyExistsException", logs.create_log_group, logGroupName=name)
    days = request.properties.get("RetentionInDays")
    if days and int(days) != _FOREVER:
        logs.put_retention_policy(logGroupName=name, retentionInDays=int(days))
    else:
        _ignoring("ResourceNotFoundException", logs.delete_retention_policy, logGroupName=name)
    return Answer(name, {"LogGroupName": name})


_FOREVER = 9999


def oidc_provider(request: Request) -> Answer:
    """Create, update or delete an OpenID Connect provider of IAM."""
    iam, properties = request.client("iam"), request.properties
    url, clients = str(properties["Url"]), list(properties.get("ClientIDList") or ())
    thumbprints = list(properties.get("ThumbprintList") or ())
    data = {"Thumbprints": json.dumps(thumbprints)}
    if request.kind == "Delete":
        _ignoring("NoSuchEntity", iam.delete_open_id_connect_provider, OpenIDConnectProviderArn=request.physical_id)
        return Answer(request.physical_id)
    if request.kind == "Create" or request.old.get("Url") != url:
        made = iam.create_open_id_connect_provider(
            Url=url if url.startswith("https://") else f"https://{url}",
            ClientIDList=clients,
            **({"ThumbprintList": thumbprints} if thumbprints else {}),
        )
        return Answer(str(made["OpenIDConnectProviderArn"]), data)
    arn = request.physical_id
    if thumbprints:
        iam.update_open_id_connect_provider_thumbprint(OpenIDConnectProviderArn=arn, ThumbprintList=thumbprints)
    known = set(request.old.get("ClientIDList") or ())
    for client in sorted(set(clients) - known):
        iam.add_client_id_to_open_id_connect_provider(OpenIDConnectProviderArn=arn, ClientID=client)
    for client in sorted(known - set(clients)):
        iam.remove_client_id_from_open_id_connect_provider(OpenIDConnectProviderArn=arn, ClientID=client)
    return Answer(arn, data)


def _ignoring(code: str, call: Callable[..., Any], **request: Any) -> None:
    """Call AWS; an error with this code means that there is nothing to do."""
    try:
        call(**request)
    except ClientError as error:
        if not error.response["Error"]["Code"].startswith(code):
            raise


HELPERS: Mapping[str, Callable[[Request], Answer]] = {
    "Custom::S3AutoDeleteObjects": auto_delete_objects,
    "Custom::CDKBucketDeployment": bucket_deployment,
    "Custom::LogRetention": log_retention,
    "Custom::AWSCDKOpenIdConnectProvider": oidc_provider,
}
