"""Carry out the archive's actions. Each may be repeated at any time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from archive.decide import Action, ArchivePackage, DeleteConfig, DeleteModel
from archive.inventory import ARCHIVED
from shared.clients import Clients
from shared.environment import ArchiveEnvironment
from shared.errors import error_code, is_missing, is_missing_object

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class ArchiveExecutor:
    """Carries out actions for one model."""

    def __init__(self, clients: Clients, environment: ArchiveEnvironment, model: str) -> None:
        self._clients = clients
        self._bucket = environment.artifact_bucket
        self._model = model

    def execute(self, action: Action) -> None:
        """Carry out one action. A resource that no longer exists is no error."""
        sagemaker = self._clients.sagemaker
        try:
            match action:
                case ArchivePackage():
                    self._archive(action)
                case DeleteConfig(name, _):
                    sagemaker.delete_endpoint_config(EndpointConfigName=name)
                case DeleteModel(name, _):
                    sagemaker.delete_model(ModelName=name)
        except ClientError as error:
            if not is_missing(error):
                raise

    def _archive(self, action: ArchivePackage) -> None:
        """Export the package, then mark it: every archived package in the registry has its export."""
        package, sagemaker = action.package, self._clients.sagemaker
        described: dict[str, Any] = dict(sagemaker.describe_model_package(ModelPackageName=package.arn))
        described.pop("ResponseMetadata", None)
        folder = f"archive/{self._model}/{package.version}"
        self._write_once(f"{folder}/package.json", json.dumps(described, default=str, sort_keys=True).encode())
        card = described.get("ModelCard", {}).get("ModelCardContent")
        if card:
            self._write_once(f"{folder}/card.json", card.encode())
        for name, uri in _documents(described).items():
            body = _read(self._clients.s3, uri)
            if body is not None:
                self._write_once(f"{folder}/{name}", body)
        sagemaker.update_model_package(
            ModelPackageArn=package.arn,
            ModelLifeCycle={
                "Stage": ARCHIVED,
                "StageStatus": "Exported",
                "StageDescription": f"{action.reason}; exported to s3://{self._bucket}/{folder}/",
            },
        )

    def _write_once(self, key: str, body: bytes) -> None:
        """Write an object unless an earlier, interrupted attempt wrote it.

        A 409 is an error here, because the other write may fail and the package would be marked without its export.
        """
        try:
            self._clients.s3.put_object(
                Bucket=self._bucket, Key=key, Body=body, ContentType="application/json", IfNoneMatch="*"
            )
        except ClientError as error:
            if error_code(error) != "PreconditionFailed":
                raise


def _documents(described: dict[str, Any]) -> dict[str, str]:
    """Return the addresses of registration record and metrics, where the package names them."""
    found = {
        "record.json": described.get("CustomerMetadataProperties", {}).get("record_uri"),
        "metrics.json": described.get("ModelMetrics", {}).get("ModelQuality", {}).get("Statistics", {}).get("S3Uri"),
    }
    return {name: uri for name, uri in found.items() if uri}


def _read(s3: S3Client, uri: str) -> bytes | None:
    """Return an object's content, None where it expired: that must not keep a package out of the archive."""
    parts = urlsplit(uri)
    try:
        return s3.get_object(Bucket=parts.netloc, Key=parts.path.lstrip("/"))["Body"].read()
    except ClientError as error:
        if is_missing_object(error):
            return None
        raise
