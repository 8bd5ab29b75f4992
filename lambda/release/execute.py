"""Carry out one step for one model."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from release.alarms import rollback_alarm_name
from release.decide import (
    PREPARE_SECONDS,
    RELEASE_SECONDS,
    Abandon,
    Adopt,
    Cancel,
    Complete,
    CorrectRecord,
    Deploy,
    Redeploy,
    RefuseVersion,
    ReleaseStep,
    RollBack,
    Verify,
)
from release.four_eyes import current_approval, objection
from release.observation import DescribedPackage, ReleaseObservation, StackState
from release.observe import describe_package, observe_endpoint, observe_stack, read_record
from release.rollout import ChangeSetRefused, Rollout
from release.verified_copy import PackageRefused, copy_release, read_registration
from shared.environment import ReleaseEnvironment
from shared.errors import Overtaken, is_missing
from shared.ledger import LEASE_OWNER_PREFIX, Approval, Lease, LeasePurpose, Quarantine, ReleaseLedger
from shared.release_policy import StagePolicy
from shared.release_record import ReleaseRecord, version_of
from shared.verification import VerificationRow, VerificationRows, VerificationStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from mypy_boto3_sagemaker.type_defs import DescribeModelPackageOutputTypeDef

    from shared.clients import Clients


class ReleaseExecutor:
    """Carries out steps for one model.

    Args:
        clients: AWS.
        environment: The function's environment.
        ledger: The model's rows.
        model: The model's name.
        owner: Names this invocation in the lease.
        now: The clock.
    """

    def __init__(
        self,
        clients: Clients,
        environment: ReleaseEnvironment,
        ledger: ReleaseLedger,
        model: str,
        *,
        owner: str,
        now: Callable[[], datetime],
    ) -> None:
        self._clients = clients
        self._environment = environment
        self._ledger = ledger
        self._model = model
        self._owner = LEASE_OWNER_PREFIX + owner
        self._now = now

    def execute(self, observation: ReleaseObservation, step: ReleaseStep, report: Callable[[], None]) -> None:
        """Carry out `step`. Nothing, Wait and Hold are only reported.

        Args:
            observation: The state that the step was decided on.
            step: The step.
            report: Reports the step. It is called before the step is carried out, so a crash in between repeats a
                report and never loses one. A step that several invocations may decide at once is reported by the
                holder of the lease. The caller reports a deployment once it has begun.

        Raises:
            Overtaken: Another invocation or deployer was faster. Nothing was changed.
            PackageRefused: The package to deploy is not the registered one. Nothing was changed.
            ChangeSetRefused: CloudFormation refused the deployment. The old record is restored.
        """
        match step:
            case Deploy():
                self._deploy(observation, step)
            case RefuseVersion():
                self._refuse(observation, step, report)
            case Complete():
                report()
                self._ledger.finish(step.lease)
                if observation.lease == step.lease:
                    self._ledger.release_lease(step.lease)
            case Adopt():
                lasting = self._lasting(step.lease)
                self._ledger.swap_lease(observation.lease, lasting)
                report()
            case Cancel():
                self._cancel(observation, step, report)
            case CorrectRecord():
                self._correct_record(observation, step, report)
            case Abandon():
                held = self._claim(observation, step.lease, report)
                self._write_record(step.restore.format())
                self._end(held)
            case RollBack():
                self._roll_back(observation, step, report)
            case Redeploy():
                self._redeploy(observation, step)
            case Verify():
                report()
                self._request_verification(step)
            case _:
                report()

    def record_approvals(self, observation: ReleaseObservation) -> None:
        """Record who approved the observed versions, before another edit hides it."""
        for package in observation.packages:
            if package.approval == "Approved":
                version = package.version
                recorded = observation.approvals.get(version)
                self._record(recorded, current_approval(package, recorded, observation.quarantine.get(version)))

    def _refuse(self, observation: ReleaseObservation, step: RefuseVersion, report: Callable[[], None]) -> None:
        """Quarantine a version under the lease: events come in bursts, and the alert is sent once."""
        held = self._take_lease(observation, f"v{step.version}")
        try:
            if self._ledger.quarantined() != observation.quarantine:
                raise Overtaken(f"the quarantine changed before version {step.version} was refused")
            report()
            self._quarantine(observation, step.version, step.reason)
        except Exception:
            self._ledger.release_lease(held)
            raise
        self._ledger.release_lease(held)

    def _deploy(self, observation: ReleaseObservation, step: Deploy) -> None:
        package = next(package for package in observation.packages if package.version == step.version)
        held = self._take_lease(observation, step.release_id)
        try:
            self._expect_unchanged(observation)
            release = self._copy(observation, package, step.release_id)
        except Exception:
            self._ledger.release_lease(held)
            raise
        assert observation.stack is not None, "decide() deploys only to an existing stack"
        self._roll_out(observation.stack, held, release, package)

    def _redeploy(self, observation: ReleaseObservation, step: Redeploy) -> None:
        """Deploy the record as it is: its copy is in this stage's bucket, and the endpoint already serves it."""
        held = self._take_lease(observation, step.release_id)
        try:
            self._expect_unchanged(observation)
        except Exception:
            self._ledger.release_lease(held)
            raise
        assert observation.stack is not None, "decide() redeploys only an existing stack"
        self._roll_out(observation.stack, held, step.release, None)

    def _take_lease(self, observation: ReleaseObservation, release_id: str) -> Lease:
        now = self._seconds()
        lease = Lease(
            owner=self._owner,
            purpose=LeasePurpose.PREPARE,
            release_id=release_id,
            previous=observation.recorded,
            acquired_at=now,
            expires_at=now + PREPARE_SECONDS,
            stack_updated_at=observation.stack.updated_at if observation.stack else "",
            endpoint_config=observation.endpoint.config if observation.endpoint else "",
        )
        self._ledger.swap_lease(observation.lease, lease)
        return lease

    def _expect_unchanged(self, observation: ReleaseObservation) -> None:
        """Observe again under the lease: another invocation may have come and gone since the first look."""
        stack = observe_stack(self._clients.cloudformation, self._environment.serving_stack(self._model))
        endpoint = observe_endpoint(self._clients.sagemaker, self._environment.endpoint(self._model))
        if (stack, endpoint) != (observation.stack, observation.endpoint):
            raise Overtaken("the stack or the endpoint changed before the lease was taken")
        if self._read_record() != observation.recorded:
            raise Overtaken("the release record changed before the lease was taken")

    def _copy(self, observation: ReleaseObservation, package: DescribedPackage, wanted: str) -> ReleaseRecord:
        described = self._expect_unedited(package)
        if isinstance(observation.policy, StagePolicy) and observation.policy.four_eyes:
            registration = read_registration(self._clients.s3, described)
            if registration.unknown_requester:
                raise PackageRefused(
                    "a person requested its training without a name, and this stage requires four eyes"
                )
            self._require_four_eyes(observation, package, registration.creators)
        release = copy_release(self._clients.s3, self._environment.artifact_bucket, self._model, described)
        if release.release_id != wanted:
            raise Overtaken(f"version {package.version} is {release.release_id} by now, not {wanted}")
        return release

    def _require_four_eyes(
        self, observation: ReleaseObservation, package: DescribedPackage, creators: Collection[str]
    ) -> None:
        """Refuse an approval by a creator. A later edit ends the quarantine, so only another person can end it."""
        recorded = observation.approvals.get(package.version)
        approval = current_approval(package, recorded, observation.quarantine.get(package.version), creators)
        self._record(recorded, approval)
        reason = objection(approval, creators)
        if reason:
            raise PackageRefused(reason)

    def _record(self, recorded: Approval | None, approval: Approval) -> None:
        if approval != recorded:
            self._ledger.write_approval(approval)

    def _expect_unedited(self, package: DescribedPackage) -> DescribeModelPackageOutputTypeDef:
        """Describe the package again: hashing gigabytes takes minutes, in which a person may have rejected it."""
        described = self._clients.sagemaker.describe_model_package(ModelPackageName=package.arn)
        if describe_package(described) != package:
            approval = described["ModelApprovalStatus"]
            raise Overtaken(f"version {package.version} was edited meanwhile and is {approval} now")
        return described

    def _roll_out(
        self, stack: StackState, held: Lease, release: ReleaseRecord, package: DescribedPackage | None
    ) -> None:
        """Write the record, create the change set, execute it. A failure before the execution restores the record.

        Args:
            stack: The serving stack.
            held: The lease.
            release: The release to deploy.
            package: The package that must still be approved before the execution; None for a live release.
        """
        rollout = Rollout(
            self._clients.cloudformation,
            stack_name=self._environment.serving_stack(self._model),
            name=f"release-{release.release_id}-{held.acquired_at}",
            role_arn=self._environment.release_role_arn,
        )
        try:
            self._ledger.write_unfinished(held)
            self._write_record(release.format())
            rollout.prepare(stack, release)
            if package is not None:
                self._expect_unedited(package)
        except Exception:
            self._restore(held)
            raise
        self._execute(rollout, held)
        self._ledger.swap_lease(held, self._lasting(held))

    def _lasting(self, lease: Lease) -> Lease:
        """Return the lease of a release that CloudFormation carries out."""
        return replace(
            lease,
            owner=self._owner,
            purpose=LeasePurpose.RELEASE,
            expires_at=self._seconds() + RELEASE_SECONDS,
        )

    def _correct_record(self, observation: ReleaseObservation, step: CorrectRecord, report: Callable[[], None]) -> None:
        held = self._take_lease(observation, step.release.release_id)
        try:
            self._expect_unchanged(observation)
            report()
            self._write_record(step.release.format())
        except Exception:
            self._ledger.release_lease(held)
            raise
        self._ledger.release_lease(held)

    def _cancel(self, observation: ReleaseObservation, step: Cancel, report: Callable[[], None]) -> None:
        """Stop an update. The next looks repeat it until the stack rolls back, and then finish the release.

        SageMaker goes back to the earlier release when a rollback alarm goes off. So the alarm is set where SageMaker
        deploys to an existing endpoint: CloudFormation's own cancellation would update the endpoint while it is being
        updated, which SageMaker refuses. A first release has no earlier one, and CloudFormation deletes what it made.
        """
        report()
        name = self._environment.endpoint(self._model)
        if observation.endpoint is not None and observation.endpoint.status != "Creating":
            try:
                self._clients.cloudwatch.set_alarm_state(
                    AlarmName=rollback_alarm_name(name, step.lease.release_id),
                    StateValue="ALARM",
                    StateReason=f"Evergreen cancels the release: {step.reason}"[:1023],
                )
            except ClientError as error:
                if not is_missing(error):
                    raise
            else:
                return
        self._clients.cloudformation.cancel_update_stack(
            StackName=self._environment.serving_stack(self._model),
            ClientRequestToken=f"cancel-{step.lease.release_id}-{step.lease.acquired_at}",
        )

    def _execute(self, rollout: Rollout, held: Lease) -> None:
        """Execute the change set. Restore the record only on a clear refusal.

        Where no answer came the lease stays: the stack will show whether it was updated, and a later look finishes or
        undoes the release.
        """
        try:
            rollout.execute()
        except ChangeSetRefused:
            self._restore(held)
            raise

    def _restore(self, held: Lease) -> None:
        self._write_record(held.previous)
        self._end(held)

    def _end(self, held: Lease) -> None:
        """Give the lease back, after the record was restored."""
        self._ledger.finish(held)
        self._ledger.release_lease(held)

    def _roll_back(self, observation: ReleaseObservation, step: RollBack, report: Callable[[], None]) -> None:
        held = self._claim(observation, step.lease, report)
        version = version_of(step.lease.release_id)
        if version is not None:
            self._quarantine(observation, version, step.reason)
        if step.restore is not None:
            self._write_record(step.restore.format())
        self._end(held)

    def _claim(self, observation: ReleaseObservation, lease: Lease, report: Callable[[], None]) -> Lease:
        """Take over the lease of an unfinished release, so that no other invocation ends or reports it too."""
        claimed = replace(
            lease, owner=self._owner, purpose=LeasePurpose.ROLLBACK, expires_at=self._seconds() + PREPARE_SECONDS
        )
        self._ledger.swap_lease(observation.lease, claimed)
        try:
            self._expect_unchanged(observation)
            report()
        except Exception:
            self._ledger.swap_lease(claimed, lease)
            raise
        return claimed

    def _quarantine(self, observation: ReleaseObservation, version: int, reason: str) -> None:
        package, at = observation.package(version), self._now()
        if package is not None:
            # SageMaker's clock may be ahead of this one. The observed edit must not count as a later one.
            at = max(at, package.modified_at)
        arn = package.arn if package else self._environment.package(self._model, version)
        self._ledger.quarantine(Quarantine(version, reason, at, arn))

    def _request_verification(self, step: Verify) -> None:
        """Record the request, then send it. A lost request is repeated later."""
        function = self._environment.verify_function
        if not function:
            raise ValueError("the release policy asks for a verification, and VERIFY_FUNCTION names no function")
        rows = VerificationRows(
            self._clients.dynamodb,
            self._environment.ledger_table,
            model=self._model,
            stage=self._environment.stage,
        )
        rows.write(VerificationRow(step.release_id, VerificationStatus.ASKED, self._now(), step.reason))
        payload = json.dumps({"model": self._model, "release_id": step.release_id}).encode()
        self._clients.functions.invoke(FunctionName=function, InvocationType="Event", Payload=payload)

    def _read_record(self) -> str:
        name = self._environment.record_name(self._model)
        return read_record(self._clients.ssm, name)

    def _write_record(self, value: str) -> None:
        name = self._environment.record_name(self._model)
        self._clients.ssm.put_parameter(Name=name, Value=value, Type="String", Overwrite=True)

    def _seconds(self) -> int:
        return int(self._now().timestamp())
