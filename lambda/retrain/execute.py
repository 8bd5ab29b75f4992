"""Carry out one step for one model, and send its notifications."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from retrain.decide import CloseRun, RefuseRequest, ReportRun, Resume, RetrainStep, Start
from retrain.failed_step import failed_step
from retrain.notifications import reminders, request_refused, run_ended, run_not_started, run_started
from retrain.observation import Attempt, InFlightRun, PipelineRun, RetrainObservation
from retrain.store import RetrainStore
from shared.clients import Clients
from shared.environment import RetrainEnvironment
from shared.errors import error_code
from shared.notifications import Alert, AlertPublisher, Notification
from shared.told import Notifier

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_sagemaker.type_defs import PipelineExecutionStepTypeDef

# StartPipelineExecution's answers to a pipeline or parameters that cannot run. Any other error is worth a retry.
_START_REFUSED = frozenset({"ValidationException", "ResourceNotFound", "ResourceNotFoundException"})
# The pipeline's Fail step (docs/reference/contracts.md, "Pipeline"). Its reason is the gate's sentence.
_GATE_REFUSED = "Refused"


class RetrainExecutor:
    """Carries out steps and sends notifications, for one model."""

    def __init__(
        self,
        clients: Clients,
        environment: RetrainEnvironment,
        store: RetrainStore,
        model: str,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._sagemaker = clients.sagemaker
        self._pipeline = environment.pipeline(model)
        self._store = store
        self._model = model
        self._alerts = AlertPublisher(clients.sns, environment.alert_topic_arn, model=model, stage=environment.stage)
        self._now = now

    def execute(self, observation: RetrainObservation, step: RetrainStep) -> str:
        """Carry out `step`. Nothing, Wait and Hold change nothing.

        Returns:
            The result, in a sentence.

        Raises:
            Overtaken: Another invocation was faster. Nothing was changed.
        """
        match step:
            case Start(attempt, _):
                self._store.write_attempt(observation.state.in_flight, attempt)
                return self._start(observation, attempt)
            case Resume(attempt, _):
                return self._start(observation, attempt)
            case CloseRun(in_flight, reason):
                self._store.close_run(in_flight)
                return reason
            case ReportRun(run, _):
                return self._report_run(observation, run)
            case RefuseRequest(request, reason):
                self.notify(observation, request_refused(request, reason))
                self._store.write_request(replace(request, refused=reason))
                return reason
            case _:
                return step.reason

    def notify(self, observation: RetrainObservation, notification: Notification) -> None:
        """Send a notification once. Only the claimant sends it; the claim of a dead invocation is taken over."""
        self._notifier(observation).notify(observation.state.notifications, notification)

    def resolve(self, observation: RetrainObservation, topics: Sequence[str]) -> None:
        """Record that topics no longer hold."""
        self._notifier(observation).resolve(observation.state.notifications, topics, ())

    def _notifier(self, observation: RetrainObservation) -> Notifier:
        return Notifier(self._store.topics, self._alerts, self._now, reminders=reminders(observation.policy))

    def _start(self, observation: RetrainObservation, attempt: Attempt) -> str:
        try:
            self._sagemaker.start_pipeline_execution(
                PipelineName=self._pipeline,
                PipelineExecutionDisplayName=attempt.display_name(self._model),
                PipelineExecutionDescription=attempt.evidence,
                PipelineParameters=[{"Name": name, "Value": value} for name, value in attempt.parameters],
                ClientRequestToken=attempt.token(self._model),
            )
        except ClientError as error:
            if error_code(error) not in _START_REFUSED:
                raise
            message = error.response["Error"].get("Message", str(error))
            reason = f"SageMaker refused to start {self._pipeline}: {message}"
            self.notify(observation, run_not_started(attempt, self._model, reason))
            self._store.close_run(InFlightRun(attempt, finished=False))
            return reason
        reason = f"a retraining was started by {attempt.trigger}: {attempt.evidence}"
        self.notify(observation, run_started(attempt, self._model, reason))
        return reason

    def _report_run(self, observation: RetrainObservation, run: PipelineRun) -> str:
        outcome = run_outcome(self._sagemaker, run)
        if outcome.action is not None:
            alert = Alert(event=outcome.sentence, action=outcome.action)
            self.notify(observation, run_ended(run, alert))
        self._store.write_reported_run(run.id, status=run.status, reason=outcome.sentence, now=self._now())
        return outcome.sentence


@dataclass(frozen=True)
class RunOutcome:
    """The end of a run.

    Attributes:
        sentence: How it ended.
        action: What people have to do; None where they need no notification.
    """

    sentence: str
    action: str | None


def run_outcome(sagemaker: SageMakerClient, run: PipelineRun) -> RunOutcome:
    """Read the steps of a run and return how it ended."""
    pages = sagemaker.get_paginator("list_pipeline_execution_steps").paginate(PipelineExecutionArn=run.arn)
    steps = [step for page in pages for step in page["PipelineExecutionSteps"]]
    failed = [step for step in steps if step.get("StepStatus") == "Failed"]
    refused = next((step for step in failed if step["StepName"] == _GATE_REFUSED), None)
    if refused is not None:
        sentence = f"the challenger of {run.name} does not beat the champion. {failed_step(sagemaker, refused).reason}"
        return RunOutcome(sentence, "No action needed; the live version stays live")
    if run.status == "Stopped":
        return RunOutcome(f"the run {run.name} was stopped", None)
    if failed:
        found = failed_step(sagemaker, failed[0])
        return RunOutcome(f"the run {run.name} failed in {failed[0]['StepName']}: {found.reason}", found.action)
    package = next((arn for arn in map(_package, steps) if arn), None)
    if package is None:
        sentence = f"the run {run.name} is {run.status} and registered nothing"
        return RunOutcome(sentence, "Find the cause in the pipeline's steps; the live version stays live")
    sentence = f"version {package.rsplit('/', 1)[-1]} was trained by {run.name} and waits for approval: {package}"
    return RunOutcome(sentence, "Approve or reject the version")


def _package(step: PipelineExecutionStepTypeDef) -> str | None:
    return step.get("Metadata", {}).get("RegisterModel", {}).get("Arn")
