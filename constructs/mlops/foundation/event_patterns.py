"""Event patterns that several rules share."""

from __future__ import annotations

from aws_cdk import aws_events as events

from constructs.mlops.foundation.buckets import VERIFICATIONS


def approvals(app: str) -> events.EventPattern:
    """Match the approval or rejection of a model version."""
    return events.EventPattern(
        source=["aws.sagemaker"],
        detail_type=["SageMaker Model Package State Change"],
        detail={
            "ModelPackageGroupName": [{"prefix": f"{app}-"}],
            "ModelApprovalStatus": ["Approved", "Rejected"],
        },
    )


def verifications(bucket: str) -> events.EventPattern:
    """Match the verification of a release, by the name of the artifact bucket that it is written to."""
    return events.EventPattern(
        source=["aws.s3"],
        detail_type=["Object Created"],
        detail={"bucket": {"name": [bucket]}, "object": {"key": [{"wildcard": key} for key in VERIFICATIONS]}},
    )
