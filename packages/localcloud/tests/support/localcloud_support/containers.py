"""moto's S3 under the real runtime, and requests for jobs."""

from __future__ import annotations

import io
import json
import tarfile
import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from localcloud.cloud import Cloud
from localcloud.runtime.contract import JobKind, JobUpdate
from localcloud.runtime.jobs import JobRunner

ROLE = "arn:aws:iam::000000000000:role/job"
DENIED_ROLE = "arn:aws:iam::000000000000:role/denied"
IMAGES = "683313688378.dkr.ecr.us-east-1.amazonaws.com/"
BUCKET = "data"
FIXTURES = Path(__file__).parents[2] / "runtime" / "fixtures"


class DenyingClient:
    """S3 client of a role without permissions."""

    def get_object(self, **_: Any) -> None:
        error = {"Error": {"Code": "AccessDenied", "Message": "Access Denied"}}
        raise ClientError({**error, "ResponseMetadata": {"HTTPStatusCode": 403}}, "GetObject")  # type: ignore[typeddict-item]

    def put_object(self, **_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "Access Denied"}}, "PutObject")

    def get_paginator(self, _: str) -> Any:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "Access Denied"}}, "ListObjectsV2")


@dataclass
class FakeAws:
    """The cloud, its logs, and shortcuts for S3."""

    cloud: Cloud
    s3: Any
    logged: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))

    def put(self, key: str, body: str | bytes) -> str:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=body)
        return f"s3://{BUCKET}/{key}"

    def put_script(self, name: str) -> str:
        return self.put(f"code/{name}", (FIXTURES / name).read_bytes())

    def put_archive(self, key: str, files: Mapping[str, bytes]) -> str:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        return self.put(key, buffer.getvalue())

    def get(self, key: str) -> bytes:
        return bytes(self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def get_archive(self, uri: str) -> dict[str, bytes]:
        body = io.BytesIO(self.get(uri.removeprefix(f"s3://{BUCKET}/")))
        with tarfile.open(fileobj=body) as tar:
            files = {member.name: tar.extractfile(member) for member in tar if member.isfile()}
            return {name: file.read() for name, file in files.items() if file is not None}

    def keys(self, prefix: str = "") -> list[str]:
        found = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
        return [item["Key"] for item in found]

    def log_text(self) -> str:
        return "\n".join(line for lines in self.logged.values() for line in lines)


class Jobs:
    """The runner under test, and the updates that it reported."""

    def __init__(self, aws: FakeAws) -> None:
        self.updates: dict[str, list[JobUpdate]] = defaultdict(list)
        self._changed = threading.Condition()
        self.runner = JobRunner(aws.cloud, self._take, stop_grace=1.5)

    def _take(self, _kind: str, name: str, update: JobUpdate) -> None:
        with self._changed:
            self.updates[name].append(update)
            self._changed.notify_all()

    def wait_for(self, name: str, secondary: str) -> None:
        with self._changed:
            reached = self._changed.wait_for(
                lambda: any(update.secondary_status == secondary for update in self.updates[name]), timeout=180
            )
        assert reached, self.updates[name]

    def wait(self, name: str) -> JobUpdate:
        with self._changed:
            ended = self._changed.wait_for(lambda: any(u.ended_at for u in self.updates[name]), timeout=180)
        assert ended, self.updates[name]
        return self.updates[name][-1]

    def run(self, kind: JobKind, request: Mapping[str, Any]) -> JobUpdate:
        name = request["TrainingJobName" if kind == "training" else "ProcessingJobName"]
        self.runner.start(kind, name, f"arn:aws:sagemaker:us-east-1:000000000000:{kind}-job/{name}", request)
        return self.wait(name)


def training(name: str, image: str, **changes: Any) -> dict[str, Any]:
    """Return a CreateTrainingJob request; `channels` maps names to S3 prefixes or whole channel definitions."""
    channels = changes.pop("channels", {})
    content_type = changes.pop("content_type", "text/csv")
    request: dict[str, Any] = {
        "TrainingJobName": name,
        "AlgorithmSpecification": {"TrainingImage": IMAGES + image, "TrainingInputMode": "File"},
        "RoleArn": ROLE,
        "InputDataConfig": [
            {
                "ChannelName": channel,
                "ContentType": content_type,
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}},
            }
            for channel, uri in channels.items()
        ],
        "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/out"},
        "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 10},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    }
    request["AlgorithmSpecification"].update(changes.pop("specification", {}))
    return request | changes


def script_mode(program: str, code: str, **values: Any) -> dict[str, str]:
    """Return hyperparameters as the SageMaker SDK sends them: each value is JSON."""
    own = {"sagemaker_program": program, "sagemaker_submit_directory": code}
    return {name: json.dumps(value) for name, value in (own | values).items()}


def processing(name: str, entrypoint: list[str], **changes: Any) -> dict[str, Any]:
    """Return a CreateProcessingJob request; `inputs` and `outputs` map folder names to S3 URIs."""
    inputs, outputs = changes.pop("inputs", {}), changes.pop("outputs", {})
    request: dict[str, Any] = {
        "ProcessingJobName": name,
        "AppSpecification": {"ImageUri": IMAGES + "sagemaker-scikit-learn:1.4-2", "ContainerEntrypoint": entrypoint},
        "RoleArn": ROLE,
        "ProcessingInputs": [
            {
                "InputName": folder,
                "S3Input": {
                    "S3Uri": uri,
                    "LocalPath": f"/opt/ml/processing/input/{folder}",
                    "S3DataType": "S3Prefix",
                    "S3InputMode": "File",
                },
            }
            for folder, uri in inputs.items()
        ],
        "ProcessingOutputConfig": {
            "Outputs": [
                {
                    "OutputName": folder,
                    "S3Output": {
                        "S3Uri": uri,
                        "LocalPath": f"/opt/ml/processing/{folder}",
                        "S3UploadMode": "EndOfJob",
                    },
                }
                for folder, uri in outputs.items()
            ]
        },
        "ProcessingResources": {
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 20}
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    }
    return request | changes
