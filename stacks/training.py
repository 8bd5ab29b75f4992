"""The training of a model, in the hub."""

from __future__ import annotations

import json
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from configuration import Application, Model
from constructs.mlops.monitoring.monitors import baseline_settings
from constructs.mlops.training.package_group import PackageGroup
from constructs.mlops.training.training_pipeline import TrainingPipeline, TrainingSettings
from stacks.content import content_sha256
from stacks.platform import PlatformStack


class TrainingStack(cdk.Stack):
    """A model's package group, its SageMaker Pipeline with its roles, and its retraining policy."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        application: Application,
        model: Model,
        folder: Path,
        definition: str,
        platform: PlatformStack,
        env: cdk.Environment,
    ) -> None:
        super().__init__(
            scope, construct_id, stack_name=construct_id, env=env, description=f"Trains and registers {model.name}"
        )
        stage = application.stage
        name = f"{application.name}-{model.name}"
        group = PackageGroup(
            self,
            "Registry",
            name=name,
            description=model.description,
            readers=[reader.release_role for reader in platform.neighbours.registry_readers],
        )
        self.training = TrainingPipeline(
            self,
            "Training",
            settings=TrainingSettings(
                name=name,
                model=model.name,
                description=model.description,
                definition=definition,
                folder=folder,
                baseline_settings=baseline_settings(model),
                image_uri=model.framework.image_uri(stage.region),
                raw_prefix=model.raw_prefix,
                record=f"/{application.name}/{model.name}/{stage.name}/release",
            ),
            group=group,
            data=platform.data,
            artifacts=platform.artifacts,
            key=platform.key,
        )
        policy = ssm.CfnParameter(
            self,
            "Retraining",
            type="String",
            name=f"/{application.name}/{model.name}/retraining",
            description="When the model may be retrained (docs/reference/contracts.md)",
            value=json.dumps(
                {"stage": stage.name, "raw_prefix": model.data.prefix, **model.retraining.model_dump()}, sort_keys=True
            ),
        )
        # The policy allows starts of the pipeline, which must exist first.
        policy.node.add_dependency(self.training.pipeline)
        # The delivery compares this hash with the last training's, to decide whether to train.
        cdk.CfnOutput(self, "ContentSha256", value=content_sha256(model, folder, definition))
        cdk.CfnOutput(self, "PipelineName", value=name)
        cdk.CfnOutput(self, "ModelPackageGroupName", value=name)
