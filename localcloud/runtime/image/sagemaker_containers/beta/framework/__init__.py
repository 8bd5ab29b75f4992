"""`from sagemaker_containers.beta.framework import content_types, encoders, worker`."""

from sagemaker_inference import content_types

from . import encoders, worker

__all__ = ["content_types", "encoders", "worker"]
