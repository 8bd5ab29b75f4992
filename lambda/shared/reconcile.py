"""The reconcile loop of the release, retrain and archive controllers: observe, decide, act, for each model.

A controller subclasses `ModelReconciler`. Events are hints: they say which models to look at and carry no state, so the
loop may run at any moment, any number of times. A tick looks at every model.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

from shared.errors import Overtaken, is_transient
from shared.log import logger

ObservationT = TypeVar("ObservationT")
DecisionT = TypeVar("DecisionT")
OutcomeT = TypeVar("OutcomeT")


# constructs/mlops/foundation/handler.py, TICK
TICK_SOURCE = "evergreen.tick"


class ReconcileError(Exception):
    """Reconciling failed for some models. Every model had its turn."""


class ModelReconciler(ABC, Generic[ObservationT, DecisionT, OutcomeT]):
    """Reconciles one model."""

    @abstractmethod
    def observe(self) -> ObservationT:
        """Read the observed state."""

    @abstractmethod
    def decide(self, observation: ObservationT) -> DecisionT:
        """Return what to do, from the observed state alone."""

    @abstractmethod
    def act(self, observation: ObservationT, decision: DecisionT) -> OutcomeT:
        """Carry out the decision and return its outcome.

        Raises:
            Overtaken: Another invocation was faster. Nothing was changed.
        """

    @abstractmethod
    def overtaken(self, error: Overtaken) -> OutcomeT:
        """Return the outcome of a look that another invocation overtook."""

    def failed(self, error: Exception) -> OutcomeT:
        """Record and report a failure that no retry can mend, and return its outcome.

        Raises:
            Exception: The failure itself, where this controller reports none.
        """
        raise error

    def is_terminal(self, outcome: OutcomeT) -> bool:  # noqa: ARG002 - a subclass may use it
        """Return whether to observe again at once, because nothing else would trigger the next step."""
        return False


def reconcile(
    models: Iterable[str],
    hint: Mapping[str, Any],
    reconciler: Callable[[str], ModelReconciler[ObservationT, DecisionT, OutcomeT]],
    *,
    looks: int = 1,
) -> dict[str, list[OutcomeT]]:
    """Reconcile the models that the hint names, or every model where it names none.

    So an event costs one look, however many models there are. A hint that names the wrong ones only delays a look until
    the tick.

    A model is observed again after a terminal step, at most `looks` times in all. The failure of one model does not
    keep the others from their turn. Only what a retry can mend is raised; the reconciler reports any other failure.

    Args:
        models: The stage's models.
        hint: The event; only used to choose the models.
        reconciler: Returns a model's reconciler.
        looks: How often one model is observed at most.

    Returns:
        The outcomes in order, by model.

    Raises:
        ReconcileError: Some models failed; the message names each of them with its error.
    """
    outcomes: dict[str, list[OutcomeT]] = {}
    failed: dict[str, Exception] = {}
    for model in hinted_models(models, hint):
        logger.append_keys(model=model)
        try:
            outcomes[model] = _look_or_report(reconciler(model), looks)
        except Exception as error:
            logger.exception("reconciling failed")
            failed[model] = error
    if failed:
        raise ReconcileError("; ".join(f"{model}: {error}" for model, error in failed.items()))
    return outcomes


def hinted_models(models: Iterable[str], hint: Mapping[str, Any]) -> list[str]:
    """Return the models that an event names, by name; all of them for a tick, and where it names none."""
    if hint.get("source") == TICK_SOURCE:
        return sorted(models)
    text = json.dumps(hint, default=str)
    every = sorted(models)
    return [name for name in every if name in text] or every


def _look_or_report(reconciler: ModelReconciler[ObservationT, DecisionT, OutcomeT], looks: int) -> list[OutcomeT]:
    try:
        return _reconcile_model(reconciler, looks)
    except Exception as error:
        if is_transient(error):
            raise
        logger.exception("reconciling failed, and a retry cannot mend it")
        return [reconciler.failed(error)]


def _reconcile_model(reconciler: ModelReconciler[ObservationT, DecisionT, OutcomeT], looks: int) -> list[OutcomeT]:
    outcomes: list[OutcomeT] = []
    for _ in range(looks):
        try:
            observation = reconciler.observe()
            outcome = reconciler.act(observation, reconciler.decide(observation))
        except Overtaken as error:
            logger.info("overtaken by another invocation", reason=str(error))
            outcome = reconciler.overtaken(error)
        outcomes.append(outcome)
        if not reconciler.is_terminal(outcome):
            break
    return outcomes
