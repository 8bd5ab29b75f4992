"""When a version may become live, where the release controller reads it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

from aws_cdk import aws_ssm as ssm
from constructs import Construct

from configuration import Pin, Verification


@dataclass(frozen=True)
class VerifiedIn:
    """The stage before, and the artifact bucket that says what it verified."""

    stage: str
    bucket: str


class PolicyParameter(Construct):
    """A model's release policy in a stage (docs/reference/contracts.md, "Stages").

    The release controller reads it at each look, so a deployment of this stack changes what is desired, and nothing is
    released by it.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        name: str,
        approval: Literal["registry", "life-cycle"] = "registry",
        four_eyes: bool = False,
        description_required: bool = False,
        verified_in: VerifiedIn | None = None,
        verification: Verification | None = None,
        pin: Pin | None = None,
    ) -> None:
        """Make it.

        Args:
            verified_in: None in the first stage.
            verification: What this stage verifies for the next; None in the last one.
        """
        super().__init__(scope, construct_id)
        policy = {
            "approval": approval,
            "four_eyes": four_eyes,
            "description_required": description_required,
            "verified_in": {"stage": verified_in.stage, "bucket": verified_in.bucket} if verified_in else None,
            "verify": verification.model_dump(mode="json") if verification else None,
            "pin": pin.model_dump(mode="json") if pin else None,
        }
        self.parameter = ssm.CfnParameter(
            self,
            "Parameter",
            name=name,
            type="String",
            value=json.dumps(policy),
            description="When a version may become live here; the release controller reads it",
        )
