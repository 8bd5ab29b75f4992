"""Raw data goes up, the SageMaker Pipeline runs, a package is registered and a person approves it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from evergreen.demo.cloud import ROOT, LocalCloud
from evergreen.demo.terminal import DemoError, ask, say

DONE = {"Succeeded", "Failed", "Stopped"}


@dataclass(frozen=True)
class Model:
    """The names that a model's parts have in the account (docs/reference/contracts.md)."""

    app: str
    name: str
    stage: str

    @property
    def group(self) -> str:
        return f"{self.app}-{self.name}"

    @property
    def endpoint(self) -> str:
        return f"{self.app}-{self.name}-{self.stage}"

    @property
    def record(self) -> str:
        return f"/{self.app}/{self.name}/{self.stage}/release"

    @property
    def folder(self) -> Path:
        return ROOT / "examples" / self.name.replace("-", "_")


def upload_raw_data(cloud: LocalCloud, model: Model, bucket: str, start: str, end: str) -> int:
    """Put the sample model's raw objects where data lands; return how many of them were new."""
    s3 = cloud.client("s3")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(model.folder / "data.py"), "--out", folder, "--start", start, "--end", end]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        files = {
            f"{model.name}/{path.relative_to(folder)}": path
            for path in sorted(Path(folder).rglob("*"))
            if path.is_file()
        }
        present = _digests(s3, bucket, files)
        missing = {key: path for key, path in files.items() if present.get(key) != _sha256(path)}

        def put(item: tuple[str, Path]) -> None:
            key, path = item
            s3.put_object(Bucket=bucket, Key=key, Body=path.read_bytes(), Metadata={"sha256": _sha256(path)})

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(put, missing.items()))
    size = sum(len(key) for key in files)
    if not size:
        raise DemoError(f"{model.folder / 'data.py'} gave no file from {start} to {end}")
    say(f"{len(files)} raw objects from {start} to {end} in s3://{bucket}/{model.name}/, {len(missing)} of them new")
    return len(missing)


def _digests(s3: Any, bucket: str, keys: Any) -> dict[str, str]:
    """The SHA-256 that this program noted beside each object it put (an ETag of a KMS object is no content hash)."""

    def head(key: str) -> tuple[str, str]:
        try:
            return key, str(s3.head_object(Bucket=bucket, Key=key)["Metadata"].get("sha256", ""))
        except s3.exceptions.ClientError:
            return key, ""

    with ThreadPoolExecutor(8) as pool:
        return dict(pool.map(head, keys))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def commit_id() -> str:
    """The commit that this tree is at; a dirty tree says so."""
    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--match", "="]
        return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unversioned"


def already_trained(cloud: LocalCloud, model: Model) -> bool:
    """Whether the newest execution succeeded with the very definition that is deployed now."""
    sagemaker = cloud.client("sagemaker")
    newest = sagemaker.list_pipeline_executions(
        PipelineName=model.group, SortBy="CreationTime", SortOrder="Descending", MaxResults=1
    )["PipelineExecutionSummaries"]
    if not newest or newest[0]["PipelineExecutionStatus"] != "Succeeded":
        return False
    ran = sagemaker.describe_pipeline_definition_for_execution(PipelineExecutionArn=newest[0]["PipelineExecutionArn"])[
        "PipelineDefinition"
    ]
    return bool(ran == sagemaker.describe_pipeline(PipelineName=model.group)["PipelineDefinition"])


def train(cloud: LocalCloud, model: Model, *, evidence: str = "make demo", **parameters: str) -> str:
    """Run the pipeline, its steps shown live; return the ARN of the package that it registered.

    Args:
        evidence: why, in one sentence (docs/reference/contracts.md, "Pipeline").
        parameters: further ones of the pipeline's, by name.
    """
    sagemaker = cloud.client("sagemaker")
    execution = sagemaker.start_pipeline_execution(
        PipelineName=model.group,
        PipelineExecutionDisplayName="demo",
        PipelineParameters=[
            {"Name": "CommitId", "Value": commit_id()},
            {"Name": "Trigger", "Value": "person"},
            {"Name": "Evidence", "Value": evidence},
            *({"Name": name, "Value": value} for name, value in parameters.items()),
        ],
    )["PipelineExecutionArn"]
    say(f"started {execution}")
    return follow(cloud, execution)


