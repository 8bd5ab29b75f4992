"""The fields of a release record, as values of a template."""

from __future__ import annotations

import hashlib

import aws_cdk as cdk
from constructs import Construct

_NOTHING_RELEASED = "none|none|none|none"


class ReleaseRecordParameters(Construct):
    """The release that a stack follows (docs/reference/contracts.md, "Release record").

    CloudFormation reads the record at deployment through the stack's only parameter, so a release changes a value and
    never a template.
    """

    def __init__(self, scope: Construct, construct_id: str, *, record: str) -> None:
        super().__init__(scope, construct_id)
        parameter = cdk.CfnParameter(
            self, "Record", type="AWS::SSM::Parameter::Value<String>", default=record, description="The release record"
        )
        # An update keeps the old value of a parameter whose default changed, so each record has a parameter of its own.
        parameter.override_logical_id(f"Release{hashlib.sha256(record.encode()).hexdigest()[:8]}")
        value = parameter.value_as_string
        self.exists = cdk.CfnCondition(
            self,
            "Exists",
            expression=cdk.Fn.condition_not(cdk.Fn.condition_equals(value, _NOTHING_RELEASED)),
        )
        self.exists.override_logical_id("Released")
        fields = cdk.Fn.split("|", value)
        self.id = cdk.Fn.select(0, fields)
        self.image = cdk.Fn.select(1, fields)
        self.package_arn = cdk.Fn.select(2, fields)
