"""`model.yaml`, `serving`: an endpoint on instances (`realtime`) or a serverless one (`serverless`)."""

from __future__ import annotations

import math
from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from configuration.base import Mistakes, Spec
from configuration.instances import ServingInstanceType

# Time besides the waits, to start two fleets and shift traffic (CreateEndpoint: up to 30 minutes a fleet).
_PROVISIONING_SECONDS = 30 * 60
_TRAFFIC_SECONDS = 10 * 60
# MaximumExecutionTimeoutInSeconds of AutoRollbackConfig's BlueGreenUpdatePolicy: 600 to 28,800.
# SageMaker allows 8 hours, but CloudFormation gives a resource two by default: its update would fail while the endpoint
# goes on changing. Ten minutes are left for what CloudFormation does besides.
_LONGEST_DEPLOYMENT_SECONDS = 110 * 60


class Instances(Spec):
    """The fleet's size. Autoscaling keeps it between the two."""

    min: Annotated[int, Field(ge=1, le=100)]
    """Fewest instances."""
    max: Annotated[int, Field(ge=1, le=100)]
    """Most instances."""

    @model_validator(mode="after")
    def _ordered(self) -> Instances:
        mistakes = Mistakes(self)
        if self.max < self.min:
            mistakes.add("max", should=f"at least min, which is {self.min}")
        mistakes.raise_if_any()
        return self


class Canary(Spec):
    """Shift a share of the traffic first, and the rest after the bake."""

    strategy: Literal["canary"]
    canary_percent: Annotated[int, Field(ge=1, le=50)]
    """Share of the fleet that gets traffic first, percent. SageMaker allows at most 50."""
    bake_minutes: Annotated[int, Field(ge=1, le=60)]
    """Time to watch the alarms after the canary, and again before the old fleet ends, minutes."""

    @property
    def waits_seconds(self) -> int:
        """Return the sum of the waits of one deployment, in seconds."""
        return 2 * self.bake_minutes * 60


class Linear(Spec):
    """Shift traffic in equal steps, with a bake after each."""

    strategy: Literal["linear"]
    step_percent: Annotated[int, Field(ge=10, le=50)]
    """Share of the fleet in each step, percent. SageMaker allows 10 to 50."""
    bake_minutes: Annotated[int, Field(ge=1, le=60)]
    """Time to watch the alarms after each step, and again before the old fleet ends, minutes."""

    @property
    def waits_seconds(self) -> int:
        """Return the sum of the waits of one deployment, in seconds."""
        return (math.ceil(100 / self.step_percent) + 1) * self.bake_minutes * 60


class AllAtOnce(Spec):
    """Shift all traffic at once, and keep the old fleet until the bake is over."""

    strategy: Literal["all_at_once"]
    bake_minutes: Annotated[int, Field(ge=1, le=60)]
    """Time to watch the alarms before the old fleet ends, minutes."""

    @property
    def waits_seconds(self) -> int:
        """Return the sum of the waits of one deployment, in seconds."""
        return self.bake_minutes * 60


Deployment = Annotated[Canary | Linear | AllAtOnce, Field(discriminator="strategy")]


class Alarms(Spec):
    """Alarms that roll a deployment back. They measure the new fleet only."""

    error_percent: Annotated[float, Field(gt=0, lt=100)]
    """Share of requests that the model answers with HTTP 5xx, percent."""
    latency_ms: Annotated[int, Field(ge=1, le=60_000)]
    """99th percentile of the model's latency, milliseconds."""
    period_seconds: Annotated[int, Field(ge=60, le=3600, multiple_of=60)] = 60
    """Length of one evaluated period, seconds. Endpoint metrics come once a minute."""
    evaluation_periods: Annotated[int, Field(ge=1, le=60)] = 3
    """Consecutive periods above a threshold before an alarm goes off."""


def _date(value: str) -> str:
    try:
        return date.fromisoformat(value).isoformat()
    except ValueError:
        raise ValueError("a date, such as 2026-12-31") from None


