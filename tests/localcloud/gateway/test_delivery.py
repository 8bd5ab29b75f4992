"""From `git push` to a deployed stack, on a real gateway: CodePipeline, CodeBuild, CloudFormation and their roles."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

from tests.localcloud.gateway.harness import ACCOUNT, REGION, Local, free_port, until

_LONG = 60
_STACK = {"Resources": {"Where": {"Type": "AWS::SSM::Parameter", "Properties": {"Type": "String", "Value": "VALUE"}}}}
_SPEC = """
version: 0.2
env:
  variables: {PLAIN: from-spec}
  exported-variables: [ANSWER]
phases:
  install:
    commands: ["cd $CODEBUILD_SRC_DIR", "cat marker || true"]
  build:
    commands:
      - test "$GIVEN" = "from pipeline"
      - test -z "$AWS_PROFILE"
      - python -c "import boto3; print('I am', boto3.client('sts').get_caller_identity()['Arn'])"
      - sh ./build.sh
      - ANSWER=$(cat answer)
reports:
  unit: {files: [report.xml]}
artifacts:
  files: [stack.json]
"""
_REPORT = (
    '<testsuite name="s"><testcase classname="c" name="good" time="0.5"/>'
    '<testcase classname="c" name="bad"><failure message="no"/></testcase></testsuite>'
)


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True)


class Work:
    """A developer's work tree with the local cloud as its remote."""

    def __init__(self, local: Local, folder: Path, name: str) -> None:
        self.folder = folder
        folder.mkdir()
        _git(folder, "init", "-q", "-b", "main")
        path = local.run("remote", name).stdout.strip()
        _git(folder, "remote", "add", "local", path)

    def push(self, build: str, value: str) -> subprocess.CompletedProcess[str]:
        """Commit a build script and the value that the stack shall have, and push."""
        (self.folder / "build.sh").write_text(build)
        (self.folder / "stack.json").write_text(json.dumps(_STACK).replace("VALUE", value))
        (self.folder / "report.xml").write_text(_REPORT)
        (self.folder / "answer").write_text(value)
        _git(self.folder, "add", ".")
        _git(self.folder, "commit", "-qm", f"value {value}")
        return _git(self.folder, "push", "local", "main")


def _allow(*statements: tuple[str, str]) -> list[dict[str, Any]]:
    return [{"Effect": "Allow", "Action": action, "Resource": resource} for action, resource in statements]


