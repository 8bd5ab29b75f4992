"""Contract of processing containers.

Source: SageMaker Developer Guide, "Build Your Own Processing Container" and "How Amazon SageMaker Processing Runs Your
Processing Container Image".
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

from localcloud.cloud import Cloud
from localcloud.runtime import images
from localcloud.runtime.metrics import publish
from localcloud.runtime.program import (
    HOST,
    Program,
    UnsupportedRequest,
    base_environment,
    check_one_instance,
    reject_if,
    resource_config,
)
from localcloud.runtime.sandbox import Sandbox
from localcloud.runtime.transfer import Transfer

LOG_GROUP = "/aws/sagemaker/ProcessingJobs"
_ROOT = "/opt/ml/processing"
_DESCRIBED = (
    "AppSpecification", "Environment", "ExperimentConfig", "NetworkConfig", "ProcessingInputs",
    "ProcessingOutputConfig", "ProcessingResources", "RoleArn", "StoppingCondition",
)  # fmt: skip


class Processing:
    """One processing job's files and program."""

    def __init__(self, cloud: Cloud, name: str, arn: str, request: Mapping[str, Any], sandbox: Sandbox) -> None:
        self._cloud, self._name, self._arn, self._request, self._sandbox = cloud, name, arn, request, sandbox
        self.isolated = bool(request.get("NetworkConfig", {}).get("EnableNetworkIsolation"))
        self.role_arn = str(request["RoleArn"])
        self.log_group = LOG_GROUP
        self.image = str(request["AppSpecification"]["ImageUri"])
        self.stand_in = images.stand_in(self.image)

    def check(self) -> None:
        """Reject requests that cannot run here.

        Raises:
            UnsupportedRequest: the request uses an unsupported feature.
            ContainerError: the image has no stand-in, or packages are missing.
        """
        application = self._request["AppSpecification"]
        if not self._command:
            raise images.no_stand_in_error(application["ImageUri"])
        check_one_instance(self._request["ProcessingResources"]["ClusterConfig"])
        for source in self._request.get("ProcessingInputs", ()):
            name = source["InputName"]
            reject_if(source.get("AppManaged") and "Prefixes" not in source, f"AppManaged (input {name})")
            reject_if("DatasetDefinition" in source, f"DatasetDefinition (input {name})")
            s3 = source["S3Input"]
            reject_if(s3.get("S3InputMode", "File") != "File", f"S3InputMode {s3.get('S3InputMode')} (input {name})")
            reject_if(s3.get("S3CompressionType", "None") != "None", f"S3CompressionType Gzip (input {name})")
            self._check_path(s3.get("LocalPath", _ROOT))
        for output in self._outputs:
            name = output["OutputName"]
            reject_if(output.get("AppManaged"), f"AppManaged (output {name})")
            reject_if("FeatureStoreOutput" in output, f"FeatureStoreOutput (output {name})")
            self._check_path(output["S3Output"].get("LocalPath", _ROOT))

    def download(self, transfer: Transfer) -> None:
        """Write `/opt/ml/config`, download the inputs, and create the outputs' directories."""
        for directory in ("config", "output", "processing", "code"):
            (self._sandbox.ml / directory).mkdir(parents=True, exist_ok=True)
        config = {"ProcessingJobArn": self._arn, "ProcessingJobName": self._name}
        config |= {key: self._request[key] for key in _DESCRIBED if key in self._request}
        cluster = self._request["ProcessingResources"]["ClusterConfig"]
        self._write("processingjobconfig", config)
        self._write("resourceconfig", resource_config(cluster["InstanceType"]))
        for source in self._request.get("ProcessingInputs", ()):
            s3 = source["S3Input"]
            target = self._sandbox.host_path(s3.get("LocalPath", _ROOT))
            target.mkdir(parents=True, exist_ok=True)
            if "Prefixes" in source:  # staged by the control plane: the hourly folders of a monitoring execution
                for prefix in source["Prefixes"]:
                    transfer.download_prefix(s3["S3Uri"] + prefix, target / prefix)
            elif s3.get("S3DataType") == "ManifestFile":
                transfer.download_manifest(s3["S3Uri"], target)
            else:
                transfer.download_prefix(s3["S3Uri"], target)
        for output in self._outputs:
            self._sandbox.host_path(output["S3Output"].get("LocalPath", _ROOT)).mkdir(parents=True, exist_ok=True)

    def program(self) -> Program:
        """Return the entry point with its arguments."""
        application = self._request["AppSpecification"]
        environment = base_environment(self._cloud, self.role_arn, self.stand_in, isolated=self.isolated)
        environment |= {"PROCESSING_JOB_NAME": self._name, "PROCESSING_JOB_ARN": self._arn}
        environment |= {"SM_CURRENT_HOST": HOST, "SM_HOSTS": json.dumps([HOST])}
        environment |= dict(self._request.get("Environment", {}))
        command = [*self._command, *(application.get("ContainerArguments") or ())]
        return Program(images.host_command(command, self.stand_in), environment, "/")

    def upload(self, transfer: Transfer) -> None:
        """Upload all outputs and publish the metrics."""
        self._upload(transfer, self._outputs)
        publish(self._cloud, self._sandbox, self.role_arn)

    def upload_after_stop(self, transfer: Transfer) -> None:
        """Upload only the outputs that a running job uploads continuously."""
        self._upload(transfer, (o for o in self._outputs if o["S3Output"].get("S3UploadMode") == "Continuous"))

    def metric_patterns(self) -> list[tuple[str, str]]:
        """Return no patterns: only training jobs have metric definitions."""
        return []

    def exit_message(self) -> str | None:
        """Return the start of `/opt/ml/output/message` (at most 1,024 characters), or None."""
        path = self._sandbox.written_file("/opt/ml/output/message")
        return path.read_text(errors="replace")[:1024] if path is not None else None

    def failure(self, code: int) -> str:
        """Return `FailureReason`, worded as AWS words it."""
        path = self._sandbox.written_file("/opt/ml/output/failure")
        written = path.read_text(errors="replace") if path is not None else self.exit_message()
        if written:
            return f"AlgorithmError: {written.strip()[:950]}, exit code: {code}"
        return f"AlgorithmError: See job logs for more information, exit code: {code}"

    def _upload(self, transfer: Transfer, outputs: Iterable[Mapping[str, Any]]) -> None:
        for output in outputs:
            s3 = output["S3Output"]
            transfer.upload_tree(self._sandbox.written_directory(s3.get("LocalPath", _ROOT)), s3["S3Uri"])

    def _check_path(self, path: str) -> None:
        if not PurePosixPath(posixpath.normpath(path)).is_relative_to(_ROOT):
            raise UnsupportedRequest(f"ClientError: LocalPath must be under {_ROOT}, got {path!r}")

    def _write(self, name: str, content: object) -> None:
        (self._sandbox.ml / "config" / f"{name}.json").write_text(json.dumps(content, default=str))

    @property
    def _command(self) -> list[str]:
        """The request's entry point, or the stand-in's program; empty where there is neither."""
        application = self._request["AppSpecification"]
        return list(application.get("ContainerEntrypoint") or (self.stand_in.program if self.stand_in else ()))

    @property
    def _outputs(self) -> list[Mapping[str, Any]]:
        return list(self._request.get("ProcessingOutputConfig", {}).get("Outputs", ()))
