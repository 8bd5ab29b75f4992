"""The resources that IAM policies name for CodePipeline, CodeBuild, CodeCommit and connections."""

from __future__ import annotations

from typing import Any

import pytest

from localcloud.ministack_adapter.developer_tools import passed_role, resource

_PREFIX = "arn:aws:{}:us-east-1:000000000000:"


@pytest.mark.parametrize(
    ("service", "operation", "request_", "expected"),
    [
        ("codepipeline", "StartPipelineExecution", {"name": "p"}, "p"),
        ("codepipeline", "UpdatePipeline", {"pipeline": {"name": "p"}}, "p"),
        ("codepipeline", "RetryStageExecution", {"pipelineName": "p", "stageName": "s"}, "p/s"),
        ("codepipeline", "PutApprovalResult", {"pipelineName": "p", "stageName": "s", "actionName": "a"}, "p/s/a"),
        ("codebuild", "StartBuild", {"projectName": "b"}, "project/b"),
        ("codebuild", "BatchGetBuilds", {"ids": ["b:1"]}, "project/b"),
        ("codebuild", "StopBuild", {"id": "arn:aws:codebuild:us-east-1:000000000000:build/b:1"}, "project/b"),
        ("codebuild", "CreateReportGroup", {"name": "g"}, "report-group/g"),
        ("codecommit", "GetBranch", {"repositoryName": "r"}, "r"),
    ],
)
def test_a_request_needs_the_right_to_its_own_resource(
    service: str, operation: str, request_: dict[str, Any], expected: str
) -> None:
    found = resource(service, operation, request_, "us-east-1", "000000000000")
    assert found == _PREFIX.format(service) + expected


def test_what_takes_no_resource_needs_the_right_to_all() -> None:
    assert resource("codepipeline", "ListPipelines", {}, "us-east-1", "000000000000") == "*"
    assert resource("codepipeline", "PutJobSuccessResult", {"jobId": "1"}, "us-east-1", "000000000000") == "*"


def test_the_roles_that_services_act_as_must_be_passed_and_those_of_actions_need_not() -> None:
    pipeline = {"roleArn": "arn:p", "stages": [{"actions": [{"roleArn": "arn:a"}]}]}
    assert passed_role("codepipeline", {"pipeline": pipeline}) == "arn:p"
    assert passed_role("codebuild", {"serviceRole": "arn:b"}) == "arn:b"
    assert passed_role("codebuild", {"projectName": "b"}) is None
