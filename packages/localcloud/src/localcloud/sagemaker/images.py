"""SageMaker images: none can be made here, so each is missing, as AWS says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localcloud.sagemaker.context import Caller, Document, Operations
from localcloud.sagemaker.errors import not_found


class Images:
    """The operations that clients call to find out whether an image is one of Studio."""

    def __init__(self) -> None:
        self.operations: Operations = {"DescribeImage": _missing, "DescribeImageVersion": _missing}


def _missing(request: Mapping[str, Any], _caller: Caller) -> Document:
    raise not_found(f"The image {request['ImageName']} does not exist.")
