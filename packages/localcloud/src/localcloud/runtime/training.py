"""Contract of training containers: their files before the run, and their outputs after it.

Source: SageMaker Developer Guide, "How Amazon SageMaker AI Provides Training Information", "Run Your Training Image".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from localcloud.cloud import Cloud
from localcloud.runtime import images, toolkit
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
from localcloud.runtime.transfer import Transfer, pack

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
_CHECKPOINTS = "/opt/ml/checkpoints"
_DIRECTORIES = ("input/config", "input/data", "model", "output/data", "output/intermediate", "code", "checkpoints")


class Training:
    """One training job's files and program."""

    def __init__(self, cloud: Cloud, name: str, arn: str, request: Mapping[str, Any], sandbox: Sandbox) -> None:
        self._cloud, self._name, self._arn, self._request, self._sandbox = cloud, name, arn, request, sandbox
        self.isolated = bool(request.get("EnableNetworkIsolation"))
        self.role_arn = str(request["RoleArn"])
        self.log_group = LOG_GROUP
        self.image = str(request["AlgorithmSpecification"].get("TrainingImage", ""))
        self.stand_in = images.stand_in(self.image)

    def check(self) -> None:
        """Reject requests that cannot run here.

        Raises:
            UnsupportedRequest: the request uses an unsupported feature.
            ContainerError: the image has no stand-in, or packages are missing.
        """
        specification = self._request["AlgorithmSpecification"]
        reject_if(specification.get("AlgorithmName"), "AlgorithmName (an algorithm resource)")
        check_one_instance(self._request["ResourceConfig"])
        if not specification.get("ContainerEntrypoint") and self._framework is None:
            raise images.no_stand_in_error(self.image)
        directory = self._own("sagemaker_submit_directory", "SAGEMAKER_SUBMIT_DIRECTORY")
        if self.isolated and directory.startswith("s3://") and not self._entrypoint:
            raise UnsupportedRequest(
                f"ClientError: a network-isolated container cannot fetch sagemaker_submit_directory {directory}; "
                "pass the code as an input channel"
            )
        for channel in self._request.get("InputDataConfig", ()):
            name = channel["ChannelName"]
            mode = channel.get("InputMode", specification.get("TrainingInputMode", "File"))
            reject_if(mode == "Pipe", f"input mode Pipe (channel {name})")
            source = channel["DataSource"]
            reject_if("S3DataSource" not in source, f"the data source {', '.join(source)} (channel {name})")
            kind = source["S3DataSource"].get("S3DataType", "S3Prefix")
            reject_if(kind not in ("S3Prefix", "ManifestFile"), f"S3DataType {kind} (channel {name})")
            reject_if(channel.get("CompressionType", "None") != "None", f"CompressionType Gzip (channel {name})")

    def download(self, transfer: Transfer) -> None:
        """Write `/opt/ml/input` and `/opt/ml/code`, and download the channels."""
        for directory in _DIRECTORIES:
            (self._sandbox.ml / directory).mkdir(parents=True, exist_ok=True)
        self._write("hyperparameters", self._request.get("HyperParameters", {}))
        self._write("inputdataconfig", toolkit.input_data_config(self._request))
        self._write("resourceconfig", self._resources)
        for channel in self._request.get("InputDataConfig", ()):
            target = self._sandbox.ml / "input/data" / channel["ChannelName"]
            target.mkdir()
            source = channel["DataSource"]["S3DataSource"]
            if source.get("S3DataType", "S3Prefix") == "ManifestFile":
                transfer.download_manifest(source["S3Uri"], target)
            else:
                transfer.download_prefix(source["S3Uri"], target)
        checkpoints = self._request.get("CheckpointConfig")
        if checkpoints:
            transfer.download_prefix(checkpoints["S3Uri"], self._checkpoints(checkpoints), required=False)

    def program(self) -> Program:
        """Return the program: an explicit entry point, or the image's `train`."""
        environment = base_environment(self._cloud, self.role_arn, self.stand_in, isolated=self.isolated)
        environment |= {"TRAINING_JOB_NAME": self._name, "TRAINING_JOB_ARN": self._arn}
        environment |= dict(self._request.get("Environment", {}))
        if self._framework is None or self._entrypoint:
            return Program(images.host_command(self._entrypoint, self.stand_in), environment, "/")
        return Program(["python3", *self._framework.train], environment, "/")

    def upload(self, transfer: Transfer) -> str:
        """Upload the model, the output and the checkpoints; return the S3 URI of the model artifact."""
        output = self._request["OutputDataConfig"]
        base = f"{output['S3OutputPath'].rstrip('/')}/{self._name}/output"
        checkpoints = self._request.get("CheckpointConfig")
        if checkpoints:
            written = self._sandbox.written_directory(checkpoints.get("LocalPath", _CHECKPOINTS))
            transfer.upload_tree(written, checkpoints["S3Uri"])
        data = self._sandbox.written_directory("/opt/ml/output/data")
        if output.get("CompressionType", "GZIP") == "NONE":
            transfer.upload_tree(data, f"{base}/data")
            transfer.upload_tree(self._sandbox.written_directory("/opt/ml/model"), f"{base}/model")
            return f"{base}/model/"
        if any(data.iterdir()):
            self._upload_archive("output", transfer, base)
        return self._upload_archive("model", transfer, base)

    def upload_after_stop(self, transfer: Transfer) -> str | None:
        """Upload the artifacts of a stopped job, as SageMaker does (StopTrainingJob); return the model's S3 URI."""
        return self.upload(transfer)

    def metric_patterns(self) -> list[tuple[str, str]]:
        """Return (name, regular expression) of the request's metrics and of the built-in algorithm's."""
        specification = self._request["AlgorithmSpecification"]
        given = [(item["Name"], item["Regex"]) for item in specification.get("MetricDefinitions", ())]
        script = self._own("sagemaker_program", "SAGEMAKER_PROGRAM")
        if self._framework is None or not self._framework.algorithm or script or self._entrypoint:
            return given
        metrics = str(self._request.get("HyperParameters", {}).get("eval_metric", "")).split(",")
        return given + [
            (f"{data}:{metric.strip()}", rf"#011{data}-{re.escape(metric.strip())}:([-+0-9.eEnaif]+)")
            for data in ("train", "validation")
            for metric in metrics
            if metric.strip()
        ]

    def exit_message(self) -> str | None:
        """Return None: only processing jobs have an exit message."""
        return None

    def failure(self, code: int) -> str:
        """Return `FailureReason`, worded as AWS words it."""
        path = self._sandbox.written_file("/opt/ml/output/failure")
        written = path.read_text(errors="replace").strip() if path is not None else ""
        if len(written) > 950:  # the end of a traceback says what was wrong
            written = f"{written[:200]} … {written[-740:]}"
        return f"AlgorithmError: {written}, exit code: {code}"

    def _upload_archive(self, name: str, transfer: Transfer, base: str) -> str:
        archive = self._sandbox.root / f"{name}.tar.gz"
        pack(self._sandbox.written_directory("/opt/ml/output/data" if name == "output" else "/opt/ml/model"), archive)
        uri = f"{base}/{name}.tar.gz"
        transfer.upload_file(archive, uri)
        return uri

    def _write(self, name: str, content: object) -> None:
        (self._sandbox.ml / "input/config" / f"{name}.json").write_text(json.dumps(content))

    def _checkpoints(self, config: Mapping[str, Any]) -> Any:
        path = self._sandbox.host_path(config.get("LocalPath", _CHECKPOINTS))
        path.mkdir(parents=True, exist_ok=True)
        return path

    def _own(self, hyperparameter: str, variable: str) -> str:
        given = toolkit.hyperparameter(self._request, hyperparameter)
        return given or str(self._request.get("Environment", {}).get(variable, ""))

    @property
    def _framework(self) -> images.Framework | None:
        return None if self.stand_in is None else self.stand_in.framework

    @property
    def _entrypoint(self) -> list[str]:
        specification = self._request["AlgorithmSpecification"]
        entrypoint = specification.get("ContainerEntrypoint") or []
        return [*entrypoint, *(specification.get("ContainerArguments") or [])] if entrypoint else []

    @property
    def _resources(self) -> dict[str, Any]:
        # The toolkits wait until the host's name is known; a file system of its own says what algo-1 is.
        host = HOST if self._sandbox.level.namespaces else "localhost"
        return resource_config(self._request["ResourceConfig"].get("InstanceType", "ml.m5.large"), host)
