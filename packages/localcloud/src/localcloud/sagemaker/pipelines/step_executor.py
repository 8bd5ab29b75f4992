"""Execution of one step: resolve its arguments, and call AWS with the pipeline's role."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from localcloud.cloud import Cloud
from localcloud.sagemaker.context import Document, random_id
from localcloud.sagemaker.jobs import ALL_JOB_TYPES
from localcloud.sagemaker.pipelines import cache, conditions, retries
from localcloud.sagemaker.pipelines.arguments import coerced
from localcloud.sagemaker.pipelines.checks import Check
from localcloud.sagemaker.pipelines.definition import Definition, Step
from localcloud.sagemaker.pipelines.expressions import ResolutionError, resolve, text
from localcloud.sagemaker.pipelines.records import execution_id
from localcloud.sagemaker.pipelines.scope import Describe, ExecutionScope
from localcloud.sagemaker.pipelines.step_types import STEP_TYPES
from localcloud.sagemaker.shapes import operation_model

_SHORT = 32  # names of tuning jobs
CHECKS = ("QualityCheck", "ClarifyCheck")
JOB_STEPS = {name: one.job for name, one in STEP_TYPES.items() if one.job}


class StepFailure(Exception):
    """A step failed; `exception_type` is the exception type that retry policies name."""

    def __init__(self, reason: str, exception_type: str | None = None) -> None:
        super().__init__(reason)
        self.exception_type = exception_type


@dataclass(frozen=True)
class Prepared:
    """A step that is ready to run.

    Attributes:
        request: the resolved arguments, with the types that the operation wants.
        job_name: the name of the job or model that the step creates, or None.
        cache_key: equal for runs with the same inputs; None where the step is not cached.
    """

    step: Step
    request: Mapping[str, Any]
    job_name: str | None
    cache_key: str | None
    function_arn: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """The result of a step's call: its metadata, and further members of its state."""

    metadata: Document
    members: Document = field(default_factory=dict)


