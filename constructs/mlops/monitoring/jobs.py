"""The jobs of a model's monitors: their role, their files, and the request for a job of the analyzer."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3_assets as s3_assets
from constructs import Construct

from configuration.images import monitor_image_uri
from configuration.instances import has_local_disk
from constructs.mlops.foundation.assets import AnalyzerCode, TextFile
from constructs.mlops.foundation.container_permissions import ContainerPermissions
from constructs.mlops.monitoring.engine import BUILTIN_ONLY, MonitoredEndpoint, MonitoringResources
from constructs.mlops.monitoring.monitors import Monitor

_INPUT = "/opt/ml/processing/input"
# The asset is a zip file named after its hash, and Python imports from it directly.
_ENTRYPOINT = [
    "/bin/sh",
    "-c",
    f"PYTHONPATH=$(echo {_INPUT}/code/*.zip) exec python3 -m drift_analyzer.container",
]
# The monitor function replaces these at each run.
_RELEASE, _MANIFEST = "{release}", "{manifest}"
_OWN_OBJECTS = "The objects of this model; their keys contain hours and releases."


# Model Monitor also runs its merger, of the same registry, where a monitor needs labels.
_MANAGED_IMAGES = ("model-monitor", "groundtruth-merger", "clarify")


class MonitorJobs(Construct):
    """The role and the files of monitoring jobs.

    The role may read captured data, labels, releases and the files, and write findings.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        endpoint: MonitoredEndpoint,
        resources: MonitoringResources,
        monitors: Sequence[Monitor],
        managed: bool,
    ) -> None:
        """Define role and files.

        Args:
            scope: The parent.
            construct_id: The id within the parent.
            endpoint: The endpoint that the jobs judge.
            resources: The stage's resources.
            monitors: All monitors of the model.
            managed: Whether Model Monitor runs jobs too.
        """
        super().__init__(scope, construct_id)
        self._endpoint, self._resources = endpoint, resources
        self._code = (
            AnalyzerCode(self, "Code").asset if any(monitor.kind in BUILTIN_ONLY for monitor in monitors) else None
        )
        self._analyses = {
            monitor.kind: TextFile(self, f"{monitor.id}Analysis", text=monitor.analysis_json).asset
            for monitor in monitors
            if monitor.analysis is not None and (managed or monitor.kind in BUILTIN_ONLY)
        }
        self.role = self._role(managed)
        self.role_arn = self.role.role_arn

    def analysis_uri(self, monitor: Monitor) -> str:
        """Return the S3 URI of a monitor's analysis configuration.

        Raises:
            KeyError: Jobs of this kind of monitor read no analysis configuration.
        """
        return self._analyses[monitor.kind].s3_object_url

    def request(self, monitor: Monitor) -> dict[str, object]:
        """Return a `CreateProcessingJob` request for SHAP in the model's own image.

        The monitor function adds name, window and output at each run.

        Raises:
            ValueError: The model has no monitor that runs as a job of the analyzer.
        """
        if self._code is None:
            raise ValueError(f"{monitor.kind} does not run as a job of the analyzer")
        endpoint, settings, artifacts = self._endpoint, self._endpoint.settings, self._resources.artifacts
        release = f"releases/{endpoint.model}/{_RELEASE}"
        cluster: dict[str, object] = {
            "InstanceCount": 1,
            "InstanceType": settings.instance_type,
            "VolumeSizeInGB": settings.volume_gb,
        }
        if not has_local_disk(settings.instance_type):
            cluster["VolumeKmsKeyId"] = self._resources.key.arn
        return {
            "AppSpecification": {"ImageUri": endpoint.image_uri, "ContainerEntrypoint": _ENTRYPOINT},
            "Environment": {
                **monitor.environment,
                "analysis_config": f"{_INPUT}/config",
                "dataset_format": '{"sagemakerCaptureJson":{}}',
                "dataset_source": f"{_INPUT}/endpoint",
                "model_archive": f"{_INPUT}/model/model.tar.gz",
                "baseline_constraints": f"{_INPUT}/baseline/analysis.json",
                "output_path": "/opt/ml/processing/output",
                "sagemaker_endpoint_name": endpoint.name,
                "sagemaker_monitoring_schedule_name": endpoint.schedule_name(monitor),
            },
            "NetworkConfig": {"EnableInterContainerTrafficEncryption": True, "EnableNetworkIsolation": True},
            "ProcessingInputs": [
                _input("code", self._code.s3_object_url),
                _input("config", self.analysis_uri(monitor)),
                _input("model", artifacts.uri(f"{release}/model.tar.gz")),
                _input("baseline", artifacts.uri(f"{release}/baselines/{monitor.slug}/analysis.json")),
                _input("endpoint", _MANIFEST, "ManifestFile"),
            ],
            "ProcessingOutputConfig": {
                "KmsKeyId": self._resources.key.arn,
                "Outputs": [
                    {
                        "OutputName": "findings",
                        "S3Output": {"LocalPath": "/opt/ml/processing/output", "S3UploadMode": "EndOfJob"},
                    }
                ],
            },
            "ProcessingResources": {"ClusterConfig": cluster},
            "RoleArn": self.role_arn,
            "StoppingCondition": {"MaxRuntimeInSeconds": settings.max_runtime_minutes * 60},
        }

    def _role(self, managed: bool) -> iam.Role:
        model, data, artifacts = self._endpoint.model, self._resources.data, self._resources.artifacts
        permissions = ContainerPermissions(
            self, image_uri=self._endpoint.image_uri, log_groups=["ProcessingJobs"], key=self._resources.key
        )
        data.grant_read_folders(permissions, f"{model}/capture/", f"{model}/ground-truth/", because=_OWN_OBJECTS)
        artifacts.grant_read_folders(permissions, f"releases/{model}/", f"monitoring/{model}/", because=_OWN_OBJECTS)
        artifacts.grant_write_folders(permissions, f"monitoring/{model}/", because=_OWN_OBJECTS)
        if managed:
            region = self._endpoint.region
            permissions.allow_pulling(*(monitor_image_uri(image, region) for image in _MANAGED_IMAGES))
            # Model Monitor writes merged data beside the labels.
            data.grant_write_folders(permissions, f"{model}/ground-truth/merged/", because=_OWN_OBJECTS)
        assets: list[s3_assets.Asset] = [*self._analyses.values(), *([self._code] if self._code else [])]
        permissions.allow_reading_assets(assets)
        return permissions.container_role(
            self, "Role", description=f"Judges the predictions of {model}, without a network"
        )


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
