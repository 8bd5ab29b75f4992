"""Waiting for releases, and requests to the endpoint."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from evergreen.demo.cloud import LocalCloud
from evergreen.demo.flights import Request
from evergreen.demo.terminal import DemoError, say
from evergreen.names import Names

# The virtual clock stops by itself when a bake ends or an alarm fires.
_A_LOOK = timedelta(minutes=10)
_QUIET_SECONDS = 5  # a release that takes longer prints its state


@dataclass(frozen=True)
class Traffic:
    """Answers of the endpoint, in order.

    Attributes:
        scores: One for each flight.
        latencies: Seconds, one for each request of a single flight.
    """

    scores: list[float]
    latencies: list[float]

    def latency_ms(self, quantile: float) -> float:
        """Return a quantile (0 to 1) of the latencies, milliseconds."""
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(quantile * len(ordered)))]


def live_version(cloud: LocalCloud, model: Names) -> str:
    """Return the release record, such as `v3-1a2b3c4d|…`."""
    return str(cloud.client("ssm").get_parameter(Name=model.record)["Parameter"]["Value"])


def await_release(cloud: LocalCloud, model: Names, package_arn: str, *, patience: float = 180) -> str:
    """Wait until the endpoint serves the approved version. Return the release id.

    The clock is advanced while a new fleet bakes.

    Args:
        cloud: The local cloud.
        model: The model's names.
        package_arn: The version that was approved.
        patience: How long to wait, seconds.

    Raises:
        DemoError: The version is not live in time.
    """
    stacks, sagemaker = cloud.client("cloudformation"), cloud.client("sagemaker")
    stack = model.serving_stack
    began, last = time.monotonic(), ""
    while time.monotonic() - began < patience:
        record = live_version(cloud, model).split("|")
        described = stacks.describe_stacks(StackName=stack)["Stacks"][0]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", [])}
        endpoint = _endpoint(sagemaker, model.endpoint)
        serving = endpoint.get("EndpointStatus", "none yet")
        bakes = is_baking(endpoint)
        now = f"record {record[0]}, stack {described['StackStatus']}, endpoint {serving}{', baking' if bakes else ''}"
        if now != last and time.monotonic() - began > _QUIET_SECONDS:
            say(f"[dim]{time.monotonic() - began:5.1f} s  {now}[/]")
        last = now
        if (
            record[2] == package_arn
            and outputs.get("ReleaseId") == record[0]  # the record is written before the stack is updated
            and described["StackStatus"] in {"UPDATE_COMPLETE", "CREATE_COMPLETE"}
            and endpoint.get("EndpointStatus") == "InService"
            and endpoint["EndpointConfigName"] == outputs.get("EndpointConfigName")
        ):
            version = record[0].split("-")[0].removeprefix("v")
            say(f"version {version} is live  [dim]{time.monotonic() - began:.1f} s[/]")
            return record[0]
        if bakes:
            cloud.advance(cloud.now() + _A_LOOK, timedelta(minutes=1), over_approvals=True)
        time.sleep(0.3)
    raise DemoError(f"not released after {patience:.0f} s: {last}; `{cloud.evergreen('logs release')}` says why")


def is_baking(endpoint: Mapping[str, Any]) -> bool:
    """Say whether a deployment's new fleet receives traffic while its alarms are watched."""
    variants = endpoint.get("PendingDeploymentSummary", {}).get("ProductionVariants", ())
    return any(status["Status"] == "Baking" for one in variants for status in one["VariantStatus"][:1])


def _endpoint(sagemaker: Any, name: str) -> dict[str, Any]:
    try:
        return dict(sagemaker.describe_endpoint(EndpointName=name))
    except sagemaker.exceptions.ClientError:
        return {}


def send(cloud: LocalCloud, model: Names, requests: Sequence[Request]) -> Traffic:
    """Send requests one after the other. Return the answers.

    Raises:
        DemoError: An answer has another number of scores than its request has flights.
    """
    runtime = cloud.client("sagemaker-runtime")
    scores: list[float] = []
    latencies = []
    spoke = time.monotonic()
    for number, request in enumerate(requests, 1):
        began = time.perf_counter()
        answer = runtime.invoke_endpoint(
            EndpointName=model.endpoint,
            ContentType="text/csv",
            Accept="text/csv",
            Body=request.body,
            InferenceId=request.id,
        )
        if len(request.rows) == 1:
            latencies.append(time.perf_counter() - began)
        answers = answer["Body"].read().decode().split()
        if len(answers) != len(request.rows):
            raise DemoError(
                f"request {request.id} has {len(request.rows)} flights, and its answer has {len(answers)} scores"
            )
        scores += map(float, answers)
        if time.monotonic() - spoke > 2:
            spoke = time.monotonic()
            say(f"[dim]{number:,} of {len(requests):,} answered[/]")
    return Traffic(scores, latencies)
