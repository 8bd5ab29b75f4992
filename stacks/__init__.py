"""The application's stacks, put together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import aws_cdk as cdk
from cdk_nag import AwsSolutionsChecks
from constructs import Construct

from configuration import Configuration, ConfigurationError, Model, Problem, Realtime, Stage
from pipelines import compile_pipelines
from stacks.delivery import DeliveryStack
from stacks.monitoring import MonitoringStack
from stacks.platform import Platform
from stacks.serving import ServingStack
from stacks.training import TrainingStack

DELIVERY = "delivery"


def build(configuration: Configuration, outdir: str, *, context: Mapping[str, str] | None = None) -> cdk.App:
    """Build the app: for each stage a platform, and for each model a serving and, where it is watched, a monitoring
    stack; in the hub, which is the last stage, also a training stack for each model.

    With the context value `delivery=true` (`npx cdk deploy --context delivery=true …`) it is the Delivery stack with
    the same stacks inside the stages of its pipeline: what the pipeline itself synthesises and deploys.

    Args:
        context: Values besides those of cdk.json and the CDK CLI.

    Raises:
        pipelines.CompileError: If a model's pipeline does not compile.
        ConfigurationError: If there is a pipeline to be built and nothing says what it delivers.
        ValueError: If the context value is not one of true and false.
    """
    flags = {**_context(configuration.root), **(context or {})}
    app = cdk.App(context=flags, outdir=outdir, analytics_reporting=False)
    cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    application = configuration.application
    definitions = compile_pipelines(configuration.models)
    if not _delivers(app):
        for stage in application.stages:
            deploy(app, configuration, stage, definitions)
        return app
    if application.delivery is None:
        raise ConfigurationError([Problem("evergreen.yaml", "delivery", "required: what the pipeline delivers")])
    hub = application.stage
    delivery = DeliveryStack(
        app,
        f"{application.name}-delivery",
        application=application,
        delivery=application.delivery,
        cli_version=_cli_version(configuration.root),
        env=cdk.Environment(account=hub.account, region=hub.region),
    )
    for stage in application.stages:
        content = cdk.Stage(app, stage.name)
        deploy(content, configuration, stage, definitions)
        delivery.pipeline.add(stage, content)
    delivery.pipeline.finish()
    return app


def deploy(scope: Construct, configuration: Configuration, stage: Stage, definitions: list[str]) -> None:
    """Make the stacks of one stage."""
    application = configuration.application
    environment = cdk.Environment(account=stage.account, region=stage.region)
    platform = Platform(
        scope,
        f"{application.name}-platform-{stage.name}",
        application=application,
        stage=stage,
        models=configuration.models,
        env=environment,
    )
    for model, definition in zip(configuration.models, definitions, strict=True):
        if stage is application.stage:
            TrainingStack(
                scope,
                f"{application.name}-training-{model.name}",
                application=application,
                model=model,
                folder=configuration.folder_of(model),
                definition=definition,
                platform=platform,
                env=environment,
            )
        serving = ServingStack(
            scope,
            f"{application.name}-serving-{model.name}-{stage.name}",
            application=application,
            stage=stage,
            model=model,
            platform=platform,
            env=environment,
        )
        if model.monitoring and _captures(model, stage):
            monitoring = MonitoringStack(
                scope,
                f"{application.name}-monitoring-{model.name}-{stage.name}",
                application=application,
                stage=stage,
                model=model,
                monitoring=model.monitoring,
                platform=platform,
                env=environment,
            )
            # SageMaker deletes no endpoint that is still watched, and watches none that is not there.
            monitoring.add_stack_dependency(serving)


def _captures(model: Model, stage: Stage) -> bool:
    """Whether a stage captures what could be judged; the last one does, or the configuration is refused."""
    serving = model.serving[stage.name]
    return isinstance(serving, Realtime) and serving.capture_percent > 0


def _delivers(app: cdk.App) -> bool:
    value = app.node.try_get_context(DELIVERY)
    if value not in (None, "true", "false"):
        raise ValueError(f"the context value {DELIVERY} is true or false, got {value!r}")
    return bool(value == "true")


def _cli_version(root: Path) -> str:
    """The version that people and make use, pinned in package.json."""
    version: str = json.loads((root / "package.json").read_text(encoding="utf-8"))["devDependencies"]["aws-cdk"]
    return version


def _context(root: Path) -> dict[str, object]:
    """What the CDK CLI hands over, so that `python app.py` and `cdk synth` write the same templates."""
    flags: dict[str, object] = json.loads((root / "cdk.json").read_text(encoding="utf-8"))["context"]
    return {**flags, "aws:cdk:enable-path-metadata": True, "aws:cdk:enable-asset-metadata": True}
