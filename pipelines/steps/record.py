"""Write the registration record: the origin, hashes and evaluation of a model package.

It runs as a SageMaker processing job in the framework's container, with model_card.py beside it: standard library and
boto3 only. It runs after the gate and before the registration, reads its arguments from the environment, checks that no
raw object of the dataset has changed since the snapshot, and writes `record.json` for the registration.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import math
import os
import re
import sys
import tarfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from model_card import content, model_card  # type: ignore[import-not-found]  # beside it in the container

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient

OUTPUT = Path("/opt/ml/processing/output/record/record.json")
EXIT_MESSAGE = Path("/opt/ml/output/message")
"""SageMaker shows the content of this file as the job's `ExitMessage`."""
THREADS = 16
NO_CHAMPION = NOTHING = "none"
PARAMETER = "PARAMETER_"
"""Prefix of each hyperparameter's name in the environment."""


class RecordError(Exception):
    """The record cannot be written; the message is one line for a person."""


@dataclass(frozen=True)
class Settings:
    """The step's arguments, from the environment that the pipeline sets."""

    model: str
    data_bucket: str
    artifact_bucket: str
    execution_id: str
    execution_arn: str
    commit_id: str
    author: str
    trigger: str
    evidence: str
    seed: str
    manifest_uri: str
    manifest_sha256: str
    code_uri: str
    code_sha256: str
    champion: str
    artifact_uri: str
    evaluation_uri: str
    payload_uri: str
    baselines_uri: str
    baselines: str
    description: str
    owner: str
    image: str
    environment: str
    content_types: str
    response_types: str
    parameters: Mapping[str, str]

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Settings:
        """Read the arguments from `MODEL`, `DATA_BUCKET` and so on, and hyperparameters from `PARAMETER_…`."""
        values: dict[str, Any] = {
            name: environment[name.upper()] for name in cls.__dataclass_fields__ if name != "parameters"
        }
        parameters = {
            name.removeprefix(PARAMETER): value for name, value in environment.items() if name.startswith(PARAMETER)
        }
        return cls(**values, parameters=parameters)


def canonical(document: object) -> bytes:
    """Return JSON with sorted keys and no spaces: the same content gives the same bytes."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha256_of(body: bytes) -> str:
    """Return the SHA-256 in hexadecimal."""
    return hashlib.sha256(body).hexdigest()


def place(uri: str) -> tuple[str, str]:
    """Return bucket and key of an `s3://` address."""
    parts = urlsplit(uri)
    return parts.netloc, parts.path.lstrip("/")


def read(s3: S3Client, uri: str) -> bytes:
    """Return an object's content."""
    bucket, key = place(uri)
    return s3.get_object(Bucket=bucket, Key=key)["Body"].read()


def streamed_sha256(s3: S3Client, uri: str) -> str:
    """Return an object's SHA-256, without holding the object in memory."""
    bucket, key = place(uri)
    digest = hashlib.sha256()
    for chunk in s3.get_object(Bucket=bucket, Key=key)["Body"].iter_chunks(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()


def dataset(s3: S3Client, settings: Settings) -> int:
    """Check that the dataset is unchanged since the snapshot, and return the number of its objects.

    The jobs fetched raw objects by key, not by version. If each object still has the version in the manifest, they
    fetched that version: an object returns to an earlier version only if versions are deleted.

    Raises:
        RecordError: The manifest is not the one of the snapshot, or an object was overwritten or deleted since then.
    """
    manifest = read(s3, settings.manifest_uri)
    if sha256_of(manifest) != settings.manifest_sha256:
        raise RecordError(f"{settings.manifest_uri} is not what the snapshot wrote: its SHA-256 differs")
    objects = json.loads(manifest)["objects"]

    def current_version(one: Mapping[str, str]) -> str:
        try:
            return s3.head_object(Bucket=settings.data_bucket, Key=one["key"])["VersionId"]
        except ClientError as error:
            if error.response["Error"]["Code"] in ("404", "NoSuchKey"):
                return "deleted"
            raise

    with ThreadPoolExecutor(THREADS) as pool:
        current = list(pool.map(current_version, objects))
    changed = [one["key"] for one, version in zip(objects, current, strict=True) if version != one["version_id"]]
    if changed:
        raise RecordError(
            f"{len(changed)} of {len(objects)} raw objects changed during the run, first {changed[0]}: run it again"
        )
    return len(objects)


def write_once(s3: S3Client, bucket: str, key: str, body: bytes, content_type: str) -> str:
    """Write an object that must never change, and return its address. The same content again is a retry of this step.

    Raises:
        RecordError: The object exists with other content.
    """
    try:
        s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType=content_type, IfNoneMatch="*")
    except ClientError as error:
        if error.response["Error"]["Code"] != "PreconditionFailed":
            raise
        if read(s3, f"s3://{bucket}/{key}") != body:
            raise RecordError(f"s3://{bucket}/{key} exists with other content") from None
    return f"s3://{bucket}/{key}"


