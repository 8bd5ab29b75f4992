"""Observe, decide, act, tell: for every model of the stage."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger

from retrain.act import Hands
from retrain.ask import Asked, request_of
from retrain.decide import Hold, Land, Nothing, Plan, Settle, Wait, decide
from retrain.environment import RetrainEnvironment
from retrain.memory import Memory, Overtaken
from retrain.observe import observe, observe_policy
from retrain.policy import Policy, PolicyError
from retrain.tells import Tell
from retrain.world import World
from shared.clients import Clients
from shared.models import released_models

logger = Logger()

# After a run's end is told and its flight has landed, the next decision is due at once: nothing else wakes it.
_STEPS = 20


class RetrainFailed(Exception):
    """Some models could not be looked after; the others were."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class Controller:
    """The retrain controller of one stage.

    Args:
        invocation: names the invocation in requests and ledger rows; Lambda's retry of it has the same name.
        now: the clock.
    """

    def __init__(
        self,
        clients: Clients,
        environment: RetrainEnvironment,
        *,
        invocation: str,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._clients = clients
        self._environment = environment
        self._invocation = invocation
        self._now = now

    def reconcile(self, event: Mapping[str, Any]) -> dict[str, str]:
        """Look after each model, the one the event may be about first.

        Returns:
            The last step taken, by model.

        Raises:
            ValueError: a person's or a delivery's request is not valid; one line.
            RetrainFailed: for some models; by then every model had its turn.
        """
        models = released_models(self._clients.ssm, self._environment)
        asked = request_of(event, models, self._invocation, self._now())
        if asked is not None:
            self._remember(asked)
        text = json.dumps(event, default=str)
        steps: dict[str, str] = {}
        failed: dict[str, Exception] = {}
        for model in sorted(models, key=lambda name: name not in text):
            logger.append_keys(model=model, stage=self._environment.stage)
            try:
                steps[model] = self._look_after(model)
            except Exception as error:
                logger.exception("the step failed")
                failed[model] = error
        if failed:
            raise RetrainFailed("; ".join(f"{model}: {error}" for model, error in failed.items()))
        return steps

    def _remember(self, asked: Asked) -> None:
        memory = self._memory(asked.model)
        known = [request for request in memory.read().requests if request.trigger == asked.request.trigger]
        newest = max(known, key=lambda request: request.at, default=None)
        # The same again is a retry of the invocation; code that comes back after other code is asked for anew.
        if newest is None or newest.id != asked.request.id:
            memory.ask(asked.request)

    def _look_after(self, model: str) -> str:
        memory = self._memory(model)
        hands = Hands(self._clients, self._environment, memory, model, now=self._now)
        try:
            policy = observe_policy(self._clients.ssm, self._environment, model)
        except PolicyError as error:
            return self._cannot_decide(memory, hands, model, str(error))
        if policy is None:
            return self._report(memory, "Nothing", "it has no retraining policy", acted=False)
        if policy.stage != self._environment.stage:
            return self._report(memory, "Nothing", f"its policy listens to {policy.stage}", acted=False)
        try:
            return self._take_steps(memory, hands, model, policy)
        except Overtaken as reason:
            return self._report(memory, "Overtaken", str(reason), acted=False)

    def _take_steps(self, memory: Memory, hands: Hands, model: str, policy: Policy) -> str:
        """Take steps until one is not about what has ended."""
        taken = "Nothing"
        for _ in range(_STEPS):
            world = observe(self._clients, self._environment, memory, model, policy, self._now())
            plan = decide(world, self._now())
            self._tell(hands, world, plan)
            came_of_it = hands.act(world, plan.step)
            acted = not isinstance(plan.step, Nothing | Wait | Hold)
            taken = self._report(memory, type(plan.step).__name__, came_of_it, acted=acted)
            if not isinstance(plan.step, Settle | Land):
                break
        return taken

    def _tell(self, hands: Hands, world: World, plan: Plan) -> None:
        """Told before it is done: a crash in between tells again, never not at all."""
        for tell in plan.tells:
            hands.tell(world, tell)
        for topic in plan.lapsed:
            hands.lapse(world, topic)

    def _cannot_decide(self, memory: Memory, hands: Hands, model: str, problem: str) -> str:
        """A policy that cannot be read retrains nothing, and is told as anything else that holds."""
        remembered = memory.read()
        world = World(model, Policy(self._environment.stage), told=remembered.told)
        hands.tell(world, Tell("policy", problem, f"{problem}; nothing is retrained until it is repaired"))
        return self._report(memory, "Hold", problem, acted=False)

    def _report(self, memory: Memory, step: str, reason: str, *, acted: bool) -> str:
        memory.write_decision(step, reason, acted=acted, now=self._now(), request_id=self._invocation)
        logger.info(reason, step=step)
        return step

    def _memory(self, model: str) -> Memory:
        environment = self._environment
        return Memory(self._clients.dynamodb, environment.ledger_table, model=model, stage=environment.stage)
