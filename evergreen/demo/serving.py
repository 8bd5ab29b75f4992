"""The release controller brings the approved version up; real flights go through the endpoint."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from evergreen.demo.cloud import LocalCloud
from evergreen.demo.flights import Request
from evergreen.demo.terminal import DemoError, say
from evergreen.demo.training import Model

# The clock stops by itself where a bake or an alarm falls due.
_A_LOOK = timedelta(minutes=10)


@dataclass(frozen=True)
class Traffic:
    """What came back, in order: a score a flight, and a latency (seconds) for each request of one flight."""

    scores: list[float]
    latencies: list[float]

    def latency_ms(self, quantile: float) -> float:
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(quantile * len(ordered)))]


def live_version(cloud: LocalCloud, model: Model) -> str:
    """The release record as it stands: `v3-1a2b3c4d|…`."""
    return str(cloud.client("ssm").get_parameter(Name=model.record)["Parameter"]["Value"])


def await_release(cloud: LocalCloud, model: Model, package_arn: str, *, patience: float = 180) -> str:
    """Watch until the endpoint serves the configuration that the stack means; return the release id.

    Its bakes pass on the cloud's clock, which is told to go on.
    """
    stacks, sagemaker = cloud.client("cloudformation"), cloud.client("sagemaker")
    stack = f"{model.app}-serving-{model.name}-{model.stage}"
    began, said = time.monotonic(), ""
    while time.monotonic() - began < patience:
        record = live_version(cloud, model).split("|")
        described = stacks.describe_stacks(StackName=stack)["Stacks"][0]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", [])}
        endpoint = _endpoint(sagemaker, model.endpoint)
        serving = endpoint.get("EndpointStatus", "none yet")
        bakes = is_baking(endpoint)
        now = f"record {record[0]}, stack {described['StackStatus']}, endpoint {serving}{', baking' if bakes else ''}"
        if now != said:
            say(f"[dim]{time.monotonic() - began:5.1f} s[/]  {now}")
            said = now
        if (
            record[2] == package_arn
            and outputs.get("ReleaseId") == record[0]  # a new record stands before the stack begins to follow it
            and described["StackStatus"] in {"UPDATE_COMPLETE", "CREATE_COMPLETE"}
            and endpoint.get("EndpointStatus") == "InService"
            and endpoint["EndpointConfigName"] == outputs.get("EndpointConfigName")
        ):
            return record[0]
        if bakes:
            cloud.advance(cloud.now() + _A_LOOK, timedelta(minutes=1), over_approvals=True)
        time.sleep(0.3)
    raise DemoError(f"not released after {patience:.0f} s: {said}; `.venv/bin/localcloud logs` says why")


def is_baking(endpoint: Mapping[str, Any]) -> bool:
    """Whether a deployment's new fleet has traffic and is watched."""
    variants = endpoint.get("PendingDeploymentSummary", {}).get("ProductionVariants", ())
    return any(status["Status"] == "Baking" for one in variants for status in one["VariantStatus"][:1])


def _endpoint(sagemaker: Any, name: str) -> dict[str, Any]:
    try:
        return dict(sagemaker.describe_endpoint(EndpointName=name))
    except sagemaker.exceptions.ClientError:
        return {}


def send(cloud: LocalCloud, model: Model, requests: Sequence[Request]) -> Traffic:
    """One request after the other, as a caller would see it."""
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
            raise DemoError(f"request {request.id} has {len(request.rows)} flights, its answer {len(answers)}")
        scores += map(float, answers)
        if time.monotonic() - spoke > 2:
            spoke = time.monotonic()
            say(f"[dim]{number:,} of {len(requests):,} answered[/]")
    return Traffic(scores, latencies)
