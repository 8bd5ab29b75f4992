"""Names for `from sagemaker_containers.beta.framework import content_types, encoders, env, modules, …`."""

from sagemaker_inference import content_types

from . import encoders, env, modules, server, transformer, worker

__all__ = ["content_types", "encoders", "env", "modules", "server", "transformer", "worker"]
