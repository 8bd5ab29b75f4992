"""CodePipeline: pipelines of type V1 and V2, their executions and triggers."""

from localcloud.codepipeline.cfn import CFN_TYPES
from localcloud.codepipeline.service import CodePipeline

__all__ = ["CFN_TYPES", "CodePipeline"]
