"""A cdk-nag pack of the AWS Security Hub controls for SageMaker that apply to what the stacks hold.

Source: AWS Security Hub User Guide, "Security Hub CSPM controls for SageMaker AI". Left out are controls for what no
stack has: notebooks (1, 2, 3, 8, 21), images of Studio (6, 7), feature groups (17, 18), inference experiments (23, 24)
and a VPC's private registry (16, 19).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import aws_cdk as cdk
import jsii
from aws_cdk import aws_sagemaker as sagemaker
from cdk_nag import IApplyRule, NagMessageLevel, NagPack, NagRuleCompliance
from constructs import IConstruct

PACK = "SecurityHub"
_SEVERAL = 2


# Attribute of a resource → its value with tokens resolved. Members have CDK's names, such as `enableNetworkIsolation`.
Read = Callable[[str], Any]


@dataclass(frozen=True)
class Control:
    """One control.

    Attributes:
        title: The control's title in Security Hub.
        resource_type: The CloudFormation type that it checks.
        complies: Decides by the resource's attributes.
    """

    title: str
    resource_type: str
    complies: Callable[[Read], bool]


def _has_several_instances(read: Read) -> bool:
    """Return whether each variant on instances starts with several. The control ignores serverless variants."""
    return all(
        "serverlessConfig" in variant or variant.get("initialInstanceCount", 1) >= _SEVERAL
        for variant in read("production_variants")
    )


def _isolated(network: Mapping[str, Any] | None) -> bool:
    return (network or {}).get("enableNetworkIsolation") is True


def _encrypted(network: Mapping[str, Any] | None) -> bool:
    return (network or {}).get("enableInterContainerTrafficEncryption") is True


def _job_is(secured: Callable[[Mapping[str, Any] | None], bool]) -> Callable[[Read], bool]:
    return lambda read: secured(read("network_config"))


def _schedule_is(secured: Callable[[Mapping[str, Any] | None], bool]) -> Callable[[Read], bool]:
    """Return the test of a schedule's own job. One that names a definition has none."""

    def complies(read: Read) -> bool:
        config = read("monitoring_schedule_config")
        if "monitoringJobDefinitionName" in config:
            return True
        return secured(config.get("monitoringJobDefinition", {}).get("networkConfig"))

    return complies


def _is_encrypted_between_instances(read: Read) -> bool:
    instances: int = read("job_resources")["clusterConfig"]["instanceCount"]
    return instances < _SEVERAL or _encrypted(read("network_config"))


_DATA_QUALITY = sagemaker.CfnDataQualityJobDefinition.CFN_RESOURCE_TYPE_NAME
_MODEL_QUALITY = sagemaker.CfnModelQualityJobDefinition.CFN_RESOURCE_TYPE_NAME
_BIAS = sagemaker.CfnModelBiasJobDefinition.CFN_RESOURCE_TYPE_NAME
_EXPLAINABILITY = sagemaker.CfnModelExplainabilityJobDefinition.CFN_RESOURCE_TYPE_NAME
_SCHEDULE = sagemaker.CfnMonitoringSchedule.CFN_RESOURCE_TYPE_NAME

