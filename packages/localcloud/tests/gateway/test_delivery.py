"""From `git push` to a deployed stack on a real gateway: CodePipeline, CodeBuild, CloudFormation and their roles."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError
from localcloud_support.pipelines import (
    LONG,
    WorkTree,
    allow,
    deploy_pipeline,
    deployed,
    ended,
    executions,
    git,
)

from localcloud.testing import ACCOUNT, LocalCloud, wait_until


@pytest.fixture(scope="module")
def delivered(
    local: LocalCloud, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[LocalCloud, WorkTree, str]]:
    """Yield a pipeline that has delivered one push."""
    deploy_pipeline(local, "shop")
    work = WorkTree(local, tmp_path_factory.mktemp("work") / "shop", "shop")
    yield local, work, work.push("true", "one").stderr


def test_a_push_says_what_it_started_and_ends_in_a_stack(delivered: tuple[LocalCloud, WorkTree, str]) -> None:
    local, _, output = delivered
    assert "Pipeline shop started: execution" in output
    assert ended(local, "shop", 1) == ["Succeeded"]
    assert deployed(local, "shop") == "one"


def test_a_build_acts_as_its_projects_role_and_its_tests_are_shown(delivered: tuple[LocalCloud, WorkTree, str]) -> None:
    local, work, _ = delivered
    ended(local, "shop", 1)
    builds = local.client("codebuild")
    build = builds.batch_get_builds(ids=builds.list_builds_for_project(projectName="shop")["ids"])["builds"][-1]
    assert build["initiator"] == "codepipeline/shop"
    assert build["resolvedSourceVersion"] == git(work.folder, "rev-list", "--max-parents=0", "HEAD").stdout.strip()
    assert build["exportedEnvironmentVariables"] == [{"name": "ANSWER", "value": "one"}]
    logs = build["logs"]
    lines = local.client("logs").get_log_events(logGroupName=logs["groupName"], logStreamName=logs["streamName"])
    role = build["serviceRole"].rpartition("/")[2]
    assert any(f"I am arn:aws:sts::{ACCOUNT}:assumed-role/{role}/" in one["message"] for one in lines["events"])
    report = builds.batch_get_reports(reportArns=build["reportArns"])["reports"][0]
    assert report["testSummary"]["statusCounts"]["FAILED"] == 1
    cases = builds.describe_test_cases(reportArn=report["arn"])["testCases"]
    assert {case["name"]: case["status"] for case in cases} == {"good": "SUCCEEDED", "bad": "FAILED"}


def test_a_push_that_breaks_the_build_changes_nothing(delivered: tuple[LocalCloud, WorkTree, str]) -> None:
    local, work, _ = delivered
    ended(local, "shop", 1)
    work.push("exit 7", "two")
    assert ended(local, "shop", 2) == ["Succeeded", "Failed"]
    assert deployed(local, "shop") == "one"
    detail = local.client("codepipeline").list_action_executions(pipelineName="shop")["actionExecutionDetails"][0]
    assert detail["actionName"] == "Build"
    assert "sh ./build.sh. Reason: exit status 7" in detail["output"]["executionResult"]["errorDetails"]["message"]


def test_two_pushes_are_delivered_in_their_order(delivered: tuple[LocalCloud, WorkTree, str]) -> None:
    local, work, _ = delivered
    before = len(executions(local, "shop"))
    work.push("sleep 1", "three")
    work.push("true", "four")
    assert ended(local, "shop", before + 2)[-2:] == ["Succeeded", "Succeeded"]
    assert deployed(local, "shop") == "four"


def test_a_missing_permission_fails_the_action_as_in_aws(delivered: tuple[LocalCloud, WorkTree, str]) -> None:
    local, _, _ = delivered
    codepipeline = local.client("codepipeline")
    structure = codepipeline.get_pipeline(name="shop")["pipeline"]
    name = f"poor-{os.getpid()}"
    old_name = ("codestar-connections:UseConnection", "*")  # another service's name than in the connection's ARN
    poor = local.create_role(allow(("s3:*", "*"), old_name), service="codepipeline.amazonaws.com")
    codepipeline.create_pipeline(pipeline={**structure, "name": name, "roleArn": poor})

    def failed() -> dict[str, Any] | None:
        details = codepipeline.list_action_executions(pipelineName=name)["actionExecutionDetails"]
        return next((one for one in details if one["status"] == "Failed"), None)

    error = wait_until(failed)["output"]["executionResult"]["errorDetails"]
    assert error["code"] == "PermissionError"
    assert "codeconnections:UseConnection" in error["message"]
    codepipeline.delete_pipeline(name=name)


def test_a_project_of_a_pipeline_is_not_started_by_hand(delivered: tuple[LocalCloud, WorkTree, str]) -> None:
    local, _, _ = delivered
    with pytest.raises(ClientError, match="only a pipeline can start it"):
        local.client("codebuild").start_build(projectName="shop")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[LocalCloud]:
    """Yield a gateway that the test may kill."""
    with LocalCloud(tmp_path / "state") as cloud:
        yield cloud


def test_a_killed_gateway_leaves_no_build_and_a_waiting_approval_outlives_it(own: LocalCloud, tmp_path: Path) -> None:
    deploy_pipeline(own, "killed", approve=True)
    work = WorkTree(own, tmp_path / "work", "killed")
    mark = f"88{os.getpid()}"
    work.push(f"sleep {mark}", "one")
    sleeper = wait_until(
        lambda: [one for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == ["sleep", mark]], LONG
    )
    wait_until(lambda: executions(own, "killed"))
    os.kill(own.pid, signal.SIGKILL)
    refused = git(work.folder, "push", "local", "main:other")
    assert refused.returncode != 0
    assert "does not run; start it: localcloud up" in refused.stderr
    own.up()
    assert not [one for one in sleeper if one.is_running()]
    assert ended(own, "killed", 1) == ["Failed"]
    codepipeline = own.client("codepipeline")
    work.push("true", "two")
    token = wait_until(
        lambda: (
            codepipeline.get_pipeline_state(name="killed")["stageStates"][2]["actionStates"][0]
            .get("latestExecution", {})
            .get("token")
        ),
        LONG,
    )
    os.kill(own.pid, signal.SIGKILL)  # an approval outlives it too
    own.up()
    codepipeline.put_approval_result(
        pipelineName="killed",
        stageName="Deploy",
        actionName="Approve",
        token=token,
        result={"summary": "yes", "status": "Approved"},
    )
    assert ended(own, "killed", 2) == ["Failed", "Succeeded"]
    assert deployed(own, "killed") == "two"
