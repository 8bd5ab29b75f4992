"""The archive function's door: a schedule, or a person who wants to see first (`{"dry_run": true}`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger

from archive.act import Hands
from archive.decide import Action, Archive, Delete, decide
from archive.environment import ArchiveEnvironment
from archive.observe import observe, observe_hosting
from shared.clients import Clients
from shared.models import released_models

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

logger = Logger()

# An export takes seconds; the rest is done the next time.
_MOST_ACTIONS = 50


class ArchiveFailed(Exception):
    """Some models could not be tidied; the others were."""


@cache
def _clients() -> Clients:
    return Clients()


@cache
def _environment() -> ArchiveEnvironment:
    return ArchiveEnvironment.read()


def utc_now() -> datetime:
    return datetime.now(UTC)


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, list[str]]:  # noqa: ARG001 - Lambda's signature
    """Tidy up after every model of the stage, or say what would be done."""
    return tidy(event, _clients(), _environment())


def tidy(
    event: Mapping[str, Any],
    clients: Clients,
    environment: ArchiveEnvironment,
    now: Callable[[], datetime] = utc_now,
) -> dict[str, list[str]]:
    """Return what was done, or with `dry_run` what would be, by model.

    Raises:
        ValueError: `dry_run` or the rules are not valid.
        ArchiveFailed: for some models; by then every model had its turn.
    """
    dry_run = event.get("dry_run", False)
    if not isinstance(dry_run, bool):
        raise ValueError(f"dry_run is true or false, got {dry_run!r}")
    rules = environment.rules()
    hosting = observe_hosting(clients, environment)
    done: dict[str, list[str]] = {}
    failed: dict[str, Exception] = {}
    for model in released_models(clients.ssm, environment):
        logger.append_keys(model=model, stage=environment.stage, dry_run=dry_run)
        hands = Hands(clients, environment, model)
        try:
            actions = decide(observe(clients, environment, hosting, model, rules, now()), rules, now())
            for action in actions[:_MOST_ACTIONS]:
                if not dry_run:
                    hands.act(action)
                logger.info(sentence(action))
            done[model] = [sentence(action) for action in actions[:_MOST_ACTIONS]]
            logger.info("tidied", extra={"actions": len(done[model]), "left": len(actions) - len(done[model])})
        except Exception as error:
            logger.exception("tidying failed")
            failed[model] = error
    if failed:
        raise ArchiveFailed("; ".join(f"{model}: {error}" for model, error in failed.items()))
    return done


def sentence(action: Action) -> str:
    """Say what an action does, and why."""
    if isinstance(action, Archive | Delete):
        return f"{type(action).__name__} version {action.package.version}: {action.reason}"
    return f"{type(action).__name__} {action.name}: {action.reason}"
