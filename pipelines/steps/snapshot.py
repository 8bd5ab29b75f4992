"""Fix the inputs of a run: the dataset, the code and the champion.

It runs as a SageMaker processing job in the framework's container: standard library and boto3 only. It reads its
arguments from the environment, writes the objects that docs/reference/contracts.md lists under "S3", and writes
`snapshot.json` for the next steps. All objects are named by their content and written once.
"""

from __future__ import annotations

import base64
import calendar
import hashlib
import io
import json
import os
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_ssm import SSMClient

OUTPUT = Path("/opt/ml/processing/output/snapshot/snapshot.json")
EXIT_MESSAGE = Path("/opt/ml/output/message")
"""SageMaker shows the content of this file as the job's `ExitMessage`."""
THREADS = 16
NO_CHAMPION = "none"
LATEST = "latest"
# Characters that CustomerMetadataProperties allows: the trigger becomes one, and must not fail after the training.
METADATA = re.compile(r"[A-Za-z0-9_.:/=+\-@ ]{1,256}")


class SnapshotError(Exception):
    """A run's inputs are missing or wrong; the message is one line for a person."""


@dataclass(frozen=True)
class Settings:
    """The step's arguments, from the environment that the pipeline sets."""

    model: str
    raw_prefix: str
    data_bucket: str
    artifact_bucket: str
    code_uri: str
    release_parameter: str
    window_start: str
    window_end: str
    window_days: int
    holdout_days: int
    trigger: str

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Settings:
        """Read the arguments from `MODEL`, `RAW_PREFIX` and so on."""
        values: dict[str, Any] = {name: environment[name.upper()] for name in cls.__dataclass_fields__}
        return cls(**{**values, "window_days": int(values["window_days"]), "holdout_days": int(values["holdout_days"])})


@dataclass(frozen=True)
class RawObject:
    """One raw object in one version; `first` and `last` are the days that its partition covers."""

    key: str
    version_id: str
    size: int
    first: date
    last: date
    stored_checksum: bool
    sha256: str = ""


@dataclass(frozen=True)
class Window:
    """The days of a run's data, both ends included; the last of them are the holdout."""

    start: date
    end: date
    holdout_start: date


def partition_days(value: str) -> tuple[date, date]:
    """Return first and last day of a partition, `2013-01-31` or `2013-01`.

    Raises:
        ValueError: The partition is neither a day nor a month.
    """
    if re.fullmatch(r"\d{4}-\d{2}", value):
        first = date.fromisoformat(f"{value}-01")
        return first, first.replace(day=calendar.monthrange(first.year, first.month)[1])
    day = date.fromisoformat(value)
    return day, day


def raw_objects(s3: S3Client, settings: Settings) -> Iterator[RawObject]:
    """Yield the current version of every raw object.

    Raises:
        SnapshotError: A partition's name is not a date, or the bucket is not versioned.
    """
    pages = s3.get_paginator("list_object_versions").paginate(
        Bucket=settings.data_bucket, Prefix=f"{settings.raw_prefix}dt="
    )
    for page in pages:
        for version in page.get("Versions", []):
            if not version["IsLatest"] or not version["Size"]:
                continue
            key = version["Key"]
            partition = key.removeprefix(f"{settings.raw_prefix}dt=").split("/")[0]
            try:
                first, last = partition_days(partition)
            except ValueError:
                raise SnapshotError(
                    f"s3://{settings.data_bucket}/{key}: the partition dt={partition} is not a day or a month "
                    "(dt=YYYY-MM-DD or dt=YYYY-MM)"
                ) from None
            if version["VersionId"] == "null":
                raise SnapshotError(
                    f"s3://{settings.data_bucket}/{key} has no version: a dataset can be fixed only in a bucket "
                    "that keeps versions"
                )
            # A composite checksum is a hash of the hashes of an upload's parts, not of the content.
            stored = version.get("ChecksumType") == "FULL_OBJECT" and "SHA256" in version.get("ChecksumAlgorithm", [])
            yield RawObject(key, version["VersionId"], version["Size"], first, last, stored)


def window_of(settings: Settings, newest: date) -> Window:
    """Return the requested window; `latest` as its end is the newest day of the data.

    Raises:
        SnapshotError: A day is not a date, or no day is left to train on.
    """
    try:
        end = newest if settings.window_end == LATEST else date.fromisoformat(settings.window_end)
        if settings.window_start == LATEST:
            start = end - timedelta(days=settings.window_days - 1)
        else:
            start = date.fromisoformat(settings.window_start)
    except ValueError as error:
        raise SnapshotError(f"WindowStart and WindowEnd are YYYY-MM-DD or {LATEST}: {error}") from None
    holdout_start = end - timedelta(days=settings.holdout_days - 1)
    if settings.holdout_days < 1 or holdout_start <= start:
        raise SnapshotError(
            f"a holdout of {settings.holdout_days} days leaves nothing to train on between {start} and {end}"
        )
    return Window(start, end, holdout_start)


