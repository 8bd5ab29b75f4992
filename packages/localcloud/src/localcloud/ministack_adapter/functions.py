"""Lambda: layers that this environment replaces, and code archives that survive a kill."""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Callable
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ministack.core import lambda_runtime
from ministack.services import lambda_svc, ssm

from localcloud.ministack_adapter import function_processes
from localcloud.ministack_adapter.environment import REGION
from localcloud.ministack_adapter.patching import wrap

_POWERTOOLS_ACCOUNT = "017000801446"
_PARAMETER = re.compile(r"^/aws/service/powertools/python/(arm64|x86_64)/(python3\.\d+)/(\d+\.\d+\.\d+|latest)$")
_LAYER = re.compile(
    rf"^arn:aws:lambda:[a-z0-9-]+:{_POWERTOOLS_ACCOUNT}:layer:AWSLambdaPowertoolsPythonV3-python3\d+-(arm64|x86_64):\d+$"
)
_EXTENSION = re.compile(r"\.cpython-[^/]*\.so$")
# The last of them, a bare ".so", is a suffix of every one.
_OURS = tuple(suffix for suffix in EXTENSION_SUFFIXES if suffix.startswith(".cpython"))


def install() -> None:
    """Resolve the Powertools layer, leave out layers for another machine, and keep code archives."""
    # Functions inherit this process's environment, and Powertools reads LOG_LEVEL.
    os.environ.pop("LOG_LEVEL", None)
    lambda_runtime.subprocess = lambda_svc.subprocess = function_processes.Subprocess()
    wrap(ssm, "_public_parameter", _with_powertools)
    wrap(lambda_svc, "_resolve_layer_version_for_attachment", _with_powertools_layer)
    wrap(lambda_svc, "_resolve_layer_zip", _without_foreign_extensions)
    # The saved state refers to code by hash: pruning before the next save would remove code that it needs.
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
    """Return the layer of one of AWS's public parameters, if it is the Powertools version installed here.

    Functions run on this environment's Python, so the installed package is what the layer would hold. AWS does not
    publish the layer's number with the version; the minor version stands for it.
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


def _without_foreign_extensions(original: Callable[[Any], bytes | None]) -> Callable[[Any], bytes | None]:
    """Leave out a layer whose compiled modules are for another machine or Python.

    On the path it would only hide this environment's packages, which replace it.
    """

    def content(attachment: Any) -> bytes | None:
        body = original(attachment)
        return None if body and holds_foreign_extensions(body) else body

    return content


def holds_foreign_extensions(layer: bytes) -> bool:
    """Return whether a layer's zip holds a compiled module that this Python cannot import."""
    with zipfile.ZipFile(io.BytesIO(layer)) as archive:
        compiled = [name for name in archive.namelist() if _EXTENSION.search(name)]
    return any(not name.endswith(_OURS) for name in compiled)


def _with_powertools_layer(original: Callable[[str], Any]) -> Callable[[str], Any]:
    def resolve(layer_arn: str) -> Any:
        if _LAYER.match(layer_arn or ""):
            return {"LayerVersionArn": layer_arn, "Content": {"CodeSize": 0}}, None
        return original(layer_arn)

    return resolve
