"""The whole app: no findings, offline, reproducible, and open to further models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from configuration import Configuration, load


@pytest.fixture(scope="module")
def by_command(
    root: Path, arguments: list[str], tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Path:
    """Run `python app.py` with cdk-nag and the built-in validation, in an environment that says only where to write."""
    outdir = tmp_path_factory.mktemp("by_command")
    with subprocess.Popen(
        [sys.executable, "app.py", *arguments],
        cwd=root,
        env={"CDK_OUTDIR": str(outdir), "PATH": os.environ["PATH"]},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        # The other synth runs at the same time, on the other core.
        request.getfixturevalue("assembly")
        _, errors = run.communicate()
    assert run.returncode == 0, errors
    return outdir


def synthesise(configuration: Configuration, outdir: Path) -> Path:
    from stacks import build

    build(configuration, str(outdir)).synth()
    return outdir


def templates(outdir: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in outdir.glob("*.template.json")}


def kinds(template: bytes) -> Counter[str]:
    return Counter(resource["Type"] for resource in json.loads(template)["Resources"].values())


def acknowledgements(outdir: Path) -> Iterator[tuple[str, str, str]]:
    """Yield construct, rule and reason of each acknowledgement."""
    for path in outdir.glob("*.metadata.json"):
        metadata: Mapping[str, list[dict[str, Any]]] = json.loads(path.read_text(encoding="utf-8"))
        for construct, entries in metadata.items():
            for entry in entries:
                if entry["type"] == "aws:cdk:acknowledged-rules":
                    for rule, reason in entry["data"].items():
                        yield construct.lstrip("/"), rule, reason


def test_nag_and_validation_leave_no_finding(by_command: Path) -> None:
    report = json.loads((by_command / "validation-report.json").read_text(encoding="utf-8"))
    reports = {plugin["pluginName"]: plugin for plugin in report["pluginReports"]}
    assert "AwsSolutions" in reports
    for plugin in reports.values():
        assert plugin["conclusion"] == "success"
        assert plugin["violations"] == []


def test_every_acknowledgement_has_a_reason_and_none_is_stale(by_command: Path) -> None:
    report = json.loads((by_command / "validation-report.json").read_text(encoding="utf-8"))
    used = {
        (finding["acknowledgedAt"], finding["acknowledgedId"])
        for plugin in report["pluginReports"]
        for finding in plugin["suppressedViolations"]
    }
    given = list(acknowledgements(by_command))
    assert given
    assert {(construct, rule) for construct, rule, _ in given} == used
    assert [reason for _, _, reason in given if len(reason.split()) < 5] == []


def test_two_synths_are_byte_identical(by_command: Path, assembly: Path) -> None:
    assert templates(by_command) == templates(assembly)
    for name in ("manifest.json", *(path.name for path in by_command.glob("*.assets.json"))):
        assert (by_command / name).read_bytes() == (assembly / name).read_bytes(), name


def test_every_policy_on_all_resources_has_a_reason(assembly: Path) -> None:
    argued = {(construct, rule) for construct, rule, _ in acknowledgements(assembly)}
    for name, template in templates(assembly).items():
        for resource in json.loads(template)["Resources"].values():
            path = resource["Metadata"]["aws:cdk:path"]
            if resource["Type"] == "AWS::IAM::Policy":
                role, documents = path.rsplit("/", 2)[0], [resource["Properties"]["PolicyDocument"]]
            else:
                inline = resource["Properties"].get("Policies", []) if resource["Type"] == "AWS::IAM::Role" else []
                role, documents = path.rsplit("/", 1)[0], [policy["PolicyDocument"] for policy in inline]
            for statement in (one for document in documents for one in document["Statement"]):
                resources = statement["Resource"]
                if "*" in (resources if isinstance(resources, list) else [resources]):
                    assert (role, "AwsSolutions::AwsSolutions-IAM5[Resource::*]") in argued, name


def test_second_model_adds_stacks_and_no_function_rule_or_bucket(
    assembly: Path, tree: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    copy = tree / "models" / "bus_delays"
    copy.mkdir()
    for file in (tree / "models" / "flight_delays").iterdir():
        text = file.read_text(encoding="utf-8")
        (copy / file.name).write_text(text.replace("name: flight-delays", "name: bus-delays"), encoding="utf-8")
    before, after = templates(assembly), templates(synthesise(load(tree), tmp_path_factory.mktemp("two")))
    new = {
        f"evergreen-{stack}.template.json"
        for stack in ("training-bus-delays", "serving-bus-delays-prod", "monitoring-bus-delays-prod")
    }
    assert after.keys() - before.keys() == new
    platform = "evergreen-platform-prod.template.json"
    assert kinds(after[platform]) - kinds(before[platform]) == Counter({"Custom::ReleaseRecord": 1})
    for stack in new:
        assert not [kind for kind in kinds(after[stack]) if kind.split("::")[1] in {"Lambda", "Events", "S3"}]
    for stack in before.keys() - {platform}:
        assert after[stack] == before[stack]


def test_exports_stay_when_the_last_model_is_removed(
    configuration: Configuration, assembly: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bare = replace(configuration, models=())
    before, after = templates(assembly), templates(synthesise(bare, tmp_path_factory.mktemp("none")))
    assert list(after) == ["evergreen-platform-prod.template.json"]
    exports = [json.loads(one["evergreen-platform-prod.template.json"])["Outputs"] for one in (before, after)]
    assert exports[0] == exports[1]
    imported = {
        token
        for stack, template in before.items()
        if "platform" not in stack
        for token in _imports(json.loads(template))
    }
    assert imported == {output["Export"]["Name"] for output in exports[1].values() if "Export" in output}


def _imports(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if "Fn::ImportValue" in node:
            yield node["Fn::ImportValue"]
        for value in node.values():
            yield from _imports(value)
    elif isinstance(node, list):
        for value in node:
            yield from _imports(value)
