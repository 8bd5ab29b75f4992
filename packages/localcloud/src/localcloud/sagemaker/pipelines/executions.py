"""The API of pipeline executions and their steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localcloud.sagemaker.context import Caller, Context, Document, Operations
from localcloud.sagemaker.errors import unsupported, validation
from localcloud.sagemaker.listing import page, select
from localcloud.sagemaker.pipelines import parameters
from localcloud.sagemaker.pipelines.catalog import PipelineCatalog
from localcloud.sagemaker.pipelines.definition import parse
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
        }

    def _start(self, request: Mapping[str, Any], caller: Caller) -> Document:
        for member in ("SelectiveExecutionConfig", "MlflowExperimentName"):
            if request.get(member):
                raise unsupported(f"{member} of a pipeline execution")

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
            arn = self._records.create(pipeline, members)
            name, number = pipeline["PipelineName"], version["PipelineVersionId"]
            self._store.update(PIPELINE, name, LastRunTime=self._context.now())
            self._store.update(VERSION, version_key(name, number), LastExecutionPipelineExecutionArn=arn)
            return {"PipelineExecutionArn": arn}

        response, is_new = run_once(self._store, "StartPipelineExecution", request, act)
        if is_new:
            self._engine.begin(response["PipelineExecutionArn"])
        return response

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
