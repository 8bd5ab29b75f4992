"""The API of pipelines: create, update, describe, list and delete, with versions."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

ROLE = "arn:aws:iam::000000000000:role/pipeline"
StepOf = Callable[..., dict[str, Any]]


def _body(step: dict[str, Any]) -> str:
    return json.dumps({"Version": "2020-12-01", "Steps": [step]})


def test_a_changed_definition_is_a_new_version(harness: Any, step_of: StepOf) -> None:
    client = harness.sagemaker
    arn = client.create_pipeline(PipelineName="p", PipelineDefinition=_body(step_of("A")), RoleArn=ROLE)["PipelineArn"]
    assert arn == "arn:aws:sagemaker:us-east-1:000000000000:pipeline/p"
    assert client.update_pipeline(PipelineName="p", PipelineDescription="d")["PipelineVersionId"] == 1
    assert client.update_pipeline(PipelineName="p", PipelineDefinition=_body(step_of("B")))["PipelineVersionId"] == 2
    latest = client.describe_pipeline(PipelineName=arn)
    assert json.loads(latest["PipelineDefinition"])["Steps"][0]["Name"] == "B"
    assert (latest["PipelineDescription"], latest["PipelineStatus"], latest["RoleArn"]) == ("d", "Active", ROLE)
    first = client.describe_pipeline(PipelineName="p", PipelineVersionId=1)
    assert json.loads(first["PipelineDefinition"])["Steps"][0]["Name"] == "A"
    client.update_pipeline_version(PipelineArn=arn, PipelineVersionId=1, PipelineVersionDescription="old")
    versions = client.list_pipeline_versions(PipelineName="p")["PipelineVersionSummaries"]
    described = [(one["PipelineVersionId"], one.get("PipelineVersionDescription")) for one in versions]
    assert described == [(2, None), (1, "old")]
    execution = client.start_pipeline_execution(PipelineName="p", PipelineVersionId=1)["PipelineExecutionArn"]
    harness.wait_for_end(execution)
    assert list(harness.steps(execution)) == ["A"]
    used = client.describe_pipeline_definition_for_execution(PipelineExecutionArn=execution)
    assert used["PipelineDefinition"] == _body(step_of("A"))


def test_the_errors_that_the_sdks_upsert_relies_on(harness: Any, step_of: StepOf) -> None:
    client = harness.sagemaker
    client.create_pipeline(PipelineName="p", PipelineDefinition=_body(step_of("A")), RoleArn=ROLE)
    with pytest.raises(ClientError, match=r"ValidationException.*Pipeline names must be unique within an AWS account"):
        client.create_pipeline(PipelineName="p", PipelineDefinition=_body(step_of("A")), RoleArn=ROLE)
    with pytest.raises(ClientError, match=r"ResourceNotFound.*Pipeline 'arn:aws:.*pipeline/q' does not exist"):
        client.describe_pipeline(PipelineName="q")


def test_an_invalid_definition_is_rejected_and_leaves_nothing(harness: Any, step_of: StepOf) -> None:
    with pytest.raises(ClientError, match=r"ValidationException.*Unable to parse pipeline definition"):
        harness.sagemaker.create_pipeline(PipelineName="p", PipelineDefinition='{"Version": "1"}', RoleArn=ROLE)
    assert not harness.sagemaker.list_pipelines()["PipelineSummaries"]


def test_a_definition_is_read_from_s3(harness: Any, step_of: StepOf) -> None:
    location = {"Bucket": "bucket", "ObjectKey": "p.json"}
    with pytest.raises(ClientError, match=r"Unable to read the pipeline definition at s3://bucket/p\.json"):
        harness.sagemaker.create_pipeline(PipelineName="p", PipelineDefinitionS3Location=location, RoleArn=ROLE)
    harness.s3.objects["s3://bucket/p.json"] = _body(step_of("A")).encode()
    harness.sagemaker.create_pipeline(PipelineName="p", PipelineDefinitionS3Location=location, RoleArn=ROLE)
    assert harness.sagemaker.describe_pipeline(PipelineName="p")["PipelineDefinition"] == _body(step_of("A"))


def test_deleting_a_pipeline_deletes_its_executions(harness: Any, step_of: StepOf) -> None:
    client = harness.sagemaker
    arn = harness.run({"Steps": [step_of("A")]})
    harness.wait_for_end(arn)
    client.delete_pipeline(PipelineName="p")
    calls: tuple[Callable[[], Any], ...] = (
        lambda: client.describe_pipeline_execution(PipelineExecutionArn=arn),
        lambda: client.list_pipeline_executions(PipelineName="p"),
    )
    for call in calls:
        with pytest.raises(ClientError, match="ResourceNotFound"):
            call()
