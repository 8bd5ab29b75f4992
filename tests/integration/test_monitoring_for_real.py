"""Monitoring schedules in the local cloud, on the accelerated clock, with a toy model."""

from __future__ import annotations

import io
import json
import random
import tarfile
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from localcloud.testing import LocalCloud, wait_until

REGISTRY = "156813124566.dkr.ecr.us-east-1.amazonaws.com/"
ANALYZER = REGISTRY + "sagemaker-model-monitor-analyzer"
SERVER = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.4-2"
BUCKET = "watched"
INFERENCE = """
def model_fn(model_dir):
    return None
def input_fn(body, content_type):
    text = body.decode() if isinstance(body, bytes) else body
    return [[float(cell) for cell in line.split(",")] for line in text.strip().splitlines()]
def predict_fn(rows, model):
    return [int(row[0] > 0) for row in rows]
def output_fn(predictions, accept):
    return "\\n".join(str(one) for one in predictions) + "\\n", "text/csv"
"""
_CLUSTER = {"ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 5}}
_CAPTURE = {
    "EnableCapture": True,
    "InitialSamplingPercentage": 100,
    "DestinationS3Uri": f"s3://{BUCKET}/capture",
    "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
    "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"]},
}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    with LocalCloud(tmp_path_factory.mktemp("watch") / "state", accelerated=True) as made:
        yield made


@pytest.fixture(scope="module")
def role(cloud: LocalCloud) -> str:
    """Create an endpoint `toy` with data capture, and its baselines; return the ARN of the jobs' role."""
    s3, sagemaker = cloud.client("s3"), cloud.client("sagemaker")
    s3.create_bucket(Bucket=BUCKET)
    arn = cloud.create_role(
        [{"Effect": "Allow", "Action": ["s3:*", "ecr:*", "cloudwatch:PutMetricData"], "Resource": "*"}],
        "sagemaker.amazonaws.com",
    )
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        member = tarfile.TarInfo("code/inference.py")
        member.size = len(INFERENCE)
        archive.addfile(member, io.BytesIO(INFERENCE.encode()))
    s3.put_object(Bucket=BUCKET, Key="model.tar.gz", Body=packed.getvalue())
    program = {
        "SAGEMAKER_PROGRAM": "inference.py",
        "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code",
        "PIP_NO_BUILD_ISOLATION": "0",
    }
    container = {"Image": SERVER, "ModelDataUrl": f"s3://{BUCKET}/model.tar.gz", "Environment": program}
    sagemaker.create_model(ModelName="toy", PrimaryContainer=container, ExecutionRoleArn=arn)
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": "toy",
        "InitialInstanceCount": 1,
        "InstanceType": "ml.m5.large",
    }
    sagemaker.create_endpoint_config(EndpointConfigName="toy", ProductionVariants=[variant], DataCaptureConfig=_CAPTURE)
    sagemaker.create_endpoint(EndpointName="toy", EndpointConfigName="toy")
    wait_until(lambda: sagemaker.describe_endpoint(EndpointName="toy")["EndpointStatus"] == "InService", 120)
    _baseline(cloud, arn, "data", _table(1000, 0.0, "a,b"), {"analysis_type": "DATA_QUALITY"})
    quality = {"analysis_type": "MODEL_QUALITY", "problem_type": "BinaryClassification"}
    quality |= {"inference_attribute": "prediction", "ground_truth_attribute": "truth"}
    right = "prediction,truth\n" + "".join(f"{i % 2},{i % 2}\n" for i in range(400))
    _baseline(cloud, arn, "quality", right, quality)
    return arn


def _table(rows: int, shift: float, header: str = "") -> str:
    source = random.Random(rows)
    lines = [f"{source.gauss(shift, 1):.4f},{source.gauss(0, 1):.4f}" for _ in range(rows)]
    return "\n".join([header, *lines] if header else lines) + "\n"


