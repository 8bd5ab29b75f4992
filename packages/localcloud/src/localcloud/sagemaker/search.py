"""`Search`: resources by filters on their members.

Source: Search (SageMaker API Reference), `SearchExpression` and `Filter`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localcloud.sagemaker.context import Caller, Context, Document, Operations
from localcloud.sagemaker.errors import unsupported, validation
from localcloud.sagemaker.listing import page
from localcloud.sagemaker.tags import Tags

# Resource type → kind in the store, its ARN's member.
_RESOURCES = {
    "Endpoint": ("Endpoint", "EndpointArn"),
    "ModelPackage": ("ModelPackage", "ModelPackageArn"),
    "ModelPackageGroup": ("ModelPackageGroup", "ModelPackageGroupArn"),
    "Pipeline": ("Pipeline", "PipelineArn"),
    "PipelineExecution": ("PipelineExecution", "PipelineExecutionArn"),
    "TrainingJob": ("TrainingJob", "TrainingJobArn"),
}
_WITHOUT_VALUE = ("Exists", "NotExists")


class Search:
    """The operation `Search`."""

    def __init__(self, context: Context, tags: Tags) -> None:
        self._store, self._tags = context.store, tags
        self.operations: Operations = {"Search": self._search}

    def _search(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        resource = request["Resource"]
        if resource not in _RESOURCES:
            raise unsupported(f"Search of the resource {resource}")
        kind, arn = _RESOURCES[resource]
        expression = request.get("SearchExpression") or {}
        found = []
        for _, document in self._store.list(kind):
            tags = [{"Key": key, "Value": value} for key, value in self._tags.get(document[arn]).items()]
            document["Tags"] = tags
            if _holds(expression, document):
                found.append(document)
        sort = request.get("SortBy", "LastModifiedTime")
        answer = page(
            found,
            {**request, "SortBy": sort},
            "Results",
            key=arn,
            order_by={sort: sort},
        )
        answer["Results"] = [{resource: one} for one in answer["Results"]]
        return answer


def _holds(expression: Mapping[str, Any], document: Mapping[str, Any]) -> bool:
    if expression.get("NestedFilters"):
        raise unsupported("NestedFilters of Search")
    parts = [_matches(one, document) for one in expression.get("Filters", ())]
    parts += [_holds(one, document) for one in expression.get("SubExpressions", ())]
    return (any(parts) if expression.get("Operator", "And") == "Or" else all(parts)) if parts else True


def _matches(one: Mapping[str, Any], document: Mapping[str, Any]) -> bool:
    operator, wanted = str(one.get("Operator", "Equals")), one.get("Value")
    if wanted is None and operator not in _WITHOUT_VALUE:
        raise validation(f"The filter on {one['Name']} with the operator {operator} needs a Value.")
    value = _value(document, one["Name"])
    if operator in _WITHOUT_VALUE:
        return (value is not None) == (operator == "Exists")
    if value is None:
        return operator == "NotEquals"
    text = str(value)
    if operator == "Equals":
        return text == str(wanted)
    if operator == "NotEquals":
        return text != str(wanted)
    if operator == "Contains":
        return str(wanted).lower() in text.lower()
    if operator == "In":
        return text in str(wanted).split(",")
    return _compared(operator, value, str(wanted))


def _compared(operator: str, value: Any, wanted: str) -> bool:
    try:
        left, right = float(value), float(wanted)
    except ValueError as error:
        raise unsupported(f"the operator {operator} on values that are not numbers") from error
    return {
        "GreaterThan": left > right,
        "GreaterThanOrEqualTo": left >= right,
        "LessThan": left < right,
        "LessThanOrEqualTo": left <= right,
    }[operator]


def _value(document: Mapping[str, Any], path: str) -> Any:
    """Return a member by its path; `Tags.<key>` is the value of a tag."""
    if path.startswith("Tags."):
        return next((tag["Value"] for tag in document["Tags"] if tag["Key"] == path[5:]), None)
    value: Any = document
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
