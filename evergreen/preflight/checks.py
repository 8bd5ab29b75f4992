"""Checks of an account. Each gives one line, and the change to make where the account lacks something."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from configuration import Application, Model, Realtime, Stage
from configuration.bootstrap import bootstrap_qualifier

if TYPE_CHECKING:
    import boto3

# The `BootstrapVersion` rule of CDK's templates requires it.
_BOOTSTRAP_VERSION = 6
_USES = {
    "endpoint": "for endpoint usage",
    "training": "for training job usage",
    "processing": "for processing job usage",
}


@dataclass(frozen=True)
class Answer:
    """The result of one check.

    Attributes:
        question: The subject of the check.
        found: What the account says.
        change: What to do, "" where nothing has to change.
        by_deploy: `make deploy` makes the change itself.
    """

    question: str
    found: str
    change: str = ""
    by_deploy: bool = False

    @property
    def good(self) -> bool:
        """Say whether nothing has to change."""
        return not self.change

    def as_dict(self) -> dict[str, str | bool]:
        """Return the answer for `--json`."""
        return {"question": self.question, "found": self.found, "good": self.good, "change": self.change}

    def __str__(self) -> str:
        line = f"{'ok  ' if self.good else 'no  '}{self.question}: {self.found}"
        return line if self.good else f"{line}\n      → {self.change}"


def answers(session: boto3.Session, application: Application, models: tuple[Model, ...]) -> Iterator[Answer]:
    """Yield the result of every check, one after the other."""
    stage = application.stage
    number = application.stages.index(stage)
    yield account(session, stage, number)
    yield bootstrap(session)
    yield from quotas(session, stage, models)
    if any(model.monitoring for model in models):
        yield model_monitor(session, stage, number)


def account(session: boto3.Session, stage: Stage, number: int = 0) -> Answer:
    """Check that the credentials belong to the account of the stage, which is the `number`th of evergreen.yaml."""
    found = session.client("sts").get_caller_identity()["Account"]
    change = ""
    if stage.account and stage.account != found:
        change = f'evergreen.yaml, stages[{number}].account: "{found}", or take credentials of {stage.account}'
    return Answer("account", f"{found} in {session.region_name}", change)


def bootstrap(session: boto3.Session) -> Answer:
    """Check that CDK's bootstrap stack is deployed and new enough."""
    name = f"/cdk-bootstrap/{bootstrap_qualifier()}/version"
    client = session.client("ssm")
    try:
        version = int(client.get_parameter(Name=name)["Parameter"]["Value"])
    except client.exceptions.ParameterNotFound:
        return Answer("bootstrap", "none", "npx cdk bootstrap (make deploy does it)", by_deploy=True)
    too_old = "npx cdk bootstrap: it is older than 6" if version < _BOOTSTRAP_VERSION else ""
    return Answer("bootstrap", f"version {version}", too_old, by_deploy=True)


def quotas(session: boto3.Session, stage: Stage, models: tuple[Model, ...]) -> Iterator[Answer]:
    """Check that SageMaker's quotas allow the instances that the models use."""
    wanted = instances(stage, models)
    pages = session.client("service-quotas").get_paginator("list_service_quotas").paginate(ServiceCode="sagemaker")
    allowed = {quota["QuotaName"]: quota["Value"] for page in pages for quota in page["Quotas"]}
    for name, count in sorted(wanted.items()):
        if name not in allowed:
            yield Answer(name, "no such quota", f"take another instance type in model.yaml: {stage.region} has none")
        elif allowed[name] < count:
            ask = f'ask for {count} of "{name}" in Service Quotas, or take another instance type in model.yaml'
            yield Answer(name, f"{allowed[name]:.0f}, and {count} are needed", ask)
        else:
            yield Answer(name, f"{allowed[name]:.0f}, and {count} are needed")


def instances(stage: Stage, models: tuple[Model, ...]) -> Counter[str]:
    """Return how many instances of each quota are in use at most. A deployment runs both fleets."""
    wanted: Counter[str] = Counter()
    for model in models:
        served = model.serving[stage.name]
        if isinstance(served, Realtime):
            wanted[f"{served.instance_type} {_USES['endpoint']}"] += 2 * served.instances.max
        wanted[f"{model.training.instance_type} {_USES['training']}"] += 1
        wanted[f"{model.processing.instance_type} {_USES['processing']}"] += 1
        if model.monitoring:
            wanted[f"{model.monitoring.instance_type} {_USES['processing']}"] += 1
    return wanted


def model_monitor(session: boto3.Session, stage: Stage, number: int = 0) -> Answer:
    """Check that evergreen.yaml agrees with whether the account has Model Monitor.

    No AWS call answers that directly. An account that used Model Monitor keeps it, and has schedules or job
    definitions. An account whose calls are refused has lost it. An account with neither is a new customer to AWS.

    Args:
        session: The account's credentials.
        stage: The stage.
        number: Its place in evergreen.yaml, from 0.
    """
    client: Any = session.client("sagemaker")
    lists: dict[str, Callable[[], Any]] = {
        "MonitoringScheduleSummaries": lambda: client.list_monitoring_schedules(MaxResults=1),
        "JobDefinitionSummaries": lambda: client.list_data_quality_job_definitions(MaxResults=1),
    }
    try:
        used = any(ask()[key] for key, ask in lists.items())
        found = "in use" if used else "no sign that it was ever used here"
    except ClientError as error:
        code, message = error.response["Error"]["Code"], error.response["Error"]["Message"]
        # A service that is closed to an account answers with the same code as IAM, and another sentence.
        if code in ("AccessDenied", "AccessDeniedException") and "customers" not in message:
            return Answer("Model Monitor", f"not known: {error}", "run it with permission to list monitoring schedules")
        used, found = False, f"refused ({code})"
    says = "available" if used else "closed"
    change = ""
    if stage.model_monitor != says:
        change = f"evergreen.yaml, stages[{number}].model_monitor: {says}"
        if not used:
            change += " (AWS closed it to new customers; if it confirmed this account, npx cdk deploy --all instead)"
    return Answer("Model Monitor", f"{found}; evergreen.yaml says {stage.model_monitor}", change)
