"""What a stage shares with stages in other accounts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from constructs import Construct

from constructs.mlops.foundation.alerts import DeadLetterQueue
from constructs.mlops.foundation.buckets import ArtifactBucket
from constructs.mlops.foundation.event_patterns import approvals, verifications
from constructs.mlops.foundation.external_role import ExternalRole
from constructs.mlops.foundation.permissions import Permissions, arn
from constructs.mlops.foundation.stage_references import Neighbours, StageReference


class CrossAccountAccess(Construct):
    """Artifacts that stages in other accounts may read, and events that they receive from here and send here.

    The hub shows what was registered and forwards approvals. A stage that verifies shows its verifications to the next
    stage and forwards their events. Within one account this construct defines nothing.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        neighbours: Neighbours,
        artifacts: ArtifactBucket,
        undelivered: DeadLetterQueue,
    ) -> None:
        super().__init__(scope, construct_id)
        self._own, self._undelivered = neighbours.own, undelivered
        if neighbours.is_hub:
            self._share_registered(neighbours.registry_readers, artifacts)
        if self._is_elsewhere(neighbours.following):
            self._share_verifications(neighbours.following, artifacts)
        for sender, source in ((neighbours.hub, "aws.sagemaker"), (neighbours.previous, "aws.s3")):
            if self._is_elsewhere(sender):
                self._admit_events(sender, source)

    def _is_elsewhere(self, other: StageReference | None) -> TypeGuard[StageReference]:
        return other is not None and other.account != self._own.account

    def _share_registered(self, readers: Sequence[StageReference], artifacts: ArtifactBucket) -> None:
        for reader in readers:
            artifacts.grant_read_registered(reader.release_role)
        if readers:
            accounts = sorted({reader.account for reader in readers})
            self._forward(approvals(self._own.app), accounts, "A model version was approved or rejected")

    def _share_verifications(self, reader: StageReference, artifacts: ArtifactBucket) -> None:
        artifacts.grant_read_verifications(reader.release_role)
        self._forward(verifications(artifacts.name), [reader.account], "A release was verified")

    def _forward(self, pattern: events.EventPattern, accounts: Sequence[str], description: str) -> None:
        ForwardedEvents(
            self,
            "Forwarding",
            role_name=self._own.events_role.name,
            description=f"{description}: forwarded to stages in other accounts",
            pattern=pattern,
            accounts=accounts,
            undelivered=self._undelivered,
        )

    def _admit_events(self, sender: StageReference, source: str) -> None:
        AdmittedEvents(
            self,
            f"From{sender.name.title()}",
            statement_id=f"{sender.app}-{sender.name}",
            sender=sender.events_role,
            source=source,
        )


class ForwardedEvents(Construct):
    """A rule that forwards events to the default event buses of other accounts.

    Controllers also reconcile on a schedule, so a lost event delays them by at most 15 minutes. Events that cannot be
    delivered go to a dead-letter queue.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        role_name: str,
        description: str,
        pattern: events.EventPattern,
        accounts: Sequence[str],
        undelivered: DeadLetterQueue,
    ) -> None:
        super().__init__(scope, construct_id)
        buses = [arn(self, "events", "event-bus/default", account=account) for account in accounts]
        permissions = Permissions()
        permissions.allow(["events:PutEvents"], on=buses)
        role = permissions.named_role(
            self,
            "Role",
            name=role_name,
            principal=iam.ServicePrincipal("events.amazonaws.com"),
            description="Forwards events to stages in other accounts",
        )
        self.rule = events.Rule(
            self,
            "Rule",
            description=description,
            event_pattern=pattern,
            targets=[
                targets.EventBus(
                    events.EventBus.from_event_bus_arn(self, f"Bus{index}", bus),
                    role=role,
                    dead_letter_queue=undelivered.queue,
                )
                for index, bus in enumerate(buses)
            ],
        )


class AdmittedEvents(Construct):
    """A policy that lets one role of another account send events of one source to this account's default event bus."""

    def __init__(
        self, scope: Construct, construct_id: str, *, statement_id: str, sender: ExternalRole, source: str
    ) -> None:
        super().__init__(scope, construct_id)
        self.policy = events.CfnEventBusPolicy(
            self,
            "Policy",
            statement_id=statement_id,
            statement={
                "Effect": "Allow",
                "Principal": {"AWS": sender.principal_arn(self)},
                "Action": "events:PutEvents",
                "Resource": arn(self, "events", "event-bus/default"),
                "Condition": {**sender.condition(self), "StringEquals": {"events:source": source}},
            },
        )
