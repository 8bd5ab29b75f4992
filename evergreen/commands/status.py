"""`evergreen status`: what is live, what is under way, and what waits for a person."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer

from evergreen.errors import UsageError
from evergreen.options import STATE, JsonOption, PortOption, StageOption, StateOption, Target, TargetOption
from evergreen.output import say, say_json
from evergreen.target import Place

if TYPE_CHECKING:
    from configuration import Application
    from evergreen.deployed import Platform, ReleaseRecord
    from evergreen.ledger import Row

_KINDS = ("data_quality", "model_quality", "bias", "explainability")
_NOTIFIED = "retrain#told#"


@dataclass(frozen=True)
class ModelStatus:
    """One model in one stage.

    Attributes:
        version: The live version, None before the first release.
        release: Its release id, `none` before the first release.
        deployment: What is under way, in a phrase, "" for nothing.
        pending: Versions that wait for approval. Only in the hub.
        quarantined: Versions that may not be deployed until they are approved again.
        verdicts: The last verdict of each monitor.
        notifications: Topics that people were notified of and that still hold.
        trainings: Pipeline runs that have not ended. Only in the hub.
    """

    model: str
    stage: str
    version: int | None
    release: str
    deployment: str
    pending: tuple[int, ...] = ()
    quarantined: tuple[int, ...] = ()
    verdicts: tuple[dict[str, str], ...] = ()
    notifications: tuple[dict[str, str], ...] = ()
    trainings: tuple[dict[str, str], ...] = ()


@dataclass(frozen=True)
class StageStatus:
    """One stage; `reason` says why its models are not known."""

    stage: str
    reason: str = ""
    models: tuple[ModelStatus, ...] = field(default=())


def status(
    model: Annotated[str | None, typer.Argument(help="Only this model (default: all).")] = None,
    stage: StageOption = None,
    target: TargetOption = Target.LOCAL,
    port: PortOption = None,
    state: StateOption = STATE,
    as_json: JsonOption = False,
) -> None:
    """Report what is live in each stage.

    For each model: its live version, a deployment under way, versions that wait for approval or are quarantined, the
    last verdicts, open notifications, and trainings under way.
    """
    from evergreen.commands.stages import open_application
    from evergreen.deployed import find_platform, find_stage

    application, credentials = open_application(Place(target, port, state))
    stages = application.stages if stage is None else (find_stage(application, stage),)
    found = []
    for one in stages:
        if not credentials.reach(one):
            owner = credentials.identity.account
            found.append(StageStatus(one.name, f"in account {one.account}, not readable with credentials of {owner}"))
            continue
        platform = find_platform(credentials.session, application, one)
        if platform is None:
            found.append(StageStatus(one.name, f"not deployed (make deploy TARGET={target})"))
            continue
        found.append(StageStatus(one.name, models=tuple(_observe(application, platform, model))))
    known = any(one.models for one in found)
    if model is not None and not known:
        raise UsageError(f"There is no model {model!r} in {', '.join(one.stage for one in found)}.")
    if as_json:
        say_json([asdict(one) for one in found])
        return
    for seen in found:
        _print(seen)


def _observe(application: Application, platform: Platform, only: str | None) -> list[ModelStatus]:
    records = platform.records()
    return [_model(application, platform, name, record) for name, record in records.items() if only in (None, name)]


def _model(application: Application, platform: Platform, model: str, record: ReleaseRecord) -> ModelStatus:
    reader = platform.ledger(model)
    hub = platform.stage == application.stage
    verdicts = {row["kind"]: row for row in reader.newest("verdict", 8 * len(_KINDS))[::-1]}
    return ModelStatus(
        model=model,
        stage=platform.stage.name,
        version=record.version,
        release=record.release_id,
        deployment=_deployment(platform, model, reader.row("lease")),
        pending=tuple(one.version for one in platform.versions(model) if one.approval == "PendingManualApproval")
        if hub
        else (),
        quarantined=tuple(int(row["sk"].partition("#")[2]) for row in reader.rows("quarantine")),
        verdicts=tuple(
            {name: verdicts[kind].get(name, "") for name in ("kind", "status", "window_end", "evidence", "report")}
            for kind in _KINDS
            if kind in verdicts
        ),
        notifications=tuple(
            {"topic": row["sk"].removeprefix(_NOTIFIED), "at": row.get("told_at", ""), "about": row.get("about", "")}
            for row in reader.rows(_NOTIFIED.rstrip("#"))
            # A topic with an id is about one run or one request, and holds no longer than that.
            if "#" not in row["sk"].removeprefix(_NOTIFIED)
            and row.get("sent") == "True"
            and row.get("lapsed") != "True"
        ),
        trainings=tuple(
            {"name": run.name, "status": run.status, "started_at": run.started_at.isoformat(), "arn": run.arn}
            for run in platform.running(model)
        )
        if hub
        else (),
    )


def _deployment(platform: Platform, model: str, lease: Row | None) -> str:
    """Return what of the model is changing in the stage, and who holds the lease."""
    from evergreen.delivery.settled import unsettled

    moving = list(unsettled(platform, model))
    if lease is not None and (moving or lease.get("release_id")):
        purpose, release = lease.get("purpose", ""), lease.get("release_id", "")
        moving.insert(0, f"{purpose} {release}".strip())
    return "; ".join(moving)


def _print(found: StageStatus) -> None:
    if found.reason:
        say(f"{found.stage}: {found.reason}")
        return
    if not found.models:
        say(f"{found.stage}: no models")
    for one in found.models:
        live = f"version {one.version} ({one.release})" if one.version else "nothing released yet"
        say(f"{one.model} in {one.stage}: {live}", style="bold")
        if one.deployment:
            say(f"  deployment     {one.deployment}")
        for version in one.pending:
            say(f"  approval       version {version} waits: evergreen approve {one.model} {version}", style="yellow")
        for version in one.quarantined:
            say(f"  quarantine     version {version}: evergreen ledger quarantine {one.model} --stage {one.stage}")
        for run in one.trainings:
            say(f"  training       {run['name'] or run['arn']} {run['status']} since {run['started_at'][:19]}")
        for verdict in one.verdicts:
            evidence = "" if verdict["status"] == "OK" else f": {verdict['evidence']}"
            style = "" if verdict["status"] == "OK" else "red" if verdict["status"] == "Violation" else "yellow"
            say(f"  {verdict['kind']:<14} {verdict['status']} to {verdict['window_end'][:16]}{evidence}", style=style)
        for notification in one.notifications:
            say(f"  notified       {notification['topic']} since {notification['at'][:16]} {notification['about']}")