def _deploy_pipeline(local: Local, name: str, *, approve: bool = False) -> None:
    """A bucket, roles, a project and a pipeline that deploys the stack `<name>-app`."""
    bucket = f"artifacts-{name}"
    everything = ("s3:*", f"arn:aws:s3:::{bucket}*")
    build_role = local.role(
        _allow(everything, ("logs:*", "*"), ("codebuild:*", "*")), service="codebuild.amazonaws.com"
    )
    stack_role = local.role(_allow(("ssm:*", "*")), service="cloudformation.amazonaws.com")
    pipeline_role = local.role(
        _allow(
            everything,
            ("codestar-connections:UseConnection", "*"),
            ("codebuild:StartBuild", f"arn:aws:codebuild:{REGION}:{ACCOUNT}:project/{name}"),
            ("codebuild:BatchGetBuilds", f"arn:aws:codebuild:{REGION}:{ACCOUNT}:project/{name}"),
            ("cloudformation:*", "*"),
            ("iam:PassRole", stack_role),
        ),
        service="codepipeline.amazonaws.com",
    )

    def action(title: str, kind: str, order: int = 1, **members: Any) -> dict[str, Any]:
        category, _, provider = kind.partition("/")
        type_id = {"Category": category, "Owner": "AWS", "Provider": provider, "Version": "1"}
        return {"Name": title, "ActionTypeId": type_id, "RunOrder": order, **members}

    deploy = {"StackName": f"{name}-app", "ChangeSetName": "change"}
    replace = {**deploy, "ActionMode": "CHANGE_SET_REPLACE", "TemplatePath": "Built::stack.json", "RoleArn": stack_role}
    given = [{"name": "GIVEN", "value": "from pipeline"}]
    stages = [
        {
            "Name": "Source",
            "Actions": [
                action(
                    "Push",
                    "Source/CodeStarSourceConnection",
                    Configuration={"ConnectionArn": "arn:c", "FullRepositoryId": f"team/{name}", "BranchName": "main"},
                    OutputArtifacts=[{"Name": "Code"}],
                )
            ],
        },
        {
            "Name": "Build",
            "Actions": [
                action(
                    "Build",
                    "Build/CodeBuild",
                    Configuration={"ProjectName": name, "EnvironmentVariables": json.dumps(given)},
                    InputArtifacts=[{"Name": "Code"}],
                    OutputArtifacts=[{"Name": "Built"}],
                    Namespace="Build",
                )
            ],
        },
        {
            "Name": "Deploy",
            "Actions": [
                *([action("Approve", "Approval/Manual")] if approve else []),
                action(
                    "Prepare", "Deploy/CloudFormation", 2, Configuration=replace, InputArtifacts=[{"Name": "Built"}]
                ),
                action(
                    "Execute", "Deploy/CloudFormation", 3, Configuration={**deploy, "ActionMode": "CHANGE_SET_EXECUTE"}
                ),
            ],
        },
    ]
    template = {
        "Resources": {
            "Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": bucket}},
            "Project": {
                "Type": "AWS::CodeBuild::Project",
                "Properties": {
                    "Name": name,
                    "ServiceRole": build_role,
                    "Source": {"Type": "CODEPIPELINE", "BuildSpec": _SPEC},
                    "Artifacts": {"Type": "CODEPIPELINE"},
                    "Environment": {
                        "Type": "LINUX_CONTAINER",
                        "ComputeType": "BUILD_GENERAL1_SMALL",
                        "Image": "aws/codebuild/standard:7.0",
                    },
                },
            },
            "Pipeline": {
                "Type": "AWS::CodePipeline::Pipeline",
                "DependsOn": ["Bucket", "Project"],
                "Properties": {
                    "Name": name,
                    "RoleArn": pipeline_role,
                    "PipelineType": "V2",
                    "ExecutionMode": "QUEUED",
                    "RestartExecutionOnUpdate": True,
                    "ArtifactStore": {"Type": "S3", "Location": {"Ref": "Bucket"}},
                    "Stages": stages,
                },
            },
        }
    }
    assert local.deploy(f"{name}-delivery", template)["StackStatus"].endswith("_COMPLETE")


def _executions(local: Local, name: str) -> list[dict[str, Any]]:
    """Those that pushes started, oldest first."""
    found = local.client("codepipeline").list_pipeline_executions(pipelineName=name)["pipelineExecutionSummaries"]
    return [one for one in reversed(found) if one["trigger"]["triggerType"] == "WebhookV2"]


def _ended(local: Local, name: str, count: int) -> list[str]:
    def look() -> list[str] | None:
        seen = [one["status"] for one in _executions(local, name)]
        return seen if len(seen) == count and not {"InProgress", "Stopping"} & set(seen) else None

    statuses: list[str] = until(look, _LONG)
    return statuses


def _deployed(local: Local, name: str) -> str:
    resources = local.client("cloudformation").describe_stack_resources(StackName=f"{name}-app")["StackResources"]
    parameter = resources[0]["PhysicalResourceId"]
    return str(local.client("ssm").get_parameter(Name=parameter)["Parameter"]["Value"])


@pytest.fixture(scope="module")
def delivered(local: Local, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Local, Work, str]]:
    """A pipeline through which one push went."""
    _deploy_pipeline(local, "shop")
    work = Work(local, tmp_path_factory.mktemp("work") / "shop", "shop")
    yield local, work, work.push("true", "one").stderr


def test_a_push_says_what_it_started_and_ends_in_a_stack(delivered: tuple[Local, Work, str]) -> None:
    local, _, said = delivered
    assert "Pipeline shop started: execution" in said
    assert _ended(local, "shop", 1) == ["Succeeded"]
    assert _deployed(local, "shop") == "one"


