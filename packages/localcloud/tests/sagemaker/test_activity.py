"""Work in progress and approvals, which hold the accelerated clock."""

from __future__ import annotations

from localcloud_support.sagemaker_service import IMAGE, SageMakerHarness


def test_only_the_newest_versions_approval_is_reported(harness: SageMakerHarness) -> None:
    harness.sagemaker.create_model_package_group(ModelPackageGroupName="g")
    arns = [
        harness.sagemaker.create_model_package(
            ModelPackageGroupName="g",
            ModelApprovalStatus="PendingManualApproval",
            InferenceSpecification={
                "Containers": [{"Image": IMAGE}],
                "SupportedContentTypes": ["text/csv"],
                "SupportedResponseMIMETypes": ["text/csv"],
            },
        )["ModelPackageArn"]
        for _ in range(2)
    ]
    assert harness.control_plane.activity.approvals() == ["approval of g version 2"]
    harness.sagemaker.update_model_package(ModelPackageArn=arns[1], ModelApprovalStatus="Rejected")
    assert harness.control_plane.activity.approvals() == []


def test_a_deployment_is_reported_until_the_endpoint_is_in_service(harness: SageMakerHarness) -> None:
    harness.create_config("e")
    harness.fleet.gate.clear()
    harness.sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="e")
    assert harness.control_plane.activity.under_way() == ["endpoint e (Creating)"]
    harness.fleet.gate.set()
    harness.wait_for_endpoint("e")
    assert harness.control_plane.activity.under_way() == []


def test_a_job_is_reported_until_it_has_ended(harness: SageMakerHarness) -> None:
    harness.runner.blocked.add("slow")
    harness.sagemaker.create_processing_job(
        ProcessingJobName="slow",
        AppSpecification={"ImageUri": IMAGE, "ContainerEntrypoint": ["true"]},
        ProcessingResources={"ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}},
        RoleArn="arn:aws:iam::000000000000:role/pipeline",
    )
    assert harness.control_plane.activity.under_way() == ["processing job slow"]
    harness.sagemaker.stop_processing_job(ProcessingJobName="slow")
    assert harness.control_plane.activity.under_way() == []
