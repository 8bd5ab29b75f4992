"""`make demo ARGS=--push`: the repository's last commit goes to the local remote, and the pipeline does the rest.

The pipeline runs the commands of the demo's own configuration: `make check` would make an environment in each build.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from evergreen.demo.cloud import ROOT, LocalCloud
from evergreen.demo.terminal import DemoError, heading, say, timed
from evergreen.demo.training import Model, follow, upload_raw_data

_PATIENCE = 1800


def deliver(cloud: LocalCloud, model: Model, configuration: str, *, start: str, end: str, tree: Path = ROOT) -> None:
    """Install the pipeline, push, and watch it to its end; raw data land as soon as there is a bucket for them.

    Args:
        configuration: The file that the pipeline's own synth names, from the tree's root.
        start: First day of the raw data, as `2013-01-01`; `end` is the last one.
        tree: The git checkout whose last commit is pushed.

    Raises:
        DemoError: The folder is no git repository, the push was refused, or a stage failed.
    """
    commit = _last_commit(tree)
    delivery = yaml.safe_load((tree / configuration).read_text(encoding="utf-8"))["delivery"]
    heading("cdk bootstrap, and the pipeline: the whole installation")
    pipeline = _install(cloud, model, configuration, tree)
    heading("git push: the only act")
    say(f"It runs the test command of {configuration.split()[0]}, not `make check`, which takes minutes:")
    say(f"[dim]{delivery['test']}[/]")
    remote, branch = cloud.remote(delivery["source"]["codecommit"]), delivery["source"]["branch"]
    say(f"git push {remote} HEAD:{branch}")
    _git(tree, "push", "--quiet", remote, f"HEAD:refs/heads/{branch}")
    landed = False
    for _ in _looks(cloud, pipeline, commit):
        if not landed and (bucket := _data_bucket(cloud, model)):
            upload_raw_data(cloud, model, bucket, start, end)
            landed = True


def trained(cloud: LocalCloud, model: Model) -> str:
    """Follow the training that the delivery asked for; return the ARN of the package that it registered."""
    listed = cloud.client("sagemaker").list_pipeline_executions(
        PipelineName=model.group, SortBy="CreationTime", SortOrder="Descending"
    )["PipelineExecutionSummaries"]
    asked = [one for one in listed if one.get("PipelineExecutionDisplayName", "").startswith("code-")]
    if not asked:
        raise DemoError(f"the delivery asked for no training of {model.name}; the log of its last step says why")
    return follow(cloud, asked[0]["PipelineExecutionArn"])


def _git(tree: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=tree, check=False, capture_output=True, text=True)
    if done.returncode:
        raise DemoError(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def _last_commit(tree: Path) -> str:
    commit = _git(tree, "rev-parse", "HEAD")
    if _git(tree, "status", "--porcelain", "--untracked-files=no"):
        say(f"[yellow]What is not committed is not pushed: {commit[:12]} is.[/]")
    return commit


def _install(cloud: LocalCloud, model: Model, configuration: str, tree: Path) -> str:
    """Bootstrap, and deploy the Delivery stack alone; return the pipeline's name."""
    stack = f"{model.app}-delivery"
    assembly = str(cloud.assembly)
    with timed("synthesising"):
        app = f"{sys.executable} app.py {configuration}"
        cloud.cdk("synth", "--quiet", "--context", "delivery=true", "--app", app, "--output", assembly, cwd=tree)
    cloud.cdk("bootstrap", "--app", assembly)
    cloud.cdk("deploy", "--app", assembly, stack, "--require-approval", "never")
    return cloud.outputs(stack)["PipelineName"]


def _data_bucket(cloud: LocalCloud, model: Model) -> str | None:
    """The bucket that raw data land in, once the pipeline has deployed the platform."""
    stacks = cloud.client("cloudformation")
    try:
        found = stacks.describe_stacks(StackName=f"{model.app}-platform-{model.stage}")["Stacks"][0]
    except stacks.exceptions.ClientError:
        return None
    outputs = {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}
    return outputs.get("DataBucketName") if found["StackStatus"].endswith("_COMPLETE") else None


def _looks(cloud: LocalCloud, pipeline: str, commit: str) -> Iterator[None]:
    """Look at the commit's execution again and again, its actions told as they end, until it has succeeded.

    A pipeline that changes itself starts the commit anew: the newest execution counts.
    """
    codepipeline = cloud.client("codepipeline")
    told: set[str] = set()
    began = time.monotonic()
    while time.monotonic() - began < _PATIENCE:
        listed = codepipeline.list_pipeline_executions(pipelineName=pipeline)["pipelineExecutionSummaries"]
        own = [one for one in listed if commit in {source.get("revisionId") for source in one["sourceRevisions"]}]
        newest = max(own, key=_started, default=None)
        if newest is not None:
            _tell(codepipeline, pipeline, newest["pipelineExecutionId"], told)
            if newest["status"] in {"Failed", "Stopped"}:
                ended = newest["status"].lower()
                raise DemoError(f"the delivery {ended}; `.venv/bin/localcloud status` says where")
        yield
        if newest is not None and newest["status"] == "Succeeded":
            return
        time.sleep(0.5)
    raise DemoError(f"the delivery has not ended after {_PATIENCE} s")


def _started(execution: dict[str, Any]) -> datetime:
    started: datetime = execution["startTime"]
    return started


def _tell(codepipeline: Any, pipeline: str, execution: str, told: set[str]) -> None:
    pages = codepipeline.get_paginator("list_action_executions").paginate(
        pipelineName=pipeline, filter={"pipelineExecutionId": execution}
    )
    actions = [action for page in pages for action in page["actionExecutionDetails"]]
    for action in sorted(actions, key=lambda one: one["lastUpdateTime"]):
        if action["status"] == "InProgress" or action["actionExecutionId"] in told:
            continue
        told.add(action["actionExecutionId"])
        seconds = (action["lastUpdateTime"] - action["startTime"]).total_seconds()
        say(f"{action['stageName'] + ' · ' + action['actionName']:<56} {action['status']}  [dim]{seconds:.1f} s[/]")
