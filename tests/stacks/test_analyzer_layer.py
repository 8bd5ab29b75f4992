"""The analyzer's layer: a synth works without it, a deployment does not."""

from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk.assertions import Template

from constructs.mlops.monitoring import monitor_functions
from constructs.mlops.monitoring.monitor_functions import AnalyzerLayer


def _refusals(folder: Path) -> list[Any]:
    """What CloudFormation would say no to, apart from CDK's own question for its bootstrap version."""
    app = cdk.App(outdir=str(folder), analytics_reporting=False)
    stack = cdk.Stack(app, "layered")
    AnalyzerLayer(stack, "Analyzer")
    rules = Template.from_stack(stack).to_json().get("Rules", {})
    return [assertion for name in rules if "Unbuilt" in name for assertion in rules[name]["Assertions"]]


def test_a_layer_that_was_not_built_is_never_deployed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor_functions, "_LAYER", tmp_path / "nothing")
    (assertion,) = _refusals(tmp_path / "out")
    wanted, found = assertion["Assert"]["Fn::Equals"]
    assert wanted != found
    assert "python lambda/layers/analyzer/build.py" in assertion["AssertDescription"]


def test_a_layer_of_another_lock_counts_as_not_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "layer").mkdir()
    (tmp_path / "layer" / "requirements.txt").write_text("numpy==1.0\n", encoding="utf-8")
    monkeypatch.setattr(monitor_functions, "_LAYER", tmp_path / "layer")
    assert _refusals(tmp_path / "out")


def test_a_layer_that_the_set_up_built_may_be_deployed(tmp_path: Path) -> None:
    assert not _refusals(tmp_path / "out")
