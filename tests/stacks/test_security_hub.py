"""Each Security Hub control of the pack finds what does not comply, and only that."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_sagemaker as sagemaker
from aws_cdk import cloudformation_include as include

from constructs.mlops.foundation.permissions import acknowledge
from stacks.security_hub import CONTROLS, PACK, SecurityHubChecks

ISOLATED = {"EnableNetworkIsolation": True}
ENCRYPTED = {"EnableInterContainerTrafficEncryption": True}


def job(kind: str, network: Mapping[str, bool] | None, instances: int = 1) -> dict[str, Any]:
    """The properties of a monitoring job's definition."""
    uri = "s3://b/p"
    endpoint = {"EndpointInput": {"EndpointName": "e", "LocalPath": "/opt/ml/processing/input"}}
    output = {"S3Output": {"LocalPath": "/opt/ml/processing/output", "S3Uri": uri}}
    problem = {"ProblemType": "BinaryClassification"} if kind == "ModelQuality" else {}
    config = {} if kind in ("DataQuality", "ModelQuality") else {"ConfigUri": uri}
    truth = {"GroundTruthS3Input": {"S3Uri": uri}} if kind in ("ModelQuality", "ModelBias") else {}
    cluster = {"InstanceCount": instances, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 20}
    return {
        f"{kind}AppSpecification": {"ImageUri": "i", **problem, **config},
        f"{kind}JobInput": {**endpoint, **truth},
        f"{kind}JobOutputConfig": {"MonitoringOutputs": [output]},
        "JobResources": {"ClusterConfig": cluster},
        "RoleArn": "arn:aws:iam::111111111111:role/r",
        **({} if network is None else {"NetworkConfig": network}),
    }


def schedule(network: Mapping[str, bool] | None) -> dict[str, Any]:
    """The properties of a schedule with a job of its own."""
    definition = {
        "MonitoringAppSpecification": {"ImageUri": "i"},
        "MonitoringInputs": [],
        "MonitoringOutputConfig": {"MonitoringOutputs": []},
        "MonitoringResources": {
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 20}
        },
        "RoleArn": "arn:aws:iam::111111111111:role/r",
        **({} if network is None else {"NetworkConfig": network}),
    }
    return {"MonitoringScheduleConfig": {"MonitoringJobDefinition": definition}, "MonitoringScheduleName": "s"}


def variants(*several: Mapping[str, Any]) -> dict[str, Any]:
    """The properties of an endpoint's configuration."""
    common = {"ModelName": "m", "InitialVariantWeight": 1}
    return {"ProductionVariants": [{**common, "VariantName": f"v{i}", **one} for i, one in enumerate(several)]}


def instances(count: int) -> dict[str, Any]:
    """The part of a variant on instances."""
    return {"InitialInstanceCount": count, "InstanceType": "ml.m5.large"}


SERVERLESS = {"ServerlessConfig": {"MaxConcurrency": 5, "MemorySizeInMB": 2048}}
BY_NAME = {
    "MonitoringScheduleConfig": {"MonitoringJobDefinitionName": "d", "MonitoringType": "DataQuality"},
    "MonitoringScheduleName": "s",
}
MODEL = {"ExecutionRoleArn": "arn:aws:iam::111111111111:role/r"}
ENDPOINT_CONFIG = "AWS::SageMaker::EndpointConfig"
SCHEDULE = "AWS::SageMaker::MonitoringSchedule"

