"""`evergreen ledger`: what was decided and found about a model, and why."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from evergreen.ledger import IDLE
from evergreen.options import (
    STATE,
    JsonOption,
    ModelArgument,
    PortOption,
    StageOption,
    StateOption,
    Target,
    TargetOption,
)
from evergreen.output import say, say_json
from evergreen.target import Place

if TYPE_CHECKING:
    from evergreen.ledger import Ledger, Row


class Kind(StrEnum):
    """Kinds of rows that people read."""

    DECISIONS = "decisions"
    VERDICTS = "verdicts"
    QUARANTINE = "quarantine"
    APPROVALS = "approvals"
    VERIFICATIONS = "verifications"


_PREFIXES = {
    Kind.DECISIONS: ("decision", "retrain-decision"),
    Kind.VERDICTS: ("verdict",),
    Kind.QUARANTINE: ("quarantine",),
    Kind.APPROVALS: ("approval",),
    Kind.VERIFICATIONS: ("verification",),
}


def ledger(
    kind: Annotated[Kind, typer.Argument(help="Which rows to print.")],
    model: ModelArgument,
    stage: StageOption = None,
    last: Annotated[int, typer.Option(min=1, help="How many rows, the newest ones.")] = 10,
    every: Annotated[bool, typer.Option("--all", help="Also decisions to do nothing or to wait.")] = False,
    target: TargetOption = Target.LOCAL,
    port: PortOption = None,
    state: StateOption = STATE,
    as_json: JsonOption = False,
) -> None:
    """Print what was decided or found about a model.

    The newest rows, oldest first. Decisions are those of the release controller and, in the last stage, of the retrain
    controller.
    """
    from evergreen.commands.stages import open_stage, require_model

    platform = open_stage(Place(target, port, state), stage)
    require_model(model, platform.models(), platform.stage.name)
    rows = newest(platform.ledger(model), kind, last, every=every)
    if as_json:
        say_json(rows)
        return
    for row in rows:
        say(line(kind, row))
    if not rows:
        say(f"{model} in {platform.stage.name} has no {kind}")


def newest(reader: Ledger, kind: Kind, count: int, *, every: bool = False) -> list[Row]:
    """Return the newest rows of a kind, oldest first.

    Args:
        reader: The model's ledger.
        kind: Which rows.
        count: How many at most.
        every: Include decisions to do nothing or to wait.
    """
    found = [
        row
        for prefix in _PREFIXES[kind]
        for row in reader.newest(prefix, count, lambda row: every or row.get("step") not in IDLE)
    ]
    return sorted(found, key=_time)[-count:]


def line(kind: Kind, row: Row) -> str:
    """Return a row as one line: time, subject, reason, address of the report."""
    if kind is Kind.DECISIONS:
        controller = "retrain" if row["sk"].startswith("retrain-decision#") else "release"
        parts = [_time(row), controller, row.get("step", ""), row.get("reason", "")]
    elif kind is Kind.VERDICTS:
        parts = [_time(row), row.get("kind", ""), row.get("status", ""), row.get("evidence", ""), row.get("report", "")]
    elif kind is Kind.APPROVALS:
        parts = [_time(row), f"version {_version(row)}", row.get("approver", ""), row.get("description", "")]
    elif kind is Kind.VERIFICATIONS:
        parts = [_time(row), row["sk"].partition("#")[2], row.get("outcome", ""), row.get("reason", "")]
    else:
        parts = [_time(row), f"version {_version(row)}", row.get("reason", "")]
    return "  ".join(part for part in parts if part)


def _time(row: Row) -> str:
    """Return when a row was written; for a verdict, when its window ends."""
    if row["sk"].startswith("verdict#"):
        return row.get("window_end", "")
    if "at" in row:
        return row["at"]
    return row["sk"].split("#")[1]


def _version(row: Row) -> int:
    return int(row["sk"].partition("#")[2])
