"""Does one step of one model: the hands of the controller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from botocore.exceptions import ClientError

from retrain.decide import Land, Refuse, Resume, Settle, Start, Step
from retrain.environment import RetrainEnvironment
from retrain.memory import Memory, Overtaken
from retrain.outcome import outcome_of
from retrain.tells import Tell, is_due
from retrain.world import Attempt, Flight, Told, World
from shared.alerts import Alerts
from shared.clients import Clients

# What StartPipelineExecution answers to a pipeline or parameters that cannot run; anything else is worth a retry.
_REFUSALS = frozenset({"ValidationException", "ResourceNotFound", "ResourceNotFoundException"})


class Hands:
    """Carries out steps and tells people, for one model.

    Args:
        now: the clock.
    """

    def __init__(
        self,
        clients: Clients,
        environment: RetrainEnvironment,
        memory: Memory,
        model: str,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._clients = clients
        self._environment = environment
        self._memory = memory
        self._model = model
        self._alerts = Alerts(clients.sns, environment.alert_topic_arn)
        self._now = now

    def act(self, world: World, step: Step) -> str:
        """Carry out `step`; what only looks (Nothing, Wait, Hold) has nothing to be done.

        Returns:
            What came of it, in a sentence.

        Raises:
            Overtaken: another invocation was faster; nothing was changed.
        """
        match step:
            case Start(attempt, _):
                self._memory.claim(world.flight, attempt)
                return self._start(world, attempt)
            case Resume(attempt, _):
                return self._start(world, attempt)
            case Land(flight, reason):
                self._memory.land(flight)
                return reason
            case Settle():
                return self._settle(world, step)
            case Refuse(request, reason):
                self.tell(world, Tell(f"request#{request.window}", "", reason))
                self._memory.ask(replace(request, refused=reason))
                return reason
            case _:
                return step.reason

    def tell(self, world: World, tell: Tell) -> None:
        """Tell, once: whoever claims the right tells; a claim that died before it told is taken over."""
        observed = world.told.get(tell.topic)
        if not is_due(world, observed, tell, self._now()):
            return
        at = self._now()
        try:
            self._memory.claim_telling(tell.topic, observed, tell.about, at)
        except Overtaken:
            return
        name, stage = self._model, self._environment.stage
        self._alerts.tell(
            subject=f"{name} in {stage}: {tell.topic.split('#')[0]}", sentence=f"{name} in {stage}: {tell.sentence}."
        )
        self._memory.told(tell.topic, Told(tell.about, at))

    def lapse(self, world: World, topic: str) -> None:
        """Note that a topic no longer holds; where it was just told anew, it does hold."""
        try:
            self._memory.lapse(topic, world.told[topic])
        except Overtaken:
            return

    def _start(self, world: World, attempt: Attempt) -> str:
        pipeline = self._environment.pipeline(self._model)
        try:
            self._clients.sagemaker.start_pipeline_execution(
                PipelineName=pipeline,
                PipelineExecutionDisplayName=attempt.display_name(self._model),
                PipelineExecutionDescription=attempt.evidence,
                PipelineParameters=[{"Name": name, "Value": value} for name, value in attempt.parameters],
                ClientRequestToken=attempt.token(self._model),
            )
        except ClientError as error:
            if error.response["Error"]["Code"] not in _REFUSALS:
                raise
            said = error.response["Error"].get("Message", str(error))
            reason = f"SageMaker refuses to start {pipeline}: {said}; repair the pipeline: {attempt.evidence}"
            self.tell(world, Tell(f"start#{attempt.token(self._model)}", "", reason))
            self._memory.land(Flight(attempt, landed=False))
            return reason
        reason = f"a retraining was started by {attempt.trigger}: {attempt.evidence}"
        self.tell(world, Tell(f"start#{attempt.token(self._model)}", "", reason))
        return reason

    def _settle(self, world: World, step: Settle) -> str:
        outcome = outcome_of(self._clients.sagemaker, step.run)
        if outcome.tell:
            self.tell(world, Tell(f"run#{step.run.id}", "", outcome.sentence))
        self._memory.settle(step.run.id, status=step.run.status, reason=outcome.sentence, now=self._now())
        return outcome.sentence