# Type, properties, and the controls that fail.
CASES: list[tuple[str, dict[str, Any], set[str]]] = [
    (ENDPOINT_CONFIG, variants(instances(2)), set()),
    (ENDPOINT_CONFIG, variants(instances(1)), {"SageMaker.4"}),
    (ENDPOINT_CONFIG, variants(instances(3), instances(1)), {"SageMaker.4"}),
    (ENDPOINT_CONFIG, variants(SERVERLESS), set()),
    ("AWS::SageMaker::Model", {**MODEL, "EnableNetworkIsolation": True}, set()),
    ("AWS::SageMaker::Model", {**MODEL, "EnableNetworkIsolation": False}, {"SageMaker.5"}),
    ("AWS::SageMaker::Model", MODEL, {"SageMaker.5"}),
    (SCHEDULE, BY_NAME, set()),
    (SCHEDULE, schedule({**ISOLATED, **ENCRYPTED}), set()),
    (SCHEDULE, schedule(ENCRYPTED), {"SageMaker.14"}),
    (SCHEDULE, schedule(ISOLATED), {"SageMaker.22"}),
    (SCHEDULE, schedule(None), {"SageMaker.14", "SageMaker.22"}),
    ("AWS::SageMaker::ModelBiasJobDefinition", job("ModelBias", ISOLATED), set()),
    ("AWS::SageMaker::ModelBiasJobDefinition", job("ModelBias", ISOLATED, instances=2), {"SageMaker.15"}),
    ("AWS::SageMaker::ModelBiasJobDefinition", job("ModelBias", {**ISOLATED, **ENCRYPTED}, instances=2), set()),
    ("AWS::SageMaker::ModelBiasJobDefinition", job("ModelBias", ENCRYPTED, instances=2), {"SageMaker.12"}),
    *(
        (f"AWS::SageMaker::{kind}JobDefinition", job(kind, network), failing)
        for kind, encrypted, isolated in (
            ("DataQuality", "SageMaker.9", "SageMaker.11"),
            ("ModelQuality", "SageMaker.13", "SageMaker.25"),
            ("ModelExplainability", "SageMaker.10", "SageMaker.20"),
        )
        for network, failing in (
            ({**ISOLATED, **ENCRYPTED}, set()),
            (ISOLATED, {encrypted}),
            ({"EnableNetworkIsolation": False, **ENCRYPTED}, {isolated}),
            (None, {encrypted, isolated}),
        )
    ),
]


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The findings of a synth whose stack includes a template with each case, by logical id."""
    folder = tmp_path_factory.mktemp("assembly")
    app = cdk.App(outdir=str(folder))
    cdk.Validations.of(app).add_plugins(SecurityHubChecks(app))
    resources = {f"R{index}": {"Type": kind, "Properties": given} for index, (kind, given, _) in enumerate(CASES)}
    (folder / "included.json").write_text(json.dumps({"Resources": resources}))
    include.CfnInclude(cdk.Stack(app, "Stack"), "Template", template_file=str(folder / "included.json"))
    with pytest.raises(RuntimeError, match="ValidationFailed"):
        app.synth()
    report = json.loads((folder / "validation-report.json").read_text())
    found: dict[str, set[str]] = {name: set() for name in resources}
    for violation in report["pluginReports"][0]["violations"]:
        for construct in violation["violatingConstructs"]:
            found[construct["constructPath"].rpartition("/")[2]].add(violation["ruleName"].removeprefix(f"{PACK}-"))
    return found


@pytest.mark.parametrize("index", range(len(CASES)), ids=[f"{kind}-{sorted(failing)}" for kind, _, failing in CASES])
def test_a_resource_fails_the_controls_that_it_does_not_meet(findings: dict[str, set[str]], index: int) -> None:
    assert findings[f"R{index}"] == CASES[index][2]


def test_every_control_has_a_case_that_fails_it() -> None:
    assert set().union(*(failing for _, _, failing in CASES)) == CONTROLS.keys()


def test_a_synth_fails_until_a_finding_is_acknowledged_with_a_reason() -> None:
    def synth(reason: str | None) -> None:
        app = cdk.App()
        cdk.Validations.of(app).add_plugins(SecurityHubChecks(app))
        model = sagemaker.CfnModel(cdk.Stack(app, "Stack"), "Model", execution_role_arn=MODEL["ExecutionRoleArn"])
        if reason is not None:
            acknowledge(model, "SageMaker.5", reason=reason, pack=PACK)
        app.synth()

    with pytest.raises(RuntimeError, match="ValidationFailed"):
        synth(None)
    with pytest.raises(ValueError, match=r"SageMaker\.5 .* needs a reason"):
        synth(" ")
    synth("A test of the acknowledgement")
