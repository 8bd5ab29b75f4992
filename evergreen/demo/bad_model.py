"""The last act: a bad version, approved by mistake, meets the canary.

The version is a real one: somebody has the pipeline train with the gate switched off, and approves what comes out. What
is wrong with it is injected (`localcloud fault`): a fifth of what its fleet is asked ends in HTTP 500, as
does code that passes every evaluation and then fails on some of the requests. All that follows is the account's own:
CloudWatch, SageMaker's rollback, CloudFormation's, and the release controller.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import cycle, islice
from typing import Any, TypeVar

from botocore.exceptions import ClientError

from evergreen.demo.cloud import LocalCloud
from evergreen.demo.flights import Request
from evergreen.demo.ledger import Ledger, Row
from evergreen.demo.serving import is_baking, live_version
from evergreen.demo.terminal import DemoError, heading, say, table
from evergreen.demo.training import Model, evaluation, train

ERROR_RATE = 0.2
_A_MINUTE = timedelta(minutes=1)
# Whole twenties: over each of them the local cloud keeps to a fleet's share exactly.
_REQUESTS_A_MINUTE = 60
# The release controller looks every fifteen minutes.
_TWO_TICKS = timedelta(minutes=31)
# What a person sets who wants a version whatever the evaluation says.
_GATE_OFF = {"Minimum": "0", "MinImprovement": "-1"}

T = TypeVar("T")


@dataclass(frozen=True)
class Canary:
    """What CloudWatch counted while two fleets answered.

    Attributes:
        share: of the requests that the deployment may give the new fleet, 0 to 1.
        asked, reached, failed: requests in all, those that the new fleet got, those of them that ended in HTTP 500.
        lasted: from the first traffic on the new fleet to its last, on the cloud's clock.
        bake: how long the deployment would have watched it before giving it more.
    """

    share: float
    asked: int
    reached: int
    failed: int
    lasted: timedelta
    bake: timedelta


@dataclass(frozen=True)
class BadNight:
    """How it went.

    Attributes:
        quarantine, rollback: the ledger's rows: why it may not come back, and the controller's decision.
        told: the sentence that the alert topic carried.
        stays: the release record, before and after.
    """

    package_arn: str
    canary: Canary
    quarantine: Row
    rollback: Row
    told: str
    stays: str


def last_act(cloud: LocalCloud, model: Model, requests: Sequence[Request]) -> None:
    """Tell it, once in a cloud's life; after that, what the ledger keeps of it.

    Args:
        requests: real flights, one a request, asked for again and again.
    """
    heading("The last act: a bad version is approved by mistake")
    rolled_back = [row for row in Ledger(cloud, model).rows("decision") if row["step"] == "RollBack"]
    if rolled_back:
        _, at, _ = rolled_back[-1]["sk"].split("#")
        say(f"it was told already; the ledger of {at[:10]}: {rolled_back[-1]['reason']}")
        return
    night = roll_back(cloud, model, requests)
    look_again(cloud, model, night)
    canary = night.canary
    table(
        "A boring night",
        [
            ("asked", f"{canary.asked} requests, {canary.reached} of them of the new fleet, {canary.failed} failed"),
            (
                "rolled back",
                f"after {canary.lasted.seconds // 60} of the {canary.bake.seconds // 60} minutes of its bake",
            ),
            ("told", night.told),
            ("live", f"{night.stays.split('|')[0]}, as before, and two looks later still"),
        ],
    )


def roll_back(cloud: LocalCloud, model: Model, requests: Sequence[Request]) -> BadNight:
    """Train with the gate off, approve, let its fleet fail, and wait until the version is quarantined.

    Raises:
        DemoError: it went otherwise than it should.
    """
    before, ledger = live_version(cloud, model), Ledger(cloud, model)
    say("a training with the gate switched off: " + ", ".join(f"{name}={value}" for name, value in _GATE_OFF.items()))
    package_arn = train(cloud, model, evidence="the gate was switched off by hand", **_GATE_OFF)
    package = cloud.client("sagemaker").describe_model_package(ModelPackageName=package_arn)
    with _alerts(cloud, model) as read_alerts:
        _approve_by_mistake(cloud, package)
        canary = _watch_the_canary(cloud, model, requests)
        quarantine = _await("the quarantine", lambda: _of(ledger.rows("quarantine"), package_arn))
        told = _await("the alert", lambda: next((text for text in read_alerts() if "quarantined" in text), None))
    rollback = [row for row in ledger.rows("decision") if row["step"] == "RollBack"][-1]
    _await("the old record", lambda: live_version(cloud, model) == before or None)
    return BadNight(package_arn, canary, quarantine, rollback, told, before)


def _approve_by_mistake(cloud: LocalCloud, package: dict[str, Any]) -> None:
    cloud.client("sagemaker").update_model_package(
        ModelPackageArn=package["ModelPackageArn"],
        ModelApprovalStatus="Approved",
        ApprovalDescription="Approved in the demo, by mistake.",
    )
    say(f"{evaluation(cloud, package)['verdict']}: approved by mistake, as version {package['ModelPackageVersion']}")


def look_again(cloud: LocalCloud, model: Model, night: BadNight) -> None:
    """Let the release controller's next two ticks come.

    Raises:
        DemoError: it tried the version again.
    """
    _advance(cloud, _TWO_TICKS)
    tried = [row for row in Ledger(cloud, model).rows("decision", night.rollback["sk"]) if row["step"] == "Deploy"]
    record = live_version(cloud, model)
    if tried or record != night.stays:
        raise DemoError(f"{night.stays.split('|')[0]} should have stayed live, and the record says {record}")


def _watch_the_canary(cloud: LocalCloud, model: Model, requests: Sequence[Request]) -> Canary:
    """Ask for real flights, minute by minute, until SageMaker has ended the deployment."""
    endpoint = cloud.client("sagemaker").describe_endpoint(EndpointName=model.endpoint)
    old, new = endpoint["EndpointConfigName"], _await("the canary", lambda: _baking(cloud, model), 120)
    routing = _describe(cloud, model)["LastDeploymentConfig"]["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
    share, bake = routing["CanarySize"]["Value"] / 100, timedelta(seconds=routing["WaitIntervalInSeconds"])
    say(f"{new} is up; of the requests {share:.0%} may reach it for {_minutes(bake)} minutes")
    say(f"injected: {ERROR_RATE:.0%} of its answers are HTTP 500")
    cloud.fault("--endpoint", model.endpoint, "--config", new, "--error-rate", str(ERROR_RATE))
    began, flights = cloud.now(), cycle(requests)
    counted = (0, 0, 0)
    while _describe(cloud, model)["EndpointStatus"] == "Updating":
        if cloud.now() - began > 2 * bake:
            raise DemoError(f"{new} was not rolled back within {2 * bake}, {counted[2]} requests have failed")
        _ask(cloud, model, islice(flights, _REQUESTS_A_MINUTE))
        _advance(cloud, _A_MINUTE)
        counted = _counted(cloud, model, old, new, began)
        asked, reached, failed = counted
        say(f"{cloud.now() - began}  {asked} requests, {reached} of them to the new fleet, {failed} failed")
        if reached > share * asked:
            raise DemoError(f"the new fleet had {reached} of {asked} requests, more than its {share:.0%}")
    after = _describe(cloud, model)
    say(f"SageMaker: {after['EndpointStatus']} on {after['EndpointConfigName']}; {after.get('FailureReason', '')}")
    return Canary(share, *counted, lasted=cloud.now() - began, bake=bake)


def _describe(cloud: LocalCloud, model: Model) -> dict[str, Any]:
    return dict(cloud.client("sagemaker").describe_endpoint(EndpointName=model.endpoint))


def _baking(cloud: LocalCloud, model: Model) -> str | None:
    """The new configuration, as soon as its fleet has traffic."""
    endpoint = _describe(cloud, model)
    return str(endpoint["PendingDeploymentSummary"]["EndpointConfigName"]) if is_baking(endpoint) else None


def _ask(cloud: LocalCloud, model: Model, requests: Iterator[Request]) -> None:
    runtime = cloud.client("sagemaker-runtime")
    for request in requests:
        try:
            runtime.invoke_endpoint(EndpointName=model.endpoint, ContentType="text/csv", Body=request.body)
        except ClientError as error:
            # The fleet's failures are counted where the alarm counts them.
            if error.response["Error"]["Code"] != "ModelError":
                raise


def _counted(cloud: LocalCloud, model: Model, old: str, new: str, began: datetime) -> tuple[int, int, int]:
    """Requests in all, the new fleet's, and its failures: what an account's CloudWatch would show."""

    def total(metric: str, config: str) -> int:
        names = {"EndpointName": model.endpoint, "VariantName": "AllTraffic", "EndpointConfigName": config}
        points = cloud.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/SageMaker",
            MetricName=metric,
            Dimensions=[{"Name": name, "Value": value} for name, value in names.items()],
            StartTime=began.replace(second=0, microsecond=0),
            EndTime=cloud.now() + _A_MINUTE,
            Period=60,
            Statistics=["Sum"],
        )["Datapoints"]
        return int(sum(point["Sum"] for point in points))

    reached = total("Invocations", new)
    return total("Invocations", old) + reached, reached, total("Invocation5XXErrors", new)


def _of(rows: Sequence[Row], package_arn: str) -> Row | None:
    return next((row for row in rows if row["package_arn"] == package_arn), None)


@contextmanager
def _alerts(cloud: LocalCloud, model: Model) -> Iterator[Callable[[], list[str]]]:
    """Follow the alert topic with a queue, as somebody's pager does."""
    sqs, sns = cloud.client("sqs"), cloud.client("sns")
    topic = cloud.outputs(f"{model.app}-platform-{model.stage}")["AlertTopicArn"]
    url = sqs.create_queue(QueueName=f"{model.app}-demo-pager")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    subscription = sns.subscribe(
        TopicArn=topic,
        Protocol="sqs",
        Endpoint=arn,
        Attributes={"RawMessageDelivery": "true"},
        ReturnSubscriptionArn=True,
    )["SubscriptionArn"]

    def read() -> list[str]:
        found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", [])
        return [message["Body"] for message in found]

    try:
        yield read
    finally:
        sns.unsubscribe(SubscriptionArn=subscription)
        sqs.delete_queue(QueueUrl=url)


def _minutes(span: timedelta) -> int:
    return round(span / _A_MINUTE)


def _advance(cloud: LocalCloud, by: timedelta) -> None:
    # A deployment that is under way does not wait for somebody's open proposal.
    cloud.advance(cloud.now() + by, _A_MINUTE, over_approvals=True)


def _await(what: str, read: Callable[[], T | None], seconds: float = 60) -> T:
    """Poll until there is something; events reach their functions asynchronously."""
    deadline = time.monotonic() + seconds
    while (found := read()) is None:
        if time.monotonic() > deadline:
            raise DemoError(f"{what} did not come within {seconds:.0f} s; `.venv/bin/localcloud logs` says why")
        time.sleep(0.3)
    return found
