"""The application's stacks, put together."""

from __future__ import annotations

import json
from pathlib import Path

import aws_cdk as cdk
from cdk_nag import AwsSolutionsChecks

from configuration import Configuration
from pipelines import compile_pipelines
from stacks.monitoring import MonitoringStack
from stacks.platform import Platform
from stacks.serving import ServingStack
from stacks.training import TrainingStack


def build(configuration: Configuration, outdir: str) -> cdk.App:
    """Build the app: one platform, and for each model a training, a serving and, where asked for, a monitoring stack.

    Raises:
        pipelines.CompileError: If a model's pipeline does not compile.
    """
    app = cdk.App(context=_context(configuration.root), outdir=outdir, analytics_reporting=False)
    cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    application, stage = configuration.application, configuration.application.stage
    environment = cdk.Environment(account=stage.account, region=stage.region)
    platform = Platform(
        app,
        f"{application.name}-platform-{stage.name}",
        application=application,
        stage=stage,
        models=configuration.models,
        env=environment,
    )
    definitions = compile_pipelines(configuration.models)
    for model, definition in zip(configuration.models, definitions, strict=True):
        TrainingStack(
            app,
            f"{application.name}-training-{model.name}",
            application=application,
            model=model,
            folder=configuration.folder_of(model),
            definition=definition,
            platform=platform,
            env=environment,
        )
        serving = ServingStack(
            app,
            f"{application.name}-serving-{model.name}-{stage.name}",
            application=application,
            stage=stage,
            model=model,
            platform=platform,
            env=environment,
        )
        if model.monitoring:
            watch = MonitoringStack(
                app,
                f"{application.name}-monitoring-{model.name}-{stage.name}",
                application=application,
                stage=stage,
                model=model,
                monitoring=model.monitoring,
                platform=platform,
                env=environment,
            )
            # SageMaker deletes no endpoint that has a monitoring schedule.
            watch.add_stack_dependency(serving)
    return app


def _context(root: Path) -> dict[str, object]:
    """What the CDK CLI hands over, so that `python app.py` and `cdk synth` write the same templates."""
    flags: dict[str, object] = json.loads((root / "cdk.json").read_text(encoding="utf-8"))["context"]
    return {**flags, "aws:cdk:enable-path-metadata": True, "aws:cdk:enable-asset-metadata": True}
