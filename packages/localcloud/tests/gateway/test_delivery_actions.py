"""The other action providers on a real gateway: Lambda, CodeCommit with its rule, stacks without change sets."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from localcloud.testing import ACCOUNT, REGION, LocalCloud, wait_until

_NAME = "actions"
_BUCKET = f"artifacts-{_NAME}"
_TEMPLATE: dict[str, Any] = {
    "Parameters": {"Value": {"Type": "String"}},
    "Resources": {
        "Where": {"Type": "AWS::SSM::Parameter", "Properties": {"Type": "String", "Value": {"Ref": "Value"}}}
    },
    "Outputs": {"Said": {"Value": {"Ref": "Value"}}},
    "Metadata": {"Padding": "x" * 60_000},  # more than a request's body may hold
}
_FUNCTION = """
import boto3
def handler(event, _):
    job = event["CodePipeline.job"]
    asked = job["data"]["actionConfiguration"]["configuration"]["UserParameters"]
    client = boto3.client("codepipeline")
    if asked == "fail":
        client.put_job_failure_result(jobId=job["id"], failureDetails={"type": "JobFailed", "message": "as expected"})
    else:
        client.put_job_success_result(jobId=job["id"], outputVariables={"Echo": asked})
"""


def _action(name: str, kind: str, order: int = 1, **members: Any) -> dict[str, Any]:
    category, _, provider = kind.partition("/")
    type_id = {"category": category, "owner": "AWS", "provider": provider, "version": "1"}
    return {"name": name, "actionTypeId": type_id, "runOrder": order, **members}


@pytest.fixture(scope="module")
def pipeline(local: LocalCloud, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A CodeCommit source, a function, a stack made and deleted; started by a push and an EventBridge rule."""
    local.client("codecommit").create_repository(repositoryName=_NAME)
    local.client("s3").create_bucket(Bucket=_BUCKET)
    allow = [{"Effect": "Allow", "Action": "*", "Resource": "*"}]
    role = local.create_role(allow, service="codepipeline.amazonaws.com")
    function_arn = local.create_function(_FUNCTION, local.create_role(allow, service="lambda.amazonaws.com"))
    stack = {
        "StackName": f"{_NAME}-app",
        "TemplatePath": "Code::stack.json",
        "TemplateConfiguration": "Code::settings.json",
        "RoleArn": local.create_role(allow, service="cloudformation.amazonaws.com"),
    }
    code, function = [{"name": "Code"}], function_arn.rpartition(":")[2]
    structure = {
        "name": _NAME,
        "roleArn": role,
        "pipelineType": "V2",
        "executionMode": "QUEUED",
        "artifactStore": {"type": "S3", "location": _BUCKET},
        "stages": [
            {
                "name": "Source",
                "actions": [
                    _action(
                        "Push",
                        "Source/CodeCommit",
                        configuration={
                            "RepositoryName": _NAME,
                            "BranchName": "main",
                            "PollForSourceChanges": "false",
                        },
                        outputArtifacts=code,
                        namespace="Push",
                    )
                ],
            },
            {
                "name": "Work",
                "actions": [
                    _action(
                        "Ask",
                        "Invoke/Lambda",
                        configuration={"FunctionName": function, "UserParameters": "#{Push.CommitMessage}"},
                        namespace="Ask",
                    ),
                    _action(
                        "Make",
                        "Deploy/CloudFormation",
                        2,
                        configuration={
                            **stack,
                            "ActionMode": "CREATE_UPDATE",
                            "ParameterOverrides": json.dumps({"Value": "#{Ask.Echo}"}),
                            "OutputFileName": "output.json",
                        },
                        inputArtifacts=code,
                        outputArtifacts=[{"name": "Said"}],
                        namespace="Stack",
                    ),
                    _action(
                        "Again",
                        "Invoke/Lambda",
                        3,
                        configuration={"FunctionName": function, "UserParameters": "#{Stack.Said}"},
                    ),
                    _action(
                        "Unmake",
                        "Deploy/CloudFormation",
                        4,
                        configuration={"StackName": f"{_NAME}-app", "ActionMode": "DELETE_ONLY"},
                    ),
                    _action(
                        "Refuse",
                        "Invoke/Lambda",
                        5,
                        configuration={"FunctionName": function, "UserParameters": "fail"},
                    ),
                ],
            },
        ],
    }
    codepipeline = local.client("codepipeline")
    codepipeline.create_pipeline(pipeline=structure)
    arn = f"arn:aws:codepipeline:{REGION}:{ACCOUNT}:{_NAME}"
    starts = [{"Effect": "Allow", "Action": "codepipeline:StartPipelineExecution", "Resource": arn}]
    pattern = {"source": ["aws.codecommit"], "detail": {"repositoryName": [_NAME], "referenceName": ["main"]}}
    local.create_rule(pattern, {"Arn": arn, "RoleArn": local.create_role(starts, service="events.amazonaws.com")})

    folder = tmp_path_factory.mktemp("actions")
    (folder / "stack.json").write_text(json.dumps(_TEMPLATE))
    (folder / "settings.json").write_text(
        json.dumps({"Parameters": {"Value": "overridden"}, "Tags": {"of": "delivery"}})
    )
    path = local.run("remote", _NAME).stdout.strip()
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-qm", "hello"], ["push", path, "main"]):
        subprocess.run(["git", *identity, *command], cwd=folder, check=True, capture_output=True)

    def ended() -> dict[str, Any] | None:
        found = codepipeline.list_pipeline_executions(pipelineName=_NAME)["pipelineExecutionSummaries"]
        newest = found[0]
        return (
            newest if newest["trigger"]["triggerType"] == "CloudWatchEvent" and newest["status"] == "Failed" else None
        )

    execution: dict[str, Any] = wait_until(ended, 60)
    details = codepipeline.list_action_executions(
        pipelineName=_NAME, filter={"pipelineExecutionId": execution["pipelineExecutionId"]}
    )["actionExecutionDetails"]
    return {one["actionName"]: one for one in details}


