"""Requests for an execution's processing jobs: staged inputs, the documented environment, outputs.

Source: "Container contract inputs" (SageMaker Developer Guide, Model Monitor).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from localcloud.sagemaker.context import Document
from localcloud.sagemaker.events import iso
from localcloud.sagemaker.monitoring.definitions import MonitoringJob

_ROOT = "/opt/ml/processing"
_CONSTRAINTS, _STATISTICS = f"{_ROOT}/baseline/constraints", f"{_ROOT}/baseline/stats"
_CONFIG, _LABELS, _MERGED = f"{_ROOT}/input/config", f"{_ROOT}/groundtruth", f"{_ROOT}/merged"
_MERGER = "sagemaker-model-monitor-groundtruth-merger"
# Model Monitor's own registry in the one region, also for monitors that run on Clarify's image.
_MODEL_MONITOR = "156813124566.dkr.ecr.us-east-1.amazonaws.com"


@dataclass(frozen=True)
class Staged:
    """Captured data or labels: an S3 prefix, and the folders below it that hold the time window."""

    uri: str
    folders: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """One execution of a schedule.

    Attributes:
        scheduled: when it was due (epoch seconds); the timestamp of its metrics.
        start: start of the inference times (epoch seconds).
        end: end of the inference times (epoch seconds).
    """

    schedule: str
    job: MonitoringJob
    scheduled: float
    start: float
    end: float

    @property
    def endpoint(self) -> str:
        """The endpoint's name."""
        return str(self.job.endpoint["EndpointName"])

    def below(self, base: str) -> str:
        """Return this execution's folder: `{base}/{endpoint}/{schedule}/yyyy/mm/dd/hh`."""
        hour = datetime.fromtimestamp(self.scheduled, UTC)
        return f"{base.rstrip('/')}/{self.endpoint}/{self.schedule}/{hour:%Y/%m/%d/%H}"

    @property
    def merged_uri(self) -> str:
        """The folder of the merge job's output."""
        return self.below(f"{self.job.output['S3Uri'].rstrip('/')}/merge")


def merge_request(run: Run, name: str, capture: Staged, labels: Staged) -> Document:
    """Return the request of the job that joins captured data with labels."""
    source = run.job.endpoint["LocalPath"]
    environment = {
        "dataset_source": source,
        "ground_truth_source": _LABELS,
        "output_path": _MERGED,
        "start_time": iso(run.start),
        "end_time": iso(run.end),
    }
    from_ecr = ".dkr.ecr." in str(run.job.application["ImageUri"])
    application = {"ImageUri": f"{_MODEL_MONITOR}/{_MERGER}" if from_ecr else _MERGER}
    inputs = [_staged("endpoint_input_1", capture, source), _staged("ground_truth", labels, _LABELS)]
    return _request(run, name, application, environment, inputs, _output(run.merged_uri, _MERGED))


def analysis_request(run: Run, name: str, capture: Staged | None) -> Document:
    """Return the request of the analyzer's job, on captured data or (`capture` None) on the merge job's output."""
    job, source = run.job, run.job.endpoint["LocalPath"]
    merged = capture is None
    data = _staged("endpoint_input_1", capture or Staged(run.merged_uri + "/", ("",)), source)
    inputs = [data]
    shape = "sagemakerMergeJson" if merged else "sagemakerCaptureJson"
    environment = {
        "dataset_format": json.dumps({shape: {"captureIndexNames": ["endpointInput", "endpointOutput"]}}),
        "dataset_source": source,
        "output_path": job.output["LocalPath"],
        "publish_cloudwatch_metrics": "Enabled",
        "sagemaker_endpoint_name": run.endpoint,
        "sagemaker_monitoring_schedule_name": run.schedule,
        "start_time": iso(run.start),
        "end_time": iso(run.end),
        "metric_time": iso(run.scheduled),
        "analysis_type": job.kind.analysis_type,
        **_attributes(job),
    }
    for variable, input_name, uri, folder in (
        ("baseline_constraints", "constraints", job.constraints, _CONSTRAINTS),
        ("baseline_statistics", "baseline", job.statistics, _STATISTICS),
        ("analysis_config", "analysis_config", job.application.get("ConfigUri"), _CONFIG),
    ):
        if uri:
            inputs.append(_file(input_name, uri, folder))
            environment[variable] = f"{folder}/{uri.rpartition('/')[2]}"
    application = {
        member: job.application[member]
        for member in ("ImageUri", "ContainerEntrypoint", "ContainerArguments")
        if job.application.get(member)
    }
    output = _output(run.below(job.output["S3Uri"]), job.output["LocalPath"])
    return _request(run, name, application, environment | dict(job.environment), inputs, output)


def _attributes(job: MonitoringJob) -> dict[str, str]:
    members = {
        "inference_attribute": "InferenceAttribute",
        "probability_attribute": "ProbabilityAttribute",
        "probability_threshold_attribute": "ProbabilityThresholdAttribute",
        "features_attribute": "FeaturesAttribute",
    }
    found = {name: str(job.endpoint[member]) for name, member in members.items() if member in job.endpoint}
    if job.application.get("ProblemType"):
        found["problem_type"] = job.application["ProblemType"]
    return found


def _request(
    run: Run,
    name: str,
    application: Mapping[str, Any],
    environment: Mapping[str, str],
    inputs: Sequence[Document],
    output: Document,
) -> Document:
    job = run.job
    cluster = {"InstanceCount": 1, "VolumeSizeInGB": job.cluster["VolumeSizeInGB"]}
    request: Document = {
        "ProcessingJobName": name,
        "AppSpecification": dict(application),
        "Environment": dict(environment),
        "ProcessingInputs": list(inputs),
        "ProcessingOutputConfig": {"Outputs": [output]},
        "ProcessingResources": {"ClusterConfig": {**cluster, "InstanceType": job.cluster["InstanceType"]}},
        "RoleArn": job.role_arn,
    }
    if job.output_config.get("KmsKeyId"):
        request["ProcessingOutputConfig"]["KmsKeyId"] = job.output_config["KmsKeyId"]
    if job.network:
        request["NetworkConfig"] = dict(job.network)
    if job.stopping:
        request["StoppingCondition"] = dict(job.stopping)
    return request


def _staged(name: str, data: Staged, local_path: str) -> Document:
    """Return an input that the service stages itself; `Prefixes` is an internal member that the runtime reads."""
    source = {"S3Uri": data.uri, "LocalPath": local_path, "S3DataType": "S3Prefix", "S3InputMode": "File"}
    return {"InputName": name, "AppManaged": True, "S3Input": source, "Prefixes": list(data.folders)}


def _file(name: str, uri: str, folder: str) -> Document:
    source = {"S3Uri": uri, "LocalPath": folder, "S3DataType": "S3Prefix", "S3InputMode": "File"}
    return {"InputName": name, "AppManaged": False, "S3Input": source}


def _output(uri: str, local_path: str) -> Document:
    return {
        "OutputName": "result",
        "AppManaged": False,
        "S3Output": {"S3Uri": uri, "LocalPath": local_path, "S3UploadMode": "EndOfJob"},
    }
