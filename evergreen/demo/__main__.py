"""Ten months of real flights through the whole loop, on this machine and on a virtual clock.

Trained on January and February, approved, live; then March to December pass day by day, and the loop keeps the model
current by itself. What it does is what an account would see.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

from sklearn.metrics import roc_auc_score

from evergreen.demo import bad_model, flights, never, push, story
from evergreen.demo.cloud import ROOT, LocalCloud
from evergreen.demo.figures import HEAD, disagreement, months, read_answers, rows
from evergreen.demo.replay import FIRST, Replay
from evergreen.demo.serving import Traffic, await_release, live_version
from evergreen.demo.terminal import DemoError, columns, console, heading, say, table, timed
from evergreen.demo.training import Model, already_trained, approve, evaluation, train, upload_raw_data

MODEL = Model(app="evergreen", name="flight-delays", stage="prod")
# The arguments of app.py: the demo's own application and its model.
CONFIGURATION = "evergreen/demo/evergreen.yaml examples/flight_delays"
LAST, LAST_QUICK = date(2013, 12, 31), date(2013, 6, 30)
# Two routes to one model's score differ by no more than text and back.
_ROUNDING = 1e-6


def main(arguments: list[str]) -> int:
    options = _parse(arguments)
    cloud = LocalCloud(options.port, options.state)
    began = time.monotonic()
    try:
        if options.fresh:
            cloud.down("--purge")
        _tell(cloud, options, began)
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
    parser.add_argument("--yes", action="store_true", help="grant every approval without asking")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--quick", action="store_true", help="four months, March to June, instead of ten")
    length.add_argument(
        "--until", choices=("live",), help="stop when the first version is live and has answered its first day"
    )
    parser.add_argument(
        "--push", action="store_true", help="open with a git push to the local remote, which deploys and trains"
    )
    parser.add_argument(
        "--fresh", action="store_true", help="delete the folder's cloud first, whatever it is, and tell it from nothing"
    )
    parser.add_argument("--port", type=int, default=4747, help="the local cloud's port (default: %(default)s)")
    parser.add_argument("--state", type=Path, default=ROOT / ".localcloud", help="its folder (default: .localcloud)")
    return parser.parse_args(arguments)


def _tell(cloud: LocalCloud, options: argparse.Namespace, began: float) -> None:
    heading("A local AWS on an accelerated clock")
    cloud.up(accelerated=True)
    last = LAST_QUICK if options.quick else LAST
    if story.finished(cloud, last) and not options.until:
        heading("The story has been told: the same figures again. To tell it anew: make demo ARGS=--fresh")
        _close(cloud, last, began)
        return
    with ThreadPoolExecutor() as meanwhile:
        cut = meanwhile.submit(flights.cut, MODEL, story.folder(cloud), FIRST, LAST)
        if options.push:
            push.deliver(cloud, MODEL, CONFIGURATION, start="2013-01-01", end="2013-02-28")
        else:
            _deploy(cloud)
        cut.result()
    heading("Real data: every flight out of New York, January and February 2013")
    bucket = cloud.outputs(f"{MODEL.app}-platform-{MODEL.stage}")["DataBucketName"]
    new = upload_raw_data(cloud, MODEL, bucket, "2013-01-01", "2013-02-28")
    replay = Replay(cloud, MODEL, story.folder(cloud), granted=options.yes)
    if replay.asked(FIRST):
        record = live_version(cloud, MODEL).split("|")
        heading("Nothing is new: the first version answered its first day already")
        package_arn, released = record[2], record[0]
    else:
        found = _train_and_approve(cloud, new, granted=options.yes, pushed=options.push)
        if found is None:
            return
        package_arn = found
        heading("Release: the controller makes the endpoint what the registry says")
        released = await_release(cloud, MODEL, package_arn)
        heading("1 March: its first flights through the endpoint one by one, then an hour's departures in a request")
        with timed("asking"):
            traffic = replay.first_day()
        _first_figures(cloud, traffic)
    if options.until:
        _the_loop_stands(cloud, package_arn, released, began)
        return
    replay.through(last)
    _close(cloud, last, began)


def _deploy(cloud: LocalCloud) -> None:
    heading("cdk bootstrap, cdk deploy: the real CLI, the real templates")
    with timed("synthesising"):
        app = f"{sys.executable} app.py {CONFIGURATION}"
        cloud.cdk("synth", "--quiet", "--app", app, "--output", str(cloud.assembly))
    cloud.cdk("bootstrap", "--app", str(cloud.assembly))
    cloud.cdk("deploy", "--app", str(cloud.assembly), "--all", "--require-approval", "never", "--concurrency", "2")


def _first_figures(cloud: LocalCloud, traffic: Traffic) -> None:
    answered = read_answers(story.folder(cloud) / "answers")
    auc = roc_auc_score([one.late for one in answered], [one.score for one in answered])
    p50, p95 = traffic.latency_ms(0.5), traffic.latency_ms(0.95)
    say(f"{len(answered)} flights, AUC {auc:.3f}; p50 {p50:.1f} ms, p95 {p95:.1f} ms, boto3 to answer")


def _train_and_approve(cloud: LocalCloud, new_objects: int, *, granted: bool, pushed: bool) -> str | None:
    """Train where something is new, ask for the approval; None when a person said no."""
    sagemaker = cloud.client("sagemaker")
    live = live_version(cloud, MODEL).split("|")[2]
    if live != "none" and not new_objects and already_trained(cloud, MODEL):
        heading("Nothing is new: the same data, the same code, and a version of them is live")
        return live
    heading("SageMaker Pipeline: snapshot, preprocess, train, evaluate, gate, baseline, register")
    package_arn = push.trained(cloud, MODEL) if pushed else train(cloud, MODEL)
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


def _the_loop_stands(cloud: LocalCloud, package_arn: str, released: str, began: float) -> None:
    package = cloud.client("sagemaker").describe_model_package(ModelPackageName=package_arn)
    holdout = evaluation(cloud, package)
    platform = cloud.outputs(f"{MODEL.app}-platform-{MODEL.stage}")
    table(
        "The loop stands",
        [
            ("version", f"{package['ModelPackageGroupName']} {package['ModelPackageVersion']}, release {released}"),
            ("AUC, holdout", f"{holdout['metrics']['auc']:.3f} on {holdout['rows']:,} flights that training never saw"),
            ("endpoint", MODEL.endpoint),
            ("data capture", f"s3://{platform['DataBucketName']}/{MODEL.name}/capture/"),
            ("what it serves", f"s3://{platform['ArtifactBucketName']}/releases/{MODEL.name}/{released}/"),
            ("state and logs", f"{cloud.state}"),
            ("took", f"{time.monotonic() - began:.0f} s"),
        ],
    )
    _look_around(cloud)


def _close(cloud: LocalCloud, last: date, began: float) -> None:
    """The comparison, the table, the picture."""
    folder = story.folder(cloud)
    answered = [one for one in read_answers(folder / "answers") if one.day <= last]
    heading("The same flights by the first version: its own archive, its own inference.py, in a process of its own")
    with timed("scoring"):
        scores = never.scores(cloud, MODEL, answered[0].release, flights.days(FIRST, last), folder)
    gap = disagreement(answered, scores)
    if gap > _ROUNDING:
        raise DemoError(f"while the first version was live the endpoint answered otherwise than it, by up to {gap}")
    say(f"while it was live the endpoint's answers and these are the same (largest difference {gap:.0e})")
    found = months(answered, scores)
    columns("AUC by month, on every flight that landed", HEAD, rows(found))
    with timed("drawing"):
        picture = story.draw(cloud, MODEL, found, answered, last)
    bad_model.last_act(cloud, MODEL, flights.one_by_one(flights.requests(flights.raw_file(folder, last))))
    table(
        "The loop, retold",
        [
            ("picture", f"{picture}"),
            ("state and logs", f"{cloud.state}"),
            ("took", f"{time.monotonic() - began:.0f} s"),
        ],
    )
    _look_around(cloud)


def _look_around(cloud: LocalCloud) -> None:
    heading("Look around: each line runs as pasted")
    for what, line in story.look_around(cloud, MODEL):
        say(f"[dim]# {what}[/]")
        console.print(line, soft_wrap=True, markup=False)
    say("")
    say("Stop it: [bold]make down[/]     Forget it: [bold]make down ARGS=--purge[/]     Test it: [bold]make test[/]")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