def _baseline(cloud: LocalCloud, role: str, name: str, table: str, environment: dict[str, str]) -> None:
    """Build a baseline with the analyzer's image, as Model Monitor's baselining job does."""
    cloud.client("s3").put_object(Bucket=BUCKET, Key=f"reference/{name}/data.csv", Body=table.encode())
    paths = {"dataset_source": "/opt/ml/processing/input", "output_path": "/opt/ml/processing/output"}
    source = {"S3Uri": f"s3://{BUCKET}/reference/{name}", "LocalPath": paths["dataset_source"]}
    result = {"S3Uri": f"s3://{BUCKET}/baseline/{name}", "LocalPath": paths["output_path"], "S3UploadMode": "EndOfJob"}
    sagemaker = cloud.client("sagemaker")
    sagemaker.create_processing_job(
        ProcessingJobName=f"baseline-{name}",
        AppSpecification={"ImageUri": ANALYZER},
        Environment={"dataset_format": json.dumps({"csv": {"header": True}}), **paths, **environment},
        ProcessingInputs=[
            {"InputName": "data", "S3Input": {**source, "S3DataType": "S3Prefix", "S3InputMode": "File"}}
        ],
        ProcessingOutputConfig={"Outputs": [{"OutputName": "result", "S3Output": result}]},
        ProcessingResources=_CLUSTER,
        RoleArn=role,
    )
    cloud.clock("advance", "--by", "1s")
    job = sagemaker.describe_processing_job(ProcessingJobName=f"baseline-{name}")
    assert job["ProcessingJobStatus"] == "Completed", job


def _send_rows(cloud: LocalCloud, rows: int, shift: float, inference_id: str = "") -> None:
    named = {"InferenceId": inference_id} if inference_id else {}
    cloud.client("sagemaker-runtime").invoke_endpoint(
        EndpointName="toy", ContentType="text/csv", Body=_table(rows, shift).encode(), **named
    )


def _next_hour(cloud: LocalCloud) -> None:
    hour = int(datetime.fromisoformat(cloud.clock("status")["now"]).timestamp()) // 3600 * 3600 + 3600
    cloud.clock("advance", "--to", datetime.fromtimestamp(hour).astimezone().isoformat())


def _executions(cloud: LocalCloud, schedule: str) -> list[dict[str, Any]]:
    listed = cloud.client("sagemaker").list_monitoring_executions(
        MonitoringScheduleName=schedule, SortBy="ScheduledTime", SortOrder="Ascending"
    )
    return list(listed["MonitoringExecutionSummaries"])


