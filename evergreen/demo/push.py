"""`make demo ARGS=--push`: push the last commit to the local remote, and let the delivery pipeline deploy and train.

The pipeline runs the short test command of the demo's configuration, because `make check` takes minutes.
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

from evergreen import ROOT
from evergreen.demo.cloud import LocalCloud
from evergreen.demo.terminal import DemoError, heading, say, timed
from evergreen.demo.training import follow, upload_raw_data
from evergreen.names import Names

_PATIENCE = 1800


def deliver(cloud: LocalCloud, model: Names, arguments: str, *, start: str, end: str, tree: Path = ROOT) -> None:
    """Deploy the delivery pipeline, push, and follow the delivery. Raw data are uploaded once their bucket exists.

    Args:
        cloud: The local cloud.
        model: The model's names.
        arguments: Arguments of app.py that the pipeline's synth uses: the application's file and the models' folder.
        start: First day of the raw data, such as `2013-01-01`.
        end: Their last day.
        tree: The git checkout whose last commit is pushed.

    Raises:
        DemoError: The folder is no git repository, the push was refused, or a stage failed.
    """
    commit = _last_commit(tree)
    configuration = arguments.split()[0]
    delivery = yaml.safe_load((tree / configuration).read_text(encoding="utf-8"))["delivery"]
    heading("Bootstrap, and deploy the delivery pipeline")
    pipeline = _install(cloud, model, arguments, tree)
    heading("git push: the pipeline deploys and trains")
    say(f"[dim]test command of {configuration}: {delivery['test']}[/]")
    remote, branch = cloud.remote(delivery["source"]["codecommit"]), delivery["source"]["branch"]
    say(f"git push {remote} HEAD:{branch}")
    _git(tree, "push", "--quiet", remote, f"HEAD:refs/heads/{branch}")
    uploaded = False
    for _ in _progress(cloud, pipeline, commit):
        if not uploaded and (bucket := _data_bucket(cloud, model)):
            upload_raw_data(cloud, model, bucket, start, end)
            uploaded = True


def trained(cloud: LocalCloud, model: Names) -> str:
    """Follow the training that the delivery requested. Return the ARN of the package that it registered.

    Raises:
        DemoError: The delivery requested none, or it failed.
    """
    listed = cloud.client("sagemaker").list_pipeline_executions(
        PipelineName=model.group, SortBy="CreationTime", SortOrder="Descending"
    )["PipelineExecutionSummaries"]
    requested = [one for one in listed if one.get("PipelineExecutionDisplayName", "").startswith("code-")]
    if not requested:
        raise DemoError(f"the delivery requested no training of {model.name}; the log of its last step says why")
    return follow(cloud, requested[0]["PipelineExecutionArn"])


def _git(tree: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=tree, check=False, capture_output=True, text=True)
    if done.returncode:
        raise DemoError(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def _last_commit(tree: Path) -> str:
    commit = _git(tree, "rev-parse", "HEAD")
    if _git(tree, "status", "--porcelain", "--untracked-files=no"):
        say(f"[yellow]Uncommitted changes are not pushed. Pushing {commit[:12]}.[/]")
    return commit


def _install(cloud: LocalCloud, model: Names, arguments: str, tree: Path) -> str:
    """Bootstrap and deploy the Delivery stack alone. Return the pipeline's name."""
    stack = f"{model.app}-delivery"
    assembly = str(cloud.assembly)
    with timed("synthesizing"):
        app = f"{sys.executable} app.py {arguments}"
        cloud.cdk("synth", "--quiet", "--context", "delivery=true", "--app", app, "--output", assembly, cwd=tree)
    cloud.cdk("bootstrap", "--app", assembly)
    cloud.cdk("deploy", "--app", assembly, stack, "--require-approval", "never")
    return cloud.outputs(stack)["PipelineName"]


def _data_bucket(cloud: LocalCloud, model: Names) -> str | None:
    """Return the data bucket, None until the pipeline has deployed the platform."""
    stacks = cloud.client("cloudformation")
    try:
        found = stacks.describe_stacks(StackName=model.platform_stack)["Stacks"][0]
    except stacks.exceptions.ClientError:
        return None
    outputs = {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}
    return outputs.get("DataBucketName") if found["StackStatus"].endswith("_COMPLETE") else None


def _progress(cloud: LocalCloud, pipeline: str, commit: str) -> Iterator[None]:
    """Poll the commit's execution and print its actions as they end, until it has succeeded.

    A pipeline that updates itself starts the commit again, so the newest execution counts.
    """
    codepipeline = cloud.client("codepipeline")
    printed: set[str] = set()
    began = time.monotonic()
    while time.monotonic() - began < _PATIENCE:
        listed = codepipeline.list_pipeline_executions(pipelineName=pipeline)["pipelineExecutionSummaries"]
        own = [one for one in listed if commit in {source.get("revisionId") for source in one["sourceRevisions"]}]
        newest = max(own, key=_started, default=None)
        if newest is not None:
            _print_ended(codepipeline, pipeline, newest["pipelineExecutionId"], printed)
            if newest["status"] in {"Failed", "Stopped"}:
                ended = newest["status"].lower()
                raise DemoError(f"the delivery {ended}; `.venv/bin/localcloud status` says in which stage")
        yield
        if newest is not None and newest["status"] == "Succeeded":
            return
        time.sleep(0.5)
    raise DemoError(f"the delivery has not ended after {_PATIENCE} s")


def _started(execution: dict[str, Any]) -> datetime:
    started: datetime = execution["startTime"]
    return started


def _print_ended(codepipeline: Any, pipeline: str, execution: str, printed: set[str]) -> None:
    pages = codepipeline.get_paginator("list_action_executions").paginate(
        pipelineName=pipeline, filter={"pipelineExecutionId": execution}
    )
    actions = [action for page in pages for action in page["actionExecutionDetails"]]
    for action in sorted(actions, key=lambda one: one["lastUpdateTime"]):
        if action["status"] == "InProgress" or action["actionExecutionId"] in printed:
            continue
        printed.add(action["actionExecutionId"])
        seconds = (action["lastUpdateTime"] - action["startTime"]).total_seconds()
        say(f"{action['stageName'] + ' · ' + action['actionName']:<56} {action['status']}  [dim]{seconds:.1f} s[/]")
