"""Transfer of files between S3 and containers, with the role's credentials and SageMaker's reading of S3 URIs."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import tarfile
import threading
import time
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import BotoCoreError, ClientError

from localcloud.cloud import Cloud

_WORKERS = 8
_CLIENT_SECONDS = 900  # a role's temporary credentials expire after an hour
_WHOLE_OBJECTS = TransferConfig(multipart_threshold=1 << 30, use_threads=False)  # on one machine one request is fastest


class TransferError(Exception):
    """A transfer failed; the message is the job's `FailureReason`."""


def split_uri(uri: str) -> tuple[str, str]:
    """Split a URI: `s3://bucket/a/b` → (`bucket`, `a/b`).

    Raises:
        TransferError: the text is not an S3 URI.
    """
    if not uri.startswith("s3://") or len(uri) == len("s3://"):
        raise TransferError(f"ClientError: {uri!r} is not an S3 URI (s3://bucket/prefix)")
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def local_name(key: str, prefix: str) -> str:
    """Return the path of an object below the input's directory.

    A prefix may be a directory (`data/`), a directory without its slash (`data`), one object (`data/a.csv`), or the
    start of several names (`data/part-`).
    """
    directory = prefix if prefix.endswith("/") or not prefix else prefix + "/"
    if key.startswith(directory):
        return key[len(directory) :]
    return key[prefix.rfind("/") + 1 :]


def encryption(key: str | None) -> dict[str, str]:
    """Return the members of a PutObject request that encrypt with a KMS key; none without a key."""
    return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key} if key else {}


class S3Clients:
    """Cache of S3 clients by role, because creating one takes longer than most transfers."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._lock = threading.Lock()
        self._made: dict[str, tuple[float, Any]] = {}

    def s3(self, role_arn: str) -> Any:
        """Return a client with the role's credentials."""
        with self._lock:
            made, client = self._made.get(role_arn, (0.0, None))
            if client is None or time.monotonic() - made > _CLIENT_SECONDS:
                client = self._cloud.client("s3", role_arn=role_arn)
                self._made[role_arn] = (time.monotonic(), client)
            return client


class Transfer:
    """Transfers files for one container, with its role.

    Args:
        clients: the S3 clients.
        role_arn: the container's role.
        region: the region, for messages.
        key: the KMS key of what is uploaded; None for the bucket's default.
    """

    def __init__(self, clients: S3Clients, role_arn: str, region: str, key: str | None = None) -> None:
        self._clients, self._role, self._region = clients, role_arn, region
        self._encryption = encryption(key)

    @property
    def _s3(self) -> Any:
        return self._clients.s3(self._role)

    def download_prefix(self, uri: str, target: Path, *, required: bool = True) -> int:
        """Download every object whose key starts with the URI's key; return their number.

        Raises:
            TransferError: no object exists, or access is denied; worded as SageMaker words it.
        """
        bucket, prefix = split_uri(uri)
        try:
            keys = [key for key in self._keys(bucket, prefix) if not key.endswith("/")]
        except (ClientError, BotoCoreError) as error:
            raise self._nothing_found(uri, bucket, str(error)) from error
        if not keys:
            if not required:
                return 0
            raise self._nothing_found(uri, bucket, "no object has this prefix")
        self._download(bucket, [(key, target / _safe(local_name(key, prefix))) for key in keys])
        return len(keys)

    def download_manifest(self, uri: str, target: Path) -> int:
        """Download the objects in a `ManifestFile`: `[{"prefix": "s3://…/"}, "relative/path", …]`.

        Returns:
            The number of objects.

        Raises:
            TransferError: the manifest is not valid, or an object cannot be read.
        """
        bucket, key = split_uri(uri)
        try:
            entries = json.loads(self._read(bucket, key))
        except ValueError as error:
            raise TransferError(f"ClientError: manifest {uri} is not JSON: {error}") from error
        if not isinstance(entries, list) or not isinstance(entries[0] if entries else None, dict):
            raise TransferError(f'ClientError: manifest {uri} must be a list that begins with {{"prefix": "s3://…"}}')
        source, prefix = split_uri(entries[0].get("prefix", ""))
        names = [str(name) for name in entries[1:]]
        if not names:
            raise TransferError(f"ClientError: manifest {uri} lists no objects")
        self._download(source, [(prefix + name, target / _safe(name)) for name in names])
        return len(names)

    def _read(self, bucket: str, key: str) -> bytes:
        try:
            return bytes(self._s3.get_object(Bucket=bucket, Key=key)["Body"].read())
        except (ClientError, BotoCoreError) as error:
            raise _download_failed(bucket, key, error) from error

    def download_file(self, uri: str, target: Path) -> None:
        """Download one object; raise TransferError where that fails."""
        bucket, key = split_uri(uri)
        self._download(bucket, [(key, target)])

    def upload_tree(self, source: Path, uri: str) -> int:
        """Upload every file below `source` to the URI, but no symbolic link; return their number.

        Args:
            source: a directory of a container. A link in it leads to the container's files there, and to the
                developer's here.
            uri: the prefix in S3.
        """
        bucket, prefix = split_uri(uri.rstrip("/"))
        files = sorted(path for path in source.rglob("*") if path.is_file() and not path.is_symlink())
        names = (PurePosixPath(prefix, *path.relative_to(source).parts) for path in files)
        self._each(lambda pair: self._put(pair[0], bucket, str(pair[1])), list(zip(files, names, strict=True)))
        return len(files)

    def upload_file(self, source: Path, uri: str) -> None:
        """Upload one file; raise TransferError where that fails."""
        bucket, key = split_uri(uri)
        self._put(source, bucket, key)

    def put(self, uri: str, body: bytes, content_type: str, kms_key: str | None = None) -> None:
        """Write one object, encrypted with `kms_key` if given; raise botocore's errors."""
        bucket, key = split_uri(uri)
        self._s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType=content_type, **encryption(kms_key))

    def _keys(self, bucket: str, prefix: str) -> Iterable[str]:
        for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for item in page.get("Contents", ()):
                yield item["Key"]

    def _download(self, bucket: str, pairs: list[tuple[str, Path]]) -> None:
        client = self._s3

        def fetch(pair: tuple[str, Path]) -> None:
            key, path = pair
            try:
                body = client.get_object(Bucket=bucket, Key=key)["Body"]
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as file:
                    shutil.copyfileobj(body, file, 1 << 20)
            except (ClientError, BotoCoreError, OSError) as error:
                raise _download_failed(bucket, key, error) from error

        self._each(fetch, pairs)

    def _put(self, path: Path, bucket: str, key: str) -> None:
        try:
            self._s3.upload_file(str(path), bucket, key, Config=_WHOLE_OBJECTS, ExtraArgs=self._encryption)
        except (ClientError, BotoCoreError, Boto3Error, OSError) as error:
            raise TransferError(f"ClientError: Data upload failed:{_reason(error)} (s3://{bucket}/{key})") from error

    @staticmethod
    def _each(move: Callable[[Any], None], items: list[Any]) -> None:
        if len(items) < 2:
            for item in items:
                move(item)
            return
        with ThreadPoolExecutor(min(_WORKERS, len(items)), thread_name_prefix="transfer") as pool:
            for _ in pool.map(move, items):
                continue

    def _nothing_found(self, uri: str, bucket: str, reason: str) -> TransferError:
        return TransferError(
            f'ClientError: No S3 objects found under S3 URL "{uri}" given in input data source. Please ensure that the '
            f"bucket exists in the selected region ({self._region}), that objects exist under that S3 prefix, and that "
            f'the role "{self._role}" has "s3:ListBucket" permissions on bucket "{bucket}". '
            f"Error message from S3: {reason}"
        )