def follow(cloud: LocalCloud, execution: str) -> str:
    """Show an execution's steps live until it ends; return the ARN of the package that it registered.

    Raises:
        DemoError: It failed, or registered nothing.
    """
    sagemaker = cloud.client("sagemaker")
    steps = _steps(sagemaker, execution)
    described = sagemaker.describe_pipeline_execution(PipelineExecutionArn=execution)
    if described["PipelineExecutionStatus"] != "Succeeded":
        reasons = [step["FailureReason"] for step in steps if step.get("FailureReason")]
        why = "; ".join(reasons) or described.get("FailureReason")
        raise DemoError(f"the pipeline ended {described['PipelineExecutionStatus']}: {why}")
    registered = [step["Metadata"]["RegisterModel"]["Arn"] for step in steps if "RegisterModel" in step["Metadata"]]
    if not registered:
        raise DemoError("the pipeline succeeded but registered nothing; look at its steps")
    return str(registered[0])


def _steps(sagemaker: Any, execution: str) -> list[dict[str, Any]]:
    """Say each step's beginning and end; return the steps when the execution has ended."""
    seen: dict[str, str] = {}
    spoke = time.monotonic()
    while True:
        status = sagemaker.describe_pipeline_execution(PipelineExecutionArn=execution)["PipelineExecutionStatus"]
        pages = sagemaker.get_paginator("list_pipeline_execution_steps").paginate(
            PipelineExecutionArn=execution, SortOrder="Ascending"
        )
        steps = [step for page in pages for step in page["PipelineExecutionSteps"]]
        for step in steps:
            name, now = step["StepName"], step["StepStatus"]
            if seen.get(name) == now:
                continue
            seen[name] = now
            spoke = time.monotonic()
            if now in {"Starting", "Executing"}:
                continue
            seconds = (step["EndTime"] - step["StartTime"]).total_seconds() if "EndTime" in step else 0.0
            cached = " (cached)" if step.get("CacheHitResult") else ""
            say(f"{name:<12} {now}{cached}  [dim]{seconds:.1f} s[/]{_metadata(step)}")
        if status in DONE:
            return steps
        if time.monotonic() - spoke > 10:
            spoke = time.monotonic()
            say(f"[dim]running: {', '.join(name for name, now in seen.items() if now in {'Starting', 'Executing'})}[/]")
        time.sleep(0.25)


def _metadata(step: dict[str, Any]) -> str:
    outcome = step["Metadata"].get("Condition", {}).get("Outcome")
    return f"  [dim]{outcome}[/]" if outcome else ""


def evaluation(cloud: LocalCloud, package: dict[str, Any]) -> dict[str, Any]:
    """The evaluation that the package carries."""
    return read_json(cloud, package["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"])


def read_json(cloud: LocalCloud, uri: str) -> dict[str, Any]:
    place = urlparse(uri)
    body = cloud.client("s3").get_object(Bucket=place.netloc, Key=place.path.lstrip("/"))["Body"].read()
    return dict(json.loads(body))


def approve(cloud: LocalCloud, package: dict[str, Any], *, granted: bool) -> bool:
    """Ask for the approval that the registry's console would ask for; give it through the same API."""
    version = package["ModelPackageVersion"]
    if package["ModelApprovalStatus"] == "Approved":
        say(f"version {version} is approved already")
        return True
    if not ask(f"Approve {package['ModelPackageGroupName']} version {version}?", granted=granted):
        return False
    cloud.client("sagemaker").update_model_package(
        ModelPackageArn=package["ModelPackageArn"],
        ModelApprovalStatus="Approved",
        ApprovalDescription="Approved in the demo: the evaluation was shown and accepted.",
    )
    return True
