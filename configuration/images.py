"""Addresses of SageMaker's framework images, from the table that the SageMaker SDK carries.

The SDK's `image_uris.retrieve` answers the same, but importing it costs seconds at every synth; the table is one JSON
file beside it. A test compares the two over all regions.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_TABLE = Path("core", "image_uri_config")


@cache
def _registries(framework: str, version: str) -> dict[str, str]:
    spec = find_spec("sagemaker")
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or ():
        table = Path(folder, _TABLE, f"{framework}.json")
        if table.is_file():
            registries: dict[str, str] = json.loads(table.read_text())["training"]["versions"][version]["registries"]
            return registries
    raise FileNotFoundError(f"the SageMaker SDK's image table {framework}.json: install requirements.txt")


def image_uri(framework: str, version: str, region: str) -> str:
    """The address of a framework's CPU image.

    Args:
        framework: As the SDK's table names it, for example `xgboost`.
        version: For example `3.2-0`.
        region: For example `eu-central-1`.

    Raises:
        ValueError: If AWS does not publish the image in the region, or the region is an isolated one.
    """
    registries = _registries(framework, version)
    if region not in registries or region.startswith("us-iso"):
        raise ValueError(f"a region where AWS publishes SageMaker's {framework} {version} image, such as us-east-1")
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"{registries[region]}.dkr.ecr.{region}.{suffix}/sagemaker-{framework}:{version}"
