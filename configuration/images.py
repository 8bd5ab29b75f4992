"""Addresses of SageMaker's framework images, read from the table in the SageMaker SDK.

The SDK's `image_uris.retrieve` gives the same addresses, but importing it costs seconds at every synth. A test compares
the two for all regions.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

TRAINING_ENVIRONMENT = {
    # The image's toolkit installs the script with pip. An isolated container has no network to fetch a build
    # environment from, so pip must build with what the image has. pip reads this variable inverted: 0 switches
    # isolation off, and 1 fails.
    "PIP_NO_BUILD_ISOLATION": "0",
}
"""Environment variables of a framework's training container."""

SERVING_ENVIRONMENT = {
    "SAGEMAKER_PROGRAM": "inference.py",
    # SageMaker unpacks model.tar.gz there; training put the code there (docs/reference/contracts.md, "Model scripts").
    "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code",
    # The toolkit's own default is JSON. Monitors read CSV answers, whatever a client accepts.
    "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "text/csv",
    **TRAINING_ENVIRONMENT,
}
"""Environment variables of a framework's serving container, in the package's specification and in the served model."""

_MONITOR_IMAGES = {
    "model-monitor": ("model-monitor", "sagemaker-model-monitor-analyzer"),
    # Model Monitor runs it before the analyzer where a monitor needs labels. The SDK's table does not list it; it is in
    # the analyzer's registry (SageMaker Developer Guide, "Merge ground truth").
    "groundtruth-merger": ("model-monitor", "sagemaker-model-monitor-groundtruth-merger"),
    "clarify": ("clarify", "sagemaker-clarify-processing:1.0"),
}
_TABLE = Path("core", "image_uri_config")


@cache
def _registries(framework: str, version: str) -> dict[str, str]:
    registries: dict[str, str] = _table(framework)["training"]["versions"][version]["registries"]
    return registries


def _table(name: str) -> dict[str, Any]:
    spec = find_spec("sagemaker")
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or ():
        path = Path(folder, _TABLE, f"{name}.json")
        if path.is_file():
            table: dict[str, Any] = json.loads(path.read_text())
            return table
    raise FileNotFoundError(f"the SageMaker SDK's image table {name}.json: install requirements.txt")


def monitor_image_uri(name: str, region: str) -> str:
    """Return the address of Model Monitor's image (`model-monitor`), its merger's or Clarify's in a region.

    Raises:
        ValueError: If AWS does not publish it there.
    """
    table, repository = _MONITOR_IMAGES[name]
    registries = _monitor_registries(table)
    if region not in registries:
        raise ValueError(f"a region where AWS publishes {name}'s image, such as us-east-1")
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"{registries[region]}.dkr.ecr.{region}.{suffix}/{repository}"


@cache
def _monitor_registries(name: str) -> dict[str, str]:
    table = _table(name)
    (version,) = table.get("processing", table)["versions"].values()
    registries: dict[str, str] = version["registries"]
    return registries


def image_uri(framework: str, version: str, region: str) -> str:
    """Return the address of a framework's CPU image.

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
