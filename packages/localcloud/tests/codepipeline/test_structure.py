"""Validation of pipelines and requests."""

from __future__ import annotations

import pytest
from localcloud_support.codepipeline_service import ApiError, CodePipelineHarness, Document, action, stage_of, structure

BUILD = stage_of("Build", action("Compile"))


@pytest.mark.parametrize(
    ("pipeline", "says"),
    [
        (structure(stage_of("Ship", action("S3", "S3", "Deploy"))), "Deploy/AWS/S3"),
        (structure(stage_of("Build", action("Many", configuration={"BatchEnabled": "true"}))), "BatchEnabled"),
        (structure({**BUILD, "onFailure": {"result": "SKIP"}}), "SKIP"),
        (structure(), "at least 2 stages"),
        (structure(BUILD, BUILD), "unique"),
        (structure(stage_of("Build", action("A", inputArtifacts=[{"name": "Nothing"}]))), "Nothing"),
        (structure(BUILD, pipelineType="V1"), "V2"),
        (structure(stage_of("Late", action("Again", "CodeCommit", "Source"))), "first stage"),
        (
            structure(stage_of("D", action("X", "CloudFormation", "Deploy", configuration={"ActionMode": "MAYBE"}))),
            "MAYBE",
        ),
    ],
)
def test_an_unsupported_structure_is_rejected_by_name(
    harness: CodePipelineHarness, pipeline: Document, says: str
) -> None:
    with pytest.raises(ApiError, match=says):
        harness.call("CreatePipeline", pipeline=pipeline)
    assert harness.records.pipelines() == []


def test_an_unsupported_operation_is_rejected_by_name(harness: CodePipelineHarness) -> None:
    with pytest.raises(ApiError, match="CreateCustomActionType"):
        harness.call("CreateCustomActionType")


def test_a_request_is_validated_against_the_services_model(harness: CodePipelineHarness) -> None:
    with pytest.raises(ApiError, match="name") as refused:
        harness.call("GetPipeline", name="not a name")
    assert refused.value.code == "ValidationException"
    with pytest.raises(ApiError) as missing:
        harness.call("GetPipeline", name="nobody")
    assert missing.value.code == "PipelineNotFoundException"


def test_undeclared_variables_are_rejected(harness: CodePipelineHarness) -> None:
    harness.create(BUILD, variables=[{"name": "Depth", "defaultValue": "1"}])
    with pytest.raises(ApiError, match="Width"):
        harness.call("StartPipelineExecution", name="p", variables=[{"name": "Width", "value": "2"}])
    harness.call("StartPipelineExecution", name="p", variables=[{"name": "Depth", "value": "2"}])
    harness.wait_until_settled(2)
    assert [one["variables"] for one in harness.records.executions("p")] == [{"Depth": "1"}, {"Depth": "2"}]


def test_the_same_request_token_starts_one_execution(harness: CodePipelineHarness) -> None:
    harness.create(BUILD)
    ids = {
        harness.call("StartPipelineExecution", name="p", clientRequestToken="once")["pipelineExecutionId"]
        for _ in range(2)
    }
    assert len(ids) == 1
    assert len(harness.wait_until_settled(2)) == 2
