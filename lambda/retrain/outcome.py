"""How a run ended, in one sentence, from its steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from retrain.world import Run

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_sagemaker.type_defs import PipelineExecutionStepTypeDef

# Pipeline's Fail step (docs/reference/contracts.md, "Pipeline"): its reason is the gate's sentence.
_REFUSED = "Refused"


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        tell: whether people should hear of it; whoever stopped a run knows.
    """

    sentence: str
    tell: bool = True


def outcome_of(sagemaker: SageMakerClient, run: Run) -> Outcome:
    """Read the run's steps and say how it ended."""
    pages = sagemaker.get_paginator("list_pipeline_execution_steps").paginate(PipelineExecutionArn=run.arn)
    steps = [step for page in pages for step in page["PipelineExecutionSteps"]]
    failed = [step for step in steps if step.get("StepStatus") == "Failed"]
    refused = next((step for step in failed if step["StepName"] == _REFUSED), None)
    if refused is not None:
        return Outcome(f"the challenger of {run.name} does not beat the champion. {_reason(refused)}")
    if run.status == "Stopped":
        return Outcome(f"the run {run.name} was stopped", tell=False)
    if failed:
        return Outcome(f"the run {run.name} failed in {failed[0]['StepName']}: {_reason(failed[0])}")
    package = next((arn for arn in map(_package, steps) if arn), None)
    if package is None:
        return Outcome(f"the run {run.name} is {run.status} and registered nothing")
    return Outcome(f"version {package.rsplit('/', 1)[-1]} was trained by {run.name} and waits for approval: {package}")


def _reason(step: PipelineExecutionStepTypeDef) -> str:
    said = step.get("FailureReason") or step.get("Metadata", {}).get("Fail", {}).get("ErrorMessage")
    return " ".join((said or "no reason was given").split()).rstrip(".")


def _package(step: PipelineExecutionStepTypeDef) -> str | None:
    return step.get("Metadata", {}).get("RegisterModel", {}).get("Arn")
