"""AWS's managed policy for SageMaker roles, which public scripts and templates attach and ministack lacks.

Source: AWS Managed Policy Reference, "AmazonSageMakerFullAccess", without the statements on services that are not run
here.
"""

from __future__ import annotations

import json

from ministack.services import iam

_NAME = "AmazonSageMakerFullAccess"
_NAMED_FOR_SAGEMAKER = ("SageMaker", "Sagemaker", "sagemaker")
_ON_EVERYTHING = [
    "application-autoscaling:DeleteScalingPolicy",
    "application-autoscaling:DeleteScheduledAction",
    "application-autoscaling:DeregisterScalableTarget",
    "application-autoscaling:DescribeScalableTargets",
    "application-autoscaling:DescribeScalingActivities",
    "application-autoscaling:DescribeScalingPolicies",
    "application-autoscaling:DescribeScheduledActions",
    "application-autoscaling:PutScalingPolicy",
    "application-autoscaling:PutScheduledAction",
    "application-autoscaling:RegisterScalableTarget",
    "cloudformation:GetTemplateSummary",
    "cloudwatch:DeleteAlarms",
    "cloudwatch:DescribeAlarms",
    "cloudwatch:GetMetricData",
    "cloudwatch:GetMetricStatistics",
    "cloudwatch:ListMetrics",
    "cloudwatch:PutMetricAlarm",
    "cloudwatch:PutMetricData",
    "codecommit:BatchGetRepositories",
    "codecommit:CreateRepository",
    "codecommit:GetRepository",
    "codecommit:List*",
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:CreateRepository",
    "ecr:Describe*",
    "ecr:GetAuthorizationToken",
    "ecr:GetDownloadUrlForLayer",
    "ecr:StartImageScan",
    "iam:ListRoles",
    "kms:DescribeKey",
    "kms:ListAliases",
    "lambda:ListFunctions",
    "logs:CreateLogDelivery",
    "logs:CreateLogGroup",
    "logs:CreateLogStream",
    "logs:DeleteLogDelivery",
    "logs:Describe*",
    "logs:GetLogDelivery",
    "logs:GetLogEvents",
    "logs:ListLogDeliveries",
    "logs:PutLogEvents",
    "logs:PutResourcePolicy",
    "logs:UpdateLogDelivery",
    "sns:ListTopics",
    "tag:GetResources",
]
_NOT_ON = (
    *("domain", "user-profile", "app", "space", "partner-app", "flow-definition", "training-plan"),
    "reserved-capacity",
)
_IMAGE_CHANGES = (
    *("SetRepositoryPolicy", "CompleteLayerUpload", "BatchDeleteImage", "UploadLayerPart", "DeleteRepositoryPolicy"),
    *("InitiateLayerUpload", "DeleteRepository", "PutImage"),
)


def install() -> None:
    """Let roles attach the policy, with the permissions that it has on AWS."""
    record = iam._make_aws_managed_record(_NAME, json.dumps(_document()), "Provides full access to Amazon SageMaker.")
    iam._aws_managed_policies[record["Arn"]] = record


def _document() -> dict[str, object]:
    statements: list[dict[str, object]] = [
        {"Action": ["sagemaker:*"], "NotResource": [f"arn:aws:sagemaker:*:*:{kind}/*" for kind in _NOT_ON]},
        {"Action": _ON_EVERYTHING, "Resource": "*"},
        {
            "Action": [f"ecr:{action}" for action in _IMAGE_CHANGES],
            "Resource": "arn:aws:ecr:*:*:repository/*sagemaker*",
        },
        {
            "Action": ["codecommit:GitPull", "codecommit:GitPush"],
            "Resource": [f"arn:aws:codecommit:*:*:*{word}*" for word in _NAMED_FOR_SAGEMAKER],
        },
        {
            "Action": ["codebuild:BatchGetBuilds", "codebuild:StartBuild"],
            "Resource": ["arn:aws:codebuild:*:*:project/sagemaker*", "arn:aws:codebuild:*:*:build/*"],
        },
        {
            "Action": ["s3:GetBucketAcl", "s3:PutObjectAcl"],
            "Resource": [f"arn:aws:s3:::*{word}*" for word in _NAMED_FOR_SAGEMAKER],
        },
        {
            "Action": ["s3:GetObject"],
            "Resource": "arn:aws:s3:::*",
            "Condition": {"StringEquals": {"s3:ExistingObjectTag/servicecatalog:provisioning": "true"}},
        },
        {
            "Action": ["iam:CreateServiceLinkedRole"],
            "Resource": "arn:aws:iam::*:role/aws-service-role/sagemaker.application-autoscaling.amazonaws.com/"
            "AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint",
            "Condition": {"StringLike": {"iam:AWSServiceName": "sagemaker.application-autoscaling.amazonaws.com"}},
        },
        {
            "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
            "Resource": [f"arn:aws:s3:::*{word}*" for word in (*_NAMED_FOR_SAGEMAKER, "aws-glue")],
        },
        {
            "Action": ["s3:GetObject"],
            "Resource": "arn:aws:s3:::*",
            "Condition": {"StringEqualsIgnoreCase": {"s3:ExistingObjectTag/SageMaker": "true"}},
        },
        {
            "Action": [
                "s3:CreateBucket",
                "s3:GetBucketLocation",
                "s3:ListBucket",
                "s3:ListAllMyBuckets",
                "s3:GetBucketCors",
                "s3:PutBucketCors",
            ],
            "Resource": "*",
        },
        {
            "Action": ["lambda:InvokeFunction"],
            "Resource": [
                f"arn:aws:lambda:*:*:function:*{word}*" for word in (*_NAMED_FOR_SAGEMAKER, "LabelingFunction")
            ],
        },
        {
            "Action": ["sns:Subscribe", "sns:CreateTopic", "sns:Publish"],
            "Resource": [f"arn:aws:sns:*:*:*{word}*" for word in _NAMED_FOR_SAGEMAKER],
        },
        {
            "Action": ["iam:PassRole"],
            "Resource": "arn:aws:iam::*:role/*",
            "Condition": {"StringEquals": {"iam:PassedToService": ["sagemaker.amazonaws.com"]}},
        },
    ]
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **one} for one in statements]}
