"""The delivery pipeline: queued, tested first, each stage under leases, trainings last, alerts on failures."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from configuration import Configuration, ConfigurationError, Delivery, Paths, Source, load

ACCOUNTS = {"dev": "111111111111", "staging": "222222222222", "prod": "333333333333"}
CONNECTION = "arn:aws:codeconnections:us-east-1:333333333333:connection/0a1b2c3d"


def of(template: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [resource["Properties"] for resource in template["Resources"].values() if resource["Type"] == kind]


def delivered(configuration: Configuration, outdir: Path) -> dict[str, Any]:
    """Return the Delivery stack's template; the synth fails on any finding of cdk-nag."""
    from stacks import build

    build(configuration, str(outdir), context={"delivery": "true"}).synth()
    template: dict[str, Any] = json.loads((outdir / "evergreen-delivery.template.json").read_text(encoding="utf-8"))
    return template


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("delivery")


@pytest.fixture(scope="module")
def shipped(configuration: Configuration, folder: Path) -> dict[str, Any]:
    return delivered(configuration, folder)


@pytest.fixture(scope="module")
def wide(
    staged: Callable[[dict[str, str | None]], Configuration],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """Return the template for three accounts and a connection, with an approval before the last stage."""
    configuration = staged(dict(ACCOUNTS))
    *others, last = configuration.application.stages
    delivery = Delivery(
        source=Source(connection_arn=CONNECTION, repository="owner/name"), paths=Paths(exclude=("docs/**",))
    )
    application = configuration.application.model_copy(
        update={"stages": (*others, last.model_copy(update={"approve_infrastructure": True})), "delivery": delivery}
    )
    return delivered(replace(configuration, application=application), tmp_path_factory.mktemp("wide"))


def pipeline(template: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = of(template, "AWS::CodePipeline::Pipeline")
    return found


def stage(template: dict[str, Any], name: str) -> dict[str, int]:
    """Return the actions of a stage with their run order."""
    (found,) = [one for one in pipeline(template)["Stages"] if one["Name"] == name]
    return {action["Name"]: action["RunOrder"] for action in found["Actions"]}


def buildspecs(template: dict[str, Any]) -> str:
    return json.dumps([project["Source"]["BuildSpec"] for project in of(template, "AWS::CodeBuild::Project")])


def test_pushes_are_queued_and_the_pipeline_updates_itself_first(
    shipped: dict[str, Any],
) -> None:
    found = pipeline(shipped)
    assert (found["PipelineType"], found["ExecutionMode"], found["RestartExecutionOnUpdate"]) == ("V2", "QUEUED", True)
    assert [one["Name"] for one in found["Stages"]] == ["Source", "Build", "UpdatePipeline", "Assets", "prod"]


def test_cdk_cli_is_the_pinned_one(shipped: dict[str, Any], root: Path) -> None:
    pinned = json.loads((root / "package.json").read_text())["devDependencies"]["aws-cdk"]
    assert f"npm install -g aws-cdk@{pinned}" in buildspecs(shipped)


def test_stacks_deploy_between_lease_steps_and_trainings_come_last(shipped: dict[str, Any]) -> None:
    order = stage(shipped, "prod")
    deployments = {name: when for name, when in order.items() if name.endswith((".Prepare", ".Deploy"))}
    assert order["prod-lease-take"] < min(deployments.values())
    assert max(deployments.values()) < order["prod-lease-give"] < order["prod-train"]
    deployed = {name: order[f"evergreen-{name}.Deploy"] for name in ("platform-prod", "training-flight-delays")}
    assert deployed["platform-prod"] < order["evergreen-training-flight-delays.Prepare"]
    serving, monitoring = (order[f"evergreen-{kind}-flight-delays-prod.Deploy"] for kind in ("serving", "monitoring"))
    assert deployed["platform-prod"] < serving < monitoring


def test_build_runs_the_configured_commands_with_a_report_and_a_cache(shipped: dict[str, Any]) -> None:
    (synth,) = [one for one in of(shipped, "AWS::CodeBuild::Project") if one["Description"].endswith("/Build/Synth")]
    text = synth["Source"]["BuildSpec"]["Fn::Join"][1]
    specification = json.loads("".join(part if isinstance(part, str) else "group" for part in text))
    assert specification["phases"]["build"]["commands"] == [
        'export ARGS="--junitxml=.cache/reports/tests.xml"',
        "make check",
        'export ARGS="--context delivery=true"',
        "make synth",
    ]
    assert specification["phases"]["install"]["runtime-versions"] == {"python": "3.11", "nodejs": "22"}
    assert specification["reports"] == {"group": {"files": [".cache/reports/tests.xml"], "file-format": "JUNITXML"}}
    assert specification["artifacts"]["base-directory"] == "cdk.out"
    assert synth["Cache"]["Type"] == "S3"


def test_asset_publisher_can_read_the_manifests(shipped: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    """The pinned cdk-assets reads schemas up to 54. If the library's schema changes, the pin must change too."""
    (file,) = folder.glob("buildspec-*.yaml")
    phases = json.loads(file.read_text(encoding="utf-8"))["phases"]
    assert phases["install"]["commands"] == ["npm install -g cdk-assets@4.7.3"]
    manifests = sorted(folder.glob("assembly-prod/*.assets.json"))
    assert manifests
    for manifest in manifests:
        shutil.copy(manifest, tmp_path)
    for command in phases["pre_build"]["commands"]:
        subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)
    for manifest in manifests:
        made, found = (json.loads(path.read_text()) for path in (manifest, tmp_path / manifest.name))
        assert found == {**made, "version": "54.0.0"}


def test_make_passes_args_to_pytest_and_cdk(root: Path) -> None:
    # The variables of a make that runs these tests must not reach this one.
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    for verb, expected in (
        ("check", "--dist loadfile --no-loadscope-reorder tests/unit tests/stacks --x=1"),
        ("synth", "synth --quiet --x=1"),
    ):
        run = subprocess.run(
            ["make", "--dry-run", "--always-make", verb],
            cwd=root,
            env={**outside, "ARGS": "--x=1"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert expected in run.stdout


def test_builds_use_the_stacks_key_and_are_not_privileged(wide: dict[str, Any]) -> None:
    (key,) = [name for name, one in wide["Resources"].items() if one["Type"] == "AWS::KMS::Key"]
    for project in of(wide, "AWS::CodeBuild::Project"):
        assert project["EncryptionKey"] == {"Fn::GetAtt": [key, "Arn"]}
        assert project["Environment"]["PrivilegedMode"] is False
    assert pipeline(wide)["ArtifactStore"]["EncryptionKey"]["Id"] == {"Fn::GetAtt": [key, "Arn"]}


def test_connection_triggers_on_its_branch_and_paths_only(wide: dict[str, Any]) -> None:
    found = pipeline(wide)
    (source,) = found["Stages"][0]["Actions"]
    assert source["Configuration"]["DetectChanges"] is False
    (trigger,) = found["Triggers"]
    assert trigger["GitConfiguration"] == {
        "SourceActionName": source["Name"],
        "Push": [{"Branches": {"Includes": ["main"]}, "FilePaths": {"Excludes": ["docs/**"]}}],
    }


def test_the_pipeline_may_use_its_connection_under_both_names_of_the_service(wide: dict[str, Any]) -> None:
    """AWS authorises by the name in the connection's ARN; CDK allows the old name only."""
    (role,) = (
        name
        for name, one in wide["Resources"].items()
        if one["Type"] == "AWS::IAM::Role" and name == pipeline(wide)["RoleArn"]["Fn::GetAtt"][0]
    )
    allowed = {
        action
        for policy in of(wide, "AWS::IAM::Policy")
        if {"Ref": role} in policy["Roles"]
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Resource"] == CONNECTION
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }
    assert {"codestar-connections:UseConnection", "codeconnections:UseConnection"} <= allowed


@pytest.mark.parametrize(("name", "rules"), [("shipped", 2), ("wide", 1)])
def test_an_event_of_the_delivery_is_never_lost_in_silence(
    request: pytest.FixtureRequest, name: str, rules: int
) -> None:
    """The rules are the failure alert and, with CodeCommit, the start of the pipeline."""
    template: dict[str, Any] = request.getfixturevalue(name)
    found = [rule for rule in template["Resources"].items() if rule[1]["Type"] == "AWS::Events::Rule"]
    assert len(found) == rules
    policies = json.dumps(of(template, "AWS::SQS::QueuePolicy"))
    for logical_id, rule in found:
        (target,) = rule["Properties"]["Targets"]
        assert "Undelivered" in json.dumps(target["DeadLetterConfig"]["Arn"])
        assert target["RetryPolicy"] == {"MaximumEventAgeInSeconds": 3600, "MaximumRetryAttempts": 20}
        assert logical_id in policies, "EventBridge may send to the queue for this rule"
    (alarm,) = [one for one in of(template, "AWS::CloudWatch::Alarm") if one["Namespace"] == "AWS/SQS"]
    assert alarm["AlarmActions"] == [template["Outputs"]["AlertTopicArn"]["Value"]]


def test_stages_are_in_order_and_an_approval_precedes_the_lease(wide: dict[str, Any]) -> None:
    names = [one["Name"] for one in pipeline(wide)["Stages"]]
    assert names[-3:] == ["dev", "staging", "prod"]
    order = stage(wide, "prod")
    assert order["prod-approve"] < order["prod-lease-take"]
    for name in ("dev", "staging"):
        assert not [action for action in stage(wide, name) if action.endswith(("-approve", "-train"))]


def test_each_stage_is_deployed_by_roles_of_its_own_account(wide: dict[str, Any]) -> None:
    for one in pipeline(wide)["Stages"]:
        if one["Name"] in ACCOUNTS:
            roles = {json.dumps(action["RoleArn"]) for action in one["Actions"] if ".Deploy" in action["Name"]}
            (deployer,) = roles
            assert f"cdk-hnb659fds-deploy-role-{ACCOUNTS[one['Name']]}-us-east-1" in deployer


def test_lease_steps_may_assume_only_the_stages_delivery_and_lookup_roles(wide: dict[str, Any]) -> None:
    (steps,) = [one for one in of(wide, "AWS::IAM::Role") if one.get("RoleName") == "evergreen-delivery-build"]
    (policy,) = steps["Policies"]
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert statement["Action"] == "sts:AssumeRole"
    expected = {
        f"arn:aws:iam::{account}:role/{name}"
        for stage_name, account in ACCOUNTS.items()
        for name in (f"evergreen-delivery-{stage_name}", f"cdk-hnb659fds-lookup-role-{account}-us-east-1")
    }
    assert set(statement["Resource"]) == expected


def test_failed_stage_is_reported_with_its_name_and_a_link(shipped: dict[str, Any], root: Path) -> None:
    event = json.loads((root / "tests/stacks/events/codepipeline_stage_failed.json").read_text())
    (rule,) = [one for one in of(shipped, "AWS::Events::Rule") if one["EventPattern"]["source"] == ["aws.codepipeline"]]
    pattern = rule["EventPattern"]
    assert event["detail-type"] in pattern["detail-type"]
    assert event["detail"]["state"] in pattern["detail"]["state"]
    assert pattern["detail"]["pipeline"] == [pipeline(shipped)["Name"]]
    (target,) = rule["Targets"]
    text = target["InputTransformer"]["InputTemplate"]
    for name, path in target["InputTransformer"]["InputPathsMap"].items():
        value: Any = event
        for part in path.removeprefix("$.").split("."):
            value = value[part]
        text = text.replace(f"<{name}>", value)
    execution = event["detail"]["execution-id"]
    assert f"stage {event['detail']['stage']} failed in execution {execution}" in text
    assert f"/evergreen-delivery/executions/{execution}/timeline?region=us-east-1" in text


def test_pipeline_and_make_deploy_deploy_the_same(shipped: dict[str, Any], folder: Path, assembly: Path) -> None:
    """Only construct paths in the metadata and the names that CDK derives from them differ."""
    nested = {
        template["Description"]: template
        for template in (json.loads(path.read_text()) for path in folder.glob("assembly-prod/*.template.json"))
    }
    direct = [json.loads(path.read_text()) for path in assembly.glob("*.template.json")]
    assert len(direct) == len(nested) == 4
    for template in direct:
        other = nested[template["Description"]]
        assert sorted(map(_content, other["Resources"].values())) == sorted(
            map(_content, template["Resources"].values())
        )
        assert other.get("Outputs", {}).keys() == template.get("Outputs", {}).keys()


def _content(resource: dict[str, Any]) -> str:
    kept = {name: value for name, value in resource.items() if name not in {"Metadata", "DependsOn"}}
    return re.sub(r'"Sid": "AllowEventRule\w+"', "", json.dumps(kept))


def test_delivery_requires_its_section_in_the_configuration(tree: Path) -> None:
    file = tree / "evergreen.yaml"
    file.write_text(file.read_text(encoding="utf-8").split("delivery:")[0], encoding="utf-8")
    from stacks import build

    with pytest.raises(ConfigurationError) as caught:
        build(load(tree), str(tree / "out"), context={"delivery": "true"})
    assert str(caught.value) == "evergreen.yaml: delivery: required: what the pipeline delivers"
