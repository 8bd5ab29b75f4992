"""Pipelines and their versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from localcloud.sagemaker.context import Caller, Context, Document, Operations, name_of
from localcloud.sagemaker.errors import conflict, not_found, validation
from localcloud.sagemaker.listing import page, select
from localcloud.sagemaker.pipelines.definition import parse
from localcloud.sagemaker.pipelines.records import EXECUTION, PIPELINE, VERSION, version_key
from localcloud.sagemaker.tags import Tags
from localcloud.sagemaker.tokens import run_once

_SETTINGS = ("PipelineDisplayName", "PipelineDescription", "RoleArn", "ParallelismConfiguration")


class PipelineCatalog:
    """The operations on pipelines and their versions."""

    def __init__(self, context: Context, tags: Tags) -> None:
        self._context = context
        self._store = context.store
        self._tags = tags
        self.operations: Operations = {
            "CreatePipeline": self._create,
            "UpdatePipeline": self._update,
            "DescribePipeline": self._describe,
            "ListPipelines": self._list,
            "DeletePipeline": self._delete,
            "ListPipelineVersions": self._list_versions,
            "UpdatePipelineVersion": self._update_version,
        }

    def find(self, name_or_arn: str) -> Document:
        """Return the pipeline; raise AwsError where it does not exist."""
        name = name_of(name_or_arn)
        pipeline = self._store.get(PIPELINE, name)
        if pipeline is None:
            raise not_found(f"Pipeline '{self._context.arn('pipeline', name)}' does not exist.")
        return pipeline

    def version(self, pipeline: Document, number: int | None) -> Document:
        """Return a version of the pipeline, the last one where `number` is None; raise AwsError without one."""
        number = pipeline["LastVersion"] if number is None else number
        version = self._store.get(VERSION, version_key(pipeline["PipelineName"], number))
        if version is None:
            raise not_found(f"Pipeline version '{number}' of '{pipeline['PipelineArn']}' does not exist.")
        return version

    def _create(self, request: Mapping[str, Any], caller: Caller) -> Document:
        name = request["PipelineName"]
        arn = self._context.arn("pipeline", name)
        text = self._definition(request, request["RoleArn"])
        if text is None:
            raise validation("Either PipelineDefinition or PipelineDefinitionS3Location is required.")
        parse(text)

        def act() -> Document:
            if self._store.get(PIPELINE, name):
                raise validation(
                    "Pipeline names must be unique within an AWS account and region. "
                    f"Pipeline with name ({name}) already exists."
                )
            now = self._context.now()
            pipeline: Document = {
                "PipelineName": name,
                "PipelineDisplayName": name,
                "PipelineArn": arn,
                "PipelineStatus": "Active",
                "CreationTime": now,
                "LastModifiedTime": now,
                "CreatedBy": caller.user_context(),
                "LastModifiedBy": caller.user_context(),
                "LastVersion": 0,
                **{member: request[member] for member in _SETTINGS if member in request},
            }
            self._add_version(pipeline, text, caller)
            self._tags.put(arn, request.get("Tags", ()))
            return {"PipelineArn": arn}

        return run_once(self._store, "CreatePipeline", request, act)[0]

    def _update(self, request: Mapping[str, Any], caller: Caller) -> Document:
        pipeline = self.find(request["PipelineName"])
        text = self._definition(request, request.get("RoleArn", pipeline["RoleArn"]))
        if text is not None:
            parse(text)
        with self._store.transaction():
            pipeline = self.find(request["PipelineName"])
            pipeline |= {member: request[member] for member in _SETTINGS if member in request}
            pipeline |= {"LastModifiedTime": self._context.now(), "LastModifiedBy": caller.user_context()}
            if text is not None and text != self.version(pipeline, None)["PipelineDefinition"]:
                self._add_version(pipeline, text, caller)
            else:
                self._store.put(PIPELINE, pipeline["PipelineName"], pipeline)
        return {"PipelineArn": pipeline["PipelineArn"], "PipelineVersionId": pipeline["LastVersion"]}

    def _add_version(self, pipeline: Document, text: str, caller: Caller) -> None:
        pipeline["LastVersion"] += 1
        name, number = pipeline["PipelineName"], pipeline["LastVersion"]
        version: Document = {
            "PipelineArn": pipeline["PipelineArn"],
            "PipelineVersionId": number,
            "PipelineDefinition": text,
            "CreationTime": self._context.now(),
            "CreatedBy": caller.user_context(),
        }
        self._store.put(VERSION, version_key(name, number), version)
        self._store.put(PIPELINE, name, pipeline)

    def _definition(self, request: Mapping[str, Any], role_arn: str) -> str | None:
        location = request.get("PipelineDefinitionS3Location")
        text: str | None = request.get("PipelineDefinition")
        if location and text:
            raise validation("Only one of PipelineDefinition and PipelineDefinitionS3Location may be specified.")
        return self._download(location, role_arn) if location else text

    def _download(self, location: Mapping[str, str], role_arn: str) -> str:
        """Read the definition from S3, with the pipeline's role."""
        where = {"Bucket": location["Bucket"], "Key": location["ObjectKey"]}
        if "VersionId" in location:
            where["VersionId"] = location["VersionId"]
        try:
            s3 = self._context.cloud.client("s3", role_arn=role_arn)
            return str(s3.get_object(**where)["Body"].read().decode())
        except ClientError as error:
            place = f"s3://{where['Bucket']}/{where['Key']}"
            raise validation(f"Unable to read the pipeline definition at {place}: {error}") from error
        except ValueError as error:  # the role cannot be assumed, or the object is not UTF-8
            raise validation(str(error)) from error

    def _describe(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        pipeline = self.find(request["PipelineName"])
        version = self.version(pipeline, request.get("PipelineVersionId"))
        named = {member: value for member, value in version.items() if member.startswith("PipelineVersion")}
        return {**pipeline, **named, "PipelineDefinition": version["PipelineDefinition"]}

    def _list(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        prefix = request.get("PipelineNamePrefix", "")
        pipelines = select((one for _, one in self._store.list(PIPELINE, prefix)), request, name="PipelineName")
        return page(
            [{**one, "LastExecutionTime": one.get("LastRunTime")} for one in pipelines],
            request,
            "PipelineSummaries",
            key="PipelineName",
            order_by={"Name": "PipelineName", "CreationTime": "CreationTime"},
        )

    def _delete(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        def act() -> Document:
            pipeline = self.find(request["PipelineName"])
            name, arn = pipeline["PipelineName"], pipeline["PipelineArn"]
            executions = self._store.list(EXECUTION, f"{arn}/execution/")
            running = [key for key, one in executions if one["PipelineExecutionStatus"] in {"Executing", "Stopping"}]
            if running:
                raise conflict(f"Pipeline {arn} cannot be deleted while it has running executions: {running[0]}.")
            for key, _ in executions:
                self._store.delete(EXECUTION, key)
            for key, _ in self._store.list(VERSION, f"{name}/"):
                self._store.delete(VERSION, key)
            self._store.delete(PIPELINE, name)
            self._tags.drop(arn)
            return {"PipelineArn": arn}

        return run_once(self._store, "DeletePipeline", request, act)[0]

    def _list_versions(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        pipeline = self.find(request["PipelineName"])
        versions = (one for _, one in self._store.list(VERSION, f"{pipeline['PipelineName']}/"))
        return page(
            select(versions, request, name="PipelineArn"),
            request,
            "PipelineVersionSummaries",
            key="PipelineVersionId",
            order_by={"CreationTime": "PipelineVersionId"},
        )

    def _update_version(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        with self._store.transaction():
            pipeline = self.find(request["PipelineArn"])
            version = self.version(pipeline, request["PipelineVersionId"])
            members = ("PipelineVersionDisplayName", "PipelineVersionDescription")
            version |= {member: request[member] for member in members if member in request}
            self._store.put(VERSION, version_key(pipeline["PipelineName"], version["PipelineVersionId"]), version)
        return {"PipelineArn": pipeline["PipelineArn"], "PipelineVersionId": version["PipelineVersionId"]}
