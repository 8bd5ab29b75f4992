"""Events reach their targets, or a dead-letter queue with the reason."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from localcloud.testing import LocalCloud, wait_until


def _put(local: LocalCloud, source: str, **detail: object) -> None:
    entry = {"Source": source, "DetailType": "test", "Detail": json.dumps(detail)}
    assert local.client("events").put_events(Entries=[entry])["FailedEntryCount"] == 0


def test_a_target_that_does_not_exist_ends_in_the_rules_dead_letter_queue(local: LocalCloud) -> None:
    url, arn = local.create_queue()
    missing = "arn:aws:lambda:us-east-1:000000000000:function:no-such-function"
    rule = local.create_rule({"source": ["missing.target"]}, {"Arn": missing, "DeadLetterConfig": {"Arn": arn}})
    _put(local, "missing.target", n=1)
    message = local.receive_message(url)
    assert json.loads(message["Body"])["detail"] == {"n": 1}
    attributes = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
    assert attributes["RULE_ARN"] == rule
    assert attributes["TARGET_ARN"] == missing
    assert attributes["ERROR_CODE"] == "RESOURCE_NOT_FOUND"


def test_a_target_whose_policy_does_not_admit_the_bus_ends_in_the_dead_letter_queue(local: LocalCloud) -> None:
    url, arn = local.create_queue()
    _, closed = local.create_queue(open_to_events=False)
    local.create_rule({"source": ["closed.target"]}, {"Arn": closed, "DeadLetterConfig": {"Arn": arn}})
    _put(local, "closed.target")
    assert local.receive_message(url)["MessageAttributes"]["ERROR_CODE"]["StringValue"] == "NO_PERMISSIONS"


def test_a_function_that_fails_hands_the_event_to_its_failure_destination(local: LocalCloud) -> None:
    url, arn = local.create_queue()
    role = local.create_role([], service="lambda.amazonaws.com")
    function = local.create_function("def handler(event, context):\n    raise ValueError('on purpose')\n", role)
    local.client("lambda").put_function_event_invoke_config(
        FunctionName=function, MaximumRetryAttempts=0, DestinationConfig={"OnFailure": {"Destination": arn}}
    )
    local.create_rule({"source": ["failing.function"]}, {"Arn": function})
    _put(local, "failing.function", n=2)
    letter = json.loads(local.receive_message(url)["Body"])
    assert letter["requestPayload"]["detail"] == {"n": 2}
    assert letter["requestContext"]["condition"] == "RetriesExhausted"


def test_an_input_transformer_and_an_input_path_shape_what_arrives(local: LocalCloud) -> None:
    url, arn = local.create_queue()
    local.create_rule({"source": ["shaped"]}, {"Arn": arn, "InputPath": "$.detail"})
    transformer = {"InputPathsMap": {"n": "$.detail.n"}, "InputTemplate": '{"number": <n>}'}
    other_url, other = local.create_queue()
    local.create_rule({"source": ["shaped"]}, {"Arn": other, "InputTransformer": transformer})
    _put(local, "shaped", n=3)
    assert json.loads(local.receive_message(url)["Body"]) == {"n": 3}
    assert json.loads(local.receive_message(other_url)["Body"]) == {"number": 3}


def test_an_alarms_transition_is_an_event(local: LocalCloud) -> None:
    url, arn = local.create_queue()
    name = f"alarm-{uuid.uuid4().hex[:6]}"
    local.create_rule({"source": ["aws.cloudwatch"], "detail": {"alarmName": [name]}}, {"Arn": arn})
    cloudwatch = local.client("cloudwatch")
    dimension = {"Name": "EndpointName", "Value": "e"}
    cloudwatch.put_metric_alarm(
        AlarmName=name, Namespace="N", MetricName="Errors", Dimensions=[dimension], Statistic="Sum", Period=60,
        EvaluationPeriods=1, Threshold=0, ComparisonOperator="GreaterThanThreshold", TreatMissingData="notBreaching",
    )  # fmt: skip
    # Another endpoint's errors are not this alarm's.
    other = {"MetricName": "Errors", "Value": 5, "Dimensions": [{"Name": "EndpointName", "Value": "other"}]}
    cloudwatch.put_metric_data(Namespace="N", MetricData=[other])
    cloudwatch.put_metric_data(
        Namespace="N", MetricData=[{"MetricName": "Errors", "Value": 1, "Dimensions": [dimension]}]
    )
    seen = []

    def alarmed() -> bool:
        event = json.loads(local.receive_message(url)["Body"])
        seen.append(event)
        return bool(event["detail"]["state"]["value"] == "ALARM")

    wait_until(alarmed)
    event = seen[-1]
    assert event["detail-type"] == "CloudWatch Alarm State Change"
    assert event["resources"] == [f"arn:aws:cloudwatch:us-east-1:000000000000:alarm:{name}"]
    metric = event["detail"]["configuration"]["metrics"][0]["metricStat"]["metric"]
    assert metric == {"namespace": "N", "name": "Errors", "dimensions": {"EndpointName": "e"}}


def test_a_stacks_life_is_told_on_the_bus(local: LocalCloud) -> None:
    url, arn = local.create_queue()
    stack = f"reported-{uuid.uuid4().hex[:6]}"
    detail_type = ["CloudFormation Stack Status Change"]
    detail = {"stack-id": [{"wildcard": f"*stack/{stack}/*"}]}
    local.create_rule({"source": ["aws.cloudformation"], "detail-type": detail_type, "detail": detail}, {"Arn": arn})
    made = local.deploy_stack(stack, {"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}})
    events = [json.loads(local.receive_message(url)["Body"]) for _ in range(2)]
    assert {event["detail"]["status-details"]["status"] for event in events} == {
        "CREATE_IN_PROGRESS",
        "CREATE_COMPLETE",
    }
    assert events[0]["resources"] == [made["StackId"]]


def test_programs_may_not_pretend_to_be_an_aws_service(local: LocalCloud) -> None:
    entry = {"Source": "aws.sagemaker", "DetailType": "x", "Detail": "{}"}
    reply = local.client("events").put_events(Entries=[entry])
    assert reply["Entries"][0]["ErrorCode"] == "NotAuthorizedForSourceException"


def test_a_functions_line_in_the_embedded_format_is_a_metric(local: LocalCloud) -> None:
    namespace = f"Embedded{uuid.uuid4().hex[:6]}"
    line: dict[str, Any] = {
        "_aws": {
            "Timestamp": int(time.time() * 1000),
            "CloudWatchMetrics": [
                {"Namespace": namespace, "Dimensions": [["Endpoint"]], "Metrics": [{"Name": "drift"}, {"Name": "ends"}]}
            ],
        },
        "Endpoint": "e",
        "drift": 1.0,
        "ends": [2.0, 6.0],
    }
    broken = {**line, "_aws": {**line["_aws"], "Timestamp": None}}
    old = {**line, "_aws": {**line["_aws"], "Timestamp": line["_aws"]["Timestamp"] - 15 * 86_400_000}}
    lines = [json.dumps(one) for one in (broken, old, line)]
    code = f"def handler(event, context):\n    print(*{lines!r}, sep='\\n')\n"
    function = local.create_function(code, local.create_role([], service="lambda.amazonaws.com"))
    assert "FunctionError" not in local.client("lambda").invoke(FunctionName=function)
    cloudwatch = local.client("cloudwatch")
    found = wait_until(lambda: cloudwatch.list_metrics(Namespace=namespace)["Metrics"])
    assert {metric["MetricName"] for metric in found} == {"drift", "ends"}
    points = cloudwatch.get_metric_statistics(
        Namespace=namespace, MetricName="ends", Dimensions=[{"Name": "Endpoint", "Value": "e"}], Period=3600,
        StartTime=time.time() - 20 * 86_400, EndTime=time.time() + 60, Statistics=["SampleCount", "Sum"],
    )["Datapoints"]  # fmt: skip
    assert [(point["SampleCount"], point["Sum"]) for point in points] == [(2.0, 8.0)], "the old one is dropped"


@pytest.mark.parametrize(
    ("days", "says"), [(-14.1, "within the past two weeks"), (-400, "within the past two weeks"), (0.1, "two hours")]
)
def test_a_metric_that_is_too_old_or_of_the_future_is_refused(local: LocalCloud, days: float, says: str) -> None:
    cloudwatch, namespace = local.client("cloudwatch"), f"Times{uuid.uuid4().hex[:6]}"
    metrics = [{"MetricName": "m", "Value": 1.0, "Timestamp": time.time() + 86_400 * one} for one in (-13.9, days)]
    with pytest.raises(ClientError) as refused:
        cloudwatch.put_metric_data(Namespace=namespace, MetricData=metrics)
    assert refused.value.response["Error"]["Code"] == "InvalidParameterValue"
    assert f"MetricData.member.2.Timestamp must specify a time {says}" in refused.value.response["Error"][
        "Message"
    ].replace("no more than ", "")
    assert not cloudwatch.list_metrics(Namespace=namespace)["Metrics"], "a request is refused as a whole"
    cloudwatch.put_metric_data(Namespace=namespace, MetricData=[metrics[0], {"MetricName": "m", "Value": 1.0}])
