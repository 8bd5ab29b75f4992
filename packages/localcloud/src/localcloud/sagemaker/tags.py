"""Tags of every taggable resource, by ARN."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from localcloud.sagemaker.context import Caller, Context, Document, Operations
from localcloud.sagemaker.errors import validation

KIND = "Tags"
_MAX_TAGS = 50
# Resource type in ARNs → kind in the store.
_OWNERS = {
    "pipeline": "Pipeline",
    "processing-job": "ProcessingJob",
    "training-job": "TrainingJob",
    "transform-job": "TransformJob",
    "hyper-parameter-tuning-job": "HyperParameterTuningJob",
    "model-package-group": "ModelPackageGroup",
    "model-package": "ModelPackage",
    "model": "Model",
    "endpoint-config": "EndpointConfig",
    "endpoint": "Endpoint",
    "data-quality-job-definition": "DataQualityJobDefinition",
    "model-quality-job-definition": "ModelQualityJobDefinition",
    "model-bias-job-definition": "ModelBiasJobDefinition",
    "model-explainability-job-definition": "ModelExplainabilityJobDefinition",
    "monitoring-schedule": "MonitoringSchedule",
}


class Tags:
    """The operations on tags, and the tags of new resources."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._store = context.store
        self.operations: Operations = {
            "AddTags": self._add_tags,
            "ListTags": self._list_tags,
            "DeleteTags": self._delete_tags,
        }

    def get(self, arn: str) -> dict[str, str]:
        """Return a resource's tags."""
        return dict(self._store.get(KIND, arn) or {})

    def put(self, arn: str, tags: Iterable[Mapping[str, str]]) -> None:
        """Merge `[{"Key", "Value"}]` into a resource's tags; the caller opens a transaction where it needs one."""
        merged = self.get(arn) | {tag["Key"]: tag["Value"] for tag in tags}
        if len([key for key in merged if not key.startswith("aws:")]) > _MAX_TAGS:
            raise validation(f"Number of tags exceeds the limit of {_MAX_TAGS} for {arn}")
        if merged:
            self._store.put(KIND, arn, merged)

    def drop(self, arn: str) -> None:
        """Delete a resource's tags."""
        self._store.delete(KIND, arn)

    def _add_tags(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        arn = self._existing(request["ResourceArn"])
        with self._store.transaction():
            self.put(arn, request["Tags"])
            return {"Tags": _as_list(self.get(arn))}

    def _list_tags(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        tags = _as_list(self.get(self._existing(request["ResourceArn"])))
        start = 0
        if request.get("NextToken"):
            if not str(request["NextToken"]).isdecimal():
                raise validation("Invalid NextToken")
            start = int(request["NextToken"])
        end = start + request.get("MaxResults", _MAX_TAGS)
        response: Document = {"Tags": tags[start:end]}
        if end < len(tags):
            response["NextToken"] = str(end)
        return response

    def _delete_tags(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        arn = self._existing(request["ResourceArn"])
        with self._store.transaction():
            kept = {key: value for key, value in self.get(arn).items() if key not in request["TagKeys"]}
            self._store.put(KIND, arn, kept)
        return {}

    def _existing(self, arn: str) -> str:
        resource = arn.split(":", 5)[-1] if arn.startswith("arn:") else ""
        kind, _, name = resource.partition("/")
        owner = _OWNERS.get(kind)
        if owner is None:
            raise validation(f"Invalid or untaggable resource ARN: {arn}")
        documents: Sequence[str] = (name, arn)
        if not any(self._store.get(owner, key) for key in documents):
            raise validation(f"Could not find resource {arn}")
        return arn


def without_tags(request: Mapping[str, Any]) -> Document:
    """Return a `Create…` request without its `Tags`, which are stored on their own."""
    return {member: value for member, value in request.items() if member != "Tags"}


def _as_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]
