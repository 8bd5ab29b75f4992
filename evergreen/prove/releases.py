"""Steps: release the first version, a bad one, a second good one; reject that one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice

from botocore.exceptions import ClientError

from evergreen.prove import application, traffic
from evergreen.prove.proof import Proof
from evergreen.prove.training import describe_package, start_bad
from evergreen.prove.waiting import StepError
from evergreen.release import Release, is_baking

_RELEASE_MINUTES, _CANARY_MINUTES = 60, 90
_LONGEST_DEPLOYMENT = timedelta(minutes=110)
_SAMPLE, _REQUESTS_A_LOOK = 200, 20
# CloudWatch counts by the minute.
_BURST_SECONDS = 60
_APPROVAL = "evergreen prove"


def release_first(proof: Proof) -> None:
    """Approve the first version, wait until it serves, and start the run of the bad one meanwhile."""
    package = str(proof.facts["first_package"])
    if not proof.knows("unapproved") and describe_package(proof, package)["ModelApprovalStatus"] != "Approved":
        _create_unapproved(proof, package)
    approve(proof, package)
    start_bad(proof)
    live = await_live(proof, package, minutes=_RELEASE_MINUTES)
    described = describe_package(proof, package)
    approver = described.get("LastModifiedBy", {})
    who = approver.get("IamIdentity", {}).get("Arn") or approver.get("UserProfileArn", "")
    # The report may be sent, so it has the kind of the identity and no person's name.
    kind = who.rpartition(":")[2].partition("/")[0]
    proof.see("approver", f"an identity of the kind {kind}" if who else "LastModifiedBy names nobody", held=bool(who))
    role = str(live.stack.get("RoleARN", "")).rpartition("/")[2]
    proof.see(
        "release-role",
        f"{live.stack['StackStatus']} with the role {role or 'of CDK'}",
        held=live.settled and role.startswith(proof.state.name),
    )
    variant = f"endpoint/{proof.names.endpoint}/variant/AllTraffic"
    targets = proof.client("application-autoscaling").describe_scalable_targets(
        ServiceNamespace="sagemaker", ResourceIds=[variant]
    )["ScalableTargets"]
    bounds = ", ".join(f"{one['MinCapacity']} to {one['MaxCapacity']} instances" for one in targets)
    proof.see("scaling", bounds or "no scalable target", held=bool(targets))
    prefix = f"TargetTracking-endpoint/{proof.names.endpoint}"
    alarms = proof.client("cloudwatch").describe_alarms(AlarmNamePrefix=prefix)["MetricAlarms"]
    proof.see("scaling-alarms", f"{len(alarms)} alarms with the prefix {prefix}", held=bool(alarms))


def _create_unapproved(proof: Proof, package: str) -> None:
    """Try to make a model of a package that nobody approved."""
    sagemaker, name = proof.client("sagemaker"), f"{proof.state.name}-serving-unapproved"
    role = proof.resources(proof.names.serving_stack, "AWS::IAM::Role")
    arn = proof.client("iam").get_role(RoleName=role[0])["Role"]["Arn"]
    try:
        sagemaker.create_model(ModelName=name, ExecutionRoleArn=arn, Containers=[{"ModelPackageName": package}])
    except ClientError as error:
        if "PassRole" not in str(error):
            proof.see("unapproved", str(error), held=error.response["Error"]["Code"] == "ValidationException")
        return
    sagemaker.delete_model(ModelName=name)
    proof.see("unapproved", "the model was created", held=False)


def approve(proof: Proof, package: str) -> None:
    """Approve a version, unless it is approved."""
    if describe_package(proof, package)["ModelApprovalStatus"] != "Approved":
        _decide(proof, package, "Approved")


def _decide(proof: Proof, package: str, status: str) -> None:
    proof.client("sagemaker").update_model_package(
        ModelPackageArn=package, ModelApprovalStatus=status, ApprovalDescription=_APPROVAL
    )
    proof.say(f"version {package.rpartition('/')[2]} is {status}")


def await_live(proof: Proof, package: str, *, minutes: float, meanwhile: Callable[[], None] = lambda: None) -> Release:
    """Wait until the endpoint serves a version.

    Args:
        proof: The proof.
        package: The version's ARN.
        minutes: How long to wait.
        meanwhile: Called at each look.

    Raises:
        StepError: It does not serve it in time, or the version was quarantined.
    """
    seen: list[Release] = []

    def live() -> Release | None:
        meanwhile()
        seen.append(proof.release())
        quarantined = quarantine(proof, package)
        if quarantined:
            raise StepError(f"version {package.rpartition('/')[2]} was not released: {quarantined}")
        return seen[-1] if seen[-1].serves(package) else None

    version = package.rpartition("/")[2]
    return proof.waits.until(f"the release of version {version}", live, minutes=minutes, detail=lambda: str(seen[-1]))


def quarantine(proof: Proof, package: str) -> str:
    """Return why a version is quarantined, "" if it is not."""
    rows = proof.ledger.rows("quarantine")
    return next((row["reason"] for row in rows if row["package_arn"] == package), "")


def release_bad(proof: Proof) -> None:
    """Approve the bad version, send requests that it fails on, and wait until its alarm has rolled it back.

    Raises:
        StepError: It was released.
    """
    bad, first = str(proof.facts["bad_package"]), str(proof.facts["first_package"])
    if "before_bad" not in proof.facts:
        before = proof.release()
        proof.remember(before_bad={"id": before.id, "config": before.endpoint["EndpointConfigName"]})
    if proof.release().serves(bad):
        # An interruption was longer than the watch, so no request reached the canary: once more.
        _decide(proof, bad, "Rejected")
        await_live(proof, first, minutes=_CANARY_MINUTES)
    approve(proof, bad)
    before_id, before_config = proof.facts["before_bad"]["id"], proof.facts["before_bad"]["config"]
    requests = cycle(_every_other_marked(traffic.winter(proof)[:_SAMPLE]))
    last: list[Release] = []

    def rolled_back() -> str | None:
        release = proof.release()
        last[:] = [release]
        updating = release.endpoint.get("EndpointStatus") == "Updating"
        if updating:
            _remember_alarms(proof, release)
            for row in islice(requests, _REQUESTS_A_LOOK):
                traffic.ask(proof, f"{row}\n".encode())
        if release.serves(bad):
            raise StepError("the bad version was released: its alarm did not ring while it was watched")
        reason = quarantine(proof, bad)
        return reason if reason and release.id == before_id and not updating else None

    reason = proof.waits.until(
        "the rollback of the bad version", rolled_back, minutes=_CANARY_MINUTES, detail=lambda: "".join(map(str, last))
    )
    watched = proof.facts.get("watched", [])
    proof.see("guardrail", f"rollback alarms: {', '.join(watched) or 'none'}", held=bool(watched))
    rang = [name for name in watched if _rang(proof, name)]
    version = bad.rpartition("/")[2]
    named = any(name.startswith(f"{proof.names.endpoint}-v{version}-") for name in rang)
    proof.see("alarm-name", f"went to ALARM: {', '.join(rang) or 'none'}", held=named)
    release = proof.release()
    config = release.endpoint["EndpointConfigName"]
    now = "the configuration before" if config == before_config else config
    proof.see("rollback", f"{release.endpoint['EndpointStatus']} on {now}", held=config == before_config)
    stack = release.stack["StackStatus"]
    proof.see("rollback-stack", stack, held=stack == "UPDATE_ROLLBACK_COMPLETE")
    proof.see("quarantine", f"{reason}; the record is {release.id}", held=release.package_arn == first)


def _remember_alarms(proof: Proof, release: Release) -> None:
    """Remember the alarms that watch a deployment: afterwards the endpoint names those of the one before."""
    deployment = release.endpoint.get("LastDeploymentConfig", {})
    alarms = [one["AlarmName"] for one in deployment.get("AutoRollbackConfiguration", {}).get("Alarms", [])]
    if alarms and "watched" not in proof.facts:
        proof.remember(watched=sorted(alarms))


def _rang(proof: Proof, alarm: str) -> bool:
    """Say whether an alarm was in ALARM. CloudWatch keeps the history of an alarm that was deleted."""
    history = proof.client("cloudwatch").describe_alarm_history(AlarmName=alarm, HistoryItemType="StateUpdate")
    return any("to ALARM" in item["HistorySummary"] for item in history["AlarmHistoryItems"])


def _every_other_marked(rows: Sequence[str]) -> list[str]:
    return [application.marked(row) if number % 2 else row for number, row in enumerate(rows)]


def release_good(proof: Proof) -> None:
    """Release the second good version, while malformed requests reach its canary."""
    package, rows = str(proof.facts["good_package"]), traffic.winter(proof)[:_REQUESTS_A_LOOK]
    if "good_began" not in proof.facts:
        proof.remember(good_began=datetime.now(UTC).isoformat())
    approve(proof, package)
    sent: list[float] = []

    def meanwhile() -> None:
        due = not sent or proof.waits.clock() - sent[-1] > _BURST_SECONDS
        if due and is_baking(proof.describe_endpoint()):
            for row in rows:
                traffic.ask(proof, f"{row}\n".encode())
            statuses = traffic.send_malformed(proof, rows[0])
            sent.append(proof.waits.clock())
            proof.remember(canary_refusals=proof.facts.get("canary_refusals", 0) + len(statuses))

    live = await_live(proof, package, minutes=_CANARY_MINUTES, meanwhile=meanwhile)
    took = datetime.now(UTC) - datetime.fromisoformat(proof.facts["good_began"])
    refusals = proof.facts.get("canary_refusals", 0)
    if refusals:
        proof.see("canary-survives", f"{live.id} is live after {refusals} refusals", held=live.settled)
    proof.see("duration", f"{took.total_seconds() / 60:.0f} minutes", held=took < _LONGEST_DEPLOYMENT)


def reject(proof: Proof) -> None:
    """Reject the live version, and wait until the one before serves."""
    good, first = str(proof.facts["good_package"]), str(proof.facts["first_package"])
    if describe_package(proof, good)["ModelApprovalStatus"] != "Rejected":
        _decide(proof, good, "Rejected")
    live = await_live(proof, first, minutes=_CANARY_MINUTES)
    proof.see("rejection", f"{live.id} is live again", held=live.package_arn == first)
