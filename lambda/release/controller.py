"""Observe, decide, act: one step at a time for every model of the stage."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from aws_lambda_powertools import Logger

from release.act import Hands, Overtaken
from release.decide import Abandon, Deploy, Hold, Nothing, Redeploy, Refuse, RollBack, Step, Verify, Wait, decide
from release.desired import desired_package
from release.follow import follow
from release.four_eyes import current_approval
from release.observe import observe
from release.rollout import ChangeSetRefused
from release.verified_copy import Refused
from release.world import Package, World
from shared.alerts import Alerts
from shared.clients import Clients
from shared.environment import Environment
from shared.ledger import Decision, LeaseLost, Ledger
from shared.models import released_models

logger = Logger()

# They end something and wait for nobody: what they make way for need not wait for the next event or tick.
ENDINGS = {"Settle", "Abandon", "RollBack", "Refuse", "Overtaken"}
LOOKS = 6


class ReconcileFailed(Exception):
    """Some models could not be taken a step further; the others were."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class Controller:
    """The release controller of one stage.

    Args:
        invocation: names the invocation in leases and ledger rows; Lambda's retry of it has the same name.
        now: the clock.
    """

    def __init__(
        self,
        clients: Clients,
        environment: Environment,
        *,
        invocation: str,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._clients = clients
        self._environment = environment
        self._alerts = Alerts(clients.sns, environment.alert_topic_arn)
        self._invocation = invocation
        self._now = now

    def reconcile(self, hint: Mapping[str, Any]) -> dict[str, str]:
        """Take each model one step further, the one the event may be about first, and look again after an ending.

        Returns:
            The steps taken, by model.

        Raises:
            ReconcileFailed: for some models; by then every model had its turn.
        """
        steps: dict[str, str] = {}
        failed: dict[str, Exception] = {}
        for model in self._models(hint):
            logger.append_keys(model=model, stage=self._environment.stage)
            try:
                steps[model] = " → ".join(self._steps(model))
            except Exception as error:
                logger.exception("the step failed")
                failed[model] = error
        if failed:
            raise ReconcileFailed("; ".join(f"{model}: {error}" for model, error in failed.items()))
        return steps

    def _models(self, hint: Mapping[str, Any]) -> list[str]:
        """Groups, endpoints, stacks and alarms carry the model's name; the payload is believed no further than this."""
        text = json.dumps(hint, default=str)
        return sorted(released_models(self._clients.ssm, self._environment), key=lambda model: f"-{model}" not in text)

    def _steps(self, model: str) -> Iterator[str]:
        """Take steps until there is something to wait for, or nothing to do; each begins with a fresh look."""
        for _ in range(LOOKS):
            try:
                step = self._take_step(model)
            except (LeaseLost, Overtaken) as reason:
                logger.info("overtaken by another invocation", reason=str(reason))
                step = "Overtaken"
            yield step
            if step not in ENDINGS:
                return

    def _take_step(self, model: str) -> str:
        environment = self._environment
        ledger = Ledger(self._clients.dynamodb, environment.ledger_table, model=model, stage=environment.stage)
        hands = Hands(self._clients, environment, ledger, model, owner=self._invocation, now=self._now)
        world = observe(self._clients, environment, ledger, model)
        hands.remember_approvals(world)
        step = decide(world, self._now())
        if isinstance(step, Deploy | Redeploy):
            return self._release(ledger, hands, model, world, step)
        hands.act(world, step, self._teller(ledger, model, world, step))
        if isinstance(step, Nothing | Wait | Verify):
            self._let_monitors_follow(model, world)
        return type(step).__name__

    def _let_monitors_follow(self, model: str, world: World) -> None:
        """Bring the monitors to what is live; what fails there is no reason to touch the endpoint."""
        try:
            followed = follow(self._clients, self._environment, model, world, self._now())
        except ChangeSetRefused:
            logger.exception("the monitors stay on the earlier release")
            return
        if followed:
            logger.info("the monitors follow", release=followed)

    def _release(self, ledger: Ledger, hands: Hands, model: str, world: World, step: Deploy | Redeploy) -> str:
        """Deploy, or say why not; only what was begun is reported as a deployment."""
        try:
            hands.act(world, step, self._teller(ledger, model, world, step))
        except Refused as refusal:
            if not isinstance(step, Deploy):
                raise
            refuse = Refuse(step.version, str(refusal))
            # The lease was given back with the copy that was not made.
            seen = replace(world, lease=None)
            hands.act(seen, refuse, self._teller(ledger, model, seen, refuse))
            return "Refuse"
        except ChangeSetRefused as refusal:
            alert = (
                f"{step.release_id} could not be released, because {refusal}; the old release record is back, "
                "and it is tried again at the next tick: repair the cause, or reject the version"
            )
            self._report(ledger, model, world, "ChangeSetRefused", str(refusal), alert)
            raise
        self._report(ledger, model, world, type(step).__name__, step.reason, None)
        return type(step).__name__

    def _teller(self, ledger: Ledger, model: str, world: World, step: Step) -> Callable[[], None]:
        return partial(self._report, ledger, model, world, type(step).__name__, step.reason, _alert(step))

    def _report(self, ledger: Ledger, model: str, world: World, step: str, reason: str, alert: str | None) -> None:
        """Write the decision down, once: to the ledger, the log and, where a person must act, the alert topic."""
        package = desired_package(world)
        decision = Decision(
            step=step,
            reason=reason,
            desired=(package.release_id or f"v{package.version}") if package else "none",
            actual=world.serves or ("unknown" if world.endpoint else "none"),
            approver=_approver(world, package) if package else "",
        )
        if ledger.last_decision() == decision:
            logger.debug("no change", step=step, reason=reason)
            return
        if alert is not None:
            stage = self._environment.stage
            self._alerts.tell(subject=f"{model} in {stage}: {step}", sentence=f"{model} in {stage}: {alert}.")
        ledger.write_decision(decision, now=self._now(), request_id=self._invocation)
        logger.info(reason, step=step, desired=decision.desired, actual=decision.actual, approver=decision.approver)


def _approver(world: World, package: Package) -> str:
    version = package.version
    return current_approval(package, world.approvals.get(version), world.quarantine.get(version)).approver


def _alert(step: Step) -> str | None:
    """Say in one sentence what a person has to know and do, or None."""
    match step:
        case Refuse(version, reason):
            return (
                f"version {version} was approved and is refused, because {reason}; "
                "put that right and approve it again, or register it anew"
            )
        case RollBack(lease, restore, reason):
            stays = restore.release_id if restore is not None else "what is live"
            return (
                f"{lease.release_id} is quarantined, because {reason}; {stays} stays: "
                "find the cause, then approve this version again, or another one"
            )
        case Abandon(lease, restore, reason):
            return f"{reason}, so the record says {restore.release_id} again; nothing has to be done, it is tried again"
        case Hold(reason):
            return reason
        case _:
            return None
