"""What happens when a bad version is approved.

The version is trained with the gate switched off. Its fault is injected (`localcloud fault`): a fifth of the requests
to its fleet end in HTTP 500, as with code that passes every evaluation and then fails on some requests. CloudWatch,
SageMaker, CloudFormation and the release controller do the rest.
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

from evergreen.demo.cloud import LocalCloud, ledger_of
from evergreen.demo.flights import Request
from evergreen.demo.serving import live_version
from evergreen.demo.terminal import DemoError, heading, say
from evergreen.demo.training import evaluation, train
from evergreen.ledger import DEPLOYED, ROLLED_BACK, Row
from evergreen.names import Names
from evergreen.release import is_baking

ERROR_RATE = 0.2
_A_MINUTE = timedelta(minutes=1)
# A multiple of twenty: over each twenty requests the local cloud keeps a fleet's share exactly.
_REQUESTS_A_MINUTE = 60
# The release controller runs every fifteen minutes.
_TWO_TICKS = timedelta(minutes=31)
# Parameters of someone who wants a version whatever its evaluation says.
_GATE_OFF = {"Minimum": "0", "MinImprovement": "-1"}

T = TypeVar("T")


@dataclass(frozen=True)
class Canary:
    """CloudWatch's counts while two fleets answered.

    Attributes:
        share: The part of the requests that the new fleet may get, 0 to 1.
        asked: Requests to both fleets.
        reached: Requests to the new fleet.
        failed: Requests to the new fleet that ended in HTTP 500.
        lasted: Time from the new fleet's first traffic to its last, on the cloud's clock.
        bake: How long the deployment watches the canary before it shifts more traffic.
    """

    share: float
    asked: int
    reached: int
    failed: int
    lasted: timedelta
    bake: timedelta


@dataclass(frozen=True)
class BadRelease:
    """The rollback of a bad version.

    Attributes:
        package_arn: The bad version.
        canary: Its traffic.
        quarantine: The ledger's row that keeps it from being deployed again.
        rollback: The ledger's row with the release controller's decision.
        alert: The message on the alert topic.
        stays: The release record, before and after.
    """

    package_arn: str
    canary: Canary
    quarantine: Row
    rollback: Row
    alert: str
    stays: str

    @property
    def line(self) -> str:
        """The rollback in one line."""
        version, stays = self.package_arn.rsplit("/", 1)[1], self.stays.split("-")[0].removeprefix("v")
        minutes = f"after {self.canary.lasted.seconds // 60} of {self.canary.bake.seconds // 60} minutes"
        failed = f"{self.canary.failed} of {self.canary.asked} requests failed"
        return f"bad version {version} approved: rolled back {minutes}, {failed}; version {stays} stays live"


def show(cloud: LocalCloud, model: Names, requests: Sequence[Request]) -> BadRelease | None:
    """Approve a bad version and follow its rollback. Return None where this cloud has done it before.

    Args:
        cloud: The local cloud.
        model: The model's names.
        requests: Real flights, one in each request, which are sent again and again.

    Raises:
        DemoError: The version was not rolled back as it should be.
    """
    heading("What happens when a bad version is approved")
    rolled_back = [row for row in ledger_of(cloud, model).rows("decision") if row["step"] == ROLLED_BACK]
    if rolled_back:
        _, at, _ = rolled_back[-1]["sk"].split("#")
        say(f"this cloud rolled one back on {at[:10]}: {rolled_back[-1]['reason']}")
        return None
    bad = roll_back(cloud, model, requests)
    require_quarantined(cloud, model, bad)
    say(f"alert: {bad.alert}")
    say(f"{bad.stays.split('|')[0]} is still live after two more runs of the release controller")
    return bad


def roll_back(cloud: LocalCloud, model: Names, requests: Sequence[Request]) -> BadRelease:
    """Train with the gate off, approve, let the fleet fail, and wait until the version is quarantined.

    Raises:
        DemoError: The version was not rolled back as it should be.
    """
    before, ledger = live_version(cloud, model), ledger_of(cloud, model)
    say("train with the gate switched off: " + ", ".join(f"{name}={value}" for name, value in _GATE_OFF.items()))
    package_arn = train(cloud, model, evidence="the gate was switched off by hand", **_GATE_OFF)
    package = cloud.client("sagemaker").describe_model_package(ModelPackageName=package_arn)
    with _alerts(cloud, model) as read_alerts:
        _approve_by_mistake(cloud, package)
        canary = _watch_canary(cloud, model, requests)
        quarantine = _await("the quarantine", lambda: _of(ledger.rows("quarantine"), package_arn))
        alert = _await("the alert", lambda: next((text for text in read_alerts() if "quarantined" in text), None))
    rollback = [row for row in ledger.rows("decision") if row["step"] == ROLLED_BACK][-1]
    _await("the restored record", lambda: live_version(cloud, model) == before or None)
    return BadRelease(package_arn, canary, quarantine, rollback, alert, before)


def _approve_by_mistake(cloud: LocalCloud, package: dict[str, Any]) -> None:
    cloud.client("sagemaker").update_model_package(
        ModelPackageArn=package["ModelPackageArn"],
        ModelApprovalStatus="Approved",
        ApprovalDescription="Approved in the demo, by mistake.",
    )
    say(f"version {package['ModelPackageVersion']} is approved by mistake: {evaluation(cloud, package)['verdict']}")


def require_quarantined(cloud: LocalCloud, model: Names, bad: BadRelease) -> None:
    """Let the release controller run twice more, and check that it does not deploy the version again.

    Raises:
        DemoError: It did.
    """
    _advance(cloud, _TWO_TICKS)
    tried = [row for row in ledger_of(cloud, model).rows("decision", bad.rollback["sk"]) if row["step"] == DEPLOYED]
    record = live_version(cloud, model)
    if tried or record != bad.stays:
        raise DemoError(f"{bad.stays.split('|')[0]} should have stayed live, and the record says {record}")


def _watch_canary(cloud: LocalCloud, model: Names, requests: Sequence[Request]) -> Canary:
    """Send real flights, minute by minute, until SageMaker has ended the deployment."""
    endpoint = cloud.client("sagemaker").describe_endpoint(EndpointName=model.endpoint)
    old, new = endpoint["EndpointConfigName"], _await("the canary", lambda: _baking(cloud, model), 120)
    routing = _describe(cloud, model)["LastDeploymentConfig"]["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
    share, bake = routing["CanarySize"]["Value"] / 100, timedelta(seconds=routing["WaitIntervalInSeconds"])
    say(f"the canary gets at most {share:.0%} of the requests for {_minutes(bake)} minutes")
    say(f"injected fault: {ERROR_RATE:.0%} of its answers are HTTP 500")
    cloud.fault("--endpoint", model.endpoint, "--config", new, "--error-rate", str(ERROR_RATE))
    began, flights = cloud.now(), cycle(requests)
    counted = (0, 0, 0)
    while _describe(cloud, model)["EndpointStatus"] == "Updating":
        if cloud.now() - began > 2 * bake:
            raise DemoError(f"{new} was not rolled back within {2 * bake}; {counted[2]} requests failed")
        _send(cloud, model, islice(flights, _REQUESTS_A_MINUTE))
        _advance(cloud, _A_MINUTE)
        counted = _counted(cloud, model, old, new, began)
        asked, reached, failed = counted
        say(f"{cloud.now() - began}  {asked} requests, {reached} to the canary, {failed} failed")
        if reached > share * asked:
            raise DemoError(f"the canary got {reached} of {asked} requests, more than its {share:.0%}")
    after = _describe(cloud, model)
    say(f"SageMaker: {after.get('FailureReason', after['EndpointStatus'])}")
    return Canary(share, *counted, lasted=cloud.now() - began, bake=bake)


def _describe(cloud: LocalCloud, model: Names) -> dict[str, Any]:
    return dict(cloud.client("sagemaker").describe_endpoint(EndpointName=model.endpoint))


def _baking(cloud: LocalCloud, model: Names) -> str | None:
    """Return the new configuration once its fleet has traffic."""
    endpoint = _describe(cloud, model)
    return str(endpoint["PendingDeploymentSummary"]["EndpointConfigName"]) if is_baking(endpoint) else None


def _send(cloud: LocalCloud, model: Names, requests: Iterator[Request]) -> None:
    runtime = cloud.client("sagemaker-runtime")
    for request in requests:
        try:
            runtime.invoke_endpoint(EndpointName=model.endpoint, ContentType="text/csv", Body=request.body)
        except ClientError as error:
            # CloudWatch counts the fleet's failures, as it does for the alarm.
            if error.response["Error"]["Code"] != "ModelError":
                raise


def _counted(cloud: LocalCloud, model: Names, old: str, new: str, began: datetime) -> tuple[int, int, int]:
    """Return CloudWatch's counts: all requests, the new fleet's, and its failures."""

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
def _alerts(cloud: LocalCloud, model: Names) -> Iterator[Callable[[], list[str]]]:
    """Subscribe a queue to the alert topic, as a pager would, and yield a function that reads new messages."""
    sqs, sns = cloud.client("sqs"), cloud.client("sns")
    topic = cloud.outputs(model.platform_stack)["AlertTopicArn"]
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
    # A deployment that is under way does not wait for a version that waits for approval.
    cloud.advance(cloud.now() + by, _A_MINUTE, over_approvals=True)


def _await(what: str, read: Callable[[], T | None], seconds: float = 60) -> T:
    """Poll until there is something. Events reach their functions asynchronously."""
    deadline = time.monotonic() + seconds
    while (found := read()) is None:
        if time.monotonic() > deadline:
            raise DemoError(f"{what} did not come within {seconds:.0f} s; `.venv/bin/localcloud logs` says why")
        time.sleep(0.3)
    return found
