"""From approval to the first answer of the new version, in the local cloud ÷ the same stack update called by hand.

    python benchmarks/release.py [--rounds 5]

Two versions of the sample model, whose answers to one row differ, take turns. A round:

1. Version 1 is live and version 2 is approved (`UpdateModelPackage`). Measured until version 2 answers. In it: the
   event, the release function, the hashes and copies of all that is released (thrown away after each round), the
   release record, the change set, CloudFormation, the new fleet's start.
2. Version 2 is live, version 1 is to be, by hand, under the lease of a deployer so that the controller stays away.
   Measured from writing the release record, over `UpdateStack` (previous template, previous parameters, the release
   role, as the controller does), until version 1 answers. The two updates are each other's mirror: as many resources,
   archives of one size, a fleet of the same kind that starts.

Both sides are polled alike, by `InvokeEndpoint`. The canary is aside: the first answer comes as soon as it takes
traffic, and the ten minutes of its bake, twice, then pass on the accelerated clock, unmeasured.

Ends with one line of JSON, medians: {"release_ratio": …, "approved_s": […], "by_hand_s": […]}.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

if __package__ in {None, ""}:  # run as a file: start again as a module, from the root, so that `demo` can be imported
    os.chdir(Path(__file__).resolve().parent.parent)
    os.execv(sys.executable, [sys.executable, "-m", "benchmarks.release", *sys.argv[1:]])

from evergreen.demo import MODEL
from evergreen.demo.cloud import LocalCloud
from evergreen.demo.serving import await_release, live_version
from evergreen.demo.training import train, upload_raw_data
from evergreen.release import is_baking

# The root's application with the example model, whatever lies in models/.
APP = f"{sys.executable} app.py evergreen.yaml examples/flight_delays"

SERVING = f"{MODEL.app}-serving-{MODEL.name}-{MODEL.stage}"
PLATFORM = f"{MODEL.app}-platform-{MODEL.stage}"
TRAINING = f"{MODEL.app}-training-{MODEL.name}"
ROW = b"UA,EWR,IAH,1400,315,499,2,39.02,28.04,64.43,260,12.66,0,1011.9,10"
OWNER = "benchmark/release"
_LEASE_SECONDS = 2 * 3600
_PATIENCE = 300
_POLL = 0.05
# Of one row; two trainings differ by far more, two routes to one score by nothing.
_APART = 1e-4


@dataclass(frozen=True)
class Version:
    """A version that can be live: its package, its release record, and its answer to `ROW`."""

    package_arn: str
    record: str
    score: float


def main() -> None:
    """Measure on a fresh local cloud, and print the result as JSON."""
    parser = argparse.ArgumentParser(prog="benchmarks/release.py", description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="releases on either side (default: %(default)s)")
    parser.add_argument("--port", type=int, default=4758)
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error(f"--rounds is 1 or more, got {options.rounds}")
    with tempfile.TemporaryDirectory(prefix="evergreen-benchmark-") as folder:
        cloud = LocalCloud(options.port, Path(folder) / "state")
        try:
            cloud.up(accelerated=True)
            result = measure(cloud, options.rounds)
        finally:
            cloud.down("--purge")
    print(json.dumps(result))


def measure(cloud: LocalCloud, rounds: int) -> dict[str, Any]:
    """Return the seconds of releases by approval and by hand."""
    cloud.cdk("synth", "--quiet", "--app", APP, "--output", str(cloud.assembly))
    cloud.cdk("bootstrap", "--app", str(cloud.assembly))
    cloud.cdk("deploy", "--app", str(cloud.assembly), PLATFORM, TRAINING, SERVING, "--require-approval", "never")
    upload_raw_data(cloud, MODEL, cloud.outputs(PLATFORM)["DataBucketName"], "2013-01-01", "2013-02-28")
    first, second = _both_live_once(cloud)
    approved, by_hand = [], []
    for number in range(1, rounds + 1):
        _forget_copies(cloud, second)
        approved.append(_approved(cloud, first, second))
        by_hand.append(_by_hand(cloud, second, first))
        print(f"round {number} of {rounds}: {approved[-1]:.2f} s approved, {by_hand[-1]:.2f} s by hand", flush=True)
    return {
        "release_ratio": round(statistics.median(approved) / statistics.median(by_hand), 3),
        "approved_s": [round(value, 2) for value in approved],
        "by_hand_s": [round(value, 2) for value in by_hand],
    }


def _both_live_once(cloud: LocalCloud) -> tuple[Version, Version]:
    """Train two versions and serve one after the other, so that both sides begin warm; version 1 is live then."""
    first_arn = train(cloud, MODEL)
    _judge(cloud, first_arn, "Approved")
    await_release(cloud, MODEL, first_arn)
    first = Version(first_arn, live_version(cloud, MODEL), _ask(cloud))
    second_arn = train(cloud, MODEL, Seed="77", Minimum="0", MinImprovement="-1")
    _judge(cloud, second_arn, "Approved")
    _finish(cloud, second_arn)
    second = Version(second_arn, live_version(cloud, MODEL), _ask(cloud))
    if abs(first.score - second.score) < _APART:
        raise SystemExit(f"both versions answer {first.score} to the row, so the answers cannot tell which one is live")
    _judge(cloud, second_arn, "Rejected")
    _finish(cloud, first_arn)
    return first, second


def _approved(cloud: LocalCloud, live: Version, wanted: Version) -> float:
    began = time.perf_counter()
    _judge(cloud, wanted.package_arn, "Approved")
    seconds = _until_it_answers(cloud, live, wanted, began)
    _finish(cloud, wanted.package_arn)
    return seconds


def _by_hand(cloud: LocalCloud, live: Version, wanted: Version) -> float:
    ssm, stacks = cloud.client("ssm"), cloud.client("cloudformation")
    described = stacks.describe_stacks(StackName=SERVING)["Stacks"][0]
    parameters = [{"ParameterKey": one["ParameterKey"], "UsePreviousValue": True} for one in described["Parameters"]]
    role = _release_role(cloud)
    with _lease(cloud):
        # What the controller is to find when it may look again.
        _judge(cloud, live.package_arn, "Rejected")
        began = time.perf_counter()
        ssm.put_parameter(Name=MODEL.record, Value=wanted.record, Type="String", Overwrite=True)
        stacks.update_stack(
            StackName=SERVING,
            UsePreviousTemplate=True,
            Parameters=parameters,
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
            RoleARN=role,
        )
        seconds = _until_it_answers(cloud, live, wanted, began)
        _finish(cloud, wanted.package_arn, ours=True)
    return seconds


def _release_role(cloud: LocalCloud) -> str:
    """What the controller has CloudFormation work as."""
    pages = cloud.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=PLATFORM)
    (name,) = (
        resource["PhysicalResourceId"]
        for page in pages
        for resource in page["StackResourceSummaries"]
        if resource["ResourceType"] == "AWS::IAM::Role" and resource["LogicalResourceId"].startswith("ReleaseRole")
    )
    return str(cloud.client("iam").get_role(RoleName=name)["Role"]["Arn"])


def _until_it_answers(cloud: LocalCloud, live: Version, wanted: Version, began: float) -> float:
    while time.perf_counter() - began < _PATIENCE:
        score = _ask(cloud)
        if abs(score - wanted.score) < abs(score - live.score):
            return time.perf_counter() - began
        time.sleep(_POLL)
    raise SystemExit(f"{wanted.record.split('|')[0]} did not answer within {_PATIENCE} s")


def _ask(cloud: LocalCloud) -> float:
    answer = cloud.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=MODEL.endpoint, ContentType="text/csv", Accept="text/csv", Body=ROW
    )
    return float(answer["Body"].read())


def _judge(cloud: LocalCloud, package_arn: str, status: str) -> None:
    cloud.client("sagemaker").update_model_package(
        ModelPackageArn=package_arn, ModelApprovalStatus=status, ApprovalDescription="a benchmark's judgement"
    )


def _finish(cloud: LocalCloud, package_arn: str, *, ours: bool = False) -> None:
    """Let the bakes pass on the cloud's clock until the version is live and the controller has given its lease back.

    Args:
        cloud: The local cloud.
        package_arn: The version that becomes live.
        ours: Whether the lease is the benchmark's own.
    """
    stacks, sagemaker = cloud.client("cloudformation"), cloud.client("sagemaker")
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        endpoint = sagemaker.describe_endpoint(EndpointName=MODEL.endpoint)
        stack = stacks.describe_stacks(StackName=SERVING)["Stacks"][0]["StackStatus"]
        at_rest = stack == "UPDATE_COMPLETE" and endpoint["EndpointStatus"] == "InService"
        if at_rest and live_version(cloud, MODEL).split("|")[2] == package_arn and (ours or not _leased(cloud)):
            return
        if is_baking(endpoint):
            cloud.advance(cloud.now() + timedelta(minutes=10), timedelta(minutes=1), over_approvals=True)
        time.sleep(0.3)
    raise SystemExit(f"{package_arn} was not live within {_PATIENCE} s")


def _leased(cloud: LocalCloud) -> bool:
    table, key = _lease_key(cloud)
    return "Item" in cloud.client("dynamodb").get_item(TableName=table, Key=key, ConsistentRead=True)


def _lease_key(cloud: LocalCloud) -> tuple[str, dict[str, dict[str, str]]]:
    key = {"pk": {"S": f"{MODEL.name}#{MODEL.stage}"}, "sk": {"S": "lease"}}
    return cloud.outputs(PLATFORM)["LedgerTableName"], key


@contextmanager
def _lease(cloud: LocalCloud) -> Iterator[None]:
    """Hold the lease, as any other deployer does, for two hours (docs/reference/contracts.md, "Ledger")."""
    dynamodb, (table, key), now = cloud.client("dynamodb"), _lease_key(cloud), int(cloud.now().timestamp())
    texts = {"owner": OWNER, "purpose": "deploy", "release_id": "", "previous": ""}
    item = {name: {"S": value} for name, value in texts.items()}
    times = {"acquired_at": {"N": str(now)}, "expires_at": {"N": str(now + _LEASE_SECONDS)}}
    dynamodb.put_item(TableName=table, Item=key | item | times, ConditionExpression="attribute_not_exists(pk)")
    try:
        yield
    finally:
        dynamodb.delete_item(TableName=table, Key=key)


def _forget_copies(cloud: LocalCloud, version: Version) -> None:
    """So that each approval has all to hash and to copy, as the first one has."""
    s3, bucket = cloud.client("s3"), cloud.outputs(PLATFORM)["ArtifactBucketName"]
    prefix = f"releases/{MODEL.name}/{version.record.split('|')[0]}/"
    keys = [{"Key": item["Key"]} for item in s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]]
    s3.delete_objects(Bucket=bucket, Delete={"Objects": keys})


if __name__ == "__main__":
    main()
