"""What the analyzer's own jobs are made of: its code, its analysis configuration, and the request."""

from __future__ import annotations

import hashlib
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_assets as s3_assets
from constructs import Construct

from configuration import Monitoring
from configuration.instances import has_local_disk
from constructs.mlops.monitoring.monitors import Monitor

_ROOT = Path(__file__).parents[3]
_INPUT = "/opt/ml/processing/input"
# The asset is a zip that keeps its hash for a name, and Python imports from it as it is.
ANALYZER_ENTRYPOINT = [
    "/bin/sh",
    "-c",
    f"PYTHONPATH=$(echo {_INPUT}/code/*.zip) exec python3 -m drift_analyzer.container",
]
# The platform's function fills these in at each run.
RELEASE, MANIFEST = "{release}", "{manifest}"


class AnalyzerCode(Construct):
    """The analyzer as a program for the framework's image."""

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        self.asset = s3_assets.Asset(
            self,
            "Asset",
            path=str(_ROOT / "packages" / "analyzer" / "src"),
            exclude=["**/__pycache__"],
            ignore_mode=cdk.IgnoreMode.GIT,
        )


class TextFile(Construct):
    """A file that is made at synth, as an object that jobs can read."""

    def __init__(self, scope: Construct, construct_id: str, *, text: str) -> None:
        super().__init__(scope, construct_id)
        folder = _ROOT / ".cache" / "files"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
        if not path.exists():
            path.write_text(text, encoding="utf-8")
        self.asset = s3_assets.Asset(self, "Asset", path=str(path))


def explanation_job(
    *,
    monitor: Monitor,
    model: str,
    endpoint_name: str,
    schedule_name: str,
    monitoring: Monitoring,
    image_uri: str,
    role: iam.IRole,
    code: s3_assets.Asset,
    analysis: s3_assets.Asset,
    artifacts: s3.IBucket,
    key: kms.IKey,
) -> dict[str, object]:
    """A `CreateProcessingJob` request for SHAP on the model's own image; name, window and output come at each run."""
    release = f"releases/{model}/{RELEASE}"
    cluster: dict[str, object] = {
        "InstanceCount": 1,
        "InstanceType": monitoring.instance_type,
        "VolumeSizeInGB": monitoring.volume_gb,
    }
    if not has_local_disk(monitoring.instance_type):
        cluster["VolumeKmsKeyId"] = key.key_arn
    return {
        "AppSpecification": {"ImageUri": image_uri, "ContainerEntrypoint": ANALYZER_ENTRYPOINT},
        "Environment": {
            **monitor.environment,
            "analysis_config": f"{_INPUT}/config",
            "dataset_format": '{"sagemakerCaptureJson":{}}',
            "dataset_source": f"{_INPUT}/endpoint",
            "model_archive": f"{_INPUT}/model/model.tar.gz",
            "baseline_constraints": f"{_INPUT}/baseline/analysis.json",
            "output_path": "/opt/ml/processing/output",
            "sagemaker_endpoint_name": endpoint_name,
            "sagemaker_monitoring_schedule_name": schedule_name,
        },
        "NetworkConfig": {"EnableNetworkIsolation": True},
        "ProcessingInputs": [
            _input("code", code.s3_object_url),
            _input("config", analysis.s3_object_url),
            _input("model", artifacts.s3_url_for_object(f"{release}/model.tar.gz")),
            _input("baseline", artifacts.s3_url_for_object(f"{release}/baselines/{monitor.slug}/analysis.json")),
            _input("endpoint", MANIFEST, "ManifestFile"),
        ],
        "ProcessingOutputConfig": {
            "KmsKeyId": key.key_arn,
            "Outputs": [
                {
                    "OutputName": "findings",
                    "S3Output": {"LocalPath": "/opt/ml/processing/output", "S3UploadMode": "EndOfJob"},
                }
            ],
        },
        "ProcessingResources": {"ClusterConfig": cluster},
        "RoleArn": role.role_arn,
        "StoppingCondition": {"MaxRuntimeInSeconds": monitoring.max_runtime_minutes * 60},
    }


def _input(name: str, uri: str, kind: str = "S3Prefix") -> dict[str, object]:
    return {
        "InputName": name,
        "S3Input": {
            "S3Uri": uri,
            "LocalPath": f"{_INPUT}/{name}",
            "S3DataType": kind,
            "S3InputMode": "File",
        },
    }
