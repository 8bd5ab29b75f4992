"""The demo from deployment to summary."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import yaml
from sklearn.metrics import roc_auc_score

from evergreen import ROOT
from evergreen.demo import CONFIGURATION, MODEL, MODELS, Engine, bad_model, first_version, flights, push, summary
from evergreen.demo.cloud import LocalCloud
from evergreen.demo.figures import HEAD, disagreement, months, read_answers, rows
from evergreen.demo.replay import FIRST, Replay
from evergreen.demo.serving import Traffic, await_release, live_version
from evergreen.demo.terminal import DemoError, columns, console, heading, say, table, timed
from evergreen.demo.training import already_trained, approve, evaluation, train, upload_raw_data

# The arguments of app.py.
APPLICATION = f"{CONFIGURATION} {MODELS}"
LAST_FULL, LAST_QUICK = date(2013, 12, 31), date(2013, 6, 30)
# Two ways to one model's score differ by no more than a conversion to text and back.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class _Demo:
    """One run of the demo.

    Attributes:
        last: The last day that is replayed.
        granted: Approvals are given without asking.
        engine: What runs the scheduled monitors.
        began: `time.monotonic()` at the start.
    """

    cloud: LocalCloud
    last: date
    granted: bool
    until_live: bool
    push: bool
    engine: Engine
    began: float

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began


def run(
    *,
    port: int,
    state: Path,
    full: bool,
    granted: bool,
    until_live: bool,
    push: bool,
    engine: Engine,
    fresh: bool,
) -> None:
    """Run the demo, or continue an interrupted one.

    Args:
        port: Port of the local cloud.
        state: Its state folder.
        full: Replay to December instead of June.
        granted: Give every approval without asking.
        until_live: Stop once the first version is live and has answered one day.
        push: Deploy and train by a git push to the local delivery pipeline.
        engine: What runs the scheduled monitors.
        fresh: Delete the local cloud's state first.

    Raises:
        DemoError: A step failed.
    """
    cloud = LocalCloud(port, state.resolve())
    last = LAST_FULL if full else LAST_QUICK
    demo = _Demo(cloud, last, granted, until_live, push, engine, time.monotonic())
    try:
        if fresh:
            cloud.down("--purge")
        _run(demo)
    except subprocess.CalledProcessError as error:
        raise DemoError(f"{' '.join(map(str, error.cmd))} failed with exit code {error.returncode}") from error


def _run(demo: _Demo) -> None:
    cloud = demo.cloud
    heading("Start a local AWS on a virtual clock")
    cloud.up(accelerated=True)
    if summary.finished(cloud, demo.last) and not demo.until_live:
        heading("The replay is complete. To run it again: make demo ARGS=--fresh")
        _close(demo)
        return
    with ThreadPoolExecutor() as background:
        cut = background.submit(flights.cut, MODEL, summary.folder(cloud), FIRST, LAST_FULL)
        if demo.push:
            push.deliver(cloud, MODEL, APPLICATION, start="2013-01-01", end="2013-02-28")
        else:
            _deploy(cloud, demo.engine)
        cut.result()
    heading("Upload the training data: every flight out of New York, January and February 2013")
    bucket = cloud.outputs(MODEL.platform_stack)["DataBucketName"]
    new = upload_raw_data(cloud, MODEL, bucket, "2013-01-01", "2013-02-28")
    replay = Replay(cloud, MODEL, summary.folder(cloud), granted=demo.granted)
    if replay.asked(FIRST):
        heading("Nothing is new: the first version is live and has answered its first day")
        released, _, package_arn, _ = live_version(cloud, MODEL).split("|")
    else:
        found = _train_and_approve(demo, new)
        if found is None:
            return
        package_arn = found
        heading("Release: the controller deploys the approved version")
        released = await_release(cloud, MODEL, package_arn)
        heading("1 March: send the day's flights to the endpoint")
        with timed("sending requests"):
            traffic = replay.first_day()
        _first_figures(cloud, traffic)
    if demo.until_live:
        _loop_is_running(demo, package_arn, released)
        return
    replay.through(demo.last)
    _close(demo)


def with_engine(folder: Path, engine: Engine) -> str:
    """Return the path of the demo's evergreen.yaml with an engine; a copy in `folder` where it is another one."""
    if engine is Engine.BUILTIN:
        return CONFIGURATION
    application = yaml.safe_load((ROOT / CONFIGURATION).read_text(encoding="utf-8"))
    for stage in application["stages"]:
        stage["model_monitor"] = "available"
    path = folder / "evergreen.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(application, sort_keys=False), encoding="utf-8")
    return str(path)


