"""Filters, sort order and pages of `List…` operations, the same for all resources."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from localcloud.sagemaker.context import Document
from localcloud.sagemaker.errors import validation

_DEFAULT_PAGE = 10


def select(
    documents: Iterable[Document],
    request: Mapping[str, Any],
    *,
    name: str,
    status: str = "",
    equal: Mapping[str, str] = MappingProxyType({}),
) -> list[Document]:
    """Apply the filters that `List…` requests share: name, creation time, modification time and status.

    Args:
        documents: all documents.
        request: the `List…` request.
        name: the member that holds a document's name.
        status: the member that holds its status.
        equal: further filters: the request's member → the document's member that must be equal.
    """
    return [
        document
        for document in documents
        if request.get("NameContains", "").lower() in str(document.get(name, "")).lower()
        and _within(document.get("CreationTime"), request, "CreationTimeAfter", "CreationTimeBefore")
        and _within(document.get("CreationTime"), request, "CreatedAfter", "CreatedBefore")
        and _within(document.get("LastModifiedTime"), request, "LastModifiedTimeAfter", "LastModifiedTimeBefore")
        and ("StatusEquals" not in request or document.get(status) == request["StatusEquals"])
        and all(document.get(member) == request[given] for given, member in equal.items() if given in request)
    ]


def _within(value: Any, request: Mapping[str, Any], after: str, before: str) -> bool:
    moment = float(value or 0)
    return bool(request.get(after, float("-inf")) <= moment <= request.get(before, float("inf")))


def page(
    documents: Iterable[Document],
    request: Mapping[str, Any],
    answer: str,
    *,
    key: str,
    order_by: Mapping[str, str],
    default_sort: str = "CreationTime",
    default_order: str = "Descending",
) -> Document:
    """Sort `documents` and return one page as the response.

    The token holds the sort position of the page's last item, so pages neither repeat nor skip items when documents are
    added.

    Args:
        documents: the selected documents.
        request: the `List…` request.
        answer: the response's list member.
        key: the member that identifies a document.
        order_by: `SortBy` value → the member that it stands for.
        default_sort: `SortBy` where the request has none.
        default_order: `SortOrder` where the request has none.

    Raises:
        AwsError: ValidationException for an invalid token.
    """
    member = order_by[request.get("SortBy", default_sort)]
    descending = request.get("SortOrder", default_order) == "Descending"

    def sort_key(document: Document) -> tuple[Any, str]:
        return document.get(member, 0 if member.endswith("Time") else ""), str(document[key])

    ordered = sorted(documents, key=sort_key, reverse=descending)
    if request.get("NextToken"):
        last = _decode(request["NextToken"])
        ordered = [one for one in ordered if (sort_key(one) < last if descending else sort_key(one) > last)]
    size = request.get("MaxResults", _DEFAULT_PAGE)
    response: Document = {answer: ordered[:size]}
    if len(ordered) > size:
        response["NextToken"] = base64.urlsafe_b64encode(json.dumps(sort_key(ordered[size - 1])).encode()).decode()
    return response


def _decode(token: str) -> tuple[Any, str]:
    try:
        value, key = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, TypeError) as error:
        raise validation("Invalid NextToken") from error
    if not isinstance(value, str | int | float) or not isinstance(key, str):
        raise validation("Invalid NextToken")
    return value, key
