"""What the compiled pipeline promises, whatever a model says."""

from __future__ import annotations

import ast
import json
import operator
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from configuration import Model
from configuration.model import PIPELINE_PARAMETERS
from localcloud.errors import AwsError
from localcloud.sagemaker.pipelines.definition import parse
from localcloud.shapes import validated
from pipelines import DEPLOY_TIME_PARAMETERS

ROOT = Path(__file__).resolve().parents[3]
OPERATIONS = {
    "Processing": ("CreateProcessingJob", {"ProcessingJobName": "pipelines-1-Step-1"}),
    "Training": ("CreateTrainingJob", {"TrainingJobName": "pipelines-1-Step-1"}),
    "RegisterModel": ("CreateModelPackage", {}),
}
DEPLOYED = {
    "ImageUri": "123456789012.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:3.2-0",
    "ModelPackageGroupName": "evergreen-flight-delays",
    "KmsKeyArn": "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555",
    "JobRoleArn": "arn:aws:iam::123456789012:role/job",
    "ToolRoleArn": "arn:aws:iam::123456789012:role/tool",
    "SnapshotScriptUri": "s3://assets/1.py",
    "RecordScriptUri": "s3://assets/2.py",
    "CodeUri": "s3://assets/3.zip",
    "AnalyzerUri": "s3://assets/4.zip",
    "BaselineSettingsUri": "s3://assets/5.json",
}
# Amazon SageMaker Developer Guide, "Caching pipeline steps": what makes a run the same as an earlier one.
CACHE_KEY = {
    "Processing": ("AppSpecification", "Environment", "ProcessingInputs"),
    "Training": ("AlgorithmSpecification", "Environment", "HyperParameters", "InputDataConfig"),
}


