"""What the SDKs' clients and public pipelines use besides the basic steps and operations."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from localcloud.runtime.contract import JobUpdate, Metric
from localcloud.sagemaker import record_filters
from localcloud.sagemaker.batch import transform

ROLE = "arn:aws:iam::000000000000:role/pipeline"
StepOf = Callable[..., dict[str, Any]]


class Queue:
    """SQS as the callback step uses it."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def send_message(self, QueueUrl: str, MessageBody: str) -> None:
        self.sent.append({"url": QueueUrl, **json.loads(MessageBody)})


def _transform_step(**data_processing: str) -> dict[str, Any]:
    source = {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/in"}}, "SplitType": "Line"}
    return {
        "Name": "Score",
        "Type": "Transform",
        "Arguments": {
            "ModelName": "m",
            "TransformInput": {**source, "ContentType": "text/csv"},
            "TransformOutput": {"S3OutputPath": "s3://b/out", "Accept": "text/csv"},
            "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
            **({"DataProcessing": data_processing} if data_processing else {}),
        },
    }


def _check_step(step_of: StepOf, **settings: Any) -> dict[str, Any]:
    output = {"S3Uri": "s3://b/check", "LocalPath": "/opt/ml/processing/output", "S3UploadMode": "EndOfJob"}
    arguments = {"ProcessingOutputConfig": {"Outputs": [{"OutputName": "o", "S3Output": output}]}}
    return {**step_of("Check", Arguments=arguments), "Type": "QualityCheck", "CheckType": "DATA_QUALITY", **settings}


def test_a_transform_step_runs_a_transform_job_and_has_its_properties(harness: Any, step_of: StepOf) -> None:
    harness.sagemaker.create_model(ModelName="m", PrimaryContainer={"Image": "image:1"}, ExecutionRoleArn=ROLE)
    harness.s3.objects["s3://b/in/a.csv"] = b"1,2\n3,4\n"
    put: dict[str, bytes] = {}
    harness.s3.put_object = lambda Bucket, Key, Body: put.update({Key: Body})
    after = step_of("After", Arguments={"Environment": {"where": {"Get": "Steps.Score.TransformOutput.S3OutputPath"}}})
    arn = harness.run({"Steps": [_transform_step(InputFilter="$[0]"), after]})
    assert harness.wait_for_end(arn)["PipelineExecutionStatus"] == "Succeeded"
    assert ":transform-job/pipelines-" in harness.steps(arn)["Score"]["Metadata"]["TransformJob"]["Arn"]
    assert harness.runner.started[0][2]["Environment"] == {"where": "s3://b/out"}
    assert put["out/in/a.csv.out"].startswith(b"image:1|1"), put


def test_a_callback_step_waits_for_its_answer(harness: Any, step_of: StepOf) -> None:
    queue = Queue()
    harness.sqs = queue
    outputs = [{"OutputName": "rows", "OutputType": "String"}]
    callback = {"Name": "Ask", "Type": "Callback", "SqsQueueUrl": "https://q", "Arguments": {"a": "b"}}
    after = step_of("After", Arguments={"Environment": {"rows": {"Get": "Steps.Ask.OutputParameters['rows']"}}})
    arn = harness.run({"Steps": [{**callback, "OutputParameters": outputs}, after]})
    message = harness.eventually(lambda: queue.sent and queue.sent[0])
    assert message["arguments"] == {"a": "b"}
    assert message["pipelineExecutionArn"] == arn
    harness.eventually(lambda: harness.steps(arn)["Ask"]["Metadata"].get("Callback"))
    token = message["token"]
    with pytest.raises(ClientError, match="rows"):
        harness.sagemaker.send_pipeline_execution_step_success(CallbackToken=token, OutputParameters=[])
    harness.sagemaker.send_pipeline_execution_step_success(
        CallbackToken=token, OutputParameters=[{"Name": "rows", "Value": "7"}]
    )
    assert harness.wait_for_end(arn)["PipelineExecutionStatus"] == "Succeeded"
    assert harness.runner.started[0][2]["Environment"] == {"rows": "7"}
    with pytest.raises(ClientError, match="does not wait"):
        harness.sagemaker.send_pipeline_execution_step_failure(CallbackToken=token, FailureReason="late")


def test_a_quality_check_compares_with_the_approved_packages_baseline(
    harness: Any, step_of: StepOf, specification: dict[str, Any]
) -> None:
    client = harness.sagemaker
    client.create_model_package_group(ModelPackageGroupName="g")
    files = {"Statistics": "s.json", "Constraints": "c.json"}
    baseline = {name: {"ContentType": "application/json", "S3Uri": f"s3://b/{file}"} for name, file in files.items()}
    client.create_model_package(
        ModelPackageGroupName="g",
        InferenceSpecification=specification,
        ModelApprovalStatus="Approved",
        DriftCheckBaselines={"ModelDataQuality": baseline},
    )
    completed = harness.runner.completed()
    violated = JobUpdate(**{**vars(completed), "exit_message": "CompletedWithViolations: 2 violations."})
    harness.runner.outcomes = [violated, violated]
    wanted = {"ModelPackageGroupName": "g"}
    arn = harness.run({"Steps": [_check_step(step_of, **wanted)]})
    assert harness.wait_for_end(arn)["PipelineExecutionStatus"] == "Failed"
    step = harness.steps(arn)["Check"]
    assert "DATA_QUALITY check found violations" in step["FailureReason"]
    assert step["Metadata"]["QualityCheck"]["ViolationReport"] == "s3://b/check/constraint_violations.json"
    request = harness.runner.started[0][2]
    assert request["Environment"]["baseline_constraints"] == "/opt/ml/processing/baseline/constraints/c.json"
    where = {name: {"Get": f"Steps.Check.{name}"} for name in ("CalculatedBaselineConstraints",)}
    where["used"] = {"Get": "Steps.Check.BaselineUsedForDriftCheckStatistics"}
    after = step_of("After", Arguments={"Environment": where})
    arn = harness.run({"Steps": [_check_step(step_of, FailOnViolation=False, **wanted), after]})
    assert harness.wait_for_end(arn)["PipelineExecutionStatus"] == "Succeeded"
    found = harness.runner.started[-1][2]["Environment"]
    assert found == {"CalculatedBaselineConstraints": "s3://b/check/constraints.json", "used": "s3://b/s.json"}


def test_a_selective_execution_runs_the_selected_steps_with_the_values_of_the_source(
    harness: Any, step_of: StepOf
) -> None:
    first = step_of("One")
    second = step_of("Two", Arguments={"Environment": {"one": {"Get": "Steps.One.ProcessingJobArn"}}})
    arn = harness.run({"Steps": [first, second]})
    assert harness.wait_for_end(arn)["PipelineExecutionStatus"] == "Succeeded"
    before = len(harness.runner.started)
    selected = {"SourcePipelineExecutionArn": arn, "SelectedSteps": [{"StepName": "Two"}]}
    start = harness.sagemaker.start_pipeline_execution
    again = start(PipelineName="p", SelectiveExecutionConfig=selected)["PipelineExecutionArn"]
    assert harness.wait_for_end(again)["PipelineExecutionStatus"] == "Succeeded"
    assert list(harness.steps(again)) == ["Two"]
    ran = harness.runner.started[before:]
    assert [request["Environment"] for _, _, request in ran] == [harness.runner.started[before - 1][2]["Environment"]]
    with pytest.raises(ClientError, match="does not exist in the pipeline"):
        start(PipelineName="p", SelectiveExecutionConfig={"SelectedSteps": [{"StepName": "Nine"}]})


def test_spot_options_are_accepted_as_aws_accepts_them(harness: Any) -> None:
    request: dict[str, Any] = {
        "TrainingJobName": "spot",
        "AlgorithmSpecification": {"TrainingImage": "image:1", "TrainingInputMode": "File"},
        "RoleArn": ROLE,
        "OutputDataConfig": {"S3OutputPath": "s3://b/out"},
        "ResourceConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1},
        "EnableManagedSpotTraining": True,
    }
    with pytest.raises(ClientError, match="MaxWaitTimeInSeconds"):
        harness.sagemaker.create_training_job(**request, StoppingCondition={"MaxRuntimeInSeconds": 60})
    waits = {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 120}
    harness.sagemaker.create_training_job(**request, StoppingCondition=waits)
    described = harness.sagemaker.describe_training_job(TrainingJobName="spot")
    assert described["EnableManagedSpotTraining"] is True


def test_groups_are_found_by_name_and_images_are_not(harness: Any) -> None:
    for name in ("churn", "churn-two"):
        harness.sagemaker.create_model_package_group(
            ModelPackageGroupName=name, Tags=[{"Key": "of", "Value": name[-3:]}]
        )

    def found(**one: str) -> list[str]:
        results = harness.sagemaker.search(Resource="ModelPackageGroup", SearchExpression={"Filters": [one]})["Results"]
        return sorted(result["ModelPackageGroup"]["ModelPackageGroupName"] for result in results)

    assert found(Name="ModelPackageGroupName", Operator="Equals", Value="churn") == ["churn"]
    assert found(Name="ModelPackageGroupName", Operator="Contains", Value="CHURN") == ["churn", "churn-two"]
    assert found(Name="Tags.of", Operator="Equals", Value="two") == ["churn-two"]
    assert found(Name="ModelPackageGroupDescription", Operator="Exists") == []
    with pytest.raises(ClientError) as raised:
        harness.sagemaker.describe_image_version(ImageName="datascience")
    assert raised.value.response["Error"]["Code"] == "ResourceNotFound"


@pytest.mark.parametrize(
    ("processing", "content_type", "body", "expected"),
    [
        ({"InputFilter": "$[1:]"}, "text/csv", b"id1,1,2\nid2,3,4\n", b"1,2\n3,4\n"),
        ({"InputFilter": "$[-1]"}, "text/csv", b"1,2\n3,4\n", b"2\n4\n"),
        ({"InputFilter": "$[0,2]"}, "text/csv", b"1,2,3\n", b"1,3\n"),
        ({"InputFilter": "$[1:]", "JoinSource": "Input"}, "text/csv", b"id,1\n", b"id,1,1\n"),
        ({"JoinSource": "Input", "OutputFilter": "$[0,-1]"}, "text/csv", b"id,1\n", b"id,1\n"),
        ({"InputFilter": "$.a"}, "application/jsonlines", b'{"a": [1]}\n', b"[1]\n"),
        ({"JoinSource": "Input"}, "application/jsonlines", b'{"a": 1}\n', b'{"a": 1, "SageMakerOutput": {"a": 1}}\n'),
    ],
)
def test_records_are_filtered_and_joined_as_batch_transform_does(
    processing: dict[str, str], content_type: str, body: bytes, expected: bytes
) -> None:
    """The model answers what it gets."""
    request = {
        "TransformInput": {"ContentType": content_type, "SplitType": "Line"},
        "TransformOutput": {"Accept": content_type},
        "DataProcessing": processing,
    }
    assert record_filters.applied(request, body, lambda part: part, transform) == expected


def test_a_filter_that_is_no_json_path_is_refused() -> None:
    with pytest.raises(record_filters.FilterError, match="JSONPath"):
        record_filters.check({"InputFilter": "a[0]"})


def test_a_monitor_takes_the_baseline_of_its_job(harness: Any, step_of: StepOf) -> None:
    output = {"S3Uri": "s3://b/baseline", "LocalPath": "/opt/ml/processing/output", "S3UploadMode": "EndOfJob"}
    cluster = {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}
    monitor = {
        "JobDefinitionName": "d",
        "DataQualityBaselineConfig": {"BaseliningJobName": "baseline"},
        "DataQualityAppSpecification": {"ImageUri": "image:1"},
        "DataQualityJobInput": {"EndpointInput": {"EndpointName": "e", "LocalPath": "/opt/ml/processing/input"}},
        "DataQualityJobOutputConfig": {
            "MonitoringOutputs": [{"S3Output": {"S3Uri": "s3://b/m", "LocalPath": "/opt/ml/processing/output"}}]
        },
        "JobResources": {"ClusterConfig": cluster},
        "RoleArn": ROLE,
    }
    with pytest.raises(ClientError, match="baseline"):
        harness.sagemaker.create_data_quality_job_definition(**monitor)
    harness.sagemaker.create_processing_job(
        ProcessingJobName="baseline",
        RoleArn=ROLE,
        AppSpecification={"ImageUri": "image:1"},
        ProcessingOutputConfig={"Outputs": [{"OutputName": "o", "S3Output": output}]},
        ProcessingResources={"ClusterConfig": cluster},
    )
    harness.eventually(
        lambda: (
            harness.sagemaker.describe_processing_job(ProcessingJobName="baseline")["ProcessingJobStatus"]
            == "Completed"
        )
    )
    harness.sagemaker.create_data_quality_job_definition(**monitor)
    job = harness.control_plane.monitoring._definitions.job("DataQuality", "d")
    assert (job.constraints, job.statistics) == ("s3://b/baseline/constraints.json", "s3://b/baseline/statistics.json")


def _tuning(**config: Any) -> dict[str, Any]:
    ranges = {
        "ContinuousParameterRanges": [
            {"Name": "eta", "MinValue": "0.01", "MaxValue": "0.5", "ScalingType": "Logarithmic"}
        ],
        "IntegerParameterRanges": [{"Name": "depth", "MinValue": "2", "MaxValue": "6"}],
        "CategoricalParameterRanges": [{"Name": "booster", "Values": ["a", "b"]}],
    }
    return {
        "HyperParameterTuningJobConfig": {
            "Strategy": "Bayesian",
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "auc"},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": 3, "MaxParallelTrainingJobs": 2},
            "ParameterRanges": ranges,
            **config,
        },
        "TrainingJobDefinition": {
            "StaticHyperParameters": {"rounds": "9"},
            "AlgorithmSpecification": {"TrainingImage": "image:1", "TrainingInputMode": "File"},
            "RoleArn": ROLE,
            "OutputDataConfig": {"S3OutputPath": "s3://b/out"},
            "ResourceConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        },
    }


def _scored(harness: Any, *scores: float) -> None:
    completed = harness.runner.completed()
    at = completed.ended_at
    harness.runner.outcomes = [
        JobUpdate(**{**vars(completed), "final_metrics": (Metric("auc", score, at),)}) for score in scores
    ]


def test_a_tuning_step_keeps_the_best_of_its_training_jobs(harness: Any, step_of: StepOf) -> None:
    _scored(harness, 0.6, 0.9, 0.7)
    best = {"best": {"Get": "Steps.Tune.BestTrainingJob.TrainingJobName"}}
    best["second"] = {"Get": "Steps.Tune.TrainingJobSummaries[1].TrainingJobName"}
    after = step_of("After", Arguments={"Environment": best})
    arn = harness.run({"Steps": [{"Name": "Tune", "Type": "Tuning", "Arguments": _tuning()}, after]})
    assert harness.wait_for_end(arn)["PipelineExecutionStatus"] == "Succeeded"
    trained = [request for kind, _, request in harness.runner.started if kind == "training"]
    assert len(trained) == 3
    for request in trained:
        given = request["HyperParameters"]
        assert given["rounds"] == "9"
        assert 0.01 <= float(given["eta"]) <= 0.5
        assert given["depth"] in "23456"
        assert given["booster"] in "ab"
    tuning = harness.steps(arn)["Tune"]["Metadata"]["TuningJob"]["Arn"].rpartition("/")[2]
    described = harness.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=tuning)
    assert described["HyperParameterTuningJobStatus"] == "Completed"
    assert described["BestTrainingJob"]["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] == pytest.approx(0.9)
    assert described["TrainingJobStatusCounters"]["Completed"] == 3
    used = harness.runner.started[-1][2]["Environment"]
    assert used["best"] == described["BestTrainingJob"]["TrainingJobName"] != used["second"]


def test_tuning_jobs_refuse_what_they_cannot_do_and_fail_with_their_jobs(harness: Any) -> None:
    create = harness.sagemaker.create_hyper_parameter_tuning_job
    with pytest.raises(ClientError, match="Hyperband"):
        create(HyperParameterTuningJobName="h", **_tuning(Strategy="Hyperband"))
    with pytest.raises(ClientError, match="CategoricalParameterRanges"):
        create(HyperParameterTuningJobName="g", **_tuning(Strategy="Grid"))
    harness.runner.outcomes = [harness.runner.failed("AlgorithmError: no")] * 3
    create(HyperParameterTuningJobName="f", **_tuning())
    describe = harness.sagemaker.describe_hyper_parameter_tuning_job

    def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = describe(HyperParameterTuningJobName="f")
        return found if found["HyperParameterTuningJobStatus"] != "InProgress" else None

    found = harness.eventually(ended)
    assert (found["HyperParameterTuningJobStatus"], "training jobs failed" in found["FailureReason"]) == (
        "Failed",
        True,
    )