def archive(name: str, body: bytes) -> bytes:
    """Return a reproducible tar.gz of one file: `SamplePayloadUrl` must point to one."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0, filename="") as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        member = tarfile.TarInfo(name)
        member.size = len(body)
        tar.addfile(member, io.BytesIO(body))
    return buffer.getvalue()


def inference_specification(settings: Settings) -> dict[str, object]:
    """Return what will be registered, in the form that the release controller compares with."""
    return {
        "image": settings.image,
        "model_data_url": settings.artifact_uri,
        "environment": json.loads(settings.environment),
        "content_types": json.loads(settings.content_types),
        "response_types": json.loads(settings.response_types),
    }


def baseline_key(file: str) -> str:
    """Return a baseline's key in the result, from which the registration reads its address."""
    return re.sub(r"[^a-z]", "_", file.removesuffix(".json")) + "_uri"


def baselines(s3: S3Client, settings: Settings) -> dict[str, dict[str, str]]:
    """Copy the baselines that the model's monitors need beside the record; return address and SHA-256 by file.

    Raises:
        RecordError: The baseline step did not write one.
    """
    found = {}
    for file in [] if settings.baselines == NOTHING else settings.baselines.split(","):
        try:
            body = read(s3, f"{settings.baselines_uri}/{file}")
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchKey":
                raise
            raise RecordError(f"the baseline step did not write {file}") from error
        key = f"packages/{settings.model}/{settings.execution_id}/baselines/{file}"
        uri = write_once(s3, settings.artifact_bucket, key, body, "application/json")
        found[file] = {"uri": uri, "sha256": sha256_of(body)}
    return found


def card(s3: S3Client, settings: Settings, written: Mapping[str, Any]) -> str:
    """Return the version's model card, with bias and attributions if they have baselines."""
    known = {file: json.loads(read(s3, one["uri"])) for file, one in written["baselines"].items()}
    bias = known.get("bias/analysis.json", {}).get("post_training_bias_metrics", {}).get("facets", {})
    shap = known.get("explainability/analysis.json", {}).get("explanations", {}).get("kernel_shap", {})
    metrics = {
        f"{facet} {group['value_or_threshold']} {metric['name']}": float(metric["value"])
        for facet, groups in bias.items()
        for group in groups
        for metric in group["metrics"]
        if metric.get("value") is not None
    }
    attributions = {name: value for label in shap.values() for name, value in label["global_shap_values"].items()}
    text: str = content(
        model_card(
            written,
            description=settings.description,
            owner=settings.owner,
            image=settings.image,
            bias=metrics or None,
            explainability=attributions or None,
        )
    )
    return text


def started_by(sagemaker: SageMakerClient, execution_arn: str) -> str:
    """Return the principal that started the execution, "" if the service did."""
    described = sagemaker.describe_pipeline_execution(PipelineExecutionArn=execution_arn)
    user = described.get("CreatedBy") or {}
    identity = user.get("IamIdentity") or {}
    # All users of a Studio domain may share one role, so the profile's name comes first.
    return user.get("UserProfileName") or identity.get("Arn") or user.get("UserProfileArn") or ""


