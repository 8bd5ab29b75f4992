"""The archive controller: take the inventory, decide and act, for every model of the stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from archive.decide import Action, decide
from archive.execute import ArchiveExecutor
from archive.inventory import Hosting, Inventory
from archive.observe import observe, observe_hosting
from archive.rules import ArchiveRules, parse_archive_rules
from shared.clients import Clients
from shared.clock import utc_now
from shared.environment import ArchiveEnvironment
from shared.errors import Overtaken
from shared.log import logger
from shared.reconcile import ModelReconciler, reconcile

# An export takes seconds. The remaining actions are taken the next time.
_MOST_ACTIONS = 50
# `source` is the schedule's.
_KNOWN = {"dry_run", "source"}


def archive_models(
    event: Mapping[str, Any],
    clients: Clients,
    environment: ArchiveEnvironment,
    now: Callable[[], datetime] = utc_now,
) -> dict[str, list[str]]:
    """Archive what is obsolete of every model of the stage.

    Args:
        event: With `dry_run` true nothing is changed.
        clients: AWS.
        environment: The function's environment.
        now: The clock.

    Returns:
        What was done, or would be done, by model.

    Raises:
        ValueError: `dry_run` or the rules are not valid.
        ReconcileError: Some models failed. Every model had its turn.
    """
    unknown = sorted(set(event) - _KNOWN)
    if unknown:
        raise ValueError(f"a request has the key dry_run only, got {', '.join(unknown)}")
    dry_run = event.get("dry_run", False)
    if not isinstance(dry_run, bool):
        raise ValueError(f"dry_run must be true or false, got {dry_run!r}")
    logger.append_keys(stage=environment.stage, dry_run=dry_run)
    rules = parse_archive_rules(environment.archive_rules)
    hosting = observe_hosting(clients, environment)

    def reconciler(model: str) -> ArchiveReconciler:
        return ArchiveReconciler(clients, environment, hosting, rules, model, dry_run=dry_run, now=now)

    outcomes = reconcile(environment.models(clients.ssm), {}, reconciler)
    return {model: done for model, (done,) in outcomes.items()}


class ArchiveReconciler(ModelReconciler[Inventory, tuple[Action, ...], list[str]]):
    """Archives what is obsolete of one model."""

    def __init__(
        self,
        clients: Clients,
        environment: ArchiveEnvironment,
        hosting: Hosting,
        rules: ArchiveRules,
        model: str,
        *,
        dry_run: bool,
        now: Callable[[], datetime],
    ) -> None:
        self._clients = clients
        self._environment = environment
        self._hosting = hosting
        self._rules = rules
        self._model = model
        self._dry_run = dry_run
        self._now = now
        self._executor = ArchiveExecutor(clients, environment, model)

    def observe(self) -> Inventory:
        """Take the inventory."""
        return observe(self._clients, self._environment, self._hosting, self._model, self._rules, self._now())

    def decide(self, observation: Inventory) -> tuple[Action, ...]:
        """Return the actions, the most urgent first."""
        return decide(observation, self._rules, self._now())

    def act(self, observation: Inventory, decision: tuple[Action, ...]) -> list[str]:  # noqa: ARG002 - the loop's
        """Carry out the first actions, except in a dry run, and return their sentences."""
        actions = decision[:_MOST_ACTIONS]
        for action in actions:
            if not self._dry_run:
                self._executor.execute(action)
            logger.info(action.sentence)
        logger.info("archived", extra={"actions": len(actions), "left": len(decision) - len(actions)})
        return [action.sentence for action in actions]

    def overtaken(self, error: Overtaken) -> list[str]:
        """Fail: no step of the archive takes a lease, so nothing can overtake it."""
        raise error
