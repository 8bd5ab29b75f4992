"""Why a step of a run failed, and where its log is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from shared.errors import is_missing

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_sagemaker.type_defs import PipelineExecutionStepTypeDef

# What SageMaker writes where a container left no message. It says less than the log's address.
_SEE_LOGS = re.compile(r"See job logs for more information,?\s*", re.IGNORECASE)
_NO_REASON = "no reason was given"


@dataclass(frozen=True)
class FailedStep:
    """A failed step.

    Attributes:
        reason: Why it failed, without its period, and where its log is.
        action: What people have to do.
    """

    reason: str
    action: str


def failed_step(sagemaker: SageMakerClient, step: PipelineExecutionStepTypeDef) -> FailedStep:
    """Return why a step failed: what its container left in `/opt/ml/output/message`, else SageMaker's reason."""
    metadata = step.get("Metadata", {})
    given = step.get("FailureReason") or metadata.get("Fail", {}).get("ErrorMessage") or ""
    for group, arn in (
        ("/aws/sagemaker/ProcessingJobs", metadata.get("ProcessingJob", {}).get("Arn")),
        ("/aws/sagemaker/TrainingJobs", metadata.get("TrainingJob", {}).get("Arn")),
    ):
        if arn:
            job = arn.rpartition("/")[2]
            written = _message(sagemaker, job) if group.endswith("ProcessingJobs") else ""
            # SageMaker repeats the message in some reasons, and adds the exit code.
            reason = given if written and written in _one_line(given) else written or given
            return FailedStep(
                f"{_one_line(_SEE_LOGS.sub('', reason))} (log group {group}, streams {job}/)",
                f"Read the step's log: aws logs tail {group} --log-stream-name-prefix {job}/ --since 14d; "
                "the live version stays live",
            )
    return FailedStep(_one_line(given), "Find the cause in the pipeline's steps; the live version stays live")


def _message(sagemaker: SageMakerClient, job: str) -> str:
    """Return the exit message of a processing job, "" where there is none; training jobs have none."""
    try:
        found = sagemaker.describe_processing_job(ProcessingJobName=job).get("ExitMessage", "")
    except ClientError as error:
        if is_missing(error):
            return ""
        raise
    return _one_line(found) if found.strip() else ""


def _one_line(text: str) -> str:
    return " ".join(text.split()).rstrip(".") or _NO_REASON