def select(objects: list[RawObject], settings: Settings) -> tuple[Window, list[RawObject]]:
    """Return the window, and the objects whose days are all in it.

    Raises:
        SnapshotError: There is no data, or one side of the split is empty.
    """
    where = f"s3://{settings.data_bucket}/{settings.raw_prefix}"
    if not objects:
        raise SnapshotError(f"no raw objects under {where}dt=…/")
    newest = max(one.last for one in objects)
    window = window_of(settings, newest)
    chosen = [one for one in objects if window.start <= one.first and one.last <= window.end]
    if not chosen:
        oldest = min(one.first for one in objects)
        raise SnapshotError(f"no data from {window.start} to {window.end} under {where}: it has {oldest} to {newest}")
    if all(one.first < window.holdout_start for one in chosen):
        raise SnapshotError(f"the holdout is empty: no data from {window.holdout_start} to {window.end} under {where}")
    if all(one.first >= window.holdout_start for one in chosen):
        raise SnapshotError(
            f"nothing to train on: no data from {window.start} to the day before {window.holdout_start} under {where}"
        )
    return window, sorted(chosen, key=lambda one: one.key)


def hashed(s3: S3Client, bucket: str, one: RawObject) -> RawObject:
    """Return the object with its SHA-256, which S3 may have stored for the whole content."""
    if one.stored_checksum:
        head = s3.head_object(Bucket=bucket, Key=one.key, VersionId=one.version_id, ChecksumMode="ENABLED")
        return replace(one, sha256=base64.b64decode(head["ChecksumSHA256"]).hex())
    digest = hashlib.sha256()
    for chunk in s3.get_object(Bucket=bucket, Key=one.key, VersionId=one.version_id)["Body"].iter_chunks(1 << 20):
        digest.update(chunk)
    return replace(one, sha256=digest.hexdigest())


def canonical(document: object) -> bytes:
    """Return JSON with sorted keys and no spaces: the same content gives the same bytes."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def write_once(s3: S3Client, bucket: str, key: str, body: bytes, content_type: str) -> None:
    """Write an object that is named by its content, unless it exists."""
    try:
        s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType=content_type, IfNoneMatch="*")
    except ClientError as error:
        if error.response["Error"]["Code"] != "PreconditionFailed":
            raise


@dataclass(frozen=True)
class Dataset:
    """Addresses of a dataset's manifests and the SHA-256 that names it."""

    manifest_uri: str
    manifest_sha256: str
    train_manifest_uri: str
    holdout_manifest_uri: str


def write_dataset(s3: S3Client, settings: Settings, window: Window, objects: list[RawObject]) -> Dataset:
    """Write the dataset's manifest, and the `ManifestFile` with which SageMaker fetches each split."""
    splits = ["holdout" if one.first >= window.holdout_start else "train" for one in objects]
    manifest = canonical(
        {
            "version": 1,
            "model": settings.model,
            "window": {"start": window.start.isoformat(), "end": window.end.isoformat()},
            "holdout": {"start": window.holdout_start.isoformat(), "end": window.end.isoformat()},
            "objects": [
                {
                    "key": one.key,
                    "version_id": one.version_id,
                    "sha256": one.sha256,
                    "size": one.size,
                    "split": split,
                }
                for one, split in zip(objects, splits, strict=True)
            ],
        }
    )
    sha256 = hashlib.sha256(manifest).hexdigest()
    folder = f"datasets/{settings.model}/{sha256}"
    write_once(s3, settings.artifact_bucket, f"{folder}/manifest.json", manifest, "application/json")
    prefix = {"prefix": f"s3://{settings.data_bucket}/{settings.raw_prefix}"}
    for name in ("train", "holdout"):
        keys = [
            one.key.removeprefix(settings.raw_prefix)
            for one, split in zip(objects, splits, strict=True)
            if split == name
        ]
        write_once(
            s3, settings.artifact_bucket, f"{folder}/{name}.manifest", canonical([prefix, *keys]), "application/json"
        )
    uri = f"s3://{settings.artifact_bucket}/{folder}"
    return Dataset(f"{uri}/manifest.json", sha256, f"{uri}/train.manifest", f"{uri}/holdout.manifest")


