"""Runs of the model's pipeline."""

from __future__ import annotations

import hashlib
from typing import Any

from evergreen.prove import application
from evergreen.prove.proof import Proof
from evergreen.prove.waiting import StepError

ENDED = frozenset({"Succeeded", "Failed", "Stopped", "CompletedWithFailures"})
# A version of the same data is no better than the one before, and the bad one is to be registered.
_GATE_OFF = {"Minimum": "0", "MinImprovement": "-1"}
_RUN_MINUTES = 90


def start(proof: Proof, role: str, **parameters: str) -> str:
    """Start a run once, and return its ARN.

    Args:
        proof: The proof.
        role: What the run is for; each role has one run.
        **parameters: Pipeline parameters besides those of every run.
    """
    fact = f"{role}_run"
    if fact not in proof.facts:
        proof.remember(**{fact: _ask(proof, role, parameters)})
    return str(proof.facts[fact])


def _ask(proof: Proof, role: str, parameters: dict[str, str]) -> str:
    """Start a run. The token is derived, so that a repetition after an interruption finds the same run."""
    given = {"Trigger": "person", "Evidence": f"evergreen prove, {role}", **_GATE_OFF, **parameters}
    answer = proof.client("sagemaker").start_pipeline_execution(
        PipelineName=proof.names.group,
        PipelineExecutionDisplayName=f"prove-{role}",
        ClientRequestToken=hashlib.sha256(f"{proof.state.name}|{role}".encode()).hexdigest(),
        PipelineParameters=[{"Name": name, "Value": value} for name, value in given.items()],
    )
    return str(answer["PipelineExecutionArn"])


def finish(proof: Proof, role: str) -> str:
    """Wait until a run has registered a version, and return the version's ARN.

    Raises:
        StepError: The run failed, or registered nothing.
    """
    run = str(proof.facts[f"{role}_run"])
    sagemaker = proof.client("sagemaker")

    def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = sagemaker.describe_pipeline_execution(PipelineExecutionArn=run)
        return found if found["PipelineExecutionStatus"] in ENDED else None

    def detail() -> str:
        moving = [step["StepName"] for step in steps(proof, run) if step["StepStatus"] in {"Starting", "Executing"}]
        return f"{', '.join(moving)} running" if moving else ""

    described = proof.waits.until(f"the {role} run of the pipeline", ended, minutes=_RUN_MINUTES, detail=detail)
    found = steps(proof, run)
    if described["PipelineExecutionStatus"] != "Succeeded":
        reasons = [f"{step['StepName']}: {step['FailureReason']}" for step in found if step.get("FailureReason")]
        why = "; ".join(reasons) or str(described.get("FailureReason", "no reason given"))
        raise StepError(f"the {role} run ended {described['PipelineExecutionStatus']}: {why}")
    registered = [step["Metadata"]["RegisterModel"]["Arn"] for step in found if "RegisterModel" in step["Metadata"]]
    if not registered:
        raise StepError(f"the {role} run registered no version")
    proof.remember(**{f"{role}_package": registered[0]})
    return str(registered[0])


def steps(proof: Proof, run: str) -> list[dict[str, Any]]:
    """Return the steps of a run."""
    pages = proof.client("sagemaker").get_paginator("list_pipeline_execution_steps")
    return [step for page in pages.paginate(PipelineExecutionArn=run) for step in page["PipelineExecutionSteps"]]


def train_first(proof: Proof) -> None:
    """Train the first version, and enter what its jobs were."""
    run = start(proof, "first")
    again = _ask(proof, "first", {})
    proof.see("token", "the same execution" if again == run else f"a second execution, {again}", held=again == run)
    package = describe_package(proof, finish(proof, "first"))
    (trained,) = [step for step in steps(proof, run) if "TrainingJob" in step["Metadata"]]
    name = trained["Metadata"]["TrainingJob"]["Arn"].rpartition("/")[2]
    job = proof.client("sagemaker").describe_training_job(TrainingJobName=name)
    isolated = job.get("EnableNetworkIsolation", False)
    proof.see(
        "script-mode",
        f"{job['TrainingJobStatus']}, EnableNetworkIsolation {str(isolated).lower()}",
        held=job["TrainingJobStatus"] == "Completed" and isolated,
    )
    bucket, _, key = job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("s3://").partition("/")
    under = proof.client("s3").head_object(Bucket=bucket, Key=key).get("SSEKMSKeyId", "no key")
    proof.see("output-key", under, held=any(one in under for one in proof.facts["keys"]))
    instances = package["InferenceSpecification"].get("SupportedRealtimeInferenceInstanceTypes", [])
    seen = (
        f"version {package['ModelPackageVersion']} {package['ModelApprovalStatus']}, serves on {', '.join(instances)}"
    )
    proof.see("register", seen, held=package["ModelApprovalStatus"] in {"PendingManualApproval", "Approved"})


def start_bad(proof: Proof) -> None:
    """Start the run of the bad version: the same data, and code that fails on some requests."""
    bucket, key = proof.platform["ArtifactBucketName"], f"code/{proof.names.name}/prove-bad-version.zip"
    if "bad_run" not in proof.facts:
        proof.client("s3").put_object(Bucket=bucket, Key=key, Body=application.bad_code())
    start(proof, "bad", CodeUri=f"s3://{bucket}/{key}")


def finish_bad(proof: Proof) -> None:
    """Wait for the bad version, and start the run of a second good one."""
    finish(proof, "bad")
    start(proof, "good")


def finish_good(proof: Proof) -> None:
    """Wait for the second good version."""
    finish(proof, "good")
    hits = [step["StepName"] for step in steps(proof, proof.facts["good_run"]) if step.get("CacheHitResult")]
    proof.see("cache", f"cached: {', '.join(hits) or 'none'}", held=bool(hits))


def describe_package(proof: Proof, arn: str) -> dict[str, Any]:
    """Return a version as the registry has it."""
    return dict(proof.client("sagemaker").describe_model_package(ModelPackageName=arn))
