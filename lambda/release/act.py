"""Does one step of one model: the hands of the controller."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from release.decide import (
    CONTROLLER,
    RELEASING_SECONDS,
    WORKING_SECONDS,
    Abandon,
    Deploy,
    Redeploy,
    Refuse,
    RollBack,
    Settle,
    Step,
    Verify,
)
from release.four_eyes import current_approval, objection
from release.observe import observe_endpoint, observe_stack, package_of
from release.rollout import ChangeSetRefused, Rollout
from release.verified_copy import Refused, copy_release, read_registration
from release.world import Package, Stack, World
from shared.environment import Environment
from shared.ledger import Approval, Lease, Ledger, Quarantine
from shared.record import Release, version_of
from shared.release_policy import Policy
from shared.verification import ASKED, Verification, Verifications

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from mypy_boto3_sagemaker.type_defs import DescribeModelPackageOutputTypeDef

    from shared.clients import Clients


class Overtaken(Exception):
    """The world changed between looking and taking the lease; the next invocation looks again."""


class Hands:
    """Carries out steps for one model.

    Args:
        owner: names this invocation in the lease.
        now: the clock.
    """

    def __init__(
        self,
        clients: Clients,
        environment: Environment,
        ledger: Ledger,
        model: str,
        *,
        owner: str,
        now: Callable[[], datetime],
    ) -> None:
        self._clients = clients
        self._environment = environment
        self._ledger = ledger
        self._model = model
        self._owner = CONTROLLER + owner
        self._now = now

    def act(self, world: World, step: Step, tell: Callable[[], None]) -> None:
        """Carry out `step`. What only looks (Nothing, Wait, Hold) has nothing to be done.

        Args:
            tell: Reports the step, before it is done: a crash in between tells twice, never not at all. What several
                invocations may see at once is told by the one that holds the lease. A release is reported by who
                began it.

        Raises:
            LeaseLost, Overtaken: somebody else was faster; nothing was changed.
            Refused: the package to deploy is not what was registered; nothing was changed.
            ChangeSetRefused: CloudFormation would not deploy it; the old record is back.
        """
        match step:
            case Deploy():
                self._deploy(world, step)
            case Refuse():
                self._refuse(world, step, tell)
            case Settle():
                tell()
                self._ledger.release_lease(step.lease)
            case Abandon():
                held = self._claim(world, step.lease, tell)
                self._write_record(step.restore.format())
                self._ledger.release_lease(held)
            case RollBack():
                self._roll_back(world, step, tell)
            case Redeploy():
                self._redeploy(world, step)
            case Verify():
                tell()
                self._ask_for_verification(step)
            case _:
                tell()

    def remember_approvals(self, world: World) -> None:
        """Keep who approved what is desired or waits, before another edit hides it."""
        for package in world.packages:
            if package.approval == "Approved":
                remembered = world.approvals.get(package.version)
                self._remember(remembered, current_approval(package, remembered, world.quarantine.get(package.version)))

    def _refuse(self, world: World, step: Refuse, tell: Callable[[], None]) -> None:
        """Quarantine a version under the lease: events come in bursts, and people are told once."""
        held = self._take_lease(world, f"v{step.version}")
        try:
            if self._ledger.quarantined() != world.quarantine:
                raise Overtaken(f"the quarantine changed before version {step.version} was refused")
            tell()
            self._quarantine(world, step.version, step.reason)
        except Exception:
            self._ledger.release_lease(held)
            raise
        self._ledger.release_lease(held)

    def _deploy(self, world: World, step: Deploy) -> None:
        package = next(package for package in world.packages if package.version == step.version)
        held = self._take_lease(world, step.release_id)
        try:
            self._expect_unchanged(world)
            release = self._copy(world, package, step.release_id)
        except Exception:
            self._ledger.release_lease(held)
            raise
        assert world.stack is not None, "decide() deploys to no stack that is not there"
        if world.serves == release.release_id:
            # Only the record is behind: CloudFormation would see nothing to change.
            self._write_record(release.format())
            self._ledger.release_lease(held)
            return
        self._roll_out(world.stack, held, release, package)

    def _redeploy(self, world: World, step: Redeploy) -> None:
        """Deploy the record as it stands: its copy is in this stage's bucket, and the endpoint serves it already."""
        held = self._take_lease(world, step.release_id)
        try:
            self._expect_unchanged(world)
        except Exception:
            self._ledger.release_lease(held)
            raise
        assert world.stack is not None, "only a stack that is there can be ahead"
        self._roll_out(world.stack, held, step.release, None)

    def _take_lease(self, world: World, release_id: str) -> Lease:
        now = self._seconds()
        lease = Lease(
            owner=self._owner,
            purpose="prepare",
            release_id=release_id,
            previous=world.record.format(),
            acquired_at=now,
            expires_at=now + WORKING_SECONDS,
            stack_updated_at=world.stack.updated_at if world.stack else "",
            endpoint_config=world.endpoint.config if world.endpoint else "",
        )
        self._ledger.swap_lease(world.lease, lease)
        return lease

    def _expect_unchanged(self, world: World) -> None:
        """Look again under the lease: since the first look, another invocation may have come and gone."""
        stack = observe_stack(self._clients.cloudformation, self._environment.serving_stack(self._model))
        endpoint = observe_endpoint(self._clients.sagemaker, self._environment.endpoint(self._model))
        if (stack, endpoint) != (world.stack, world.endpoint):
            raise Overtaken("the stack or the endpoint changed before the lease was taken")
        if self._read_record() != world.record.format():
            raise Overtaken("the release record changed before the lease was taken")

    def _copy(self, world: World, package: Package, wanted: str) -> Release:
        described = self._expect_unedited(package)
        if isinstance(world.policy, Policy) and world.policy.four_eyes:
            self._look_with_four_eyes(world, package, read_registration(self._clients.s3, described).creators)
        release = copy_release(self._clients.s3, self._environment.artifact_bucket, self._model, described)
        if release.release_id != wanted:
            raise Overtaken(f"version {package.version} is {release.release_id} by now, not {wanted}")
        return release

    def _look_with_four_eyes(self, world: World, package: Package, creators: Collection[str]) -> None:
        """Refuse an approval by who made the model; the quarantine ends with a later edit, hence by somebody else."""
        remembered = world.approvals.get(package.version)
        approval = current_approval(package, remembered, world.quarantine.get(package.version), creators)
        self._remember(remembered, approval)
        reason = objection(approval, creators)
        if reason:
            raise Refused(reason)

    def _remember(self, remembered: Approval | None, approval: Approval) -> None:
        if approval != remembered:
            self._ledger.remember_approval(approval)

    def _expect_unedited(self, package: Package) -> DescribeModelPackageOutputTypeDef:
        """Look at the package again: hashing gigabytes takes minutes, in which a person may have said no."""
        described = self._clients.sagemaker.describe_model_package(ModelPackageName=package.arn)
        if package_of(described) != package:
            approval = described["ModelApprovalStatus"]
            raise Overtaken(f"version {package.version} was edited meanwhile and is {approval} now")
        return described

    def _roll_out(self, stack: Stack, held: Lease, release: Release, package: Package | None) -> None:
        """Record, change set, execute. Until that is executed, whatever fails puts the old record back at once.

        Args:
            package: what must still be approved then; None for what is live anyway.
        """
        rollout = Rollout(
            self._clients.cloudformation,
            stack_name=self._environment.serving_stack(self._model),
            name=f"release-{release.release_id}-{held.acquired_at}",
            role_arn=self._environment.release_role_arn,
        )
        try:
            self._write_record(release.format())
            rollout.prepare(stack, release)
            if package is not None:
                self._expect_unedited(package)
        except Exception:
            self._put_back(held)
            raise
        self._execute(rollout, held)
        lasting = replace(held, purpose="release", expires_at=self._seconds() + RELEASING_SECONDS)
        self._ledger.swap_lease(held, lasting)

    def _execute(self, rollout: Rollout, held: Lease) -> None:
        """Execute; put the old record back only on a clear refusal.

        Where no answer came the lease is left: the stack will show whether it moved, and the release is then finished
        or undone.
        """
        try:
            rollout.execute()
        except ChangeSetRefused:
            self._put_back(held)
            raise

    def _put_back(self, held: Lease) -> None:
        self._write_record(held.previous)
        self._ledger.release_lease(held)

    def _roll_back(self, world: World, step: RollBack, tell: Callable[[], None]) -> None:
        held = self._claim(world, step.lease, tell)
        version = version_of(step.lease.release_id)
        if version is not None:
            self._quarantine(world, version, step.reason)
        if step.restore is not None:
            self._write_record(step.restore.format())
        self._ledger.release_lease(held)

    def _claim(self, world: World, lease: Lease, tell: Callable[[], None]) -> Lease:
        """Take an unfinished release over from whoever began it, so that nobody else ends or tells it too."""
        claimed = replace(lease, owner=self._owner, purpose="rollback", expires_at=self._seconds() + WORKING_SECONDS)
        self._ledger.swap_lease(lease, claimed)
        try:
            self._expect_unchanged(world)
            tell()
        except Exception:
            self._ledger.swap_lease(claimed, lease)
            raise
        return claimed

    def _quarantine(self, world: World, version: int, reason: str) -> None:
        known = {package.version: package for package in world.packages}
        if version in known:
            # SageMaker's clock may be ahead of this one: the edit that was seen is not one that came after.
            arn, at = known[version].arn, max(self._now(), known[version].modified_at)
        else:
            arn, at = world.record.package_arn if world.record.version == version else "", self._now()
        self._ledger.quarantine(Quarantine(version, reason, at, arn))

    def _ask_for_verification(self, step: Verify) -> None:
        """Ask, and write down that it was asked; where the question is lost, it is asked again later."""
        function = self._environment.verify_function
        if not function:
            raise ValueError("the release policy asks for a verification, and VERIFY_FUNCTION names no function")
        rows = Verifications(
            self._clients.dynamodb,
            self._environment.ledger_table,
            model=self._model,
            stage=self._environment.stage,
        )
        rows.write(Verification(step.release_id, ASKED, self._now(), step.reason))
        payload = json.dumps({"model": self._model, "release_id": step.release_id}).encode()
        self._clients.functions.invoke(FunctionName=function, InvocationType="Event", Payload=payload)

    def _read_record(self) -> str:
        name = self._environment.record_name(self._model)
        return self._clients.ssm.get_parameter(Name=name)["Parameter"]["Value"]

    def _write_record(self, value: str) -> None:
        name = self._environment.record_name(self._model)
        self._clients.ssm.put_parameter(Name=name, Value=value, Type="String", Overwrite=True)

    def _seconds(self) -> int:
        return int(self._now().timestamp())