def code_files(archive: bytes) -> dict[str, bytes]:
    """Return the files of a CDK asset, by path.

    Raises:
        SnapshotError: The asset is not a zip archive, or a path points out of it.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as asset:
            files = {info.filename: asset.read(info) for info in asset.infolist() if not info.is_dir()}
    except zipfile.BadZipFile as error:
        raise SnapshotError(f"the code asset is not a zip archive: {error}") from None
    for name in files:
        if name.startswith("/") or ".." in PurePosixPath(name).parts:
            raise SnapshotError(f"the code asset holds {name!r}, which points out of it")
    return {name: body for name, body in sorted(files.items()) if "__pycache__" not in PurePosixPath(name).parts}


def keep_code(s3: S3Client, settings: Settings) -> tuple[str, str]:
    """Copy the model's scripts to the artifact bucket; return their address and their SHA-256."""
    source = urlsplit(settings.code_uri)
    try:
        archive = s3.get_object(Bucket=source.netloc, Key=source.path.lstrip("/"))["Body"].read()
    except ClientError as error:
        raise SnapshotError(f"the code {settings.code_uri} cannot be read: {error}") from error
    files = code_files(archive)
    sha256 = hashlib.sha256(
        canonical([[name, hashlib.sha256(body).hexdigest()] for name, body in files.items()])
    ).hexdigest()
    folder = f"code/{settings.model}/{sha256}"
    for name, body in files.items():
        write_once(s3, settings.artifact_bucket, f"{folder}/{name}", body, "text/plain; charset=utf-8")
    return f"s3://{settings.artifact_bucket}/{folder}/", sha256


def champion(s3: S3Client, ssm: SSMClient, settings: Settings) -> tuple[str, str]:
    """Return the live release's package ARN and its artefact's folder, or `none` and a folder without a model.

    Raises:
        SnapshotError: The record is missing or malformed, or its artefact is gone.
    """
    try:
        record = ssm.get_parameter(Name=settings.release_parameter)["Parameter"]["Value"]
    except ssm.exceptions.ParameterNotFound:
        raise SnapshotError(
            f"the release record {settings.release_parameter} does not exist: deploy the stacks"
        ) from None
    fields = record.split("|")
    if len(fields) != 4:
        raise SnapshotError(f"the release record {settings.release_parameter} has not four fields: {record!r}")
    release_id, _, package_arn, _ = fields
    bucket = settings.artifact_bucket
    if package_arn == NO_CHAMPION:
        folder = f"datasets/{settings.model}/no-champion/"
        write_once(s3, bucket, f"{folder}none.json", canonical({"champion": None}), "application/json")
        return NO_CHAMPION, f"s3://{bucket}/{folder}"
    folder = f"releases/{settings.model}/{release_id}/"
    try:
        s3.head_object(Bucket=bucket, Key=f"{folder}model.tar.gz")
    except ClientError as error:
        raise SnapshotError(f"the champion's artefact s3://{bucket}/{folder}model.tar.gz is gone: {error}") from None
    return package_arn, f"s3://{bucket}/{folder}"


def snapshot(s3: S3Client, ssm: SSMClient, settings: Settings) -> dict[str, str]:
    """Fix dataset, code and champion, and return the values that the next steps need, all of them text.

    Raises:
        SnapshotError: A person has to correct the inputs.
    """
    if not METADATA.fullmatch(settings.trigger):
        raise SnapshotError(f"Trigger {settings.trigger!r} may hold letters, digits, spaces and _.:/=+-@ only")
    window, objects = select(list(raw_objects(s3, settings)), settings)
    with ThreadPoolExecutor(THREADS) as pool:
        objects = list(pool.map(lambda one: hashed(s3, settings.data_bucket, one), objects))
    dataset = write_dataset(s3, settings, window, objects)
    code_uri, code_sha256 = keep_code(s3, settings)
    package_arn, champion_uri = champion(s3, ssm, settings)
    print(
        f"{len(objects)} objects, {window.start} to {window.end}, holdout from {window.holdout_start}; "
        f"dataset {dataset.manifest_sha256[:12]}, code {code_sha256[:12]}, champion {package_arn}",
        flush=True,
    )
    return {
        **asdict(dataset),
        "code_uri": code_uri,
        "code_sha256": code_sha256,
        "champion_package_arn": package_arn,
        "champion_uri": champion_uri,
    }


def main() -> None:
    """Run in the container; an error becomes the job's exit message."""
    # SageMaker sets AWS_REGION, which boto3 does not read.
    region = os.environ.get("AWS_REGION")
    s3 = boto3.client("s3", region_name=region, config=Config(max_pool_connections=THREADS))
    ssm = boto3.client("ssm", region_name=region)
    try:
        result = snapshot(s3, ssm, Settings.read(os.environ))
    except (SnapshotError, ClientError) as error:
        EXIT_MESSAGE.parent.mkdir(parents=True, exist_ok=True)
        EXIT_MESSAGE.write_text(str(error)[:1024], encoding="utf-8")
        sys.exit(f"error: {error}")
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps(result, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