def _deploy(cloud: LocalCloud, engine: Engine) -> None:
    heading("Deploy the stacks with the CDK CLI")
    with timed("synthesizing"):
        application = shlex.quote(with_engine(summary.folder(cloud), engine))
        app = f"{sys.executable} app.py {application} {MODELS}"
        cloud.cdk("synth", "--quiet", "--app", app, "--output", str(cloud.assembly))
    cloud.cdk("bootstrap", "--app", str(cloud.assembly))
    cloud.cdk("deploy", "--app", str(cloud.assembly), "--all", "--require-approval", "never", "--concurrency", "2")


def _first_figures(cloud: LocalCloud, traffic: Traffic) -> None:
    answered = read_answers(summary.folder(cloud) / "answers")
    auc = roc_auc_score([one.late for one in answered], [one.score for one in answered])
    p50, p95 = traffic.latency_ms(0.5), traffic.latency_ms(0.95)
    say(f"{len(answered)} flights: AUC {auc:.3f}, latency of one request p50 {p50:.1f} ms, p95 {p95:.1f} ms")


def _train_and_approve(demo: _Demo, new_objects: int) -> str | None:
    """Train if anything is new, and ask for the approval. Return the package's ARN, None if a person refused."""
    cloud = demo.cloud
    sagemaker = cloud.client("sagemaker")
    live = live_version(cloud, MODEL).split("|")[2]
    if live != "none" and not new_objects and already_trained(cloud, MODEL):
        heading("Nothing is new: a version trained on the same data and code is live")
        return live
    heading("Train: the SageMaker Pipeline")
    package_arn = push.trained(cloud, MODEL) if demo.push else train(cloud, MODEL)
    package = sagemaker.describe_model_package(ModelPackageName=package_arn)
    heading("Approve: a person decides in the Model Registry")
    say(f"version {package['ModelPackageVersion']} waits for approval: {evaluation(cloud, package)['verdict']}")
    if approve(cloud, package, granted=demo.granted):
        return package_arn
    version = package["ModelPackageVersion"]
    say("Not approved, so nothing is deployed. To approve it later:")
    console.print(cloud.evergreen(f"approve {MODEL.name} {version}"), soft_wrap=True)
    return None


def _loop_is_running(demo: _Demo, package_arn: str, released: str) -> None:
    cloud = demo.cloud
    package = cloud.client("sagemaker").describe_model_package(ModelPackageName=package_arn)
    holdout = evaluation(cloud, package)
    platform = cloud.outputs(MODEL.platform_stack)
    table(
        "The loop is running",
        [
            ("version", f"{package['ModelPackageGroupName']} {package['ModelPackageVersion']}, release {released}"),
            ("AUC on holdout", f"{holdout['metrics']['auc']:.3f} on {holdout['rows']:,} flights not used in training"),
            ("endpoint", MODEL.endpoint),
            ("data capture", f"s3://{platform['DataBucketName']}/{MODEL.name}/capture/"),
            ("artifacts", f"s3://{platform['ArtifactBucketName']}/releases/{MODEL.name}/{released}/"),
            ("state and logs", f"{cloud.state}"),
            ("time", f"{demo.seconds:.0f} s"),
        ],
    )
    _look_around(cloud)


def _close(demo: _Demo) -> None:
    """Compare with the first version, show what happens to a bad one, and print the summary."""
    cloud, last = demo.cloud, demo.last
    folder = summary.folder(cloud)
    answered = [one for one in read_answers(folder / "answers") if one.day <= last]
    heading("Compare with the first version, never retrained, on the same flights")
    with timed("scoring"):
        scores = first_version.scores(cloud, MODEL, answered[0].release, flights.days(FIRST, last), folder)
    gap = disagreement(answered, scores)
    if gap > _ROUNDING:
        raise DemoError(f"the endpoint and the first version disagree by up to {gap} while that version was live")
    say(f"while the first version was live, the endpoint gave the same scores (largest difference {gap:.0e})")
    found = months(answered, scores)
    columns("AUC by month, on every flight that landed", HEAD, rows(found))
    picture = summary.picture(cloud, MODEL, found, answered, last)
    page, image = summary.draw(cloud, picture)
    bad = bad_model.show(cloud, MODEL, flights.one_by_one(flights.requests(flights.raw_file(folder, last))))
    heading("What happened")
    for line in summary.lines(picture, bad):
        say(line)
    table(
        "Results",
        [
            ("page", f"{page}"),
            ("picture", f"{image}"),
            ("state and logs", f"{cloud.state}"),
            ("time", f"{demo.seconds:.0f} s"),
        ],
    )
    _look_around(cloud)


def _look_around(cloud: LocalCloud) -> None:
    heading("Look around (each line runs as pasted)")
    for what, line in summary.look_around(cloud, MODEL):
        say(f"[dim]# {what}[/]")
        console.print(line, soft_wrap=True, markup=False)
    say("")
    say("Stop: [bold]make down[/]     Delete everything: [bold]make down ARGS=--purge[/]     Test: [bold]make test[/]")
