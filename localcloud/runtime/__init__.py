"""Containers without Docker: SageMaker's jobs and model servers as supervised processes of this machine."""

from localcloud.runtime.fleet import EndpointFleet
from localcloud.runtime.jobs import JobRunner

__all__ = ["EndpointFleet", "JobRunner"]
