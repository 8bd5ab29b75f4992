"""Service Quotas: what this cloud allows of SageMaker's instances.

AWS names a quota for each instance type and use. Here every type has the same one, because instances are processes.
Source: botocore's service model `service-quotas`; "Amazon SageMaker AI endpoints and quotas" (AWS General Reference).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from typing import Any

from localcloud.errors import AwsError
from localcloud.json_api import Document, Identify, JsonApi
from localcloud.ministack_adapter.environment import ACCOUNT, REGION
from localcloud.shapes import service_model

SERVICE = "service-quotas"
_QUOTA = 20.0
_PAGE = 100
# The shape with the instance types of a use → the use, as the quotas' names have it.
_USES = {
    "ProductionVariantInstanceType": "endpoint",
    "TrainingInstanceType": "training job",
    "ProcessingInstanceType": "processing job",
    "TransformInstanceType": "transform job",
}


def create(identify: Identify) -> JsonApi:
    """Return the service's API."""
    return JsonApi(SERVICE, {"ListServiceQuotas": lambda request, _: _list(request)}, identify)


def _list(request: Mapping[str, Any]) -> Document:
    if request["ServiceCode"] != "sagemaker":
        raise AwsError("NoSuchResourceException", f"The local cloud has no quotas of {request['ServiceCode']}.")
    token = request.get("NextToken") or "0"
    if not token.isdecimal():
        raise AwsError("InvalidPaginationTokenException", f"The token {token} is not valid.")
    start, end = int(token), int(token) + int(request.get("MaxResults") or _PAGE)
    quotas = _quotas()
    answer: Document = {"Quotas": [_quota(name) for name in quotas[start:end]]}
    if end < len(quotas):
        answer["NextToken"] = str(end)
    return answer


@cache
def _quotas() -> tuple[str, ...]:
    model = service_model("sagemaker")
    types = {use: model.shape_for(shape).metadata["enum"] for shape, use in _USES.items()}
    return tuple(f"{instance} for {use} usage" for use, instances in types.items() for instance in instances)


def _quota(name: str) -> Document:
    code = f"L-{hashlib.sha256(name.encode()).hexdigest()[:8].upper()}"
    return {
        "ServiceCode": "sagemaker",
        "ServiceName": "Amazon SageMaker",
        "QuotaArn": f"arn:aws:servicequotas:{REGION}:{ACCOUNT}:sagemaker/{code}",
        "QuotaCode": code,
        "QuotaName": name,
        "Value": _QUOTA,
        "Unit": "None",
        "Adjustable": True,
        "GlobalQuota": False,
    }
