"""The API of pipelines, their tags and their stage transitions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localcloud.cloud import Cloud
from localcloud.codepipeline.control import defaults
from localcloud.codepipeline.engine import Engine
from localcloud.codepipeline.records import ACTIVE, Records
from localcloud.codepipeline.structure import checked, sources
from localcloud.errors import AwsError, validation
from localcloud.json_api import Document, Operations, page
from localcloud.source.repositories import Repositories, SourceError


class Catalog:
    """The operations on pipelines."""

    def __init__(self, cloud: Cloud, records: Records, engine: Engine, repositories: Repositories) -> None:
        self._cloud, self._records, self._engine, self._repositories = cloud, records, engine, repositories
        self.operations: Operations = {
            "CreatePipeline": self._create,
            "UpdatePipeline": self._update,
            "GetPipeline": self._get,
            "DeletePipeline": self._delete,
            "ListPipelines": self._list,
            "EnableStageTransition": self._enable,
            "DisableStageTransition": self._disable,
            "TagResource": self._tag,
            "UntagResource": self._untag,
            "ListTagsForResource": self._list_tags,
        }

    def _create(self, request: Mapping[str, Any], caller: str) -> Document:
        structure = {**checked(request["pipeline"]), "version": 1}
        name = structure["name"]
        if any(one["pipeline"]["name"] == name for one in self._records.pipelines()):
            raise AwsError("PipelineNameInUseException", f"A pipeline with the name '{name}' already exists")
        self._create_repositories(structure)
        now = self._records.now()
        document = {
            "pipeline": structure,
            "metadata": {"pipelineArn": self._records.arn(name), "created": now, "updated": now},
            "transitions": {},
            "tags": {tag["key"]: tag["value"] for tag in request.get("tags", [])},
        }
        self._records.put_pipeline(document)
        trigger = {"triggerType": "CreatePipeline", "triggerDetail": caller}
        self._engine.start(name, trigger, variables=defaults(structure))
        return {"pipeline": structure, "tags": request.get("tags", [])}

    def _create_repositories(self, structure: Mapping[str, Any]) -> None:
        """Create the repositories of the pipeline's sources, so that they accept pushes."""
        for action in sources(structure):
            configuration = action.get("configuration", {})
            full_name = configuration.get("FullRepositoryId") or configuration.get("RepositoryName", "")
            try:
                self._repositories.ensure(full_name)
            except SourceError as error:
                raise AwsError("InvalidActionDeclarationException", str(error)) from error

    def _update(self, request: Mapping[str, Any], _caller: str) -> Document:
        structure = checked(request["pipeline"])
        with self._records.change():
            document = self._records.pipeline(structure["name"])
            structure["version"] = document["pipeline"]["version"] + 1
            document["pipeline"] = structure
            document["metadata"]["updated"] = self._records.now()
            self._records.put_pipeline(document)
        self._create_repositories(structure)
        self._engine.advance(structure["name"])
        return {"pipeline": structure}

    def _get(self, request: Mapping[str, Any], _caller: str) -> Document:
        document = self._records.pipeline(request["name"])
        if request.get("version") not in (None, document["pipeline"]["version"]):
            raise AwsError(
                "PipelineVersionNotFoundException",
                f"The local cloud keeps only the latest version of a pipeline: {document['pipeline']['version']}",
            )
        return {"pipeline": document["pipeline"], "metadata": document["metadata"]}

    def _delete(self, request: Mapping[str, Any], _caller: str) -> Document:
        name = request["name"]
        if any(one["pipeline"]["name"] == name for one in self._records.pipelines()):
            for execution in self._records.executions(name):
                if execution["status"] in ACTIVE:
                    reason = "The pipeline was deleted"
                    self._engine.stop(name, execution["pipelineExecutionId"], reason, abandon=True)
            self._records.delete_pipeline(name)
        return {}

    def _list(self, request: Mapping[str, Any], _caller: str) -> Document:
        found = [
            {
                "name": one["pipeline"]["name"],
                "version": one["pipeline"]["version"],
                "pipelineType": one["pipeline"]["pipelineType"],
                "executionMode": one["pipeline"]["executionMode"],
                "created": one["metadata"]["created"],
                "updated": one["metadata"]["updated"],
            }
            for one in self._records.pipelines()
        ]
        items, token = page(found, request)
        return {"pipelines": items, "nextToken": token}

    def _disable(self, request: Mapping[str, Any], caller: str) -> Document:
        state = {"by": caller, "at": self._records.now(), "reason": request["reason"]}
        self._set_transition(request, state)
        return {}

    def _enable(self, request: Mapping[str, Any], _caller: str) -> Document:
        self._set_transition(request, None)
        self._engine.advance(request["pipelineName"])
        return {}

    def _set_transition(self, request: Mapping[str, Any], state: Document | None) -> None:
        with self._records.change():
            document = self._records.pipeline(request["pipelineName"])
            if all(stage["name"] != request["stageName"] for stage in document["pipeline"]["stages"]):
                raise AwsError("StageNotFoundException", f"The pipeline has no stage named {request['stageName']}")
            document["transitions"].setdefault(request["stageName"], {})[request["transitionType"]] = state
            self._records.put_pipeline(document)

    def _tagged(self, arn: str) -> Document:
        try:
            return self._records.pipeline(arn.rpartition(":")[2])
        except AwsError as error:
            raise AwsError("ResourceNotFoundException", f"The resource {arn} does not exist") from error

    def _tag(self, request: Mapping[str, Any], _caller: str) -> Document:
        with self._records.change():
            document = self._tagged(request["resourceArn"])
            document["tags"] |= {tag["key"]: tag["value"] for tag in request["tags"]}
            if len(document["tags"]) > 50:
                raise validation("A pipeline has at most 50 tags")
            self._records.put_pipeline(document)
        return {}

    def _untag(self, request: Mapping[str, Any], _caller: str) -> Document:
        with self._records.change():
            document = self._tagged(request["resourceArn"])
            document["tags"] = {key: one for key, one in document["tags"].items() if key not in request["tagKeys"]}
            self._records.put_pipeline(document)
        return {}

    def _list_tags(self, request: Mapping[str, Any], _caller: str) -> Document:
        tags = self._tagged(request["resourceArn"])["tags"]
        return {"tags": [{"key": key, "value": value} for key, value in sorted(tags.items())]}