def test_a_build_acts_as_its_projects_role_and_its_tests_are_shown(delivered: tuple[Local, Work, str]) -> None:
    local, work, _ = delivered
    _ended(local, "shop", 1)
    builds = local.client("codebuild")
    build = builds.batch_get_builds(ids=builds.list_builds_for_project(projectName="shop")["ids"])["builds"][-1]
    assert build["initiator"] == "codepipeline/shop"
    assert build["resolvedSourceVersion"] == _git(work.folder, "rev-list", "--max-parents=0", "HEAD").stdout.strip()
    assert build["exportedEnvironmentVariables"] == [{"name": "ANSWER", "value": "one"}]
    logs = build["logs"]
    lines = local.client("logs").get_log_events(logGroupName=logs["groupName"], logStreamName=logs["streamName"])
    role = build["serviceRole"].rpartition("/")[2]
    assert any(f"I am arn:aws:sts::{ACCOUNT}:assumed-role/{role}/" in one["message"] for one in lines["events"])
    report = builds.batch_get_reports(reportArns=build["reportArns"])["reports"][0]
    assert report["testSummary"]["statusCounts"]["FAILED"] == 1
    cases = builds.describe_test_cases(reportArn=report["arn"])["testCases"]
    assert {case["name"]: case["status"] for case in cases} == {"good": "SUCCEEDED", "bad": "FAILED"}


def test_a_push_that_breaks_the_build_changes_nothing(delivered: tuple[Local, Work, str]) -> None:
    local, work, _ = delivered
    _ended(local, "shop", 1)
    work.push("exit 7", "two")
    assert _ended(local, "shop", 2) == ["Succeeded", "Failed"]
    assert _deployed(local, "shop") == "one"
    detail = local.client("codepipeline").list_action_executions(pipelineName="shop")["actionExecutionDetails"][0]
    assert detail["actionName"] == "Build"
    assert "sh ./build.sh. Reason: exit status 7" in detail["output"]["executionResult"]["errorDetails"]["message"]


def test_two_pushes_are_delivered_in_their_order(delivered: tuple[Local, Work, str]) -> None:
    local, work, _ = delivered
    before = len(_executions(local, "shop"))
    work.push("sleep 1", "three")
    work.push("true", "four")
    assert _ended(local, "shop", before + 2)[-2:] == ["Succeeded", "Succeeded"]
    assert _deployed(local, "shop") == "four"


def test_a_missing_permission_fails_the_action_as_in_aws(delivered: tuple[Local, Work, str]) -> None:
    local, _, _ = delivered
    codepipeline = local.client("codepipeline")
    structure = codepipeline.get_pipeline(name="shop")["pipeline"]
    name = f"poor-{os.getpid()}"
    poor = local.role(_allow(("s3:*", "*")), service="codepipeline.amazonaws.com")
    codepipeline.create_pipeline(pipeline={**structure, "name": name, "roleArn": poor})

    def failed() -> dict[str, Any] | None:
        details = codepipeline.list_action_executions(pipelineName=name)["actionExecutionDetails"]
        return next((one for one in details if one["status"] == "Failed"), None)

    error = until(failed)["output"]["executionResult"]["errorDetails"]
    assert error["code"] == "PermissionError"
    assert "codestar-connections:UseConnection" in error["message"]
    codepipeline.delete_pipeline(name=name)


def test_a_project_of_a_pipeline_is_not_started_by_hand(delivered: tuple[Local, Work, str]) -> None:
    local, _, _ = delivered
    with pytest.raises(ClientError, match="only a pipeline starts it"):
        local.client("codebuild").start_build(projectName="shop")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Local]:
    """A gateway that the test may kill."""
    cloud = Local(free_port(), tmp_path / "state")
    cloud.up()
    yield cloud
    cloud.run("down", "--purge")


def test_a_killed_gateway_leaves_no_build_and_a_waiting_approval_outlives_it(own: Local, tmp_path: Path) -> None:
    _deploy_pipeline(own, "killed", approve=True)
    work = Work(own, tmp_path / "work", "killed")
    mark = f"88{os.getpid()}"
    work.push(f"sleep {mark}", "one")
    sleeper = until(
        lambda: [one for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == ["sleep", mark]], _LONG
    )
    until(lambda: _executions(own, "killed"))
    os.kill(own.pid, signal.SIGKILL)
    refused = _git(work.folder, "push", "local", "main:other")
    assert refused.returncode != 0
    assert "does not run; start it: python -m localcloud up" in refused.stderr
    own.up()
    assert not [one for one in sleeper if one.is_running()]
    assert _ended(own, "killed", 1) == ["Failed"]
    codepipeline = own.client("codepipeline")
    work.push("true", "two")
    token = until(
        lambda: (
            codepipeline.get_pipeline_state(name="killed")["stageStates"][2]["actionStates"][0]
            .get("latestExecution", {})
            .get("token")
        ),
        _LONG,
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
    assert _ended(own, "killed", 2) == ["Failed", "Succeeded"]
    assert _deployed(own, "killed") == "two"
