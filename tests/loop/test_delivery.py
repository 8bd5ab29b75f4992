"""A clone is pushed to the local remote, and the delivery pipeline deploys and trains.

The tests share one local cloud and run in order: each checks the next push. The clone has a short `delivery.test`.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from evergreen import ROOT
from evergreen.demo import push
from evergreen.demo.cloud import LocalCloud
from evergreen.names import Names
from tests.loop.conftest import free_port

pytestmark = [pytest.mark.loop, pytest.mark.timeout(1200)]

PIPELINE = "evergreen-delivery"
APPLICATION = "evergreen/demo/evergreen.yaml"
# A folder of models, where the demo has one model.
CONFIGURATION = f"{APPLICATION} examples"
SHORT = "python -m pytest tests/unit/handlers/test_archive_decide.py -q -p no:cacheprovider $ARGS"
T = TypeVar("T")


def until(what: str, read: Callable[[], T | None], seconds: float = 600) -> T:
    """Poll until `read` gives something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (found := read()) is not None:
            return found
        time.sleep(0.3)
    raise AssertionError(f"{what}: not within {seconds:.0f} s")


@dataclass(frozen=True)
class Developer:
    """A developer with a clone, and with a queue that is subscribed to the pipeline's alert topic."""

    cloud: LocalCloud
    tree: Path

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=Dev", "-c", "user.email=dev@example.com", "-c", "commit.gpgsign=false"]
        command = ["git", *identity, *arguments]
        return subprocess.run(command, cwd=self.tree, check=True, capture_output=True, text=True).stdout.strip()

    def edit(self, path: str, old: str, new: str) -> None:
        file = self.tree / path
        text = file.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path}"
        file.write_text(text.replace(old, new), encoding="utf-8")

    def commit(self, message: str) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD")

    def push(self, message: str) -> str:
        commit = self.commit(message)
        self.git("push", "--quiet", self.cloud.remote("evergreen"), "HEAD:refs/heads/main")
        return commit

    def executions(self, commit: str) -> list[dict[str, Any]]:
        """Return the pipeline's executions of a commit."""
        listed = self.cloud.client("codepipeline").list_pipeline_executions(pipelineName=PIPELINE)
        return [
            one
            for one in listed["pipelineExecutionSummaries"]
            if commit in {source.get("revisionId") for source in one["sourceRevisions"]}
        ]

    def delivered(self, commit: str) -> dict[str, Any]:
        """Wait for the one execution of a commit to end. Return it."""

        def ended() -> dict[str, Any] | None:
            done = [one for one in self.executions(commit) if one["status"] != "InProgress"]
            return done[0] if done else None

        return until(f"the delivery of {commit[:8]}", ended)

    def failures(self, execution: dict[str, Any]) -> str:
        """Return the failed actions of an execution."""
        actions = self.cloud.client("codepipeline").list_action_executions(
            pipelineName=PIPELINE, filter={"pipelineExecutionId": execution["pipelineExecutionId"]}
        )["actionExecutionDetails"]
        return json.dumps([one for one in actions if one["status"] == "Failed"], default=str)

    def functions(self) -> dict[str, str]:
        """Return the SHA-256 of each function's code by its name."""
        pages = self.cloud.client("lambda").get_paginator("list_functions").paginate()
        return {one["FunctionName"]: one["CodeSha256"] for page in pages for one in page["Functions"]}

    def stacks(self) -> dict[str, str]:
        """Return each stack's status and the time of its last change."""
        stacks = self.cloud.client("cloudformation").describe_stacks()["Stacks"]
        return {one["StackName"]: f"{one['StackStatus']} {one.get('LastUpdatedTime')}" for one in stacks}

    def trainings(self, name: str) -> list[str]:
        """Return a model's executions, newest first."""
        listed = self.cloud.client("sagemaker").list_pipeline_executions(
            PipelineName=f"evergreen-{name}", SortBy="CreationTime", SortOrder="Descending"
        )
        return [one["PipelineExecutionArn"] for one in listed["PipelineExecutionSummaries"]]

    def commit_of(self, training: str) -> str:
        parameters = self.cloud.client("sagemaker").list_pipeline_parameters_for_execution(
            PipelineExecutionArn=training
        )["PipelineParameters"]
        return next(str(one["Value"]) for one in parameters if one["Name"] == "CommitId")

    def listen(self) -> None:
        """Subscribe a queue to the pipeline's alert topic."""
        sqs, sns = self.cloud.client("sqs"), self.cloud.client("sns")
        topic = self.cloud.outputs(PIPELINE)["AlertTopicArn"]
        allowed = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage"}
        policy = {"Version": "2012-10-17", "Statement": [{**allowed, "Resource": "*"}]}
        url = sqs.create_queue(QueueName="alerts", Attributes={"Policy": json.dumps(policy)})["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)

    def next_alert(self) -> str:
        sqs = self.cloud.client("sqs")
        url = sqs.get_queue_url(QueueName="alerts")["QueueUrl"]
        received = until("an alert", lambda: sqs.receive_message(QueueUrl=url).get("Messages"), 30)
        return str(json.loads(received[0]["Body"])["Message"])


def second_model(tree: Path) -> None:
    """Add a model, with stacks of its own and without raw data."""
    target = tree / "examples" / "second_model"
    shutil.copytree(tree / "examples" / "flight_delays", target)
    specification = target / "model.yaml"
    text = specification.read_text(encoding="utf-8")
    specification.write_text(text.replace("name: flight-delays", "name: second-model"), encoding="utf-8")


@pytest.fixture(scope="module")
def developer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Developer]:
    """Yield a new cloud, and a clone of the last commit with a second model and a short test command."""
    folder = tmp_path_factory.mktemp("delivery")
    cloud, tree = LocalCloud(free_port(), folder / "state"), folder / "tree"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(tree)], check=True)
    developer = Developer(cloud, tree)
    long = yaml.safe_load((tree / APPLICATION).read_text(encoding="utf-8"))["delivery"]["test"]
    developer.edit(APPLICATION, f"test: {long}", f"test: {SHORT}")
    # The templates are validated elsewhere (tests/stacks), once instead of at each push.
    developer.edit(APPLICATION, "npx cdk synth", "CDK_VALIDATION=false npx cdk synth")
    developer.edit(APPLICATION, "examples/flight_delays", "examples")
    second_model(tree)
    developer.commit("A second model, and a short test")
    cloud.up()
    try:
        yield developer
    finally:
        cloud.down("--purge")