def evaluation(s3: S3Client, settings: Settings) -> dict[str, Any]:
    """Return the evaluation.

    Raises:
        RecordError: Its scores of the sample payload are not numbers: a verification could compare nothing with them.
    """
    found: dict[str, Any] = json.loads(read(s3, settings.evaluation_uri))
    scores = found.get("payload_scores")
    numbers = isinstance(scores, list) and all(
        isinstance(score, int | float) and not isinstance(score, bool) and math.isfinite(score) for score in scores
    )
    if scores is not None and not numbers:
        raise RecordError(f"payload_scores of evaluation.json must be a list of numbers, got {str(scores)[:80]}")
    return found


def record(s3: S3Client, sagemaker: SageMakerClient, settings: Settings) -> dict[str, str]:
    """Write the record and the sample payload, and return the values that the registration needs, all of them text.

    Raises:
        RecordError: The dataset changed, or another record exists under the same address.
    """
    objects = dataset(s3, settings)
    payload = read(s3, settings.payload_uri)
    bucket, folder = settings.artifact_bucket, f"packages/{settings.model}/{settings.execution_id}"
    payload_uri = write_once(s3, bucket, f"{folder}/payload.csv", payload, "text/csv")
    archive_uri = write_once(
        s3, bucket, f"{folder}/payload.tar.gz", archive("payload.csv", payload), "application/gzip"
    )
    carried = baselines(s3, settings)
    written = {
        "version": 1,
        "model": settings.model,
        "execution_arn": settings.execution_arn,
        "commit": settings.commit_id,
        "author": "" if settings.author == NOTHING else settings.author,
        "started_by": started_by(sagemaker, settings.execution_arn),
        "trigger": {"kind": settings.trigger, "evidence": settings.evidence},
        "artifact": {"uri": settings.artifact_uri, "sha256": streamed_sha256(s3, settings.artifact_uri)},
        "inference_specification_sha256": sha256_of(canonical(inference_specification(settings))),
        "code": {"uri": settings.code_uri, "sha256": settings.code_sha256},
        "dataset": {"manifest_uri": settings.manifest_uri, "sha256": settings.manifest_sha256, "objects": objects},
        "parameters": dict(settings.parameters),
        "seed": int(settings.seed),
        "evaluation": evaluation(s3, settings),
        "champion": {"package_arn": None if settings.champion == NO_CHAMPION else settings.champion},
        "sample_payload": {"uri": payload_uri, "content_type": "text/csv", "sha256": sha256_of(payload)},
        "baselines": carried,
    }
    body = canonical(written)
    record_uri = write_once(s3, bucket, f"{folder}/record.json", body, "application/json")
    described = card(s3, settings, written)
    write_once(s3, bucket, f"{folder}/card.json", described.encode(), "application/json")
    print(f"{record_uri} ({sha256_of(body)})", flush=True)
    return {
        "record_uri": record_uri,
        "record_sha256": sha256_of(body),
        "release_code": settings.code_sha256,
        "trigger": settings.trigger,
        "sample_payload_uri": archive_uri,
        "evaluation_uri": settings.evaluation_uri,
        "model_card": described,
        **{baseline_key(file): one["uri"] for file, one in carried.items()},
    }


def main() -> None:
    """Run in the container; an error becomes the job's exit message."""
    # SageMaker sets AWS_REGION, which boto3 does not read.
    region = os.environ.get("AWS_REGION")
    s3 = boto3.client("s3", region_name=region, config=Config(max_pool_connections=THREADS))
    sagemaker = boto3.client("sagemaker", region_name=region)
    try:
        result = record(s3, sagemaker, Settings.read(os.environ))
    except (RecordError, ClientError) as error:
        EXIT_MESSAGE.parent.mkdir(parents=True, exist_ok=True)
        EXIT_MESSAGE.write_text(str(error)[:1024], encoding="utf-8")
        sys.exit(f"error: {error}")
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps(result, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