def test_a_function_ends_its_action_and_hands_variables_on(pipeline: dict[str, Any]) -> None:
    assert pipeline["Ask"]["output"]["outputVariables"] == {"Echo": "hello"}
    assert pipeline["Refuse"]["status"] == "Failed"
    assert pipeline["Refuse"]["output"]["executionResult"]["errorDetails"] == {
        "code": "JobFailed",
        "message": "as expected",
    }


def test_a_large_template_makes_a_stack_with_parameters_and_outputs(pipeline: dict[str, Any]) -> None:
    assert pipeline["Make"]["status"] == "Succeeded"
    assert pipeline["Make"]["output"]["outputVariables"] == {"Said": "hello"}
    assert pipeline["Again"]["input"]["resolvedConfiguration"]["UserParameters"] == "hello"


def test_delete_only_leaves_no_stack_and_nothing_of_the_template(local: LocalCloud, pipeline: dict[str, Any]) -> None:
    assert pipeline["Unmake"]["status"] == "Succeeded"
    names = {one["StackName"] for one in local.client("cloudformation").describe_stacks()["Stacks"]}
    assert f"{_NAME}-app" not in names
    assert local.client("s3").list_objects_v2(Bucket=_BUCKET, Prefix=f"{_NAME}/templates/")["KeyCount"] == 0


def test_a_stopped_build_ends_at_once(local: LocalCloud, tmp_path: Path) -> None:
    role = local.create_role(
        [{"Effect": "Allow", "Action": "logs:*", "Resource": "*"}], service="codebuild.amazonaws.com"
    )
    spec = {"version": 0.2, "phases": {"build": {"commands": ["sleep 600"]}, "post_build": {"commands": ["true"]}}}
    builds = local.client("codebuild")
    builds.create_project(
        name="sleeper",
        serviceRole=role,
        source={"type": "NO_SOURCE", "buildspec": json.dumps(spec)},
        artifacts={"type": "NO_ARTIFACTS"},
        environment={"type": "LINUX_CONTAINER", "image": "any", "computeType": "BUILD_GENERAL1_SMALL"},
    )
    build_id = builds.start_build(projectName="sleeper")["build"]["id"]

    def build() -> dict[str, Any]:
        found: dict[str, Any] = builds.batch_get_builds(ids=[build_id])["builds"][0]
        return found

    wait_until(lambda: build()["currentPhase"] == "BUILD", 60)
    began = time.monotonic()
    builds.stop_build(id=build_id)
    wait_until(lambda: build()["buildComplete"])
    assert build()["buildStatus"] == "STOPPED"
    assert time.monotonic() - began < 10
