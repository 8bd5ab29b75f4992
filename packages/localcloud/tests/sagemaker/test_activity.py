"""What the accelerated clock waits for in SageMaker."""

from __future__ import annotations

from tests.localcloud.sagemaker.conftest import IMAGE, World


def test_only_the_newest_version_s_open_approval_holds_the_clock(world: World) -> None:
    world.sagemaker.create_model_package_group(ModelPackageGroupName="g")
    arns = [
        world.sagemaker.create_model_package(
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
    assert world.plane.activity.approvals() == ["approval of g version 2"]
    world.sagemaker.update_model_package(ModelPackageArn=arns[1], ModelApprovalStatus="Rejected")
    assert world.plane.activity.approvals() == []


def test_a_deployment_is_under_way_until_the_endpoint_is_in_service(world: World) -> None:
    world.config("e")
    world.fleet.gate.clear()
    world.sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="e")
    assert world.plane.activity.under_way() == ["endpoint e (Creating)"]
    world.fleet.gate.set()
    world.endpoint_settles("e")
    assert world.plane.activity.under_way() == []


def test_a_job_is_under_way_until_it_has_ended(world: World) -> None:
    world.runner.held.add("slow")
    world.sagemaker.create_processing_job(
        ProcessingJobName="slow",
        AppSpecification={"ImageUri": IMAGE, "ContainerEntrypoint": ["true"]},
        ProcessingResources={"ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}},
        RoleArn="arn:aws:iam::000000000000:role/pipeline",
    )
    assert world.plane.activity.under_way() == ["processing job slow"]
    world.sagemaker.stop_processing_job(ProcessingJobName="slow")
    assert world.plane.activity.under_way() == []
