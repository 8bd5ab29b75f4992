"""SageMaker instance types, and the properties that follow from their names."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

# Family (m5, g4dn, c7i-flex, p6-b200) and size (xlarge, 2xlarge, metal).
_SHAPE = re.compile(r"^ml\.([a-z]+[0-9][a-z0-9]*(?:-[a-z0-9]+)?)\.([0-9]*(?:x?large|medium|small|metal))$")
# m6gd, c7g, r8g: a `g` straight after the generation is AWS's own processor.
_GRAVITON = re.compile(r"^[a-z]+[0-9]+g")
# A `d` after the generation is a local disk (m5d, g4dn, p4de). The families listed here have one without a `d`.
_LOCAL_DISK = re.compile(r"^(?:[a-z]+[0-9]+[a-z]*d[a-z]*|g[5-9].*|p[5-9].*|trn[0-9].*|dl1)$")


def _cpu_or_gpu_of_x86(value: str) -> str:
    shape = _SHAPE.match(value)
    if not shape:
        raise ValueError("a SageMaker instance type such as ml.m5.xlarge")
    if _GRAVITON.match(shape[1]):
        raise ValueError(
            "an x86 instance type such as ml.m5.xlarge: SageMaker's XGBoost images for Graviton stop at 1.5"
        )
    return value


InstanceType = Annotated[str, AfterValidator(_cpu_or_gpu_of_x86)]
"""A SageMaker instance type that the framework's image can run on."""


def has_local_disk(instance_type: str) -> bool:
    """Return whether the type has local NVMe storage, which is always encrypted and does not accept a `KmsKeyId`.

    Source: Amazon SageMaker API Reference, CreateEndpointConfig, `KmsKeyId`.
    """
    shape = _SHAPE.match(instance_type)
    return bool(shape and _LOCAL_DISK.match(shape[1]))
