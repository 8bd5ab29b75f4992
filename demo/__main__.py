"""`python -m demo`: the whole loop on real data, on this machine; what it does is what an account would see."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from sklearn.metrics import roc_auc_score

from demo.cloud import ROOT, LocalCloud
from demo.serving import await_release, flights, live_version, send
from demo.terminal import DemoError, console, heading, say, table, timed
from demo.training import Model, already_trained, approve, evaluation, train, upload_raw_data

MODEL = Model(app="evergreen", name="flight-delays", stage="prod")


def main(arguments: list[str]) -> int:
    options = _parse(arguments)
    cloud = LocalCloud(options.port, options.state)
    began = time.monotonic()
    try:
        _tell(cloud, granted=options.yes, began=began)
    except DemoError as error:
        console.print(f"\n[bold red]stopped:[/] {error}", markup=True)
        return 1
    except subprocess.CalledProcessError as error:
        console.print(
            f"\n[bold red]stopped:[/] {' '.join(map(str, error.cmd))} failed with exit code {error.returncode}"
        )
        return 1
    except KeyboardInterrupt:
        console.print(
            "\nStopped. The local cloud keeps what it has; `make demo` goes on from there, `make down` stops it."
        )
        return 130
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--yes", action="store_true", help="grant the approval without asking")
    parser.add_argument("--quick", action="store_true", help="the shorter story; today's is short, so it is the same")
    parser.add_argument("--port", type=int, default=4747, help="the local cloud's port (default: %(default)s)")
    parser.add_argument("--state", type=Path, default=ROOT / ".localcloud", help="its folder (default: .localcloud)")
    return parser.parse_args(arguments)


def _tell(cloud: LocalCloud, *, granted: bool, began: float) -> None:
    heading("A local AWS")
    cloud.up()

    heading("cdk bootstrap, cdk deploy: the real CLI, the real templates")
    with timed("synthesising"):
        cloud.cdk("synth", "--quiet", "--output", str(cloud.assembly))
    cloud.cdk("bootstrap", "--app", str(cloud.assembly))
    cloud.cdk("deploy", "--app", str(cloud.assembly), "--all", "--require-approval", "never", "--concurrency", "2")

    heading("Real data: every flight out of New York, January and February 2013")
    bucket = cloud.outputs(f"{MODEL.app}-platform-{MODEL.stage}")["DataBucketName"]
    new = upload_raw_data(cloud, MODEL, bucket, "2013-01-01", "2013-02-28")

    package_arn = _train_and_approve(cloud, new, granted=granted)
    if package_arn is None:
        return

    heading("Release: the controller makes the endpoint what the registry says")
    released = await_release(cloud, MODEL, package_arn)

    heading("2,000 real flights of March through the endpoint")
    rows, labels = flights(MODEL, "2013-03-01", "2013-03-31", 2000)
    with timed("asking"):
        traffic = send(cloud, MODEL, rows)
    auc = roc_auc_score(labels, traffic.scores)

    package = cloud.client("sagemaker").describe_model_package(ModelPackageName=package_arn)
    holdout = evaluation(cloud, package)
    artefacts = cloud.outputs(f"{MODEL.app}-platform-{MODEL.stage}")["ArtifactBucketName"]
    table(
        "The loop stands",
        [
            ("version", f"{package['ModelPackageGroupName']} {package['ModelPackageVersion']}, release {released}"),
            ("AUC, holdout", f"{holdout['metrics']['auc']:.3f} on {holdout['rows']:,} flights that training never saw"),
            ("AUC, March", f"{auc:.3f} on {len(rows):,} flights, asked one by one"),
            (
                "latency",
                f"p50 {traffic.latency_ms(0.5):.1f} ms, p95 {traffic.latency_ms(0.95):.1f} ms, boto3 to answer",
            ),
            ("endpoint", MODEL.endpoint),
            ("data capture", f"s3://{bucket}/{MODEL.name}/capture/"),
            ("what it serves", f"s3://{artefacts}/releases/{MODEL.name}/{released}/"),
            ("state and logs", f"{cloud.state}"),
            ("took", f"{time.monotonic() - began:.0f} s"),
        ],
    )
    _look_around(cloud, package_arn, bucket)


def _train_and_approve(cloud: LocalCloud, new_objects: int, *, granted: bool) -> str | None:
    """Train where something is new, ask for the approval; None when a person said no."""
    sagemaker = cloud.client("sagemaker")
    live = live_version(cloud, MODEL).split("|")[2]
    if live != "none" and not new_objects and already_trained(cloud, MODEL):
        heading("Nothing is new: the same data, the same code, and a version of them is live")
        say(f"{live} stays. To see it all again from nothing: make down ARGS=--purge && make demo")
        return live
    heading("SageMaker Pipeline: snapshot, preprocess, train, evaluate, gate, register")
    package_arn = train(cloud, MODEL)
    package = sagemaker.describe_model_package(ModelPackageName=package_arn)
    found = evaluation(cloud, package)
    heading("Model Registry: a person decides")
    say(f"{package_arn} is {package['ModelApprovalStatus']}")
    say(f"{found['verdict']}")
    if approve(cloud, package, granted=granted):
        return package_arn
    say("Not approved, so nothing is deployed. Approve it later, and the controller deploys it within seconds:")
    line = f"sagemaker update-model-package --model-package-arn {package_arn} --model-approval-status Approved"
    console.print(cloud.aws(line), soft_wrap=True)
    return None


def _look_around(cloud: LocalCloud, package_arn: str, bucket: str) -> None:
    heading("Look around: each line runs as pasted")
    serving = f"{MODEL.app}-serving-{MODEL.name}-{MODEL.stage}"
    for what, line in (
        ("what the package carries", f"sagemaker describe-model-package --model-package-name {package_arn}"),
        ("what ran", f"sagemaker list-pipeline-executions --pipeline-name {MODEL.group}"),
        ("what CloudFormation did", f"cloudformation describe-stack-events --stack-name {serving} --max-items 20"),
        ("what was asked and answered", f"s3 ls --recursive s3://{bucket}/{MODEL.name}/capture/"),
        (
            "reject it: with no other approved version the controller holds it, and says so in the ledger",
            f"sagemaker update-model-package --model-package-arn {package_arn} --model-approval-status Rejected",
        ),
    ):
        say(f"[dim]# {what}[/]")
        console.print(cloud.aws(line), soft_wrap=True, markup=False)
    say("")
    say("Stop it: [bold]make down[/]     Forget it: [bold]make down ARGS=--purge[/]     Test it: [bold]make test[/]")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
