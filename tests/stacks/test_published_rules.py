"""The templates pass checks that nobody here wrote: cfn-lint's schemas, and AWS's table of IAM actions.

The table is policy_sentry's copy of AWS's Service Authorization Reference.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from policy_sentry.querying.actions import get_action_data
from pydantic import TypeAdapter

from configuration import Configuration, Serving

ACCOUNTS: dict[str, str | None] = {"dev": "111111111111", "staging": "222222222222", "prod": "333333333333"}
Staged = Callable[[dict[str, str | None]], Configuration]

# Findings of cfn-lint that are right as they are, each with its reason.
EXPECTED = {
    "W3005": "CDK lets what uses a role wait for its policies by DependsOn, although GetAtt already orders the two.",
}


def _in(region: str, configuration: Configuration, **changes: Any) -> Configuration:
    stages = tuple(stage.model_copy(update={"region": region, **changes}) for stage in configuration.application.stages)
    return replace(configuration, application=configuration.application.model_copy(update={"stages": stages}))


def _with_every_profile(configuration: Configuration, folder: Path) -> Configuration:
    """Add a model for each serving profile and deployment strategy that the shipped one lacks, with copied scripts."""
    (shipped,), stage = configuration.models, configuration.application.stage.name
    document: dict[str, Any] = shipped.canonical()
    realtime = document["serving"][stage]
    one_instance = {"min": 1, "max": 1}
    once = {"strategy": "all_at_once", "bake_minutes": 5}
    profiles: dict[str, dict[str, Any]] = {
        "linear": {**realtime, "deployment": {"strategy": "linear", "step_percent": 25, "bake_minutes": 5}},
        "once": {**realtime, "deployment": once, "instances": one_instance, "capture_percent": 0},
        "serverless": {"profile": "serverless", "memory_mb": 2048, "max_concurrency": 5},
    }
    serving: TypeAdapter[Serving] = TypeAdapter(Serving)
    more = tuple(
        shipped.model_copy(
            update={"name": name, "serving": {stage: serving.validate_python(profile)}, "monitoring": None}
        )
        for name, profile in profiles.items()
    )
    for model in (shipped, *more):
        shutil.copytree(configuration.folder_of(shipped), folder / model.folder)
    return replace(configuration, models=(shipped, *more), models_folder=folder)


@pytest.fixture(scope="module")
def templates(
    configuration: Configuration, staged: Staged, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The templates by name: each pair of engine, region and number of accounts, every profile, and deliveries."""
    from stacks import build

    profiles = _with_every_profile(configuration, tmp_path_factory.mktemp("models"))
    accounts = staged(dict(ACCOUNTS))
    delivery = {"delivery": "true"}
    cases: dict[str, tuple[Configuration, dict[str, str]]] = {
        "managed": (_in("us-east-1", profiles, model_monitor="available"), {}),
        "builtin": (_in("eu-central-1", configuration, model_monitor="closed"), {}),
        "accounts, managed": (_in("eu-central-1", accounts, model_monitor="available"), {}),
        "accounts, builtin": (_in("us-east-1", accounts, model_monitor="closed"), {}),
        "delivery": (_in("us-east-1", configuration), delivery),
        "accounts, delivery": (_in("eu-central-1", accounts), delivery),
    }
    found: dict[str, Path] = {}
    for case, (application, context) in cases.items():
        outdir = tmp_path_factory.mktemp(case)
        build(application, str(outdir), context=context).synth()
        for path in sorted(outdir.rglob("*.template.json")):
            if context != delivery or path.parent == outdir:
                found[f"{case}/{path.name.removesuffix('.template.json')}"] = path
    return found


def test_every_profile_engine_account_and_region_is_checked(templates: dict[str, Path]) -> None:
    documents = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in templates.items()}
    kinds = {one["Type"] for document in documents.values() for one in document["Resources"].values()}
    assert {"AWS::SageMaker::MonitoringSchedule", "AWS::Scheduler::Schedule", "AWS::CodePipeline::Pipeline"} <= kinds
    text = "".join(json.dumps(document) for document in documents.values())
    for value in (
        "CANARY",
        "LINEAR",
        "ALL_AT_ONCE",
        "ServerlessConfig",
        *ACCOUNTS.values(),
        "us-east-1",
        "eu-central-1",
    ):
        assert str(value) in text, value