@pytest.fixture(scope="module")
def first(developer: Developer, model: Names) -> str:
    """Return the package that the first push led to."""
    push.deliver(developer.cloud, model, CONFIGURATION, start="2013-01-01", end="2013-02-28", tree=developer.tree)
    developer.listen()
    return push.trained(developer.cloud, model)


def test_a_push_deploys_and_trains_and_stops_at_the_registry(developer: Developer, model: Names, first: str) -> None:
    sagemaker = developer.cloud.client("sagemaker")
    package = sagemaker.describe_model_package(ModelPackageName=first)
    assert package["ModelApprovalStatus"] == "PendingManualApproval"
    assert package["MetadataProperties"]["CommitId"] == developer.git("rev-parse", "HEAD")
    assert sagemaker.list_endpoints()["Endpoints"] == [], "nobody approved anything"
    kinds = ("training-second-model", "serving-second-model-prod", "serving-flight-delays-prod")
    for name in ("platform-prod", f"training-{model.name}", *kinds):
        assert developer.stacks()[f"evergreen-{name}"].startswith(("CREATE_COMPLETE", "UPDATE_COMPLETE")), name
    until("the second model's run", lambda: developer.trainings("second-model") or None, 60)


def test_a_push_that_breaks_a_test_changes_nothing_and_sends_an_alert(developer: Developer, first: str) -> None:
    before = developer.stacks(), developer.functions(), developer.trainings("flight-delays")
    path = "tests/unit/handlers/test_archive_decide.py"
    whole = (developer.tree / path).read_text(encoding="utf-8")
    (developer.tree / path).write_text(f"{whole}\n\ndef test_broken() -> None:\n    assert not whatever\n")
    execution = developer.delivered(developer.push("Break a test"))
    assert execution["status"] == "Failed"
    alert = developer.next_alert()
    assert f"stage Build failed in execution {execution['pipelineExecutionId']}" in alert
    assert re.search(rf"https://\S+/{PIPELINE}/executions/{execution['pipelineExecutionId']}/timeline", alert)
    assert (developer.stacks(), developer.functions(), developer.trainings("flight-delays")) == before
    developer.git("revert", "--no-edit", "HEAD")


def test_pushes_are_delivered_in_order_and_each_changes_only_what_it_must(developer: Developer, first: str) -> None:
    """A handler's change and, before it is delivered, one of a model's training: queued, not dropped, not mixed."""
    functions = developer.functions()
    trained = {name: developer.trainings(name) for name in ("flight-delays", "second-model")}
    developer.edit("lambda/archive/controller.py", 'logger.info("archived"', 'logger.info("archived a model"')
    handler = developer.push("Log that a model was archived")
    until("its execution", lambda: developer.executions(handler) or None, 30)
    developer.edit("examples/flight_delays/train.py", "default=150)", "default=140)")
    script = developer.push("Fewer trees by default")

    execution = developer.delivered(handler)
    assert execution["status"] == "Succeeded", developer.failures(execution)
    changed = {name for name, code in developer.functions().items() if functions.get(name) != code}
    assert len(changed) == 1, changed
    assert "Archive" in changed.pop()

    execution = developer.delivered(script)
    assert execution["status"] == "Succeeded", developer.failures(execution)
    assert len({name for name, code in developer.functions().items() if functions.get(name) != code}) == 1
    new, *old = until("the training", lambda: _more(developer.trainings("flight-delays"), trained["flight-delays"]), 60)
    assert old == trained["flight-delays"], "the handler's push trained nothing"
    assert developer.commit_of(new) == script
    assert developer.trainings("second-model") == trained["second-model"]


def _more(now: list[str], before: list[str]) -> list[str] | None:
    return now if len(now) > len(before) else None