class Pin(Spec):
    """Keep the stage on one version, whatever else is approved. A rejected version is not served, even if pinned."""

    version: Annotated[int, Field(ge=1)]
    """The model package's version."""
    until: Annotated[str, AfterValidator(_date), Field(json_schema_extra={"format": "date"})]
    """The day (UTC) on which the pin expires. From then on nothing is released until the pin is renewed or removed."""
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=256)]
    """The reason, in one sentence for whoever finds the pin."""


class Verification(Spec):
    """The limits that a release must meet before the next stage may serve it. The last stage has no next one."""

    latency_ms: Annotated[int, Field(ge=1, le=60_000)] = 2000
    """95th percentile of the latency of a request with one row, as the caller sees it, milliseconds."""
    error_percent: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Share of the verification's hundred requests that may fail, percent."""
    tolerance: Annotated[float, Field(ge=0)] = 0.001
    """Largest difference between an answer and the score that the evaluation recorded, in the score's unit."""


class Realtime(Spec):
    """Instances behind an endpoint: autoscaling, data capture, guarded deployments, network isolation."""

    profile: Literal["realtime"]
    instance_type: ServingInstanceType
    """For example ml.m5.large."""
    instances: Instances
    invocations_per_instance: Annotated[int, Field(ge=1)]
    """Requests per minute and instance that autoscaling aims at."""
    capture_percent: Annotated[int, Field(ge=0, le=100)]
    """Share of requests and answers that data capture writes to the data bucket, percent."""
    startup_seconds: Annotated[int, Field(ge=60, le=3600)] | None = None
    """Longest time from a container's start until it answers its health check, seconds. null: SageMaker's default.
    Raise it for a model that takes minutes to load."""
    deployment: Deployment
    alarms: Alarms
    verification: Verification = Verification()
    pin: Pin | None = None

    @model_validator(mode="after")
    def _can_be_deployed_and_rolled_back(self) -> Realtime:
        mistakes, deployment = Mistakes(self), self.deployment
        if self.instances.min < 2 and not isinstance(deployment, AllAtOnce):
            mistakes.add(
                "instances",
                "min",
                should=f"at least 2: a {deployment.strategy} deployment must leave an instance on the old model",
            )
        alarm_seconds = self.alarms.period_seconds * self.alarms.evaluation_periods
        if deployment.bake_minutes * 60 < alarm_seconds:
            mistakes.add(
                "deployment",
                "bake_minutes",
                should=f"at least {math.ceil(alarm_seconds / 60)}: a bake shorter than period × evaluation periods "
                f"({alarm_seconds} s) ends before an alarm can trip",
            )
        if self.execution_timeout_seconds > _LONGEST_DEPLOYMENT_SECONDS:
            slow = self._provisioning_seconds > _PROVISIONING_SECONDS
            mistakes.add(
                *(("startup_seconds",) if slow else ("deployment", "bake_minutes")),
                should=f"less: the deployment would take up to {self.execution_timeout_seconds} s, and "
                f"CloudFormation may give up after {_LONGEST_DEPLOYMENT_SECONDS} s",
            )
        mistakes.raise_if_any()
        return self

    @property
    def execution_timeout_seconds(self) -> int:
        """Return `MaximumExecutionTimeoutInSeconds`: more than all waits, or SageMaker would end a sound deployment."""
        return self.deployment.waits_seconds + self._provisioning_seconds

    @property
    def _provisioning_seconds(self) -> int:
        """Return the time to start instances, which a canary does twice, each time until the containers answer."""
        return max(_PROVISIONING_SECONDS, 2 * (self.startup_seconds or 0) + _TRAFFIC_SECONDS)


class Serverless(Spec):
    """A serverless endpoint, paid per request, without data capture, deployment guardrails and network isolation."""

    profile: Literal["serverless"]
    memory_mb: Literal[1024, 2048, 3072, 4096, 5120, 6144]
    """Memory of one instance of the model, MB."""
    max_concurrency: Annotated[int, Field(ge=1, le=200)]
    """Requests that are served concurrently."""
    verification: Verification = Verification()
    pin: Pin | None = None


Serving = Annotated[Realtime | Serverless, Field(discriminator="profile")]