def test_cfn_lint_finds_nothing_that_is_not_explained(templates: dict[str, Path]) -> None:
    command = [str(Path(sys.executable).with_name("cfn-lint")), "--format", "json"]
    # Templates of several cases that are alike are checked once.
    names = {
        str(path): name for path, name in {path.read_bytes(): (path, name) for name, path in templates.items()}.values()
    }
    done = subprocess.run([*command, *names], capture_output=True, text=True, timeout=280)
    findings = json.loads(done.stdout)
    unexplained = [
        f"{names[one['Filename']]}: {one['Rule']['Id']} {one['Message']}"
        for one in findings
        if one["Rule"]["Id"] not in EXPECTED
    ]
    assert unexplained == []
    assert EXPECTED.keys() <= {one["Rule"]["Id"] for one in findings}, "a reason for what is no longer found is stale"


def _policies(template: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Yield each statement with the name of its resource, and whether it belongs to a role."""
    for name, resource in template["Resources"].items():
        kind, properties = resource["Type"], resource.get("Properties", {})
        documents = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
        documents += [properties[key] for key in ("PolicyDocument", "KeyPolicy") if key in properties]
        for document in documents:
            for statement in document["Statement"]:
                yield name, statement, kind in ("AWS::IAM::Role", "AWS::IAM::Policy")


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@cache
def _rows(action: str) -> list[dict[str, Any]]:
    """Return the table's rows of an action, one for each type of resource; none where AWS has no such action."""
    service, _, name = action.partition(":")
    found = get_action_data(service, name)
    return [row for rows in found.values() for row in rows] if found else []


def _arn(node: Any) -> str:
    """Return a resource of a statement as text; `-` stands for what is known at deployment only."""
    match node:
        case {"Fn::Join": ["", parts]}:
            return "".join(_arn(part) for part in parts)
        case {"Ref": "AWS::Partition"}:
            return "aws"
        case {"Fn::GetAtt": _} | {"Ref": _} | {"Fn::ImportValue": _} | {"Fn::Sub": _}:
            return "-"
        case str():
            return node
        case _:
            raise AssertionError(f"a resource of another form: {node}")


def _overlap(left: str, right: str) -> bool:
    """Whether some text matches both patterns, in which `*` stands for any text."""
    if not left or not right:
        return not (left + right).strip("*")
    if left[0] == "*":
        return _overlap(left[1:], right) or _overlap(left, right[1:])
    if right[0] == "*":
        return _overlap(left, right[1:]) or _overlap(left[1:], right)
    return left[0] == right[0] and _overlap(left[1:], right[1:])


@cache
def _is_a(arn: str, form: str) -> bool:
    """Whether an ARN, or a pattern of ARNs, is of a type of resource. A reference is believed."""
    if arn == "*" or arn.startswith("-"):
        return True
    form = re.sub(r"\$\{[^}]+\}", "*", form)
    if form == "*":
        return False
    service, wanted = arn.split(":", 5), form.split(":", 5)
    return service[2] == wanted[2] and _overlap(service[5], wanted[5])


def _knows(action: str, resources: tuple[str, ...]) -> bool:
    """Whether an action can be allowed on one of the resources."""
    return any(_is_a(arn, row["resource_arn_format"]) for arn in resources for row in _rows(action))


def _conditions(statement: dict[str, Any]) -> Iterator[str]:
    for keys in statement.get("Condition", {}).values():
        yield from (key for key in keys if not key.startswith("aws:"))


@pytest.fixture(scope="module")
def statements(templates: dict[str, Path]) -> list[tuple[str, dict[str, Any], bool]]:
    return [
        (f"{name}: {resource}", statement, role)
        for name, path in templates.items()
        for resource, statement, role in _policies(json.loads(path.read_text(encoding="utf-8")))
    ]


Statements = list[tuple[str, dict[str, Any], bool]]


def test_every_action_of_every_policy_exists(statements: Statements) -> None:
    unknown = {
        f"{where}: {action}"
        for where, statement, _ in statements
        for action in _listed(statement["Action"])
        if "*" not in action and not _rows(action)
    }
    assert unknown == set()


def test_every_condition_is_one_that_some_action_of_its_statement_knows(statements: Statements) -> None:
    unknown = set()
    for where, statement, _ in statements:
        actions = [action for action in _listed(statement["Action"]) if "*" not in action]
        for key in _conditions(statement):
            known = {one for action in actions for row in _rows(action) for one in row["condition_keys"]}
            forms = [re.sub(r"\$\{[^}]+\}", "*", one).lower() for one in known]
            if actions and not any(fnmatchcase(key.lower(), form) for form in forms):
                unknown.add(f"{where}: {key} on {actions}")
    assert unknown == set()


def test_every_action_of_a_role_is_allowed_on_a_resource_that_it_knows(statements: Statements) -> None:
    ineffective = {
        f"{where}: {action} on {resources}"
        for where, statement, role in statements
        if role
        for resources in [tuple(_arn(one) for one in _listed(statement["Resource"]))]
        for action in _listed(statement["Action"])
        if "*" not in action and not _knows(action, resources)
    }
    assert ineffective == set()