CONTROLS: dict[str, Control] = {
    "SageMaker.4": Control(
        "SageMaker endpoint production variants should have an initial instance count greater than 1",
        sagemaker.CfnEndpointConfig.CFN_RESOURCE_TYPE_NAME,
        _has_several_instances,
    ),
    "SageMaker.5": Control(
        "SageMaker models should have network isolation enabled",
        sagemaker.CfnModel.CFN_RESOURCE_TYPE_NAME,
        lambda read: read("enable_network_isolation") is True,
    ),
    "SageMaker.9": Control(
        "SageMaker data quality job definitions should have inter-container traffic encryption enabled",
        _DATA_QUALITY,
        _job_is(_encrypted),
    ),
    "SageMaker.10": Control(
        "SageMaker model explainability job definitions should have inter-container traffic encryption enabled",
        _EXPLAINABILITY,
        _job_is(_encrypted),
    ),
    "SageMaker.11": Control(
        "SageMaker data quality job definitions should have network isolation enabled",
        _DATA_QUALITY,
        _job_is(_isolated),
    ),
    "SageMaker.12": Control(
        "SageMaker model bias job definitions should have network isolation enabled", _BIAS, _job_is(_isolated)
    ),
    "SageMaker.13": Control(
        "SageMaker model quality job definitions should have inter-container traffic encryption enabled",
        _MODEL_QUALITY,
        _job_is(_encrypted),
    ),
    "SageMaker.14": Control(
        "SageMaker monitoring schedules should have network isolation enabled", _SCHEDULE, _schedule_is(_isolated)
    ),
    "SageMaker.15": Control(
        "SageMaker model bias job definitions should have inter-container traffic encryption enabled",
        _BIAS,
        _is_encrypted_between_instances,
    ),
    "SageMaker.20": Control(
        "SageMaker model explainability job definitions should have network isolation enabled",
        _EXPLAINABILITY,
        _job_is(_isolated),
    ),
    "SageMaker.22": Control(
        "SageMaker monitoring schedules should have inter-container traffic encryption enabled",
        _SCHEDULE,
        _schedule_is(_encrypted),
    ),
    "SageMaker.25": Control(
        "SageMaker model quality job definitions should have network isolation enabled",
        _MODEL_QUALITY,
        _job_is(_isolated),
    ),
}


@jsii.implements(IApplyRule)
class _Rule:
    """What cdk-nag asks for to apply one control to one resource."""

    def __init__(self, name: str, control: Control, node: cdk.CfnResource) -> None:
        self._name, self._control, self._node = name, control, node

    @property
    @jsii.member(jsii_name="ruleSuffixOverride")
    def rule_suffix_override(self) -> str:
        """Return the control's name, which ends the finding's id."""
        return self._name

    @property
    @jsii.member(jsii_name="info")
    def info(self) -> str:
        """Return what a finding says."""
        return f"{self._control.title} (Security Hub {self._name})."

    @property
    @jsii.member(jsii_name="explanation")
    def explanation(self) -> str:
        """Return where the control is described."""
        return "AWS Security Hub User Guide, Security Hub CSPM controls for SageMaker AI."

    @property
    @jsii.member(jsii_name="level")
    def level(self) -> NagMessageLevel:
        """Return the level of a finding: it fails the synth."""
        return NagMessageLevel.ERROR

    @property
    @jsii.member(jsii_name="node")
    def node(self) -> cdk.CfnResource:
        """Return the resource."""
        return self._node

    @jsii.member(jsii_name="rule")
    def rule(self, node: cdk.CfnResource) -> NagRuleCompliance:
        """Return whether the resource complies."""
        stack = cdk.Stack.of(node)
        complies = self._control.complies(lambda attribute: stack.resolve(getattr(node, attribute)))
        return NagRuleCompliance.COMPLIANT if complies else NagRuleCompliance.NON_COMPLIANT


class SecurityHubChecks(NagPack):
    """The pack. A finding's id is `SecurityHub::SecurityHub-SageMaker.5`."""

    def __init__(self, scope: IConstruct) -> None:
        super().__init__(scope)
        self._pack_name = PACK

    @property
    @jsii.member(jsii_name="name")
    def name(self) -> str:
        """Return the pack's name in the validation report."""
        return PACK

    @jsii.member(jsii_name="checkResource")
    def _check_resource(self, node: cdk.CfnResource) -> None:
        kind = node.cfn_resource_type
        for name, control in CONTROLS.items():
            if control.resource_type == kind:
                # jsii only reads the members that the protocol has as settable.
                self._apply_rule(cast(IApplyRule, _Rule(name, control, node)))
