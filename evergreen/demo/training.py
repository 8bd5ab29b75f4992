"""Upload of raw data, runs of the SageMaker Pipeline, and approval of the registered version."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from evergreen import ROOT
from evergreen.demo.cloud import LocalCloud
from evergreen.demo.terminal import DemoError, ask, say
from evergreen.names import Names

DONE = {"Succeeded", "Failed", "Stopped"}


def folder_of(model: Names) -> Path:
    """Return the folder with the model's scripts."""
    return ROOT / "examples" / model.name.replace("-", "_")


def upload_raw_data(cloud: LocalCloud, model: Names, bucket: str, start: str, end: str) -> int:
    """Upload the sample model's raw objects to the data bucket. Return how many of them were new."""
    s3 = cloud.client("s3")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(folder_of(model) / "data.py"), "--out", folder, "--start", start, "--end", end]
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
    if not files:
        raise DemoError(f"{folder_of(model) / 'data.py'} wrote no file for {start} to {end}")
    say(f"{len(files)} days, {len(missing)} of them new, in s3://{bucket}/{model.name}/raw/")
    return len(missing)


def _digests(s3: Any, bucket: str, keys: Any) -> dict[str, str]:
    """Return the SHA-256 that an upload stored with each object (the ETag of a KMS object is no content hash)."""

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
    """Return the commit of this tree, with `-dirty` where files were changed since."""
    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--match", "="]
        return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unversioned"


def already_trained(cloud: LocalCloud, model: Names) -> bool:
    """Say whether the newest execution succeeded with the definition that is deployed now."""
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


def train(cloud: LocalCloud, model: Names, *, evidence: str = "make demo", **parameters: str) -> str:
    """Run the pipeline and print its steps as they end. Return the ARN of the package that it registered.

    Args:
        cloud: The local cloud.
        model: The model's names.
        evidence: The reason of the training, one sentence (docs/reference/contracts.md, "Pipeline").
        **parameters: Further parameters of the pipeline, by name.

    Raises:
        DemoError: The run failed, or registered nothing.
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
    say(f"[dim]{execution}[/]")
    return follow(cloud, execution)


def follow(cloud: LocalCloud, execution: str) -> str:
    """Print an execution's steps as they end. Return the ARN of the package that it registered.

    Raises:
        DemoError: The execution failed, or registered nothing.
    """
    sagemaker = cloud.client("sagemaker")
    steps = _steps(sagemaker, execution)
    described = sagemaker.describe_pipeline_execution(PipelineExecutionArn=execution)
    if described["PipelineExecutionStatus"] != "Succeeded":
        reasons = [_why(sagemaker, step) for step in steps if step.get("FailureReason")]
        why = "; ".join(reasons) or described.get("FailureReason")
        raise DemoError(f"the pipeline ended {described['PipelineExecutionStatus']}: {why}")
    registered = [step["Metadata"]["RegisterModel"]["Arn"] for step in steps if "RegisterModel" in step["Metadata"]]
    if not registered:
        raise DemoError("the pipeline succeeded but registered no version; look at its steps")
    return str(registered[0])


def _why(sagemaker: Any, step: dict[str, Any]) -> str:
    """Return why a step failed, by what its container wrote where there is that, and where its log is."""
    why: str = step["FailureReason"]
    for kind in ("ProcessingJob", "TrainingJob"):
        arn = step.get("Metadata", {}).get(kind, {}).get("Arn")
        if arn:
            job, written = arn.rpartition("/")[2], ""
            if kind == "ProcessingJob":
                written = sagemaker.describe_processing_job(ProcessingJobName=job).get("ExitMessage", "")
            why = f"{written or why} (log group /aws/sagemaker/{kind}s, streams {job}/)"
    return f"{step['StepName']}: {why}"


def _steps(sagemaker: Any, execution: str) -> list[dict[str, Any]]:
    """Print each step as it ends. Return the steps after the execution has ended."""
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
    """Return the evaluation that the package carries."""
    return read_json(cloud, package["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"])


def read_json(cloud: LocalCloud, uri: str) -> dict[str, Any]:
    """Return the JSON object at an S3 address."""
    place = urlparse(uri)
    body = cloud.client("s3").get_object(Bucket=place.netloc, Key=place.path.lstrip("/"))["Body"].read()
    return dict(json.loads(body))


def approve(cloud: LocalCloud, package: dict[str, Any], *, granted: bool) -> bool:
    """Ask for the approval, and give it through the API that the registry's console uses. Return the answer."""
    version = package["ModelPackageVersion"]
    if package["ModelApprovalStatus"] == "Approved":
        say(f"version {version} is already approved")
        return True
    if not ask(f"Approve {package['ModelPackageGroupName']} version {version}?", granted=granted):
        return False
    cloud.client("sagemaker").update_model_package(
        ModelPackageArn=package["ModelPackageArn"],
        ModelApprovalStatus="Approved",
        ApprovalDescription="Approved in the demo: the evaluation was shown and accepted.",
    )
    return True
