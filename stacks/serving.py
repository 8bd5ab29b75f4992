"""The serving of a model in a stage."""

from __future__ import annotations

import aws_cdk as cdk
from constructs import Construct

from configuration import Application, Model, Realtime, Stage
from constructs.mlops.serving.endpoint import Endpoint
from constructs.mlops.serving.release_policy import ReleasePolicyParameter
from constructs.mlops.serving.release_record import ReleaseRecordParameters
from constructs.mlops.serving.served_model import ServedModel
from stacks.platform import PlatformStack


class ServingStack(cdk.Stack):
    """A model's endpoint as its release record says: none before the first release, and the same template after it."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        application: Application,
        stage: Stage,
        model: Model,
        platform: PlatformStack,
        env: cdk.Environment,
    ) -> None:
        super().__init__(
            scope, construct_id, stack_name=construct_id, env=env, description=f"Serves {model.name} in {stage.name}"
        )
        app, serving = application.name, model.serving[stage.name]
        release = ReleaseRecordParameters(self, "Release", record=f"/{app}/{model.name}/{stage.name}/release")
        ReleasePolicyParameter(
            self,
            "Policy",
            name=f"/{app}/{model.name}/{stage.name}/policy",
            policy=stage.release,
            previous=platform.neighbours.previous,
            verification=serving.verification if platform.neighbours.following else None,
            pin=serving.pin,
        )
        served = ServedModel(
            self,
            "Served",
            app=app,
            model=model.name,
            release=release,
            realtime=isinstance(serving, Realtime),
            image_uri=model.framework.image_uri(stage.region),
            data=platform.data,
            artifacts=platform.artifacts,
            key=platform.key,
        )
        Endpoint(
            self,
            "Endpoint",
            app=app,
            name=f"{app}-{model.name}-{stage.name}",
            serving=serving,
            release=release,
            served=served,
            capture_prefix=f"{model.name}/capture",
            data=platform.data,
            key=platform.key,
            alerts=platform.alerts,
        )
