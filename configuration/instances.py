"""SageMaker instance types: what each may be used for, and the properties that follow from its name."""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Literal

from botocore.loaders import Loader
from pydantic import AfterValidator

Use = Literal["training", "processing", "serving", "transform"]
"""The uses of an instance. SageMaker offers other types for each of them."""

_SHAPES = {
    "training": "TrainingInstanceType",
    "processing": "ProcessingInstanceType",
    "serving": "ProductionVariantInstanceType",
    "transform": "TransformInstanceType",
}
# Family (m5, g4dn, c7i-flex, p6-b200) and size (xlarge, 2xlarge, metal).
_SHAPE = re.compile(r"^ml\.([a-z]+[0-9][a-z0-9]*(?:-[a-z0-9]+)?)\.([0-9]*(?:x?large|medium|small|metal))$")
# m6gd, c7g, r8g: a `g` straight after the generation is AWS's own processor.
_GRAVITON = re.compile(r"^[a-z]+[0-9]+g")
# A `d` after the generation is a local disk (m5d, g4dn, p4de). The families listed here have one without a `d`.
_LOCAL_DISK = re.compile(r"^(?:[a-z]+[0-9]+[a-z]*d[a-z]*|g[5-9].*|p[5-9].*|trn[0-9].*|dl1)$")


def offered(use: Use) -> frozenset[str]:
    """Return the instance types that SageMaker offers for a use, by botocore's model of its API."""
    return frozenset(_shapes()[_SHAPES[use]]["enum"])


@cache
def _shapes() -> dict[str, dict[str, list[str]]]:
    shapes: dict[str, dict[str, list[str]]] = Loader().load_service_model("sagemaker", "service-2")["shapes"]
    return {name: shapes[name] for name in _SHAPES.values()}


def _for(use: Use) -> Callable[[str], str]:
    """Return the check of an instance type for a use."""

    def check(value: str) -> str:
        shape = _SHAPE.match(value)
        if shape and _GRAVITON.match(shape[1]):
            raise ValueError(
                "an x86 instance type such as ml.m5.xlarge: SageMaker's XGBoost images for Graviton stop at 1.5"
            )
        if value not in offered(use):
            nearest = get_close_matches(value, offered(use), 2) or ["ml.m5.xlarge"]
            raise ValueError(f"an instance type that SageMaker offers for {use}, such as {' or '.join(nearest)}")
        return value

    return check


TrainingInstanceType = Annotated[str, AfterValidator(_for("training"))]
ProcessingInstanceType = Annotated[str, AfterValidator(_for("processing"))]
ServingInstanceType = Annotated[str, AfterValidator(_for("serving"))]


def has_local_disk(instance_type: str) -> bool:
    """Return whether the type has local NVMe storage, which is always encrypted and does not accept a `KmsKeyId`.

    Source: Amazon SageMaker API Reference, CreateEndpointConfig, `KmsKeyId`.
    """
    shape = _SHAPE.match(instance_type)
    return bool(shape and _LOCAL_DISK.match(shape[1]))
