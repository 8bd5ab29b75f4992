"""A model's SageMaker Pipeline, compiled offline and deployed in a CloudFormation template."""

from pipelines.compiler import CompileError, compile_pipeline, compile_pipelines
from pipelines.names import DEPLOY_TIME_PARAMETERS

__all__ = ["DEPLOY_TIME_PARAMETERS", "CompileError", "compile_pipeline", "compile_pipelines"]
