"""The CDK app with all stacks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import aws_cdk as cdk
from cdk_nag import AwsSolutionsChecks
from constructs import Construct

from configuration import Configuration, ConfigurationError, Model, Problem, Realtime, Stage
from pipelines import compile_pipelines
from stacks.delivery import DeliveryStack
from stacks.monitoring import MonitoringStack
from stacks.platform import PlatformStack
from stacks.security_hub import SecurityHubChecks
from stacks.serving import ServingStack
from stacks.training import TrainingStack

_DELIVERY_CONTEXT = "delivery"


def build(configuration: Configuration, outdir: str, *, context: Mapping[str, str] | None = None) -> cdk.App:
    """Return the app with the stacks of every stage.

    Each stage has a platform stack, and for each model a serving stack and, if the model is monitored, a monitoring
    stack. The last stage, the hub, also has a training stack for each model.

    With the context value `delivery=true` (`npx cdk deploy --context delivery=true …`) the app has the Delivery stack
    instead, whose pipeline deploys the same stacks.

    Args:
        configuration: The application and its models.
        outdir: The folder that the cloud assembly is written to.
        context: Values besides those of cdk.json and of the CDK CLI.

    Returns:
        The app, not yet synthesised.

    Raises:
        pipelines.CompileError: A model's pipeline does not compile.
        ConfigurationError: A delivery is asked for, and evergreen.yaml has no section `delivery`.
        ValueError: The context value is neither true nor false.
    """
    flags = {**_context(configuration.root), **(context or {})}
    app = cdk.App(context=flags, outdir=outdir, analytics_reporting=False)
    cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app), SecurityHubChecks(app))
    definitions = compile_pipelines(configuration.models)
    if _is_delivery(app):
        _add_delivery(app, configuration, definitions)
    else:
        for stage in configuration.application.stages:
            _add_stage(app, configuration, stage, definitions)
    return app


def _add_delivery(app: cdk.App, configuration: Configuration, definitions: Sequence[str]) -> None:
    application = configuration.application
    if application.delivery is None:
        raise ConfigurationError([Problem("evergreen.yaml", "delivery", "required: what the pipeline delivers")])
    delivery = DeliveryStack(
        app,
        f"{application.name}-delivery",
        application=application,
        delivery=application.delivery,
        cli_version=_cli_version(configuration.root),
        env=cdk.Environment(account=application.stage.account, region=application.stage.region),
    )
    for stage in application.stages:
        content = cdk.Stage(app, stage.name)
        _add_stage(content, configuration, stage, definitions)
        delivery.pipeline.add(stage, content)
    delivery.pipeline.finish()


def _add_stage(scope: Construct, configuration: Configuration, stage: Stage, definitions: Sequence[str]) -> None:
    application = configuration.application
    environment = cdk.Environment(account=stage.account, region=stage.region)
    platform = PlatformStack(
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
            # SageMaker deletes no endpoint that has monitors, and monitors none that does not exist.
            monitoring.add_stack_dependency(serving)


def _captures(model: Model, stage: Stage) -> bool:
    """Return whether a stage captures requests; the configuration requires it of the last stage."""
    serving = model.serving[stage.name]
    return isinstance(serving, Realtime) and serving.capture_percent > 0


def _is_delivery(app: cdk.App) -> bool:
    value = app.node.try_get_context(_DELIVERY_CONTEXT)
    if value not in (None, "true", "false"):
        raise ValueError(f"the context value {_DELIVERY_CONTEXT} is true or false, got {value!r}")
    return bool(value == "true")


def _cli_version(root: Path) -> str:
    """Return the version of the CDK CLI that package.json pins for people and make."""
    version: str = json.loads((root / "package.json").read_text(encoding="utf-8"))["devDependencies"]["aws-cdk"]
    return version


def _context(root: Path) -> dict[str, object]:
    """Return the context that the CDK CLI passes, so that `python app.py` and `cdk synth` write the same templates."""
    flags: dict[str, object] = json.loads((root / "cdk.json").read_text(encoding="utf-8"))["context"]
    return {**flags, "aws:cdk:enable-path-metadata": True, "aws:cdk:enable-asset-metadata": True}
