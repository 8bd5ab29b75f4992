"""The adapter's decisions without a gateway: alarms, stack policies, SageMaker's resources and condition keys."""

from __future__ import annotations

import json
from typing import Any

import pytest

from localcloud.ministack_adapter.alarms import judge
from localcloud.ministack_adapter.metric_math import Expression
from localcloud.ministack_adapter.permissions import passed_roles, sagemaker_conditions, sagemaker_resource
from localcloud.ministack_adapter.stack_policy import denial


@pytest.mark.parametrize(
    ("values", "settings", "state"),
    [
        ([2.0], {}, "ALARM"),
        ([1.0], {}, "OK"),
        ([None], {}, "INSUFFICIENT_DATA"),
        ([None], {"TreatMissingData": "notBreaching"}, "OK"),
        ([None], {"TreatMissingData": "breaching"}, "ALARM"),
        ([None], {"TreatMissingData": "ignore"}, None),
        ([2.0, 0.0, 2.0], {"EvaluationPeriods": 3, "DatapointsToAlarm": 2}, "ALARM"),
        ([2.0, 0.0, 2.0], {"EvaluationPeriods": 3}, "OK"),
        ([None, None, 2.0], {"EvaluationPeriods": 3}, None),
        ([None, None, 2.0], {"EvaluationPeriods": 3, "TreatMissingData": "notBreaching"}, "OK"),
    ],
)
def test_an_alarm_is_judged_by_its_periods(
    values: list[float | None], settings: dict[str, Any], state: str | None
) -> None:
    alarm = {"ComparisonOperator": "GreaterThanThreshold", "Threshold": 1, "EvaluationPeriods": 1, **settings}
    assert judge(alarm, values)[0] == state


def test_a_heartbeat_counts_runs_where_there_were_requests_and_is_silent_elsewhere() -> None:
    expression = Expression("IF(FILL(requests, 0) > 0, FILL(runs, 0), 1)", ["runs", "requests"])
    series = {"requests": [None, 5.0, 5.0, 0.0], "runs": [None, None, 1.0, 1.0]}
    assert expression.values(series, 4) == [1.0, 0.0, 1.0, 1.0]
    assert Expression("100 * a / b", ["a", "b"]).values({"a": [1.0, 1.0], "b": [4.0, 0.0]}, 2) == [25.0, None]


@pytest.mark.parametrize(
    "text", ["ANOMALY_DETECTION_BAND(a)", "RATE(a)", "FILL(a, REPEAT)", "b + 1", "IF(a", "a > 1 > 0"]
)
def test_metric_math_that_is_not_supported_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="metric math"):
        Expression(text, ["a"])


def test_what_no_statement_of_a_stack_policy_allows_is_denied() -> None:
    allow = {"Effect": "Allow", "Principal": "*", "Action": "Update:*", "Resource": "LogicalResourceId/A*"}
    deny = {"Effect": "Deny", "Principal": "*", "Action": "Update:Replace", "NotResource": "LogicalResourceId/Apple"}
    policy = json.dumps({"Statement": [allow, deny]})
    assert denial(policy, "Update:Modify", "Avocado", "AWS::SNS::Topic") is None
    assert denial(policy, "Update:Replace", "Apple", "AWS::SNS::Topic") is None
    assert "Statement [#2]" in (denial(policy, "Update:Replace", "Avocado", "AWS::SNS::Topic") or "")
    assert denial(policy, "Update:Modify", "Banana", "AWS::SNS::Topic") is not None
    assert denial("", "Update:Delete", "Banana", "AWS::SNS::Topic") is None


_ARN = "arn:aws:sagemaker:us-east-1:000000000000"


@pytest.mark.parametrize(
    ("operation", "request_", "resource"),
    [
        ("CreateTrainingJob", {"TrainingJobName": "a"}, f"{_ARN}:training-job/a"),
        ("CreateModelBiasJobDefinition", {"JobDefinitionName": "a"}, f"{_ARN}:model-bias-job-definition/a"),
        ("DeleteMonitoringSchedule", {"MonitoringScheduleName": "a"}, f"{_ARN}:monitoring-schedule/a"),
        ("CreateTransformJob", {"TransformJobName": "a", "ModelName": "m"}, f"{_ARN}:transform-job/a"),
        ("DescribeEndpointConfig", {"EndpointConfigName": "a"}, f"{_ARN}:endpoint-config/a"),
        ("UpdateModelPackage", {"ModelPackageArn": f"{_ARN}:model-package/g/3"}, f"{_ARN}:model-package/g/3"),
        ("CreateModelPackage", {"ModelPackageGroupName": "g"}, f"{_ARN}:model-package/g/*"),
        ("StartPipelineExecution", {"PipelineName": "p"}, f"{_ARN}:pipeline/p"),
        ("StopPipelineExecution", {"PipelineExecutionArn": f"{_ARN}:pipeline/p/execution/x"},
         f"{_ARN}:pipeline/p/execution/x"),
        ("AddTags", {"ResourceArn": f"{_ARN}:model/m"}, f"{_ARN}:model/m"),
        ("ListModelPackages", {"ModelPackageGroupName": "g"}, f"{_ARN}:model-package-group/g"),
        ("ListEndpoints", {}, "*"),
    ],
)  # fmt: skip
def test_a_sagemaker_request_is_checked_on_the_resource_that_it_names(
    operation: str, request_: dict[str, Any], resource: str
) -> None:
    assert sagemaker_resource(operation, "/", request_, "us-east-1", "000000000000") == resource


def test_a_sagemaker_requests_condition_keys_are_found_at_any_depth() -> None:
    request = {
        "ResourceConfig": {"InstanceType": "ml.m5.large", "VolumeKmsKeyId": "k"},
        "EnableNetworkIsolation": True,
        "ModelLifeCycle": {"Stage": "Production", "StageStatus": "Approved"},
        "RoleArn": "r",
    }
    assert sagemaker_conditions(request) == {
        "sagemaker:InstanceTypes": "ml.m5.large",
        "sagemaker:VolumeKmsKey": "k",
        "sagemaker:NetworkIsolation": "true",
        "sagemaker:ModelLifeCycle:stage": "Production",
        "sagemaker:ModelLifeCycle:stageStatus": "Approved",
    }
    assert passed_roles(request) == ["r"]