def _safe(name: str) -> str:
    if name.startswith("/") or ".." in PurePosixPath(name).parts:
        raise TransferError(f"ClientError: Data download failed:the object name {name!r} leaves the input's directory")
    return name


def _reason(error: BaseException) -> str:
    if isinstance(error, Boto3Error) and error.__context__ is not None:
        error = error.__context__  # s3transfer's own error adds only a path of this machine
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", "")
        details = error.response.get("Error", {})
        return f"{details.get('Code', 'Unknown')} ({status}): {details.get('Message', '')}"
    return str(error)


def _download_failed(bucket: str, key: str, error: Exception) -> TransferError:
    return TransferError(f"ClientError: Data download failed:{_reason(error)} (s3://{bucket}/{key})")


def pack(directory: Path, archive: Path) -> None:
    """Write a reproducible tar.gz of `directory`: the same files give the same bytes."""
    with (
        archive.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=1, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as tar,
    ):
        for path in sorted(directory.rglob("*")):
            tar.add(path, arcname=str(path.relative_to(directory)), recursive=False, filter=_anonymous)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.mtime = member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def _not_through_links(archive: tarfile.TarFile) -> list[tarfile.TarInfo]:
    """Return the members; the filter `data` of older Pythons lets a chain of links leave the directory.

    Raises:
        TarError: a member would be written, or read, through a symbolic link of the archive.
    """
    members = archive.getmembers()
    links = {os.path.normpath(member.name) for member in members if member.issym()}
    for member in members:
        names = [member.name, *([member.linkname] if member.islnk() else [])]
        if member.issym():
            names.append(str(PurePosixPath(member.name).parent / member.linkname))
        for name in names:
            for parent in PurePosixPath(name).parents:
                if os.path.normpath(parent) in links:
                    raise tarfile.TarError(f"{member.name} lies behind the symbolic link {parent}")
    return members


def unpack(archive: Path, directory: Path, what: str) -> None:
    """Extract an untrusted tar archive, compressed or not.

    Args:
        archive: the file.
        directory: the target.
        what: the archive's name in errors.

    Raises:
        TransferError: the file is not an archive, is damaged, or has entries outside of `directory`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(directory, _not_through_links(tar), filter="data")
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise TransferError(f"ClientError: {what} is not a readable tar.gz archive: {error}") from error
