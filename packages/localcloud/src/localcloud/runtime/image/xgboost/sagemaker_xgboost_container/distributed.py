"""Training on several instances, which the local cloud does not run."""

from __future__ import annotations

from typing import Any

from sagemaker_algorithm_toolkit.exceptions import PlatformError


def rabit_run(*_: Any, **__: Any) -> None:
    """Refuse: scripts call this only where a job has several instances."""
    raise PlatformError("distributed.rabit_run is not supported by the local cloud: jobs have one instance")


wait_hostname_resolution = rabit_run
