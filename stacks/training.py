"""How a model is made."""

from __future__ import annotations

import json
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from configuration import Application, Model
from constructs.mlops.monitoring.monitors import baseline_settings
from constructs.mlops.training.training_pipeline import PackageGroup, TrainingPipeline
from stacks.content import content_sha256
from stacks.platform import Platform
from stacks.readers import readers


class TrainingStack(cdk.Stack):
    """A model's package group, its SageMaker Pipeline with their roles, and when it may be retrained."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        application: Application,
        model: Model,
        folder: Path,
        definition: str,
        platform: Platform,
        env: cdk.Environment,
    ) -> None:
        super().__init__(
            scope, construct_id, stack_name=construct_id, env=env, description=f"Trains and registers {model.name}"
        )
        stage = application.stage
        name = f"{application.name}-{model.name}"
        group = PackageGroup(self, "Registry", name=name, description=model.description, readers=readers(application))
        self.training = TrainingPipeline(
            self,
            "Training",
            name=name,
            model=model.name,
            description=model.description,
            definition=definition,
            folder=folder,
            baseline_settings=baseline_settings(model),
            image_uri=model.framework.image_uri(stage.region),
            raw_prefix=model.raw_prefix,
            group=group,
            record=f"/{application.name}/{model.name}/{stage.name}/release",
            data=platform.data,
            artifacts=platform.artifacts,
            key=platform.key,
        )
        policy = ssm.CfnParameter(
            self,
            "Retraining",
            type="String",
            name=f"/{application.name}/{model.name}/retraining",
            description="When the model may be trained anew (docs/reference/contracts.md)",
            value=json.dumps({"stage": stage.name, **model.retraining.model_dump()}, sort_keys=True),
        )
        # What it allows to start must be there first.
        policy.node.add_dependency(self.training.pipeline)
        # By it a delivery knows whether what was deployed was ever trained.
        cdk.CfnOutput(self, "ContentSha256", value=content_sha256(model, folder, definition))
        cdk.CfnOutput(self, "PipelineName", value=name)
        cdk.CfnOutput(self, "ModelPackageGroupName", value=name)
