"""The API of pipeline executions and their steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localcloud.sagemaker.context import Caller, Context, Document, Operations
from localcloud.sagemaker.errors import unsupported, validation
from localcloud.sagemaker.listing import page, select
from localcloud.sagemaker.pipelines import parameters
from localcloud.sagemaker.pipelines.catalog import PipelineCatalog
from localcloud.sagemaker.pipelines.definition import Definition, parse
from localcloud.sagemaker.pipelines.engine import PipelineEngine
from localcloud.sagemaker.pipelines.expressions import resolve, text
from localcloud.sagemaker.pipelines.records import PIPELINE, VERSION, ExecutionRecords, version_key
from localcloud.sagemaker.pipelines.step_executor import StepExecutor
from localcloud.sagemaker.tokens import run_once


class PipelineExecutions:
    """The operations on pipeline executions."""

    def __init__(
        self,
        context: Context,
        catalog: PipelineCatalog,
        records: ExecutionRecords,
        engine: PipelineEngine,
        step_executor: StepExecutor,
    ) -> None:
        self._context = context
        self._store = context.store
        self._catalog = catalog
        self._records = records
        self._engine = engine
        self._step_executor = step_executor
        self.operations: Operations = {
            "StartPipelineExecution": self._start,
            "StopPipelineExecution": self._stop,
            "RetryPipelineExecution": self._retry,
            "UpdatePipelineExecution": self._update,
            "DescribePipelineExecution": self._describe,
            "ListPipelineExecutions": self._list,
            "ListPipelineExecutionSteps": self._list_steps,
            "ListPipelineParametersForExecution": self._list_parameters,
            "DescribePipelineDefinitionForExecution": self._describe_definition,
            "SendPipelineExecutionStepSuccess": self._answer_success,
            "SendPipelineExecutionStepFailure": self._answer_failure,
        }

    def _start(self, request: Mapping[str, Any], caller: Caller) -> Document:
        if request.get("MlflowExperimentName"):
            raise unsupported("MlflowExperimentName of a pipeline execution")

        def act() -> Document:
            pipeline = self._catalog.find(request["PipelineName"])
            version = self._catalog.version(pipeline, request.get("PipelineVersionId"))
            definition = parse(version["PipelineDefinition"])
            members: Document = {
                "Parameters": parameters.values(definition.parameters, request.get("PipelineParameters", ())),
                "PipelineVersionId": version["PipelineVersionId"],
                "RoleArn": pipeline["RoleArn"],
                "PipelineExecutionDescription": request.get("PipelineExecutionDescription"),
                "PipelineExecutionDisplayName": request.get("PipelineExecutionDisplayName"),
                "ParallelismConfiguration": request.get(
                    "ParallelismConfiguration", pipeline.get("ParallelismConfiguration")
                ),
                "CreatedBy": caller.user_context(),
                "LastModifiedBy": caller.user_context(),
            }
            if request.get("SelectiveExecutionConfig"):
                members |= self._selected(definition, pipeline, request)
            arn = self._records.create(pipeline, members)
            name, number = pipeline["PipelineName"], version["PipelineVersionId"]
            self._store.update(PIPELINE, name, LastRunTime=self._context.now())
            self._store.update(VERSION, version_key(name, number), LastExecutionPipelineExecutionArn=arn)
            return {"PipelineExecutionArn": arn}

        response, is_new = run_once(self._store, "StartPipelineExecution", request, act)
        if is_new:
            self._engine.begin(response["PipelineExecutionArn"])
        return response

    def _selected(self, definition: Definition, pipeline: Document, request: Mapping[str, Any]) -> Document:
        """Return the members of a selective execution: what other steps need comes from the source execution.

        Raises:
            AwsError: ValidationException, for a step that does not exist or that the source execution lacks.
        """
        config = request["SelectiveExecutionConfig"]
        names = [one["StepName"] for one in config["SelectedSteps"]]
        unknown = [name for name in names if name not in definition.steps]
        if unknown:
            raise validation(f"The selected step {unknown[0]} does not exist in the pipeline.")
        source = config.get("SourcePipelineExecutionArn")
        if source is None:
            ended = [
                one
                for one in self._records.executions(pipeline["PipelineArn"])
                if one["PipelineExecutionStatus"] in ("Succeeded", "Failed", "Stopped")
            ]
            latest = max(ended, key=lambda one: float(one["CreationTime"]), default=None)
        else:
            latest = self._records.execution(source)
            if latest["PipelineArn"] != pipeline["PipelineArn"]:
                raise validation(f"The execution {source} is not one of the pipeline {pipeline['PipelineName']}.")
            if latest["PipelineExecutionStatus"] in ("Executing", "Stopping"):
                raise validation(f"The source execution {source} has not ended.")
        done = {name: one for name, one in (latest or {}).get("Steps", {}).items() if one["StepStatus"] == "Succeeded"}
        for name in names:
            lacking = sorted(definition.steps[name].needs - set(names) - set(done))
            if lacking:
                raise validation(
                    f"The step {name} needs the step {lacking[0]}, which is not selected and has not "
                    "succeeded in a source execution."
                )
        inherited = {} if latest is None else latest["Parameters"]
        given = [one["Name"] for one in request.get("PipelineParameters", ())]
        values = parameters.values(definition.parameters, request.get("PipelineParameters", ()))
        kept = {name: value for name, value in inherited.items() if name in values and name not in given}
        arn = {} if latest is None else {"SourcePipelineExecutionArn": latest["PipelineExecutionArn"]}
        return {
            "Parameters": values | kept,
            "SelectiveExecutionConfig": {**arn, "SelectedSteps": config["SelectedSteps"]},
            "SelectedSteps": names,
            "SourceSteps": done,
        }

    def _answer_success(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        outputs = {one["Name"]: one["Value"] for one in request.get("OutputParameters", ())}
        return {"PipelineExecutionArn": self._engine.answered(request["CallbackToken"], outputs, None)}

    def _answer_failure(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        reason = request.get("FailureReason", "The callback reported a failure.")
        return {"PipelineExecutionArn": self._engine.answered(request["CallbackToken"], None, reason)}

    def _stop(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        arn = request["PipelineExecutionArn"]

        def act() -> Document:
            status = self._records.execution(arn)["PipelineExecutionStatus"]
            if status not in {"Executing", "Stopping"}:
                raise validation(f"Pipeline execution '{arn}' is in status {status} and cannot be stopped.")
            return {"PipelineExecutionArn": arn}

        response, is_new = run_once(self._store, "StopPipelineExecution", request, act)
        if is_new:
            self._engine.stop(arn)
        return response

    def _retry(self, request: Mapping[str, Any], caller: Caller) -> Document:
        """Continue a failed or stopped execution: steps that succeeded are kept, the others run again."""
        arn = request["PipelineExecutionArn"]

        def act() -> Document:
            with self._records.change(arn) as change:
                if change.status not in {"Failed", "Stopped"}:
                    raise validation(f"Pipeline execution '{arn}' is in status {change.status} and cannot be retried.")
                for name in [name for name, one in change.steps.items() if one["StepStatus"] != "Succeeded"]:
                    del change.steps[name]
                if "ParallelismConfiguration" in request:
                    change.execution["ParallelismConfiguration"] = request["ParallelismConfiguration"]
                change.execution["LastModifiedBy"] = caller.user_context()
                change.set_status("Executing")
            return {"PipelineExecutionArn": arn}

        response, is_new = run_once(self._store, "RetryPipelineExecution", request, act)
        if is_new:
            self._engine.advance(arn)
        return response

    def _update(self, request: Mapping[str, Any], caller: Caller) -> Document:
        members = ("PipelineExecutionDescription", "PipelineExecutionDisplayName", "ParallelismConfiguration")
        arn = request["PipelineExecutionArn"]
        with self._records.change(arn) as change:
            change.execution |= {member: request[member] for member in members if member in request}
            change.execution["LastModifiedBy"] = caller.user_context()
        self._engine.advance(arn)
        return {"PipelineExecutionArn": arn}

    def _describe(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        execution = self._records.execution(request["PipelineExecutionArn"])
        definition = self._records.definition(execution)
        if definition.experiment:
            scope = self._step_executor.scope(execution, definition)
            execution["PipelineExperimentConfig"] = resolve(dict(definition.experiment), scope)
        return execution

    def _list(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        pipeline = self._catalog.find(request["PipelineName"])
        executions = [
            {**one, "StartTime": one["CreationTime"], "PipelineExecutionFailureReason": one.get("FailureReason")}
            for one in self._records.executions(pipeline["PipelineArn"])
        ]
        return page(
            select(executions, request, name="PipelineArn"),
            request,
            "PipelineExecutionSummaries",
            key="PipelineExecutionArn",
            order_by={"CreationTime": "CreationTime", "PipelineExecutionArn": "PipelineExecutionArn"},
        )

    def _list_steps(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        steps = self._records.execution(request["PipelineExecutionArn"])["Steps"].values()
        return page(
            [{**state, "Key": f"{state['Order']:05d}"} for state in steps],
            {**request, "SortBy": "StartTime"},
            "PipelineExecutionSteps",
            key="Key",
            order_by={"StartTime": "StartTime"},
        )

    def _list_parameters(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        execution = self._records.execution(request["PipelineExecutionArn"])
        listed = [
            {"Name": name, "Value": text(value), "Order": order}
            for order, (name, value) in enumerate(execution["Parameters"].items())
        ]
        return page(
            listed,
            {**request, "SortBy": "Order", "SortOrder": "Ascending"},
            "PipelineParameters",
            key="Name",
            order_by={"Order": "Order"},
        )

    def _describe_definition(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        execution = self._records.execution(request["PipelineExecutionArn"])
        return {
            "PipelineDefinition": self._records.definition_text(execution),
            "CreationTime": execution["CreationTime"],
        }
