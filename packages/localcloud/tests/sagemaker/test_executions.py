"""Pipeline executions: order of steps, values between them, failures, retries, caching, stop and restart."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

FIXTURES = Path(__file__).parent / "fixtures"
ROLE = "arn:aws:iam::000000000000:role/pipeline"
IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:3.2-0"
StepOf = Callable[..., dict[str, Any]]


def _get(path: str) -> dict[str, str]:
    return {"Get": path}


def _train(name: str, **arguments: Any) -> dict[str, Any]:
    return {
        "Name": name,
        "Type": "Training",
        "Arguments": {
            "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
            "RoleArn": ROLE,
            "OutputDataConfig": {"S3OutputPath": "s3://b/models"},
            "ResourceConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 60},
            **arguments,
        },
    }


def _output(name: str, uri: Any) -> dict[str, Any]:
    s3 = {"S3Uri": uri, "LocalPath": f"/opt/ml/processing/output/{name}", "S3UploadMode": "EndOfJob"}
    return {"OutputName": name, "S3Output": s3}


def _loop(step_of: StepOf) -> dict[str, Any]:
    """Return a typical pipeline: prepare, train, evaluate, and register a model that is good enough."""
    report = {"PropertyFile": _get("Steps.Evaluate.PropertyFiles.Report"), "Path": "metrics.auc.value"}
    place = {"Std:Join": {"On": "/", "Values": ["s3://b", _get("Execution.PipelineExecutionId"), "train"]}}
    data = {
        "S3DataSource": {
            "S3DataType": "S3Prefix",
            "S3Uri": _get("Steps.Prep.ProcessingOutputConfig.Outputs['train'].S3Output.S3Uri"),
        }
    }
    specification = {
        "Containers": [{"Image": IMAGE, "ModelDataUrl": _get("Steps.Train.ModelArtifacts.S3ModelArtifacts")}],
        "SupportedContentTypes": ["text/csv"],
        "SupportedResponseMIMETypes": ["text/csv"],
    }
    register = {
        "Name": "Register",
        "Type": "RegisterModel",
        "Arguments": {
            "ModelPackageGroupName": "churn",
            "ModelApprovalStatus": "PendingManualApproval",
            "InferenceSpecification": specification,
            "CustomerMetadataProperties": {"depth": {"Std:Join": {"On": "", "Values": [_get("Parameters.Depth")]}}},
        },
    }
    gate = {
        "Name": "Gate",
        "Type": "Condition",
        "Arguments": {
            "Conditions": [
                {
                    "Type": "GreaterThanOrEqualTo",
                    "LeftValue": {"Std:JsonGet": report},
                    "RightValue": _get("Parameters.Min"),
                }
            ],
            "IfSteps": [register],
            "ElseSteps": [
                {
                    "Name": "Refused",
                    "Type": "Fail",
                    "Arguments": {
                        "ErrorMessage": {"Std:Join": {"On": " ", "Values": ["auc below", _get("Parameters.Min")]}}
                    },
                }
            ],
        },
    }
    return {
        "Metadata": {},
        "Parameters": [
            {"Name": "Depth", "Type": "Integer", "DefaultValue": 5},
            {"Name": "Min", "Type": "Float", "DefaultValue": 0.7},
            {"Name": "Mode", "Type": "String", "DefaultValue": "fast", "EnumValues": ["fast", "slow"]},
        ],
        "PipelineExperimentConfig": {
            "ExperimentName": _get("Execution.PipelineName"),
            "TrialName": _get("Execution.PipelineExecutionId"),
        },
        "Steps": [
            step_of("Prep", Arguments={"ProcessingOutputConfig": {"Outputs": [_output("train", place)]}}),
            _train(
                "Train",
                HyperParameters={"max_depth": _get("Parameters.Depth")},
                InputDataConfig=[{"ChannelName": "train", "DataSource": data}],
            ),
            step_of(
                "Evaluate",
                Arguments={
                    "ProcessingOutputConfig": {"Outputs": [_output("evaluation", "s3://b/eval/")]},
                    "Environment": {"MODEL": _get("Steps.Train.ModelArtifacts.S3ModelArtifacts")},
                },
                PropertyFiles=[
                    {"PropertyFileName": "Report", "OutputName": "evaluation", "FilePath": "evaluation.json"}
                ],
            ),
            gate,
        ],
    }


def _evaluated(harness: Any, auc: float) -> None:
    harness.s3.objects["s3://b/eval/evaluation.json"] = json.dumps({"metrics": {"auc": {"value": auc}}}).encode()


def test_a_model_that_is_good_enough_is_registered(harness: Any, step_of: StepOf) -> None:
    _evaluated(harness, 0.71)
    arn = harness.run(_loop(step_of), PipelineParameters=[{"Name": "Depth", "Value": "7"}])
    assert harness.wait_for_end(arn)["PipelineExecutionStatus"] == "Succeeded"
    steps = harness.steps(arn)
    assert list(steps) == ["Register", "Gate", "Evaluate", "Train", "Prep"]
    assert {step["StepStatus"] for step in steps.values()} == {"Succeeded"}
    assert steps["Gate"]["Metadata"] == {"Condition": {"Outcome": "True"}}
    execution = arn.rpartition("/")[2]
    jobs = {kind + name.split("-")[2]: request for kind, name, request in harness.runner.started}
    train = jobs["trainingTrain"]
    assert train["TrainingJobName"].startswith(f"pipelines-{execution}-Train-")
    assert steps["Train"]["Metadata"]["TrainingJob"]["Arn"].endswith(train["TrainingJobName"])
    assert train["HyperParameters"] == {"max_depth": "7"}
    assert train["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"] == f"s3://b/{execution}/train"
    assert jobs["processingEvaluate"]["Environment"]["MODEL"].endswith("/output/model.tar.gz")
    package = harness.sagemaker.describe_model_package(
        ModelPackageName=steps["Register"]["Metadata"]["RegisterModel"]["Arn"]
    )
    assert package["MetadataProperties"]["GeneratedBy"] == arn
    assert package["CustomerMetadataProperties"] == {"depth": "7"}
    assert "assumed-role/pipeline" in package["CreatedBy"]["IamIdentity"]["Arn"]
    described = harness.sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)
    assert described["PipelineExperimentConfig"] == {"ExperimentName": "p", "TrialName": execution}
    listed = harness.sagemaker.list_pipeline_parameters_for_execution(PipelineExecutionArn=arn)["PipelineParameters"]
    assert {one["Name"]: one["Value"] for one in listed} == {"Depth": "7", "Min": "0.7", "Mode": "fast"}


def test_a_model_below_the_minimum_fails_with_the_definitions_message(harness: Any, step_of: StepOf) -> None:
    _evaluated(harness, 0.6)
    arn = harness.run(_loop(step_of))
    ended = harness.wait_for_end(arn)
    assert (ended["PipelineExecutionStatus"], ended["FailureReason"]) == (
        "Failed",
        "Step failure: One or multiple steps failed.",
    )
    steps = harness.steps(arn)
    assert "Register" not in steps
    assert steps["Refused"]["Metadata"] == {"Fail": {"ErrorMessage": "auc below 0.7"}}
    assert steps["Refused"]["FailureReason"] == "auc below 0.7"


def test_a_missing_metric_fails_the_gate_with_a_reason(harness: Any, step_of: StepOf) -> None:
    harness.s3.objects["s3://b/eval/evaluation.json"] = b'{"metrics": {}}'
    arn = harness.run(_loop(step_of))
    harness.wait_for_end(arn)
    assert "metrics.auc.value" in harness.steps(arn)["Gate"]["FailureReason"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([{"Name": "Depth", "Value": "deep"}], r"\[Depth\] must be of type Integer, got \[deep\]"),
        ([{"Name": "Nope", "Value": "1"}], r"Unknown pipeline parameters: \[Nope\]"),
        ([{"Name": "Mode", "Value": "odd"}], r"must be one of \[fast, slow\], got \[odd\]"),
    ],
)
def test_wrong_parameters_are_rejected_at_the_start(harness: Any, step_of: StepOf, given: Any, message: str) -> None:
    with pytest.raises(ClientError, match=f"ValidationException.*{message}"):
        harness.run(_loop(step_of), PipelineParameters=given)


def test_after_a_failed_step_running_steps_finish_and_no_step_starts(harness: Any, step_of: StepOf) -> None:
    harness.runner.blocked |= {"Slow", "Bad"}
    steps = [step_of("Bad"), step_of("Slow"), step_of("After", DependsOn=["Slow"])]
    arn = harness.run({"Steps": steps})
    jobs = harness.eventually(
        lambda: len(harness.runner.started) == 2 and {name.split("-")[2]: name for _, name, _ in harness.runner.started}
    )
    harness.eventually(lambda: {one["StepStatus"] for one in harness.steps(arn).values()} == {"Executing"})
    harness.control_plane.on_job_update(
        "processing", jobs["Bad"], harness.runner.failed("AlgorithmError: exit code: 1")
    )
    harness.eventually(lambda: harness.steps(arn)["Bad"]["StepStatus"] == "Failed")
    assert harness.steps(arn)["Slow"]["StepStatus"] == "Executing"
    harness.control_plane.on_job_update("processing", jobs["Slow"], harness.runner.completed())
    assert harness.wait_for_end(arn)["PipelineExecutionStatus"] == "Failed"
    ended = harness.steps(arn)
    assert ended["Bad"]["FailureReason"] == "ClientError: AlgorithmError: exit code: 1"
    assert ended["Slow"]["StepStatus"] == "Succeeded"
    assert "After" not in ended


def test_a_role_that_may_not_start_the_job_fails_the_step(harness: Any, step_of: StepOf) -> None:
    harness.denied.add(("pipeline", "CreateProcessingJob"))
    arn = harness.run({"Steps": [step_of("A")]})
    assert harness.wait_for_end(arn)["PipelineExecutionStatus"] == "Failed"
    reason = harness.steps(arn)["A"]["FailureReason"]
    assert "ClientError: Failed to invoke sagemaker:CreateProcessingJob" in reason
    assert "is not authorized to perform: sagemaker:CreateProcessingJob" in reason
    assert not harness.runner.started


def test_retry_policies_cover_only_the_exceptions_that_they_name(harness: Any, step_of: StepOf) -> None:
    policies = [
        {"ExceptionType": ["SageMaker.JOB_INTERNAL_ERROR"], "IntervalSeconds": 0, "MaxAttempts": 2},
        {"ExceptionType": ["Step.THROTTLING"], "IntervalSeconds": 0, "BackoffRate": 1.0, "ExpireAfterMin": 1},
    ]
    harness.errors["CreateProcessingJob"] = [("ThrottlingException", 400)] * 3
    harness.runner.outcomes = [harness.runner.failed("InternalServerError: again")] * 2
    arn = harness.run({"Steps": [step_of("A", RetryPolicies=policies)]})
    assert harness.wait_for_end(arn)["PipelineExecutionStatus"] == "Succeeded"
    assert harness.steps(arn)["A"]["AttemptCount"] == 6
    assert len({name for _, name, _ in harness.runner.started}) == 3
    harness.runner.outcomes = [harness.runner.failed("InternalServerError: again")] * 3
    arn = harness.run({"Steps": [step_of("A", RetryPolicies=policies)]})
    assert harness.wait_for_end(arn)["PipelineExecutionStatus"] == "Failed"
    harness.runner.outcomes = [harness.runner.failed("AlgorithmError: mine")]
    arn = harness.run({"Steps": [step_of("A", RetryPolicies=policies)]})
    assert harness.wait_for_end(arn)["PipelineExecutionStatus"] == "Failed"
    assert harness.steps(arn)["A"]["AttemptCount"] == 1


def test_a_cached_step_is_not_run_again_and_its_values_are_reused(harness: Any, step_of: StepOf) -> None:
    cached = {"CacheConfig": {"Enabled": True, "ExpireAfter": "P1D"}}

    def definition(value: str, **members: Any) -> dict[str, Any]:
        use = step_of("Use", Arguments={"Environment": {"ARN": _get("Steps.A.ProcessingJobArn")}})
        return {"Steps": [step_of("A", Arguments={"Environment": {"V": value}}, **members), use]}

    first = harness.run(definition("1", **cached))
    harness.wait_for_end(first)
    second = harness.run(definition("1", **cached))
    assert harness.wait_for_end(second)["PipelineExecutionStatus"] == "Succeeded"
    hit = harness.steps(second)["A"]
    assert hit["CacheHitResult"] == {"SourcePipelineExecutionArn": first}
    assert hit["Metadata"] == harness.steps(first)["A"]["Metadata"]
    third, fourth = harness.run(definition("2", **cached)), None
    harness.wait_for_end(third)
    assert "CacheHitResult" not in harness.steps(third)["A"]
    fourth = harness.run(definition("1"))
    harness.wait_for_end(fourth)
    assert "CacheHitResult" not in harness.steps(fourth)["A"]
    used = [request["Environment"]["ARN"] for _, name, request in harness.runner.started if "-Use-" in name]
    assert used[0] == used[1]
    assert len(set(used)) == 3


def test_a_failed_run_is_never_a_cache_hit(harness: Any, step_of: StepOf) -> None:
    definition = {"Steps": [step_of("A", CacheConfig={"Enabled": True})]}
    harness.runner.outcomes = [harness.runner.failed("AlgorithmError: x")]
    harness.wait_for_end(harness.run(definition))
    again = harness.run(definition)
    assert harness.wait_for_end(again)["PipelineExecutionStatus"] == "Succeeded"
    assert "CacheHitResult" not in harness.steps(again)["A"]


def test_stop_ends_the_jobs_and_retry_continues(harness: Any, step_of: StepOf) -> None:
    harness.runner.blocked.add("-B-")
    arn = harness.run({"Steps": [step_of("A"), step_of("B", DependsOn=["A"]), step_of("C", DependsOn=["B"])]})
    harness.eventually(lambda: harness.steps(arn).get("B", {}).get("StepStatus") == "Executing")
    with pytest.raises(ClientError, match="ConflictException"):
        harness.sagemaker.delete_pipeline(PipelineName="p")
    harness.sagemaker.stop_pipeline_execution(PipelineExecutionArn=arn)
    assert harness.wait_for_end(arn)["PipelineExecutionStatus"] == "Stopped"
    assert harness.steps(arn)["B"]["StepStatus"] == "Stopped"
    assert len(harness.runner.stopped) == 1
    harness.runner.blocked.clear()
    harness.sagemaker.retry_pipeline_execution(PipelineExecutionArn=arn)
    assert harness.wait_for_end(arn)["PipelineExecutionStatus"] == "Succeeded"
    started = [name.split("-")[2] for _, name, _ in harness.runner.started]
    assert started == ["A", "B", "B", "C"]
    with pytest.raises(ClientError, match="cannot be retried"):
        harness.sagemaker.retry_pipeline_execution(PipelineExecutionArn=arn)


def test_independent_steps_run_in_parallel_up_to_the_limit(harness: Any, step_of: StepOf) -> None:
    harness.runner.blocked.add("pipelines-")
    arn = harness.run(
        {"Steps": [step_of(name) for name in "ABCD"]}, ParallelismConfiguration={"MaxParallelExecutionSteps": 2}
    )
    harness.eventually(lambda: len(harness.runner.started) == 2)
    time.sleep(0.05)
    assert len(harness.runner.started) == 2
    for count in (3, 4):
        harness.control_plane.on_job_update(
            "processing", harness.runner.started[count - 3][1], harness.runner.completed()
        )
        harness.eventually(lambda count=count: len(harness.runner.started) == count)
    harness.sagemaker.update_pipeline_execution(PipelineExecutionArn=arn, PipelineExecutionDescription="d")
    assert (
        harness.sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)["PipelineExecutionDescription"] == "d"
    )


def test_outputs_of_lambda_and_model_steps_reach_later_steps(harness: Any, step_of: StepOf) -> None:
    call = {
        "Name": "Call",
        "Type": "Lambda",
        "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:f",
        "Arguments": {"value": _get("Execution.PipelineName")},
        "OutputParameters": [
            {"OutputName": "echo", "OutputType": "String"},
            {"OutputName": "n", "OutputType": "Integer"},
        ],
    }
    model = {
        "Name": "Make",
        "Type": "Model",
        "Arguments": {
            "ExecutionRoleArn": ROLE,
            "PrimaryContainer": {"Image": IMAGE, "Environment": {"E": _get("Steps.Call.OutputParameters['echo']")}},
        },
    }
    use = step_of(
        "Use",
        Arguments={"Environment": {"M": _get("Steps.Make.ModelName"), "N": _get("Steps.Call.OutputParameters['n']")}},
    )
    arn = harness.run({"Steps": [call, model, use]})
    assert harness.wait_for_end(arn)["PipelineExecutionStatus"] == "Succeeded"
    steps = harness.steps(arn)
    listed = {one["Name"]: one["Value"] for one in steps["Call"]["Metadata"]["Lambda"]["OutputParameters"]}
    assert listed == {"echo": "p", "n": "3"}
    environment = harness.runner.started[0][2]["Environment"]
    assert environment["N"] == "3"
    made = harness.sagemaker.describe_model(ModelName=environment["M"])
    assert made["PrimaryContainer"]["Environment"] == {"E": "p"}
    call["Arguments"] = {"fail": True}
    failed = harness.run({"Steps": [call]})
    harness.wait_for_end(failed)
    assert "errorMessage" in harness.steps(failed)["Call"]["FailureReason"]


def test_nested_conditions_run_only_the_branch_that_holds(harness: Any, step_of: StepOf) -> None:
    def condition(name: str, right: int, then: list[Any], otherwise: list[Any]) -> dict[str, Any]:
        tests = [{"Type": "Equals", "LeftValue": 1, "RightValue": right}]
        return {
            "Name": name,
            "Type": "Condition",
            "Arguments": {"Conditions": tests, "IfSteps": then, "ElseSteps": otherwise},
        }

    inner = condition("Inner", 2, [step_of("No")], [step_of("Yes")])
    steps = [condition("Outer", 1, [inner], [step_of("Never")]), step_of("Waits", DependsOn=["Never"])]
    arn = harness.run({"Steps": steps})
    assert harness.wait_for_end(arn)["PipelineExecutionStatus"] == "Succeeded"
    assert set(harness.steps(arn)) == {"Outer", "Inner", "Yes"}


def test_a_token_starts_one_execution(harness: Any, step_of: StepOf) -> None:
    token = "t" * 32
    first = harness.run({"Steps": [step_of("A")]}, ClientRequestToken=token)
    again = harness.sagemaker.start_pipeline_execution(PipelineName="p", ClientRequestToken=token)
    assert again["PipelineExecutionArn"] == first
    with pytest.raises(ClientError, match="ConflictException"):
        harness.sagemaker.start_pipeline_execution(
            PipelineName="p", ClientRequestToken=token, PipelineExecutionDescription="x"
        )
    harness.wait_for_end(first)
    assert len(harness.sagemaker.list_pipeline_executions(PipelineName="p")["PipelineExecutionSummaries"]) == 1


def test_an_execution_survives_a_crash_during_a_step(harness: Any, step_of: StepOf) -> None:
    harness.runner.blocked.add("-A-")
    policy = {"ExceptionType": ["SageMaker.JOB_INTERNAL_ERROR"], "IntervalSeconds": 0, "MaxAttempts": 1}
    arn = harness.run({"Steps": [step_of("A", RetryPolicies=[policy]), step_of("B", DependsOn=["A"])]})
    harness.eventually(lambda: harness.steps(arn)["A"]["StepStatus"] == "Executing")
    harness.runner.blocked.clear()
    harness.crash()
    harness.control_plane.recover()
    assert harness.wait_for_end(arn)["PipelineExecutionStatus"] == "Succeeded"
    assert harness.steps(arn)["A"]["AttemptCount"] == 2


def test_a_job_that_is_retried_during_recovery_is_created_once(harness: Any, step_of: StepOf) -> None:
    harness.runner.blocked.add("-A-")
    policy = {"ExceptionType": ["SageMaker.JOB_INTERNAL_ERROR"], "IntervalSeconds": 0, "MaxAttempts": 5}
    arn = harness.run({"Steps": [step_of("A", RetryPolicies=[policy])]})
    harness.eventually(lambda: harness.steps(arn)["A"]["StepStatus"] == "Executing")
    harness.crash()
    harness.control_plane._jobs.recover()
    harness.eventually(lambda: harness.steps(arn)["A"]["AttemptCount"] == 2)
    harness.control_plane._engine.recover()
    harness.eventually(lambda: harness.steps(arn)["A"]["StepStatus"] == "Executing")
    time.sleep(0.1)
    assert harness.steps(arn)["A"]["AttemptCount"] == 2
    assert len(harness.runner.started) == 2


def test_a_job_lost_in_a_crash_fails_its_step_where_no_policy_retries(harness: Any, step_of: StepOf) -> None:
    harness.runner.blocked.add("-A-")
    arn = harness.run({"Steps": [step_of("A")]})
    harness.eventually(lambda: harness.steps(arn)["A"]["StepStatus"] == "Executing")
    harness.crash()
    harness.control_plane.recover()
    assert harness.wait_for_end(arn)["PipelineExecutionStatus"] == "Failed"
    assert harness.steps(arn)["A"]["FailureReason"].startswith("InternalServerError")


@pytest.mark.parametrize("fixture", ["pipeline_execution_succeeded", "pipeline_step_failed"])
def test_events_have_awss_fields(harness: Any, step_of: StepOf, fixture: str) -> None:
    want = json.loads((FIXTURES / f"{fixture}.json").read_text())
    if "failed" in fixture:
        harness.runner.outcomes = [harness.runner.failed("AlgorithmError: x")]
    arn = harness.run(
        {"Steps": [step_of("prep")]},
        PipelineExecutionDisplayName="drift-2026-11-22",
        PipelineExecutionDescription="SomeDescription",
    )
    harness.wait_for_end(arn)
    kind, resources, detail = harness.eventually(
        lambda: [one for one in harness.events if one[0] == want["detail-type"]]
    )[-1]
    assert kind == want["detail-type"]
    assert resources == [arn.partition("/execution")[0], arn]
    assert set(detail) == set(want["detail"])
    for name in set(want["detail"]) - {"metadata"}:
        assert len(detail[name]) == len(want["detail"][name]) or "Arn" in name or "eason" in name, name
    if "metadata" in want["detail"]:
        assert set(detail["metadata"]) == {"processingJob"}
        assert set(detail["metadata"]["processingJob"]) == {"arn"}


def test_the_time_between_two_steps_is_short(harness: Any, step_of: StepOf) -> None:
    names = [f"S{number}" for number in range(10)]
    steps = [step_of(name, **({"DependsOn": [names[i - 1]]} if i else {})) for i, name in enumerate(names)]
    harness.wait_for_end(harness.run({"Steps": steps[:1]}))  # warms the client
    begun = time.monotonic()
    harness.wait_for_end(harness.run({"Steps": steps}))
    assert (time.monotonic() - begun) / len(names) < 0.3  # some 0.02 s on a quiet machine; a polled step takes a second
