"""A pipeline from a push to a stack, deployed from a template, and a developer's work tree."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from localcloud.testing import ACCOUNT, REGION, LocalCloud, wait_until

LONG = 60
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


def git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True)


class WorkTree:
    """A developer's work tree with the local cloud as its remote."""

    def __init__(self, local: LocalCloud, folder: Path, name: str) -> None:
        self.folder = folder
        folder.mkdir()
        git(folder, "init", "-q", "-b", "main")
        path = local.run("remote", name).stdout.strip()
        git(folder, "remote", "add", "local", path)

    def push(self, build: str, value: str) -> subprocess.CompletedProcess[str]:
        """Commit a build script and the value for the stack, and push."""
        (self.folder / "build.sh").write_text(build)
        (self.folder / "stack.json").write_text(json.dumps(_STACK).replace("VALUE", value))
        (self.folder / "report.xml").write_text(_REPORT)
        (self.folder / "answer").write_text(value)
        git(self.folder, "add", ".")
        git(self.folder, "commit", "-qm", f"value {value}")
        return git(self.folder, "push", "local", "main")


CONNECTION = f"arn:aws:codeconnections:{REGION}:{ACCOUNT}:connection/c"


def allow(*statements: tuple[str, str]) -> list[dict[str, Any]]:
    return [{"Effect": "Allow", "Action": action, "Resource": resource} for action, resource in statements]


def deploy_pipeline(local: LocalCloud, name: str, *, approve: bool = False) -> None:
    """Deploy a bucket, roles, a project and a pipeline that deploys the stack `<name>-app`."""
    bucket = f"artifacts-{name}"
    everything = ("s3:*", f"arn:aws:s3:::{bucket}*")
    build_role = local.create_role(
        allow(everything, ("logs:*", "*"), ("codebuild:*", "*")), service="codebuild.amazonaws.com"
    )
    stack_role = local.create_role(allow(("ssm:*", "*")), service="cloudformation.amazonaws.com")
    pipeline_role = local.create_role(
        allow(
            everything,
            ("codeconnections:UseConnection", CONNECTION),
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
                    Configuration={
                        "ConnectionArn": CONNECTION,
                        "FullRepositoryId": f"team/{name}",
                        "BranchName": "main",
                    },
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
    assert local.deploy_stack(f"{name}-delivery", template)["StackStatus"].endswith("_COMPLETE")


def executions(local: LocalCloud, name: str) -> list[dict[str, Any]]:
    """Return the executions that pushes started, oldest first."""
    found = local.client("codepipeline").list_pipeline_executions(pipelineName=name)["pipelineExecutionSummaries"]
    return [one for one in reversed(found) if one["trigger"]["triggerType"] == "WebhookV2"]


def ended(local: LocalCloud, name: str, count: int) -> list[str]:
    def look() -> list[str] | None:
        seen = [one["status"] for one in executions(local, name)]
        return seen if len(seen) == count and not {"InProgress", "Stopping"} & set(seen) else None

    statuses: list[str] = wait_until(look, LONG)
    return statuses


def deployed(local: LocalCloud, name: str) -> str:
    resources = local.client("cloudformation").describe_stack_resources(StackName=f"{name}-app")["StackResources"]
    parameter = resources[0]["PhysicalResourceId"]
    return str(local.client("ssm").get_parameter(Name=parameter)["Parameter"]["Value"])
