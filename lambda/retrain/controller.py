"""The retrain controller: observe, decide, notify and act, for every model of the stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from retrain.decide import RetrainDecision, decide
from retrain.execute import RetrainExecutor
from retrain.notifications import look_failed
from retrain.observation import RetrainObservation, RetrainTrigger
from retrain.observe import observe
from retrain.request import ParsedRequest, parse_request
from retrain.store import RetrainStore
from shared.clients import Clients
from shared.clock import utc_now
from shared.environment import RetrainEnvironment
from shared.errors import Overtaken, failure_kind, failure_sentence
from shared.log import logger
from shared.notifications import AlertPublisher
from shared.reconcile import ModelReconciler, reconcile
from shared.steps import Hold, Nothing, Step, Wait
from shared.told import Notifier

# Terminal steps: after the end of a run the next decision is due at once, and no event triggers it.
TERMINAL = frozenset({Step.REPORT_RUN, Step.CLOSE_RUN})
LOOKS = 20


def reconcile_retraining(
    event: Mapping[str, Any],
    clients: Clients,
    environment: RetrainEnvironment,
    *,
    invocation: str,
    models: Sequence[str] | None = None,
    now: Callable[[], datetime] = utc_now,
) -> dict[str, str]:
    """Record the request in the event, if any, and reconcile each model of the stage.

    Args:
        event: A hint, or the request of a person or a delivery.
        clients: AWS.
        environment: The function's environment.
        invocation: Names the invocation in requests and ledger rows. Lambda's retry has the same name.
        models: The models to look at; None for those of the stage that the event names.
        now: The clock.

    Returns:
        The last step taken, by model.

    Raises:
        ValueError: The request is not valid. The message is one line.
        ReconcileError: Some models failed. Every model had its turn.
    """
    logger.append_keys(stage=environment.stage)
    models = environment.models(clients.ssm) if models is None else models
    parsed = parse_request(event, models, invocation, now())
    if parsed is not None:
        _record_request(_store(clients, environment, parsed.model), parsed)
        # The answer is about this model: another one's failure is not the requester's.
        models = [parsed.model]

    def reconciler(model: str) -> RetrainReconciler:
        return RetrainReconciler(clients, environment, model, invocation=invocation, now=now)

    steps = reconcile(models, event, reconciler, looks=LOOKS)
    return {model: str(taken[-1]) for model, taken in steps.items()}


class RetrainReconciler(ModelReconciler[RetrainObservation, RetrainDecision, Step]):
    """Starts at most one run of one model at a time."""

    def __init__(
        self,
        clients: Clients,
        environment: RetrainEnvironment,
        model: str,
        *,
        invocation: str,
        now: Callable[[], datetime],
    ) -> None:
        self._clients = clients
        self._environment = environment
        self._model = model
        self._invocation = invocation
        self._now = now
        self._store = _store(clients, environment, model)
        self._alerts = AlertPublisher(clients.sns, environment.alert_topic_arn, model=model, stage=environment.stage)
        self._executor = RetrainExecutor(clients, environment, self._store, model, now=now)

    def observe(self) -> RetrainObservation:
        """Read the observed state."""
        return observe(self._clients, self._environment, self._store, self._model, self._now())

    def decide(self, observation: RetrainObservation) -> RetrainDecision:
        """Return the one step to take now, and its notifications."""
        return decide(observation, self._now())

    def act(self, observation: RetrainObservation, decision: RetrainDecision) -> Step:
        """Notify, then take the step: a crash in between repeats a notification and never loses one."""
        for notification in decision.notifications:
            self._executor.notify(observation, notification)
        result = self._executor.execute(observation, decision.step)
        self._executor.resolve(observation, decision.resolved)
        acted = not isinstance(decision.step, Nothing | Wait | Hold)
        return self._record(decision.step.step, result, acted=acted)

    def overtaken(self, error: Overtaken) -> Step:
        """Record that another invocation was faster. It takes the next step."""
        return self._record(Step.OVERTAKEN, str(error), acted=False)

    def failed(self, error: Exception) -> Step:
        """Record a failure that no retry can mend, and report it once until a look succeeds."""
        sentence = failure_sentence(error)
        topics = self._store.topics
        notifier = Notifier(topics, self._alerts, self._now)
        notifier.notify(topics.read(), look_failed(failure_kind(error), sentence))
        return self._record(Step.FAILED, sentence, acted=False)

    def is_terminal(self, outcome: Step) -> bool:
        """Return whether to observe again at once."""
        return outcome in TERMINAL

    def _record(self, step: Step, reason: str, *, acted: bool) -> Step:
        self._store.write_decision(step, reason, acted=acted, now=self._now(), request_id=self._invocation)
        logger.info(reason, step=step)
        return step


def _store(clients: Clients, environment: RetrainEnvironment, model: str) -> RetrainStore:
    return RetrainStore(clients.dynamodb, environment.ledger_table, model=model, stage=environment.stage)


def _record_request(store: RetrainStore, parsed: ParsedRequest) -> None:
    # The same id is a retry of the invocation: of a person's request at any time, of code while it is the newest.
    # Code that returns after other code is a new request.
    known = [request for request in store.read().requests if request.trigger == parsed.request.trigger]
    newest = max(known, key=lambda request: request.at, default=None)
    if parsed.request.trigger == RetrainTrigger.CODE:
        known = [newest] if newest else []
    if all(request.id != parsed.request.id for request in known):
        store.write_request(parsed.request)
