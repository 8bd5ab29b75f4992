"""SageMaker's control plane: what AWS's API, events and CloudFormation types promise, on durable documents."""

from localcloud.sagemaker.api import SageMaker
from localcloud.sagemaker.cfn import CFN_TYPES

__all__ = ["CFN_TYPES", "SageMaker"]
