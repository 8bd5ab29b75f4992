"""Lambda: AWS's public layers that are in our environment already, and code blobs that survive a kill."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ministack.core import lambda_runtime
from ministack.services import lambda_svc, ssm

from localcloud.ministack_adapter.environment import REGION
from localcloud.ministack_adapter.patching import wrap

_POWERTOOLS_ACCOUNT = "017000801446"
_PARAMETER = re.compile(r"^/aws/service/powertools/python/(arm64|x86_64)/(python3\.\d+)/(\d+\.\d+\.\d+|latest)$")
_LAYER = re.compile(
    rf"^arn:aws:lambda:[a-z0-9-]+:{_POWERTOOLS_ACCOUNT}:layer:AWSLambdaPowertoolsPythonV3-python3\d+-(arm64|x86_64):\d+$"
)


def install() -> None:
    wrap(ssm, "_public_parameter", _with_powertools)
    wrap(lambda_svc, "_resolve_layer_version_for_attachment", _with_powertools_layer)
    # The state refers to code by hash. Pruning before that state is on disk would leave the last one without its code.
    wrap(lambda_svc, "_prune_orphan_code_blobs", lambda _: lambda _referenced: None)


def stop() -> None:
    """End the functions' processes."""
    lambda_runtime.reset()


def _with_powertools(original: Callable[[str], Any]) -> Callable[[str], Any]:
    def parameter(name: str) -> Any:
        arn = powertools_layer(name)
        if arn is None:
            return original(name)
        return {
            "Name": name,
            "Type": "String",
            "Value": arn,
            "Version": 1,
            "LastModifiedDate": 1728518400,
            "ARN": f"arn:aws:ssm:{REGION}::parameter{name}",
        }

    return parameter


def powertools_layer(parameter: str) -> str | None:
    """The layer that one of AWS's public parameters names, if it is the Powertools version installed beside us.

    Functions run on this environment's Python, so the installed package is what the layer would hold. The layer's own
    number is not published together with the version; the minor version stands for it.
    """
    match = _PARAMETER.match(parameter)
    if match is None:
        return None
    architecture, runtime, wanted = match.groups()
    try:
        installed = version("aws-lambda-powertools")
    except PackageNotFoundError:
        return None
    if wanted not in (installed, "latest"):
        return None
    name = f"AWSLambdaPowertoolsPythonV3-{runtime.replace('.', '')}-{architecture}"
    return f"arn:aws:lambda:{REGION}:{_POWERTOOLS_ACCOUNT}:layer:{name}:{installed.split('.')[1]}"


def _with_powertools_layer(original: Callable[[str], Any]) -> Callable[[str], Any]:
    def resolve(layer_arn: str) -> Any:
        if _LAYER.match(layer_arn or ""):
            return {"LayerVersionArn": layer_arn, "Content": {"CodeSize": 0}}, None
        return original(layer_arn)

    return resolve
