"""What AWS's documents ask of roles and requests, and the local cloud does not: one test for each statement."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from configuration import Configuration

Template = Callable[[str], dict[str, Any]]
TRAINING, SERVING = "evergreen-training-flight-delays", "evergreen-serving-flight-delays-prod"
EVENTS = Path(__file__).parents[1] / "unit" / "handlers" / "events"
MONITORING = "evergreen-monitoring-flight-delays-prod"


def statements(template: dict[str, Any], action: str) -> Iterator[dict[str, Any]]:
    """Yield the statements of a template's roles that allow an action."""
    for resource in template["Resources"].values():
        policies = resource["Properties"].get("Policies", []) if resource["Type"] == "AWS::IAM::Role" else []
        for policy in policies:
            for statement in policy["PolicyDocument"]["Statement"]:
                if action in statement["Action"]:
                    yield statement


def test_the_models_role_reads_the_rollback_alarms(template: Template) -> None:
    """SageMaker Developer Guide, "Auto-rollback configuration and monitoring"."""
    (statement,) = statements(template(SERVING), "cloudwatch:DescribeAlarms")
    assert "alarm:evergreen-flight-delays-*" in json.dumps(statement["Resource"])


@pytest.mark.parametrize("stack", [TRAINING, MONITORING])
def test_jobs_with_a_key_on_their_output_may_encrypt_with_it(template: Template, stack: str) -> None:
    """SageMaker API Reference, CreateProcessingJob and CreateTrainingJob, `KmsKeyId`."""
    assert list(statements(template(stack), "kms:Encrypt"))


def test_managed_quality_monitors_may_pull_the_merger(template: Template) -> None:
    """Model Monitor merges labels with its own image before it analyses them."""
    pulled = [json.dumps(one["Resource"]) for one in statements(template(MONITORING), "ecr:BatchGetImage")]
    assert any("repository/sagemaker-model-monitor-groundtruth-merger" in resource for resource in pulled)


def test_metrics_may_be_put_under_both_spellings_of_sagemakers_namespaces(template: Template) -> None:
    """Jobs write to /aws/sagemaker/…, Model Monitor's containers to aws/sagemaker/…."""
    (statement,) = statements(template(MONITORING), "cloudwatch:PutMetricData")
    assert statement["Condition"] == {
        "StringLike": {"cloudwatch:namespace": ["/aws/sagemaker/*", "aws/sagemaker/*"]},
    }


def test_another_bootstrap_qualifier_reaches_every_role_and_parameter(
    configuration: Configuration, tmp_path: Path
) -> None:
    from stacks import build

    context = {"@aws-cdk/core:bootstrapQualifier": "green", "delivery": "true"}
    build(configuration, str(tmp_path), context=context).synth()
    found = {path.name for path in tmp_path.rglob("*.template.json") if "hnb659fds" in path.read_text()}
    assert found == set()


def test_every_job_definition_isolates_its_containers_and_encrypts_between_them(template: Template) -> None:
    """Security Hub, SageMaker controls for monitoring jobs."""
    found = [
        resource["Properties"]["NetworkConfig"]
        for resource in template(MONITORING)["Resources"].values()
        if resource["Type"].endswith("JobDefinition")
    ]
    assert len(found) == 3
    assert all(one == {"EnableInterContainerTrafficEncryption": True, "EnableNetworkIsolation": True} for one in found)


def test_a_finished_job_is_known_by_what_awss_event_has(template: Template) -> None:
    """AWS's sample of the event has the output address, and neither the environment nor the exit message."""
    (pattern,) = [
        resource["Properties"]["EventPattern"]["detail"]
        for resource in template("evergreen-platform-prod")["Resources"].values()
        if resource["Type"] == "AWS::Events::Rule"
        and "EventPattern" in resource["Properties"]
        and "SageMaker Processing Job State Change" in resource["Properties"]["EventPattern"].get("detail-type", [])
        and "Completed" in resource["Properties"]["EventPattern"]["detail"].get("ProcessingJobStatus", [])
    ]
    sample = json.loads((EVENTS / "processing_job_completed.json").read_text(encoding="utf-8"))["detail"]
    assert pattern.keys() <= sample.keys()
    (address,) = pattern["ProcessingOutputConfig"]["Outputs"]["S3Output"]["S3Uri"]
    assert "/monitoring/*/scheduled/*" in json.dumps(address)