def test_a_deployed_data_monitor_runs_every_hour_and_reports_drift(cloud: LocalCloud, role: str) -> None:
    sagemaker = cloud.client("sagemaker")
    url, queue = cloud.create_queue()
    cloud.create_rule(
        {"source": ["aws.sagemaker"], "detail-type": ["SageMaker Monitoring Schedule State Change"]}, {"Arn": queue}
    )
    definition = {
        "RoleArn": role,
        "DataQualityAppSpecification": {"ImageUri": ANALYZER},
        "DataQualityBaselineConfig": {
            "ConstraintsResource": {"S3Uri": f"s3://{BUCKET}/baseline/data/constraints.json"},
            "StatisticsResource": {"S3Uri": f"s3://{BUCKET}/baseline/data/statistics.json"},
        },
        "DataQualityJobInput": {
            "EndpointInput": {"EndpointName": "toy", "LocalPath": "/opt/ml/processing/input/endpoint"}
        },
        "DataQualityJobOutputConfig": {
            "MonitoringOutputs": [
                {"S3Output": {"S3Uri": f"s3://{BUCKET}/reports", "LocalPath": "/opt/ml/processing/output"}}
            ]
        },
        "JobResources": _CLUSTER,
    }
    config = {
        "MonitoringJobDefinitionName": {"Fn::GetAtt": ["Definition", "JobDefinitionName"]},
        "MonitoringType": "DataQuality",
        "ScheduleConfig": {"ScheduleExpression": "cron(0 * ? * * *)"},
    }
    template = {
        "Resources": {
            "Definition": {"Type": "AWS::SageMaker::DataQualityJobDefinition", "Properties": definition},
            "Schedule": {
                "Type": "AWS::SageMaker::MonitoringSchedule",
                "Properties": {"MonitoringScheduleName": "hourly", "MonitoringScheduleConfig": config},
            },
        }
    }
    stack = cloud.deploy_stack("watch", template)
    assert stack["StackStatus"] == "CREATE_COMPLETE", stack
    with pytest.raises(ClientError, match="monitoring schedules: hourly"):
        sagemaker.delete_endpoint(EndpointName="toy")

    _next_hour(cloud)  # no requests yet
    _send_rows(cloud, 600, 0.0)
    _next_hour(cloud)
    _send_rows(cloud, 600, 2.0)
    _next_hour(cloud)

    quiet, good, bad = _executions(cloud, "hourly")
    assert (quiet["MonitoringExecutionStatus"], quiet["FailureReason"]) == ("Failed", "Job inputs had no data")
    assert good["MonitoringExecutionStatus"] == "Completed", good.get("FailureReason")
    assert bad["MonitoringExecutionStatus"] == "CompletedWithViolations", bad
    assert all(run["ScheduledTime"].minute == 0 and run["ScheduledTime"].year == 2013 for run in (quiet, good, bad))
    keys = [
        one["Key"]
        for one in cloud.client("s3").list_objects_v2(Bucket=BUCKET, Prefix="reports/toy/hourly/")["Contents"]
    ]
    assert any(key.endswith("constraint_violations.json") for key in keys), keys
    metrics = cloud.client("cloudwatch").list_metrics(Namespace="aws/sagemaker/Endpoints/data-metrics")["Metrics"]
    drift = next(metric for metric in metrics if metric["MetricName"] == "feature_baseline_drift_a")
    assert {"Name": "MonitoringSchedule", "Value": "hourly"} in drift["Dimensions"]
    points = cloud.client("cloudwatch").get_metric_statistics(
        Namespace="aws/sagemaker/Endpoints/data-metrics", MetricName="feature_baseline_drift_a",
        Dimensions=drift["Dimensions"], StartTime=quiet["ScheduledTime"], EndTime=datetime(2013, 4, 1),
        Period=3600, Statistics=["Maximum"],
    )["Datapoints"]  # fmt: skip
    assert max(point["Maximum"] for point in points) > 0.5 > min(point["Maximum"] for point in points)
    details = [json.loads(message["Body"])["detail"] for message in _all(cloud, url)]
    assert "CompletedWithViolations" in {
        detail.get("LastMonitoringExecutionSummary", {}).get("MonitoringExecutionStatus") for detail in details
    }
    cloud.client("cloudformation").delete_stack(StackName="watch")
    wait_until(lambda: not sagemaker.list_monitoring_schedules()["MonitoringScheduleSummaries"], 20)


