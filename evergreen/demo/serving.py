"""Waiting for releases, and requests to the endpoint."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from evergreen.demo.cloud import LocalCloud
from evergreen.demo.flights import Request
from evergreen.demo.terminal import DemoError, say
from evergreen.names import Names
from evergreen.release import read_release

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
    began, last = time.monotonic(), ""
    while time.monotonic() - began < patience:
        release = read_release(cloud.client, model)
        if str(release) != last and time.monotonic() - began > _QUIET_SECONDS:
            say(f"[dim]{time.monotonic() - began:5.1f} s  {release}[/]")
        last = str(release)
        if release.serves(package_arn):
            say(f"version {release.version} is live  [dim]{time.monotonic() - began:.1f} s[/]")
            return release.id
        if release.bakes:
            cloud.advance(cloud.now() + _A_LOOK, timedelta(minutes=1), over_approvals=True)
        time.sleep(0.3)
    raise DemoError(f"not released after {patience:.0f} s: {last}; `{cloud.evergreen('logs release')}` says why")


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
