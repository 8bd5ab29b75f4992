"""SageMaker's control plane: its API, events and CloudFormation types, on durable documents."""

from localcloud.sagemaker.api import SageMaker
from localcloud.sagemaker.cfn import CFN_TYPES

__all__ = ["CFN_TYPES", "SageMaker"]
