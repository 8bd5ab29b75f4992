"""How a model is made."""

from __future__ import annotations

from pathlib import Path

import aws_cdk as cdk
from constructs import Construct

from configuration import Application, Model
from constructs.mlops.training_pipeline import PackageGroup, TrainingPipeline
from stacks.platform import Platform


class TrainingStack(cdk.Stack):
    """A model's package group and its SageMaker Pipeline, with their roles."""

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
        super().__init__(scope, construct_id, env=env, description=f"Trains and registers {model.name}")
        stage = application.stage
        name = f"{application.name}-{model.name}"
        group = PackageGroup(self, "Registry", name=name, description=model.description)
        self.training = TrainingPipeline(
            self,
            "Training",
            name=name,
            model=model.name,
            description=model.description,
            definition=definition,
            folder=folder,
            image_uri=model.framework.image_uri(stage.region),
            raw_prefix=model.raw_prefix,
            group=group,
            record=f"/{application.name}/{model.name}/{stage.name}/release",
            data=platform.data,
            artifacts=platform.artifacts,
            key=platform.key,
        )
        cdk.CfnOutput(self, "PipelineName", value=name)
        cdk.CfnOutput(self, "ModelPackageGroupName", value=name)
