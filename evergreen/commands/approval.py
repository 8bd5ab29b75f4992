"""`evergreen approve` and `evergreen reject`: a person's decision about a version.

The registry's approval lets the version into every stage. A stage with `release.approval: life-cycle` also waits for
an approval in the package's life cycle, which `approve --stage` gives (docs/reference/contracts.md, "Stages").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from evergreen.errors import UsageError
from evergreen.options import STATE, JsonOption, ModelArgument, PortOption, StateOption, Target, TargetOption
from evergreen.output import inform, say, say_json
from evergreen.target import Place

if TYPE_CHECKING:
    from configuration import Application, Stage
    from evergreen.commands.stages import Credentials

_LIFE_CYCLE = "life-cycle"
_PRODUCTION = "Production"

VersionArgument = Annotated[int, typer.Argument(min=1, help="The version's number in the Model Registry.")]
NoteOption = Annotated[str, typer.Option(help="Why. Stages with description_required refuse an approval without it.")]


def approve(
    model: ModelArgument,
    version: VersionArgument,
    note: NoteOption = "",
    stage: Annotated[
        str | None,
        typer.Option(help="A stage with `release.approval: life-cycle`: approve for it in the package's life cycle."),
    ] = None,
    target: TargetOption = Target.LOCAL,
    port: PortOption = None,
    state: StateOption = STATE,
    as_json: JsonOption = False,
) -> None:
    """Approve a version, and it is deployed."""
    from evergreen.commands.stages import open_application
    from evergreen.deployed import find_stage

    application, credentials = open_application(Place(target, port, state))
    if stage is None:
        # Without a description this approval would quarantine the version in such a stage.
        asking = [one.name for one in application.stages if one.release.description_required and not note.strip()]
        if asking:
            raise UsageError(f"Stage {asking[0]} refuses approvals without a description; say why with --note TEXT.")
        change: dict[str, Any] = {"ModelApprovalStatus": "Approved"}
        if note:
            change["ApprovalDescription"] = note
    else:
        chosen = find_stage(application, stage)
        if chosen.release.approval != _LIFE_CYCLE:
            raise UsageError(
                f"Stage {stage} takes the registry's approval: leave out --stage, or set release.approval: life-cycle."
            )
        change = {"ModelLifeCycle": _life_cycle("Approved", note)}
    package = _update(application, credentials, model, version, change)
    waiting = [one for one in application.stages if stage is None and one.release.approval == _LIFE_CYCLE]
    if as_json:
        say_json({**package, "waits_for": [one.name for one in waiting]})
        return
    approved = "Approved" if stage is None else f"Approved for {stage}"
    say(f"{approved}: {package['model_package_arn']}")
    for one in waiting:
        say(f"Stage {one.name} also waits for: evergreen approve {model} {version} --stage {one.name}")
    for one in application.stages:
        if one.release.four_eyes and one not in waiting:
            say(f"Stage {one.name} refuses the approval of the model's author and of whoever started its training.")


def reject(
    model: ModelArgument,
    version: VersionArgument,
    note: NoteOption = "",
    target: TargetOption = Target.LOCAL,
    port: PortOption = None,
    state: StateOption = STATE,
    as_json: JsonOption = False,
) -> None:
    """Reject a version.

    If it is live, the newest approved version below it is released.
    """
    from evergreen.commands.stages import open_application

    application, credentials = open_application(Place(target, port, state))
    change: dict[str, Any] = {"ModelApprovalStatus": "Rejected"}
    if note:
        change["ApprovalDescription"] = note
    package = _update(application, credentials, model, version, change)
    if as_json:
        say_json(package)
    else:
        say(f"Rejected: {package['model_package_arn']}")


def _life_cycle(status: str, description: str) -> dict[str, str]:
    cycle = {"Stage": _PRODUCTION, "StageStatus": status}
    if description:
        cycle["StageDescription"] = description
    return cycle


def _update(
    application: Application,
    credentials: Credentials,
    model: str,
    version: int,
    change: dict[str, Any],
) -> dict[str, Any]:
    """Update a package version in the hub's registry.

    Raises:
        UsageError: The credentials are of another account, or there is no such version.
    """
    from botocore.exceptions import ClientError

    hub: Stage = application.stage
    credentials.require(hub)
    who = credentials.identity
    inform(f"Account {who.account}, region {who.region}, as {who.arn}")
    sagemaker = credentials.session.client("sagemaker")
    partition = credentials.session.get_partition_for_region(who.region)
    group = f"{application.name}-{model}"
    arn = f"arn:{partition}:sagemaker:{who.region}:{who.account}:model-package/{group}/{version}"
    try:
        before = sagemaker.describe_model_package(ModelPackageName=arn)
    except ClientError as error:
        if error.response["Error"]["Code"] in {"ValidationException", "ResourceNotFound"}:
            raise UsageError(f"The registry has no version {version} of {model} ({group}).") from error
        raise
    if "ModelLifeCycle" in change and before["ModelApprovalStatus"] != "Approved":
        raise UsageError(f"Version {version} is not approved in the registry: evergreen approve {model} {version}")
    sagemaker.update_model_package(ModelPackageArn=arn, **change)
    return {
        "model": model,
        "version": version,
        "model_package_arn": arn,
        "account": who.account,
        "region": who.region,
        "approval": change.get("ModelApprovalStatus", before["ModelApprovalStatus"]),
        "approval_before": before["ModelApprovalStatus"],
    }
