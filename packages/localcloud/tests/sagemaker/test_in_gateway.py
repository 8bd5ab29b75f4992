"""The control plane in the real gateway: IAM is enforced, scripts run, and a pipeline survives `kill -9`."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from localcloud.testing import LocalCloud, wait_until

IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:3.2-0"
SCRIPT = """
import json, os, time
time.sleep(float(os.environ["SECONDS"]))
with open("/opt/ml/processing/output/report/report.json", "w") as report:
    json.dump({"metrics": {"auc": 0.8}}, report)
"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    with LocalCloud(tmp_path_factory.mktemp("real") / "state") as local:
        yield local


def _definition(job_role: str) -> str:
    evaluate = {
        "Name": "Evaluate",
        "Type": "Processing",
        "Arguments": {
            "RoleArn": job_role,
            "AppSpecification": {
                "ImageUri": IMAGE,
                "ContainerEntrypoint": ["python3", "/opt/ml/processing/input/code/evaluate.py"],
            },
            "Environment": {"SECONDS": {"Get": "Parameters.Seconds"}},
            "ProcessingResources": {
                "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 5}
            },
            "ProcessingInputs": [
                {
                    "InputName": "code",
                    "S3Input": {
                        "S3Uri": "s3://pipeline-data/code/evaluate.py",
                        "LocalPath": "/opt/ml/processing/input/code",
                        "S3DataType": "S3Prefix",
                        "S3InputMode": "File",
                    },
                }
            ],
            "ProcessingOutputConfig": {
                "Outputs": [
                    {
                        "OutputName": "report",
                        "S3Output": {
                            "S3Uri": {
                                "Std:Join": {
                                    "On": "/",
                                    "Values": ["s3://pipeline-data", {"Get": "Execution.PipelineExecutionId"}],
                                }
                            },
                            "LocalPath": "/opt/ml/processing/output/report",
                            "S3UploadMode": "EndOfJob",
                        },
                    }
                ]
            },
        },
        "PropertyFiles": [{"PropertyFileName": "Report", "OutputName": "report", "FilePath": "report.json"}],
        "RetryPolicies": [{"ExceptionType": ["SageMaker.JOB_INTERNAL_ERROR"], "IntervalSeconds": 0, "MaxAttempts": 1}],
    }
    containers = [{"Image": IMAGE, "ModelDataUrl": "s3://pipeline-data/model.tar.gz"}]
    register = {
        "Name": "Register",
        "Type": "RegisterModel",
        "Arguments": {"ModelPackageGroupName": "group", "InferenceSpecification": {"Containers": containers}},
    }
    auc = {"Std:JsonGet": {"PropertyFile": {"Get": "Steps.Evaluate.PropertyFiles.Report"}, "Path": "metrics.auc"}}
    gate = {
        "Name": "Gate",
        "Type": "Condition",
        "Arguments": {
            "Conditions": [{"Type": "GreaterThan", "LeftValue": auc, "RightValue": 0.7}],
            "IfSteps": [register],
            "ElseSteps": [],
        },
    }
    parameters = [{"Name": "Seconds", "Type": "Float", "DefaultValue": 0.0}]
    return json.dumps({"Version": "2020-12-01", "Parameters": parameters, "Steps": [evaluate, gate]})


def _ended(sagemaker: Any, arn: str) -> str:
    def check() -> str | None:
        status: str = sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)["PipelineExecutionStatus"]
        return None if status == "Executing" else status

    return str(wait_until(check, 60))


def _steps(sagemaker: Any, arn: str) -> dict[str, Any]:
    listed = sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=arn)["PipelineExecutionSteps"]
    return {step["StepName"]: step for step in listed}


def test_a_pipeline_runs_with_its_roles_permissions_and_survives_a_kill(cloud: LocalCloud) -> None:
    sagemaker, s3 = cloud.client("sagemaker"), cloud.client("s3")
    s3.create_bucket(Bucket="pipeline-data")
    s3.put_object(Bucket="pipeline-data", Key="code/evaluate.py", Body=SCRIPT.encode())
    service = "sagemaker.amazonaws.com"
    used = {"Effect": "Allow", "Action": ["s3:*", "logs:*", "ecr:*"], "Resource": "*"}
    job_role = cloud.create_role([used], service=service)
    rights = [{"Effect": "Allow", "Action": ["sagemaker:*", "s3:GetObject"], "Resource": "*"}]
    weak = cloud.create_role(rights, service=service)
    passing = {"Effect": "Allow", "Action": "iam:PassRole", "Resource": job_role}
    strong = cloud.create_role([*rights, passing], service=service)
    for name, role in (("weak", weak), ("strong", strong)):
        sagemaker.create_pipeline(PipelineName=name, PipelineDefinition=_definition(job_role), RoleArn=role)

    rejected = sagemaker.start_pipeline_execution(PipelineName="weak")["PipelineExecutionArn"]
    assert _ended(sagemaker, rejected) == "Failed"
    assert "is not authorized to perform: iam:PassRole" in _steps(sagemaker, rejected)["Evaluate"]["FailureReason"]

    slow = [{"Name": "Seconds", "Value": "4"}]
    arn = sagemaker.start_pipeline_execution(PipelineName="strong", PipelineParameters=slow)["PipelineExecutionArn"]
    wait_until(lambda: _steps(sagemaker, arn).get("Evaluate", {}).get("StepStatus") == "Executing")
    os.kill(cloud.pid, signal.SIGKILL)
    cloud.up()
    assert _ended(sagemaker, arn) == "Succeeded"
    steps = _steps(sagemaker, arn)
    assert steps["Evaluate"]["AttemptCount"] == 2
    registered = steps["Register"]["Metadata"]["RegisterModel"]["Arn"]
    package = sagemaker.describe_model_package(ModelPackageName=registered)
    assert f"assumed-role/{strong.rpartition('/')[2]}/" in package["CreatedBy"]["IamIdentity"]["Arn"]