def _all(cloud: LocalCloud, url: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while messages := cloud.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        found += messages
    return found


def test_a_quality_monitor_merges_late_labels(cloud: LocalCloud, role: str) -> None:
    sagemaker, s3 = cloud.client("sagemaker"), cloud.client("s3")
    sagemaker.create_model_quality_job_definition(
        JobDefinitionName="quality",
        ModelQualityAppSpecification={"ImageUri": ANALYZER, "ProblemType": "BinaryClassification"},
        ModelQualityBaselineConfig={
            "ConstraintsResource": {"S3Uri": f"s3://{BUCKET}/baseline/quality/constraints.json"}
        },
        ModelQualityJobInput={
            "EndpointInput": {
                "EndpointName": "toy",
                "LocalPath": "/opt/ml/processing/input/endpoint",
                "InferenceAttribute": "0",
                "StartTimeOffset": "-PT3H",
                "EndTimeOffset": "-PT1H",
            },
            "GroundTruthS3Input": {"S3Uri": f"s3://{BUCKET}/labels"},
        },
        ModelQualityJobOutputConfig={
            "MonitoringOutputs": [
                {"S3Output": {"S3Uri": f"s3://{BUCKET}/reports", "LocalPath": "/opt/ml/processing/output"}}
            ]
        },
        JobResources=_CLUSTER,
        RoleArn=role,
    )
    for number in range(220):
        _send_rows(cloud, 1, 0.0, f"request-{number}")
    _next_hour(cloud)
    now = datetime.fromisoformat(cloud.clock("status")["now"])
    lines = [  # labels that are independent of the predictions
        {
            "groundTruthData": {"data": str(number % 2), "encoding": "CSV"},
            "eventMetadata": {"eventId": f"request-{number}"},
            "eventVersion": "0",
        }
        for number in range(220)
    ]
    body = "".join(json.dumps(line) + "\n" for line in lines)
    s3.put_object(Bucket=BUCKET, Key=f"labels/{now:%Y/%m/%d/%H}/labels.jsonl", Body=body.encode())
    sagemaker.create_monitoring_schedule(
        MonitoringScheduleName="quality",
        MonitoringScheduleConfig={
            "MonitoringJobDefinitionName": "quality",
            "MonitoringType": "ModelQuality",
            "ScheduleConfig": {"ScheduleExpression": "cron(0 * ? * * *)"},
        },
    )
    _next_hour(cloud)
    (run,) = _executions(cloud, "quality")
    assert run["MonitoringExecutionStatus"] == "CompletedWithViolations", run
    merged = s3.list_objects_v2(Bucket=BUCKET, Prefix="reports/merge/toy/quality/")["Contents"]
    text = s3.get_object(Bucket=BUCKET, Key=merged[0]["Key"])["Body"].read().decode()
    assert len(text.splitlines()) == 220
    job = sagemaker.describe_processing_job(ProcessingJobName=run["ProcessingJobArn"].rpartition("/")[2])
    assert "sagemakerMergeJson" in job["Environment"]["dataset_format"]
    sagemaker.delete_monitoring_schedule(MonitoringScheduleName="quality")
    sagemaker.delete_model_quality_job_definition(JobDefinitionName="quality")


def test_a_transform_job_scores_every_object_and_captures_what_it_read_and_wrote(cloud: LocalCloud, role: str) -> None:
    assert role
    s3, sagemaker = cloud.client("s3"), cloud.client("sagemaker")
    for name, rows in (("a.csv", "1,0\n-1,0\n2,0\n"), ("deep/b.csv", "-3,1\n")):
        s3.put_object(Bucket=BUCKET, Key=f"batch/{name}", Body=rows.encode())
    sagemaker.create_transform_job(
        TransformJobName="score",
        ModelName="toy",
        BatchStrategy="SingleRecord",
        MaxConcurrentTransforms=2,
        TransformInput={
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/batch/"}},
            "ContentType": "text/csv",
            "SplitType": "Line",
        },
        TransformOutput={"S3OutputPath": f"s3://{BUCKET}/scored", "AssembleWith": "Line"},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
        DataCaptureConfig={"DestinationS3Uri": f"s3://{BUCKET}/batch-capture"},
    )
    cloud.clock("advance", "--by", "1m")  # waits for the job
    job = sagemaker.describe_transform_job(TransformJobName="score")
    assert job["TransformJobStatus"] == "Completed", job
    scored = {
        one["Key"]: s3.get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read().decode()
        for one in s3.list_objects_v2(Bucket=BUCKET, Prefix="scored/")["Contents"]
    }
    assert scored == {"scored/a.csv.out": "1\n0\n1\n", "scored/deep/b.csv.out": "0\n"}
    captured = [one["Key"] for one in s3.list_objects_v2(Bucket=BUCKET, Prefix="batch-capture/")["Contents"]]
    assert sorted(key.split("/")[1] for key in captured) == ["input", "output"]
    assert all("/2013/03/" in key for key in captured)
    with pytest.raises(ClientError, match="RecordIO"):
        sagemaker.create_transform_job(
            TransformJobName="refused",
            ModelName="toy",
            TransformInput={
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/batch/"}},
                "SplitType": "RecordIO",
            },
            TransformOutput={"S3OutputPath": f"s3://{BUCKET}/scored"},
            TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
        )
