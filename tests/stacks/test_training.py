"""A pipeline's roles may do what its steps need, and none of them can approve."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import aws_sagemaker as sagemaker
from aws_cdk.assertions import Match, Template

from pipelines import DEPLOY_TIME_PARAMETERS


@pytest.fixture(scope="module")
def training(template: Callable[[str], dict[str, object]]) -> Template:
    return Template.from_json(template("evergreen-training-flight-delays"))


def statements_of(template: Template, action: str) -> list[dict[str, Any]]:
    found = []
    for role in template.find_resources("AWS::IAM::Role").values():
        (policy,) = role["Properties"]["Policies"]
        for statement in policy["PolicyDocument"]["Statement"]:
            actions = statement["Action"]
            if action in ([actions] if isinstance(actions, str) else actions):
                found.append(statement)
    return found


def test_definition_has_a_value_for_every_placeholder(training: Template) -> None:
    (pipeline,) = training.find_resources(sagemaker.CfnPipeline.CFN_RESOURCE_TYPE_NAME).values()
    body, values = pipeline["Properties"]["PipelineDefinition"]["PipelineDefinitionBody"]["Fn::Sub"]
    assert set(values) == set(DEPLOY_TIME_PARAMETERS)
    definition = json.loads(body)
    defaults = {parameter["Name"]: parameter.get("DefaultValue") for parameter in definition["Parameters"]}
    for name in DEPLOY_TIME_PARAMETERS:
        assert defaults[name] == f"${{{name}}}"
    assert values["ReleaseParameter"] == "/evergreen/flight-delays/prod/release"


def test_pipeline_registers_for_approval_and_cannot_approve(training: Template) -> None:
    (statement,) = statements_of(training, "sagemaker:CreateModelPackage")
    assert statement["Condition"] == {"StringEquals": {"sagemaker:ModelApprovalStatus": "PendingManualApproval"}}
    assert statements_of(training, "sagemaker:UpdateModelPackage") == []


def test_pipeline_role_reads_runs_and_packages_and_no_raw_data(training: Template) -> None:
    (role,) = (
        role["Properties"]
        for role in training.find_resources("AWS::IAM::Role").values()
        if role["Properties"]["Description"].startswith("Starts the jobs")
    )
    readable = [
        one["Fn::Join"][1][-1]
        for statement in role["Policies"][0]["PolicyDocument"]["Statement"]
        if statement["Action"] == "s3:GetObject"
        for one in statement["Resource"]
    ]
    assert sorted(readable) == ["/packages/flight-delays/*", "/runs/flight-delays/*"]


def test_roles_are_passed_to_sagemaker_only(training: Template) -> None:
    (statement,) = statements_of(training, "iam:PassRole")
    assert statement["Condition"] == {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}
    assert len(statement["Resource"]) == 2


def test_isolated_jobs_write_only_their_own_runs(training: Template) -> None:
    written = [
        [resource["Fn::Join"][1][-1] for resource in (one if isinstance(one, list) else [one])]
        for one in (statement["Resource"] for statement in statements_of(training, "s3:PutObject"))
    ]
    assert ["/runs/flight-delays/*"] in written
    assert all(key.endswith("/flight-delays/*") for keys in written for key in keys)


def test_package_group_is_retained(training: Template) -> None:
    training.has_resource(
        sagemaker.CfnModelPackageGroup.CFN_RESOURCE_TYPE_NAME,
        {
            "Properties": Match.object_like({"ModelPackageGroupName": "evergreen-flight-delays"}),
            "DeletionPolicy": "RetainExceptOnCreate",
            "UpdateReplacePolicy": "Retain",
        },
    )


def test_code_asset_excludes_specification_and_sample_data(assembly: Path) -> None:
    folders = [path for path in assembly.glob("asset.*") if (path / "train.py").is_file()]
    assert len(folders) == 1
    names = {path.name for path in folders[0].iterdir()}
    assert {"preprocess.py", "train.py", "evaluate.py", "inference.py"} <= names
    assert not names & {"model.yaml", "data.py", "__pycache__"}
