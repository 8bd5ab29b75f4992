"""Processing and training jobs: their documents, status changes and events."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from localcloud.runtime.contract import JobUpdate, Metric

FIXTURES = Path(__file__).parent / "fixtures"
ROLE = "arn:aws:iam::000000000000:role/job"
CLUSTER = {"ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 20}}
NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)


def _training(name: str, **members: Any) -> dict[str, Any]:
    return {
        "TrainingJobName": name,
        "AlgorithmSpecification": {"TrainingImage": "xgboost:3.2-0", "TrainingInputMode": "File"},
        "RoleArn": ROLE,
        "OutputDataConfig": {"S3OutputPath": "s3://b/out"},
        "ResourceConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        **members,
    }


def _processing(name: str, **members: Any) -> dict[str, Any]:
    return {
        "ProcessingJobName": name,
        "AppSpecification": {"ImageUri": "i"},
        "RoleArn": ROLE,
        "ProcessingResources": CLUSTER,
        **members,
    }


@pytest.mark.parametrize("kind", ["processing_job", "training_job", "model"])
def test_a_role_that_sagemaker_cannot_assume_is_rejected_at_once(harness: Any, kind: str) -> None:
    missing = ROLE.replace("role/job", "role/missing")
    request: dict[str, Any] = {
        "processing_job": _processing("j", RoleArn=missing),
        "training_job": _training("j", RoleArn=missing),
        "model": {"ModelName": "j", "ExecutionRoleArn": missing, "PrimaryContainer": {"Image": "i"}},
    }[kind]
    with pytest.raises(ClientError, match=f"Could not assume role {missing}") as rejected:
        getattr(harness.sagemaker, f"create_{kind}")(**request)
    assert rejected.value.response["Error"]["Code"] == "ValidationException"
    assert not harness.runner.started


@pytest.mark.parametrize("kind", ["processing_job", "training_job", "model"])
@pytest.mark.parametrize(
    "image",
    [
        "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:9.9",
        "683313688378.dkr.ecr.eu-west-1.amazonaws.com/sagemaker-xgboost:3.2-0",
        "999999999999.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.9-0",
    ],
)
def test_an_image_that_aws_does_not_have_is_refused_at_once(harness: Any, kind: str, image: str) -> None:
    request: dict[str, Any] = {
        "processing_job": _processing("j", AppSpecification={"ImageUri": image}),
        "training_job": _training("j", AlgorithmSpecification={"TrainingImage": image, "TrainingInputMode": "File"}),
        "model": {"ModelName": "j", "ExecutionRoleArn": ROLE, "PrimaryContainer": {"Image": image}},
    }[kind]
    said = "Requested image .* not found" if kind == "model" else "Cannot find .* has proper pull permissions"
    with pytest.raises(ClientError, match=said) as rejected:
        getattr(harness.sagemaker, f"create_{kind}")(**request)
    assert rejected.value.response["Error"]["Code"] == "ValidationException"
    assert not harness.runner.started


def test_a_training_job_reports_its_transitions(harness: Any) -> None:
    harness.runner.blocked.add("t")
    harness.sagemaker.create_training_job(**_training("t", HyperParameters={"eta": "0.1"}))
    begun = harness.sagemaker.describe_training_job(TrainingJobName="t")
    assert (begun["TrainingJobStatus"], begun["SecondaryStatus"]) == ("InProgress", "Starting")
    assert harness.runner.started[0][2]["HyperParameters"] == {"eta": "0.1"}
    report = harness.control_plane.on_job_update
    report("training", "t", JobUpdate("InProgress", "Training", "Training image", training_started_at=NOW))
    done = JobUpdate(
        "Completed",
        "Completed",
        model_artifacts="s3://b/out/t/output/model.tar.gz",
        final_metrics=(Metric("auc", 0.71, NOW),),
        training_started_at=NOW,
        ended_at=NOW.replace(second=7),
    )
    report("training", "t", done)
    ended = harness.sagemaker.describe_training_job(TrainingJobName="t")
    assert ended["TrainingJobStatus"] == "Completed"
    assert ended["ModelArtifacts"]["S3ModelArtifacts"].endswith("model.tar.gz")
    assert ended["TrainingTimeInSeconds"] == 7
    assert ended["FinalMetricDataList"][0]["MetricName"] == "auc"
    stages = ended["SecondaryStatusTransitions"]
    assert [stage["Status"] for stage in stages] == ["Starting", "Training", "Completed"]
    assert all("EndTime" in stage for stage in stages)
    report("training", "t", JobUpdate("Failed", "Failed", failure_reason="too late"))
    assert harness.sagemaker.describe_training_job(TrainingJobName="t")["TrainingJobStatus"] == "Completed"
    statuses = [detail["SecondaryStatus"] for kind, _, detail in harness.events if "Training Job" in kind]
    assert statuses == ["Starting", "Training", "Completed"]


def test_a_failed_processing_jobs_event_has_awss_fields(harness: Any) -> None:
    want = json.loads((FIXTURES / "processing_job_failed.json").read_text())
    sample = want["detail"]
    request = {
        name: sample[name]
        for name in (
            "ProcessingInputs",
            "ProcessingOutputConfig",
            "ProcessingJobName",
            "ProcessingResources",
            "StoppingCondition",
            "AppSpecification",
            "NetworkConfig",
            "RoleArn",
        )
    }
    # AWS's sample spells the enumeration values of inputs and outputs differently from the API.
    request["ProcessingInputs"][0]["S3Input"] |= {
        "S3DataType": "S3Prefix",
        "S3InputMode": "File",
        "S3DataDistributionType": "FullyReplicated",
    }
    request["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]["S3UploadMode"] = "Continuous"
    failed = JobUpdate(
        "Failed", "Failed", failure_reason=sample["FailureReason"], training_started_at=NOW, ended_at=NOW
    )
    harness.runner.outcomes.append(failed)
    harness.sagemaker.create_processing_job(**request)
    events = harness.eventually(
        lambda: [one for one in harness.events if one[2].get("ProcessingJobStatus") == "Failed"]
    )
    kind, resources, detail = events[0]
    assert kind == want["detail-type"]
    assert resources == [detail["ProcessingJobArn"]]
    assert set(detail) == set(sample)
    for name, value in sample.items():
        assert type(detail[name]) is type(value), name
    assert detail["FailureReason"] == sample["FailureReason"]


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ({"ResourceConfig": {"InstanceCount": 2, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}}, "InstanceCount"),
        ({"TensorBoardOutputConfig": {"S3OutputPath": "s3://b/t"}}, "TensorBoardOutputConfig"),
    ],
)
def test_unsupported_members_are_rejected_by_name(harness: Any, members: dict[str, Any], named: str) -> None:
    with pytest.raises(ClientError, match=named):
        harness.sagemaker.create_training_job(**_training("t", **members))
    assert not harness.runner.started


def test_a_jobs_name_is_unique(harness: Any) -> None:
    harness.sagemaker.create_processing_job(**_processing("p"))
    with pytest.raises(ClientError, match="ResourceInUse"):
        harness.sagemaker.create_processing_job(**_processing("p"))


def test_a_running_job_stops_and_an_ended_one_does_not(harness: Any) -> None:
    harness.runner.blocked.add("p")
    harness.sagemaker.create_processing_job(**_processing("p"))
    harness.sagemaker.stop_processing_job(ProcessingJobName="p")
    assert harness.sagemaker.describe_processing_job(ProcessingJobName="p")["ProcessingJobStatus"] == "Stopped"
    with pytest.raises(ClientError, match="Stopped"):
        harness.sagemaker.stop_processing_job(ProcessingJobName="p")
    with pytest.raises(ClientError, match=r"ResourceNotFound.*Could not find requested job with name: q"):
        harness.sagemaker.stop_processing_job(ProcessingJobName="q")


def test_an_ended_job_is_deleted_and_its_name_is_free(harness: Any) -> None:
    harness.runner.blocked.add("p")
    harness.sagemaker.create_processing_job(**_processing("p"))
    with pytest.raises(ClientError, match="ResourceInUse"):
        harness.sagemaker.delete_processing_job(ProcessingJobName="p")
    harness.sagemaker.stop_processing_job(ProcessingJobName="p")
    harness.sagemaker.delete_processing_job(ProcessingJobName="p")
    assert not harness.sagemaker.list_processing_jobs()["ProcessingJobSummaries"]
    with pytest.raises(ClientError, match="ResourceNotFound"):
        harness.sagemaker.delete_processing_job(ProcessingJobName="p")
    harness.runner.blocked.clear()
    harness.sagemaker.create_processing_job(**_processing("p"))


def test_jobs_are_listed_by_status_and_name(harness: Any) -> None:
    harness.runner.blocked.add("b")
    for name in ("a-1", "b-1", "a-2"):
        harness.sagemaker.create_processing_job(**_processing(name))
    client = harness.sagemaker

    def completed() -> list[str]:
        answer = client.list_processing_jobs(StatusEquals="Completed", SortBy="Name", SortOrder="Ascending")
        return [one["ProcessingJobName"] for one in answer["ProcessingJobSummaries"]]

    harness.eventually(lambda: completed() == ["a-1", "a-2"])
    assert len(client.list_processing_jobs(NameContains="B-")["ProcessingJobSummaries"]) == 1


def test_a_job_lost_in_a_crash_is_failed_at_the_next_start(harness: Any) -> None:
    harness.runner.blocked.add("p")
    harness.sagemaker.create_processing_job(**_processing("p"))
    harness.crash()
    harness.control_plane.recover()
    job = harness.sagemaker.describe_processing_job(ProcessingJobName="p")
    assert job["ProcessingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("InternalServerError")


# The members in AWS's "Events that Amazon SageMaker AI sends to Amazon EventBridge".
_TRAINING_EVENT = (
    "TrainingJobName TrainingJobArn TrainingJobStatus SecondaryStatus HyperParameters AlgorithmSpecification RoleArn "
    "InputDataConfig OutputDataConfig ResourceConfig VpcConfig StoppingCondition CreationTime TrainingStartTime "
    "TrainingEndTime LastModifiedTime SecondaryStatusTransitions Tags FailureReason"
)


def test_a_training_jobs_event_has_only_awss_members(harness: Any) -> None:
    harness.sagemaker.create_training_job(
        TrainingJobName="sampled",
        AlgorithmSpecification={"TrainingImage": "xgboost:3.2-0", "TrainingInputMode": "File"},
        RoleArn=ROLE,
        OutputDataConfig={"S3OutputPath": "s3://b/out"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        StoppingCondition={"MaxRuntimeInSeconds": 60},
        Environment={"A": "b"},
        EnableNetworkIsolation=True,
    )

    def last() -> dict[str, Any] | None:
        kind, _, detail = harness.events[-1]
        return detail if kind == "SageMaker Training Job State Change" and "TrainingEndTime" in detail else None

    detail = harness.eventually(last)
    assert set(detail) <= set(_TRAINING_EVENT.split())
    assert detail["TrainingJobStatus"] == "Completed"


def test_models_and_endpoint_configurations_send_events(harness: Any) -> None:
    harness.create_config("watched", Tags=[{"Key": "of", "Value": "test"}])
    harness.sagemaker.delete_endpoint_config(EndpointConfigName="watched")
    harness.sagemaker.delete_model(ModelName="watched")
    found = [(kind, resources) for kind, resources, _ in harness.events]
    prefix = "arn:aws:sagemaker:us-east-1:000000000000"
    model = ("SageMaker Model State Change", [f"{prefix}:model/watched"])
    config = ("SageMaker Endpoint Config State Change", [f"{prefix}:endpoint-config/watched"])
    assert found == [model, config, config, model]
    detail = harness.events[1][2]
    assert detail["EndpointConfigName"] == "watched"
    assert detail["ProductionVariants"][0]["ModelName"] == "watched"
    assert detail["Tags"] == {"of": "test"}
    assert isinstance(detail["CreationTime"], int)
