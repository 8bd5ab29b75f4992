"""The release that an endpoint serves, as SageMaker describes it: by its configuration, model and model archive."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from shared.errors import is_missing

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient


@dataclass(frozen=True)
class Served:
    """Configuration and release of an endpoint; "" where the endpoint is missing or changes."""

    config: str = ""
    release_id: str = ""


def served_release(sagemaker: SageMakerClient, endpoint: str, bucket: str, model: str) -> Served:
    """Return the release that an endpoint at rest serves from this stage's releases."""
    try:
        described = sagemaker.describe_endpoint(EndpointName=endpoint)
    except ClientError as error:
        if is_missing(error):
            return Served()
        raise
    if described["EndpointStatus"] != "InService":
        return Served()
    config = described["EndpointConfigName"]
    variants = sagemaker.describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"]
    container = sagemaker.describe_model(ModelName=variants[0]["ModelName"])["PrimaryContainer"]
    archive = rf"s3://{re.escape(bucket)}/releases/{re.escape(model)}/([^/]+)/model\.tar\.gz"
    match = re.fullmatch(archive, container.get("ModelDataUrl", ""))
    return Served(config, match.group(1) if match else "")