class StepExecutor:
    """Prepares and runs steps."""

    def __init__(self, cloud: Cloud, describe: Describe) -> None:
        self._cloud = cloud
        self._describe = describe

    def prepare(self, execution: Document, definition: Definition, step: Step) -> Prepared:
        """Resolve a step's arguments; raise StepFailure where a variable has no value."""
        scope = self.scope(execution, definition)
        try:
            resolved = {} if step.type.name == "Condition" else resolve(dict(step.arguments), scope)
            function_arn = resolve(step.function_arn, scope)
            settings = resolve(dict(step.settings), scope)
        except ResolutionError as error:
            raise StepFailure(f"ClientError: {error}") from error
        if step.type.operation is not None:
            resolved = coerced(_input(step), resolved)
        if step.type.name == "RegisterModel":
            metadata = resolved.setdefault("MetadataProperties", {})
            metadata.setdefault("GeneratedBy", execution["PipelineExecutionArn"])
        if step.type.name in CHECKS:
            resolved = self._check(settings).request(resolved)
        name = None
        if step.type.name_member is not None:
            given = resolved.get(step.type.name_member)
            name = _job_name(execution_id(execution), step.name, given, step.type.name_length)
            resolved[step.type.name_member] = name
        key = None
        if step.type.cache_members or step.type.name == "Lambda":
            key = cache.key(step.type, resolved, function_arn)
        return Prepared(step, resolved, name, key, function_arn, settings)

    def perform(self, execution: Document, definition: Definition, prepared: Prepared, token: str) -> Outcome:
        """Run a step: a job has only started when this returns, every other step is complete.

        Args:
            execution: the execution's document.
            definition: the pipeline's definition.
            prepared: the step.
            token: the same for every try of the step, so that a repeated registration registers once.

        Raises:
            StepFailure: AWS rejected the call, or the step is a fail step.
        """
        kind = prepared.step.type.name
        if kind == "Condition":
            return self._condition(execution, definition, prepared.step)
        if kind == "Fail":
            message = text(prepared.request["ErrorMessage"])
            raise StepFailure(message)
        try:
            if kind == "Lambda":
                return self._lambda(execution, prepared)
            if kind == "Callback":
                return self._callback(execution, prepared)
            if kind == "RegisterModel":
                return self._register(execution, prepared, token)
            client = self._cloud.client("sagemaker", role_arn=execution["RoleArn"])
            response = _call(client, str(prepared.step.type.operation), prepared.request)
        except ClientError as error:
            raise _rejected(error, prepared.step, execution) from error
        except (BotoCoreError, ValueError) as error:
            raise StepFailure(f"ClientError: {error}") from error
        arn = next(value for member, value in response.items() if member.endswith("Arn"))
        return Outcome(started(kind, arn))

    def stop_job(self, execution: Document, step_type: str, name: str) -> None:
        """Stop a running job; raise ClientError where the role may not, or the job has ended."""
        client = self._cloud.client("sagemaker", role_arn=execution["RoleArn"])
        job = ALL_JOB_TYPES[JOB_STEPS[step_type]]
        _call(client, f"Stop{job.prefix}Job", {job.name: name})

    def checked(
        self, execution: Document, definition: Definition, step: Step, job: Mapping[str, Any]
    ) -> tuple[str | None, Document]:
        """Return why a check step fails, or None, and its metadata, once its job has completed."""
        check = self._check(resolve(dict(step.settings), self.scope(execution, definition)))
        reason, properties = check.outcome(job)
        return reason, {step.type.metadata: properties}

    def _check(self, settings: Mapping[str, Any]) -> Check:
        try:
            return Check.read(settings, self._cloud.store)
        except ValueError as error:
            raise StepFailure(f"ClientError: {error}") from error

    def _callback(self, execution: Document, prepared: Prepared) -> Outcome:
        """Send the step's message; the step waits for `SendPipelineExecutionStepSuccess` or `…Failure`."""
        token = random_id(10)
        message = {
            "token": token,
            "pipelineExecutionArn": execution["PipelineExecutionArn"],
            "status": "Executing",
            "arguments": prepared.request,
        }
        url = str(prepared.settings["SqsQueueUrl"])
        sqs = self._cloud.client("sqs", role_arn=execution["RoleArn"])
        sqs.send_message(QueueUrl=url, MessageBody=json.dumps(message))
        return Outcome({"Callback": {"CallbackToken": token, "SqsQueueUrl": url}})

    def warm_up(self, execution: Document) -> None:
        """Create the client that reads property files while the first job runs, because that takes half a second."""
        try:
            self._cloud.client("s3", role_arn=execution["RoleArn"])
        except ValueError:
            return  # the role cannot be assumed: the step that needs the client reports it

    def scope(self, execution: Document, definition: Definition) -> ExecutionScope:
        """Return the values of an execution's variables."""
        return ExecutionScope(self._cloud, execution, definition, self._describe)

    def _condition(self, execution: Document, definition: Definition, step: Step) -> Outcome:
        scope = self.scope(execution, definition)
        try:
            holds = all(conditions.holds(one, scope) for one in step.arguments["Conditions"])
        except ResolutionError as error:
            raise StepFailure(f"ClientError: {error}") from error
        return Outcome({"Condition": {"Outcome": "True" if holds else "False"}})

    def _lambda(self, execution: Document, prepared: Prepared) -> Outcome:
        client = self._cloud.client("lambda", role_arn=execution["RoleArn"])
        answer = client.invoke(FunctionName=prepared.function_arn, Payload=json.dumps(prepared.request).encode())
        payload = answer["Payload"].read()
        if answer.get("FunctionError"):
            raise StepFailure(f"ClientError: Lambda function {prepared.function_arn} failed: {payload.decode()}")
        returned = json.loads(payload or b"null")
        wanted = prepared.step.output_names
        missing = [name for name in wanted if not isinstance(returned, dict) or name not in returned]
        if missing:
            raise StepFailure(f"ClientError: the Lambda function's response lacks the output {missing[0]}")
        outputs = {name: returned[name] for name in wanted}
        listed = [{"Name": name, "Value": text(value)} for name, value in outputs.items()]
        return Outcome(
            {"Lambda": {"Arn": prepared.function_arn, "OutputParameters": listed}}, members={"Outputs": outputs}
        )

    def _register(self, execution: Document, prepared: Prepared, token: str) -> Outcome:
        """Register a model package; create a missing group with the step's tags, as SageMaker does."""
        client = self._cloud.client("sagemaker", role_arn=execution["RoleArn"])
        request = {"ClientToken": token, **prepared.request}
        group = request.get("ModelPackageGroupName")
        tags = request.pop("Tags", []) if group else []
        try:
            response = client.create_model_package(**request)
        except ClientError as error:
            if not group or "ModelPackageGroup" not in str(error) or "does not exist" not in str(error):
                raise
            client.create_model_package_group(ModelPackageGroupName=group, Tags=tags)
            response = client.create_model_package(**request)
        return Outcome({"RegisterModel": {"Arn": response["ModelPackageArn"]}})


def started(step_type: str, arn: str) -> Document:
    """Return the metadata of a step whose job has started."""
    member = "CheckJobArn" if step_type in CHECKS else "Arn"
    return {STEP_TYPES[step_type].metadata: {member: arn}}


def _input(step: Step) -> Any:
    return operation_model(str(step.type.operation)).input_shape


def _call(client: Any, operation: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
    method = re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()
    response: dict[str, Any] = getattr(client, method)(**request)
    return {member: value for member, value in response.items() if member != "ResponseMetadata"}


def _job_name(execution: str, step: str, given: Any, longest: int) -> str:
    """Return `<given>-<execution>-<random>`, or `pipelines-<execution>-<step>-<random>` without a given name."""
    suffix = random_id(10)
    if given:
        length = longest - len(execution) - len(suffix) - 2
        return f"{str(given)[:length].rstrip('-')}-{execution}-{suffix}"
    start = f"pipelines-{execution}" if longest > _SHORT else execution
    length = longest - len(f"{start}--{suffix}")
    return f"{start}-{re.sub('[^A-Za-z0-9-]', '-', step)[:length].strip('-')}-{suffix}"


def _rejected(error: ClientError, step: Step, execution: Document) -> StepFailure:
    """Return the failure for a rejected call, worded as SageMaker words it."""
    code = str(error.response["Error"].get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400))
    message = error.response["Error"].get("Message", str(error))
    exception = retries.exception_of_error(code, status)
    service = {"Lambda": "lambda", "Callback": "sqs"}.get(step.type.name, "sagemaker")
    called = f"{service}:{error.operation_name}"
    return StepFailure(
        f"ClientError: Failed to invoke {called}. Error Details: {message}\n"
        f"Retry not appropriate on execution of step with PipelineExecutionArn {execution['PipelineExecutionArn']} "
        f"and StepId {step.name}.",
        exception,
    )
