"""A model's release policy in a stage, where the release controller reads it."""

from __future__ import annotations

import json

from aws_cdk import aws_ssm as ssm
from constructs import Construct

from configuration import Pin, ReleasePolicy, Verification
from constructs.mlops.foundation.stage_references import StageReference


class ReleasePolicyParameter(Construct):
    """The parameter that says when a version may become live (docs/reference/contracts.md, "Stages").

    The release controller reads it at each reconciliation. Deploying it changes the desired state and releases nothing.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        name: str,
        policy: ReleasePolicy,
        previous: StageReference | None = None,
        verification: Verification | None = None,
        pin: Pin | None = None,
    ) -> None:
        """Define the parameter.

        Args:
            scope: The parent.
            construct_id: The id within the parent.
            name: The parameter's name.
            policy: Which approvals the stage requires.
            previous: The stage that must have verified a release; None in the first stage.
            verification: How this stage verifies releases for the next one; None in the last stage.
            pin: The version that the stage is pinned to.
        """
        super().__init__(scope, construct_id)
        document = {
            **policy.model_dump(mode="json"),
            "verified_in": {"stage": previous.name, "bucket": previous.artifact_bucket} if previous else None,
            "verify": verification.model_dump(mode="json") if verification else None,
            "pin": pin.model_dump(mode="json") if pin else None,
        }
        self.parameter = ssm.CfnParameter(
            self,
            "Parameter",
            name=name,
            type="String",
            value=json.dumps(document),
            description="When a version may become live in this stage; the release controller reads it",
        )
