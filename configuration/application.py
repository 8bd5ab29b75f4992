"""`evergreen.yaml`: the application, its stages, and settings of all models."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from configuration.base import Mistakes, Spec
from configuration.delivery import Delivery


def _application_name(value: str) -> str:
    # No hyphen: logical ids begin with the name, and the release role knows models by it (constructs/mlops).
    if not re.fullmatch(r"[a-z][a-z0-9]*", value):
        raise ValueError("one lower-case word, such as evergreen")
    if value.startswith(("aws", "ssm")):
        raise ValueError("a name that does not start with aws or ssm, which Parameter Store reserves")
    return value


def _stage_name(value: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9]*", value):
        raise ValueError("one lower-case word, such as prod")
    return value


def _account(value: str) -> str:
    if not re.fullmatch(r"[0-9]{12}", value):
        raise ValueError('twelve digits in quotes, such as "123456789012", or null for the account of the credentials')
    return value


def _region(value: str) -> str:
    if not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-[0-9]", value):
        raise ValueError("an AWS region, such as us-east-1")
    return value


def _email(value: str) -> str:
    if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", value):
        raise ValueError("an e-mail address, such as ml-alerts@example.com")
    return value


class ReleasePolicy(Spec):
    """The conditions for a version to become live in a stage."""

    approval: Literal["registry", "life-cycle"] = "registry"
    """`registry`: the version is approved. `life-cycle`: its life cycle must also be approved for production."""
    four_eyes: bool = False
    """Refuse an approval by the commit's author or by the person who started the execution."""
    description_required: bool = False
    """Refuse an approval that has no description."""


class Stage(Spec):
    """One environment that models are served in."""

    # Sixteen characters leave the endpoint's 63 to the application and the model.
    name: Annotated[str, AfterValidator(_stage_name), Field(max_length=16)]
    account: Annotated[str, AfterValidator(_account)] | None = None
    """Twelve digits in quotes. null is the account of the credentials that deploy."""
    region: Annotated[str, AfterValidator(_region)]
    model_monitor: Literal["available", "closed"] = "available"
    """Whether the account has SageMaker Model Monitor, which AWS closed to new customers (`make preflight` finds out).
    If it is closed, the built-in analyzer runs on the same schedule."""
    release: ReleasePolicy = ReleasePolicy()
    approve_infrastructure: bool = False
    """Whether a person must approve in CodePipeline before this stage's stacks are deployed."""


def _go_together(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    if not stages:
        raise ValueError("at least one stage")
    mistakes = Mistakes(stages)
    accounts = {stage.account for stage in stages}
    for index, stage in enumerate(stages):
        earlier = stages[:index]
        if any(stage.name == other.name for other in earlier):
            mistakes.add(index, "name", should="another name than the stages before have")
        if stage.account is None and len(accounts) > 1:
            mistakes.add(index, "account", should="given, as another stage's is")
        if stage.region != stages[0].region:
            should = f"{stages[0].region}, as the first stage's: a stage reads registry and images in its own region"
            mistakes.add(index, "region", should=should)
    mistakes.raise_if_any()
    return stages


class Application(Spec):
    """The application."""

    # IAM role names that CloudFormation makes keep 24 characters of the stack's name; policies name roles by
    # `{name}-training-*`, so the application's name and the word must fit.
    name: Annotated[str, AfterValidator(_application_name), Field(max_length=14)]
    """Prefix of all names: stacks, endpoints, package groups, parameters."""
    stages: Annotated[tuple[Stage, ...], AfterValidator(_go_together)]
    """The stages in the order of release. The last stage's account is the hub: it also has the registry, training,
    retraining and delivery."""
    delivery: Delivery | None = None
    """Source of the code, and the commands that test and synthesise it. Without it there is no Delivery stack."""
    alert_emails: tuple[Annotated[str, AfterValidator(_email)], ...] = ()
    """Addresses that receive alerts about rollbacks, quarantines and failures. Each must confirm its subscription."""
    log_retention_days: Literal[7, 14, 30, 60, 90, 180, 365, 731] = 90
    """Retention of the functions' log groups, days."""

    @property
    def stage(self) -> Stage:
        """Return the last stage: it serves the users, its verdicts retrain, and its account is the hub."""
        return self.stages[-1]

    def before(self, stage: Stage) -> Stage | None:
        """Return the stage whose verification a stage waits for."""
        index = self.stages.index(stage)
        return self.stages[index - 1] if index else None

    def after(self, stage: Stage) -> Stage | None:
        """Return the stage that waits for a stage's verification."""
        index = self.stages.index(stage)
        return self.stages[index + 1] if index + 1 < len(self.stages) else None