def steps(definition: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """All steps by name, those in the gate's branches too."""
    found = {}
    for step in definition["Steps"]:
        found[step["Name"]] = step
        for branch in ("IfSteps", "ElseSteps"):
            found.update({inner["Name"]: inner for inner in step["Arguments"].get(branch, [])})
    return found


def resolved(value: Any, parameters: Mapping[str, Any]) -> Any:
    """A request with every variable replaced by a value that it might have."""
    if isinstance(value, list):
        return [resolved(item, parameters) for item in value]
    if not isinstance(value, dict):
        return value
    if "Std:Join" in value:
        join = value["Std:Join"]
        return join["On"].join(str(resolved(item, parameters)) for item in join["Values"])
    if "Std:JsonGet" in value:
        return "s3://bucket/value" if value["Std:JsonGet"]["Path"].endswith("_uri") else "value"
    if set(value) == {"Get"}:
        kind, _, path = value["Get"].partition(".")
        return parameters[path] if kind == "Parameters" else "s3://bucket/reference" if kind == "Steps" else "execution"
    return {key: resolved(item, parameters) for key, item in value.items()}


@pytest.fixture(params=["definition", "other_definition"])
def either(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Each of the two pipelines."""
    found: dict[str, Any] = request.getfixturevalue(request.param)
    return found


def test_two_processes_in_two_regions_compile_the_same_bytes(compilations: list[str]) -> None:
    assert compilations[0] == compilations[1]


def requests(text: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each step's name, operation and request, with every variable replaced by a value that it might have."""
    document = json.loads(text)
    defaults = {one["Name"]: one.get("DefaultValue") for one in document["Parameters"]} | DEPLOYED
    for name, step in steps(document).items():
        if step["Type"] in OPERATIONS:
            operation, named_by_the_service = OPERATIONS[step["Type"]]
            yield name, operation, {**resolved(step["Arguments"], defaults), **named_by_the_service}


def test_every_request_is_one_that_the_service_model_accepts(definitions: dict[str, str]) -> None:
    """Members, types, enumerations, patterns, lengths and ranges; botocore's own validator checks less."""
    refused = []
    for model, text in definitions.items():
        checked = {operation for name, operation, _ in requests(text)}
        assert checked == {operation for operation, _ in OPERATIONS.values()}
        for name, operation, request in requests(text):
            try:
                validated("sagemaker", operation, request)
            except AwsError as error:
                refused.append(f"{model}: {name}: {error}")
    assert refused == []


@pytest.mark.parametrize(
    ("member", "value", "reason"),
    [
        ("ResourceConfig.InstanceType", "ml.m5.3xlarge", "enum value set"),
        ("RoleArn", "job", "regular expression pattern"),
        ("HyperParameters.seed", "s" * 2501, "length less than or equal to 2500"),
        ("StoppingCondition.MaxRuntimeInSeconds", 0, "value greater than or equal to 1"),
        ("OutputDataConfig.S3OutputPath", None, "must not be null"),
        ("StoppingCondition.MaxRuntime", 60, "Unknown parameter"),
    ],
)
def test_a_request_with_a_mistake_is_refused(definitions: dict[str, str], member: str, value: Any, reason: str) -> None:
    (request,) = [one for name, _, one in requests(definitions["flight-delays"]) if name == "Train"]
    *path, last = member.split(".")
    reduce(operator.getitem, path, request)[last] = value
    with pytest.raises(AwsError, match=reason):
        validated("sagemaker", "CreateTrainingJob", request)


def test_every_definition_has_the_documented_structure(definitions: dict[str, str]) -> None:
    """Fields, step types, functions, references, conditions and retries, by the local cloud's parser.

    It is ours, written from AWS's documentation. AWS's published JSON schema cannot decide: it lacks property files,
    `Std:JsonGet` and lists of retried exceptions, which AWS's SDK writes and AWS's guide documents.
    """
    for model, text in definitions.items():
        assert parse(text).steps.keys() == steps(json.loads(text)).keys(), model


def _step(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda document: steps(document)[name]


@pytest.mark.parametrize(
    ("place", "change", "reason"),
    [
        (dict, {"Version": "2024-01-01"}, "Version"),
        (dict, {"Comment": "x"}, "Comment"),
        (_step("Train"), {"Timeout": 60}, "Timeout"),
        (_step("Train"), {"Type": "Tarining"}, "Tarining"),
        (_step("Train"), {"Name": "Train it"}, "Train it"),
        (_step("Train"), {"DependsOn": ["Nowhere"]}, "Nowhere"),
        (_step("Train"), {"CacheConfig": {"Enabled": True, "ExpireAfter": "a month"}}, "month"),
        (_step("Train"), {"RetryPolicies": [{"ExceptionType": ["Step.ANY"], "MaxAttempts": 2}]}, "Step.ANY"),
        (_step("Evaluate"), {"PropertyFiles": []}, "property file"),
        (_step("Refused"), {"Arguments": {"ErrorMessage": {"Get": "Parameters.Nobody"}}}, "Nobody"),
        (_step("Gate"), {"Arguments": {"Conditions": [{"Type": "Bigger"}], "IfSteps": [], "ElseSteps": []}}, "Bigger"),
    ],
)
def test_a_definition_with_a_mistake_is_refused(
    definitions: dict[str, str],
    place: Callable[[dict[str, Any]], dict[str, Any]],
    change: dict[str, Any],
    reason: str,
) -> None:
    document = json.loads(definitions["flight-delays"])
    (document if place is dict else place(document)).update(change)
    with pytest.raises(AwsError, match=reason):
        parse(json.dumps(document))


def test_steps_are_those_of_the_contract_in_their_order(definition: dict[str, Any]) -> None:
    assert [step["Name"] for step in definition["Steps"]] == ["Snapshot", "Preprocess", "Train", "Evaluate", "Gate"]
    gate = steps(definition)["Gate"]["Arguments"]
    assert [step["Name"] for step in gate["IfSteps"]] == ["Baseline", "Record", "Register"]
    assert [step["Name"] for step in gate["ElseSteps"]] == ["Refused"]


def test_parameters_are_those_of_the_contract_and_the_models_own(definition: dict[str, Any], model: Model) -> None:
    names = {parameter["Name"] for parameter in definition["Parameters"]}
    assert names == PIPELINE_PARAMETERS | set(model.training.hyperparameters)
    assert set(DEPLOY_TIME_PARAMETERS) < PIPELINE_PARAMETERS


def test_only_deploy_time_parameters_are_left_for_the_stack_to_substitute(
    definition: dict[str, Any], other_definition: dict[str, Any]
) -> None:
    for document in (definition, other_definition):
        assert re.findall(r"\$\{(\w+)\}", json.dumps(document)) == list(DEPLOY_TIME_PARAMETERS)
    assert "Costs ${!Money}" in json.dumps(other_definition)


def test_models_scripts_run_under_network_isolation_and_everything_is_encrypted(either: dict[str, Any]) -> None:
    for name, step in steps(either).items():
        request = step["Arguments"]
        if step["Type"] == "Processing":
            tool = name in ("Snapshot", "Record")
            assert request["NetworkConfig"] == {
                "EnableNetworkIsolation": not tool,
                "EnableInterContainerTrafficEncryption": True,
            }
            assert request["RoleArn"] == {"Get": "Parameters.ToolRoleArn" if tool else "Parameters.JobRoleArn"}
            assert request["ProcessingOutputConfig"]["KmsKeyId"] == {"Get": "Parameters.KmsKeyArn"}
        elif step["Type"] == "Training":
            assert request["EnableNetworkIsolation"]
            assert request["EnableInterContainerTrafficEncryption"]
            assert request["OutputDataConfig"]["KmsKeyId"] == {"Get": "Parameters.KmsKeyArn"}


def test_a_volume_has_our_key_unless_its_disk_refuses_one(
    definition: dict[str, Any], other_definition: dict[str, Any]
) -> None:
    def clusters(document: dict[str, Any]) -> list[dict[str, Any]]:
        requests = [step["Arguments"] for step in steps(document).values()]
        processing = [one["ProcessingResources"]["ClusterConfig"] for one in requests if "ProcessingResources" in one]
        return processing + [one["ResourceConfig"] for one in requests if "ResourceConfig" in one]

    assert all(cluster["VolumeKmsKeyId"] == {"Get": "Parameters.KmsKeyArn"} for cluster in clusters(definition))
    assert not any("VolumeKmsKeyId" in cluster for cluster in clusters(other_definition))
    assert len(clusters(definition)) == len(clusters(other_definition)) == 6


def test_only_steps_that_follow_from_their_arguments_are_cached(definition: dict[str, Any]) -> None:
    cached = {name for name, step in steps(definition).items() if step.get("CacheConfig", {}).get("Enabled")}
    assert cached == {"Preprocess", "Train", "Evaluate"}


def test_a_cached_step_is_known_by_dataset_code_and_champion_and_not_by_its_execution(
    definition: dict[str, Any],
) -> None:
    keys = {}
    for name in ("Preprocess", "Train", "Evaluate"):
        step = steps(definition)[name]
        keys[name] = json.dumps([step["Arguments"].get(part) for part in CACHE_KEY[step["Type"]]])
        assert "Execution." not in keys[name]
        assert '"code_uri"' in keys[name]
    assert '"train_manifest_uri"' in keys["Preprocess"]
    assert '"holdout_manifest_uri"' in keys["Preprocess"]
    assert "Steps.Preprocess.ProcessingOutputConfig.Outputs['train']" in keys["Train"]
    assert "Parameters.Seed" in keys["Train"]
    assert "Steps.Train.ModelArtifacts.S3ModelArtifacts" in keys["Evaluate"]
    assert '"holdout_manifest_uri"' in keys["Evaluate"]
    assert '"champion_package_arn"' in keys["Evaluate"]
    assert '"champion_uri"' in keys["Evaluate"]


def test_training_finds_its_code_in_a_channel(definition: dict[str, Any]) -> None:
    train = steps(definition)["Train"]["Arguments"]
    assert [channel["ChannelName"] for channel in train["InputDataConfig"]] == ["train", "code"]
    assert train["HyperParameters"]["sagemaker_program"] == '"train.py"'
    assert train["HyperParameters"]["sagemaker_submit_directory"] == '"/opt/ml/input/data/code"'


def test_hyperparameters_reach_the_toolkit_as_json(other_definition: dict[str, Any]) -> None:
    defaults = {one["Name"]: one.get("DefaultValue") for one in other_definition["Parameters"]}
    texts = resolved(steps(other_definition)["Train"]["Arguments"]["HyperParameters"], defaults)
    values = {name: json.loads(text) for name, text in texts.items() if not name.startswith("sagemaker_")}
    assert values == {"booster": "gbtree", "early_stopping": True, "eta": 0.3, "seed": 20130101}


def holds(condition: Mapping[str, Any], facts: Mapping[str, Any]) -> bool:
    """A condition of the definition, over the facts that its sides name by path or parameter."""
    if condition["Type"] == "Or":
        return any(holds(inner, facts) for inner in condition["Conditions"])

    def side(value: Any) -> Any:
        if isinstance(value, dict):
            return facts[value["Std:JsonGet"]["Path"] if "Std:JsonGet" in value else value["Get"]]
        return value

    compare = {
        "Equals": operator.eq,
        "GreaterThan": operator.gt,
        "GreaterThanOrEqualTo": operator.ge,
        "LessThanOrEqualTo": operator.le,
    }[condition["Type"]]
    return bool(compare(side(condition["LeftValue"]), side(condition["RightValue"])))


@pytest.mark.parametrize(
    ("metric", "champion", "improvement", "registered"),
    [
        (0.60, "none", 0.0, True),
        (0.59, "none", 0.0, False),
        (0.70, "arn:aws:sagemaker:…", 0.011, True),
        (0.70, "arn:aws:sagemaker:…", 0.010, False),
        (0.70, "arn:aws:sagemaker:…", -0.1, False),
        (0.59, "arn:aws:sagemaker:…", 0.2, False),
    ],
)
def test_what_is_registered_is_good_enough_and_better_than_the_champion(
    definition: dict[str, Any], metric: float, champion: str, improvement: float, registered: bool
) -> None:
    facts = {
        "metrics.auc": metric,
        "champion_package_arn": champion,
        "improvement": improvement,
        "Parameters.Minimum": 0.6,
        "Parameters.MinImprovement": 0.01,
    }
    assert all(holds(one, facts) for one in steps(definition)["Gate"]["Arguments"]["Conditions"]) is registered


@pytest.mark.parametrize(("log_loss", "registered"), [(0.4, True), (0.5, True), (0.51, False)])
def test_the_minimum_of_a_loss_is_a_ceiling(
    other_definition: dict[str, Any], log_loss: float, registered: bool
) -> None:
    facts = {
        "metrics.log_loss": log_loss,
        "champion_package_arn": "none",
        "improvement": 0.0,
        "Parameters.Minimum": 0.5,
        "Parameters.MinImprovement": 0.01,
    }
    assert all(holds(one, facts) for one in steps(other_definition)["Gate"]["Arguments"]["Conditions"]) is registered


def test_a_refusal_says_what_was_reached_and_what_was_wanted(definition: dict[str, Any]) -> None:
    defaults = {one["Name"]: one.get("DefaultValue") for one in definition["Parameters"]}
    message = steps(definition)["Refused"]["Arguments"]["ErrorMessage"]
    assert '"verdict"' in json.dumps(message)
    assert resolved(message, defaults) == (
        "Not registered: value (wanted: auc at least 0.6 and, where there is a champion, better than it by more than "
        "0.0 in the metric's unit)"
    )


def test_nothing_is_registered_but_for_a_person_to_approve(either: dict[str, Any]) -> None:
    request = steps(either)["Register"]["Arguments"]
    assert request["ModelApprovalStatus"] == "PendingManualApproval"
    assert set(request["CustomerMetadataProperties"]) == {"record_uri", "record_sha256", "release_code", "trigger"}
    assert request["MetadataProperties"]["GeneratedBy"] == {"Get": "Execution.PipelineExecutionArn"}


def test_what_is_recorded_is_what_is_registered(definition: dict[str, Any]) -> None:
    recorded = steps(definition)["Record"]["Arguments"]["Environment"]
    registered = steps(definition)["Register"]["Arguments"]["InferenceSpecification"]
    container = registered["Containers"][0]
    assert recorded["IMAGE"] == container["Image"]
    assert recorded["ARTIFACT_URI"] == container["ModelDataUrl"]
    assert json.loads(recorded["ENVIRONMENT"]) == container["Environment"]
    assert json.loads(recorded["CONTENT_TYPES"]) == registered["SupportedContentTypes"]
    assert json.loads(recorded["RESPONSE_TYPES"]) == registered["SupportedResponseMIMETypes"]


def test_each_tool_is_told_all_that_it_reads(definition: dict[str, Any], model: Model) -> None:
    from pipelines.steps import record, snapshot

    told = {name: set(steps(definition)[name]["Arguments"]["Environment"]) for name in ("Snapshot", "Record")}
    assert told["Snapshot"] == {field.upper() for field in snapshot.Settings.__dataclass_fields__}
    own = {f"{record.PARAMETER}{name}" for name in model.training.hyperparameters}
    assert told["Record"] == own | {
        field.upper() for field in record.Settings.__dataclass_fields__ if field != "parameters"
    }


@pytest.mark.parametrize("name", ["snapshot.py", "record.py"])
def test_a_tool_needs_nothing_but_boto3_and_what_lies_beside_it(name: str) -> None:
    tree = ast.parse((ROOT / "pipelines" / "steps" / name).read_text())
    # What is imported for type checkers only is not there in the container.
    typing_only = {id(inner) for node in tree.body if isinstance(node, ast.If) for inner in ast.walk(node)}
    imported = {
        module.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom) and id(node) not in typing_only
        for module in (
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        )
    }
    beside = {"model_card"} if name == "record.py" else set()
    assert imported - sys.stdlib_module_names - beside == {"boto3", "botocore"}
