"""Values of an execution's variables."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import ClientError

from localcloud.cloud import Cloud
from localcloud.sagemaker.context import Document, name_of
from localcloud.sagemaker.errors import AwsError
from localcloud.sagemaker.events import iso
from localcloud.sagemaker.pipelines.definition import Definition, Step
from localcloud.sagemaker.pipelines.expressions import ResolutionError
from localcloud.sagemaker.pipelines.records import execution_id

Describe = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]
_NAME_MEMBERS = {
    "DescribeProcessingJob": "ProcessingJobName",
    "DescribeTrainingJob": "TrainingJobName",
    "DescribeTransformJob": "TransformJobName",
    "DescribeHyperParameterTuningJob": "HyperParameterTuningJobName",
    "DescribeModel": "ModelName",
}


class ExecutionScope:
    """Parameters, execution variables, properties of completed steps, and their property files.

    Args:
        describe: (operation, request) → the response of SageMaker's Describe operation.
    """

    def __init__(self, cloud: Cloud, execution: Document, definition: Definition, describe: Describe) -> None:
        self._cloud = cloud
        self._execution = execution
        self._definition = definition
        self._describe = describe

    def parameter(self, name: str) -> Any:
        """Return the value of a pipeline parameter."""
        return self._execution["Parameters"][name]

    def execution_variable(self, name: str) -> Any:
        """Return the value of `Execution.<name>`; raise ResolutionError for one that only containers have."""
        execution = self._execution
        known = {
            "StartDateTime": iso(execution["CreationTime"]),
            "CurrentDateTime": iso(self._cloud.clock.now().timestamp()),
            "PipelineName": execution["PipelineName"],
            "PipelineArn": execution["PipelineArn"],
            "PipelineExecutionId": execution_id(execution),
            "PipelineExecutionArn": execution["PipelineExecutionArn"],
        }
        if name not in known:
            raise ResolutionError(f"Execution.{name} has a value only in the containers of a job")
        return known[name]

    def step_properties(self, step_name: str) -> Mapping[str, Any]:
        """Return the properties of a step; raise ResolutionError where it has not succeeded."""
        step, state = self._done(step_name)
        if step.type.name == "Condition":
            return {"Outcome": state["Metadata"]["Condition"]["Outcome"]}
        if step.type.name in ("Lambda", "Callback"):
            return {"OutputParameters": state["Outputs"]}
        if step.type.name in ("QualityCheck", "ClarifyCheck"):
            properties: Mapping[str, Any] = state["Metadata"][step.type.metadata]
            return properties
        arn = state["Metadata"][step.type.metadata]["Arn"]
        operation = str(step.type.describe)
        member = _NAME_MEMBERS.get(operation, "ModelPackageName")
        request = {member: arn if member == "ModelPackageName" else name_of(arn)}
        try:
            found = self._describe(operation, request)
            if step.type.name == "Tuning":
                ranked = {**request, "SortBy": "FinalObjectiveMetricValue", "MaxResults": 100}
                return {**found, **self._describe("ListTrainingJobsForHyperParameterTuningJob", ranked)}
            return found
        except AwsError as error:
            raise ResolutionError(f"Could not read the properties of the step {step_name}: {error}") from error

    def property_file(self, step_name: str, name: str) -> Any:
        """Return the content of a step's property file; raise ResolutionError where it is not readable."""
        file = self._definition.steps[step_name].property_files[name]
        properties = self.step_properties(step_name)
        outputs = properties.get("ProcessingOutputConfig", {}).get("Outputs", ())
        for output in outputs:
            if output["OutputName"] == file.output_name:
                return self.json_object(f"{output['S3Output']['S3Uri'].rstrip('/')}/{file.file_path}")
        raise ResolutionError(f"The step {step_name} has no output {file.output_name}")

    def json_object(self, s3_uri: str) -> Any:
        """Return the content of a JSON object in S3, read with the pipeline's role."""
        bucket, _, key = s3_uri.removeprefix("s3://").partition("/")
        try:
            s3 = self._cloud.client("s3", role_arn=self._execution["RoleArn"])
            return json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
        except ClientError as error:
            message = error.response["Error"].get("Message", str(error))
            raise ResolutionError(f"Failed to read {s3_uri}: {message}") from error
        except ValueError as error:
            raise ResolutionError(f"{s3_uri} is not valid JSON: {error}") from error

    def _done(self, step_name: str) -> tuple[Step, Document]:
        state = self._execution["Steps"].get(step_name) or self._execution.get("SourceSteps", {}).get(step_name)
        if state is None or state["StepStatus"] != "Succeeded":
            raise ResolutionError(f"The step {step_name} was not executed")
        return self._definition.steps[step_name], state
