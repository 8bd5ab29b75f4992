"""What both monitoring engines have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from configuration import Monitoring
from constructs.mlops.foundation.buckets import ArtifactBucket, Bucket
from constructs.mlops.foundation.encryption_key import EncryptionKey
from constructs.mlops.foundation.handler import Handler
from constructs.mlops.monitoring.monitors import Monitor

BUILTIN_ONLY = frozenset({"explainability"})
"""Kinds that the built-in analyzer runs on either engine.

Clarify's attribution monitor needs a network, a shadow endpoint, and the name of a model that a template does not know.
The analyzer computes SHAP values from the model itself, without a network (docs/adr/0013).
"""


@dataclass(frozen=True)
class MonitoredEndpoint:
    """The endpoint that monitors observe, and the settings that they share.

    Attributes:
        app: The application's name.
        model: The model's name.
        name: The endpoint's name.
        region: The stage's region.
        image_uri: The model's own image.
        release_record: The name of the parameter that has the release record.
        settings: The monitoring settings of `model.yaml`.
    """

    app: str
    model: str
    name: str
    region: str
    image_uri: str
    release_record: str
    settings: Monitoring

    def schedule_name(self, monitor: Monitor) -> str:
        """Return the name of a monitor's schedule, which is also a dimension of its metrics."""
        return f"{self.name}-{monitor.slug}"


@dataclass(frozen=True)
class MonitoringResources:
    """The stage's resources that monitors use.

    Attributes:
        data: Has captured requests and labels.
        artifacts: Has releases and receives findings.
        key: The stage's key.
        function: Runs the monitors of the built-in engine.
    """

    data: Bucket
    artifacts: ArtifactBucket
    key: EncryptionKey
    function: Handler


class MonitoringEngine(Protocol):
    """An engine that runs monitors on a schedule."""

    def add(self, monitor: Monitor) -> None:
        """Define a monitor with its schedule."""
