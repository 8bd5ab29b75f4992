"""The analyzer's layer: a synth works without a build, a deployment does not."""

import shutil
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk.assertions import Template

from constructs.mlops.monitoring import analyzer_layer
from constructs.mlops.monitoring.analyzer_layer import AnalyzerLayer


def _refusing_assertions(folder: Path) -> list[Any]:
    """Return the assertions that refuse a deployment, besides CDK's own on its bootstrap version."""
    app = cdk.App(outdir=str(folder), analytics_reporting=False)
    stack = cdk.Stack(app, "layered")
    AnalyzerLayer(stack, "Analyzer")
    rules = Template.from_stack(stack).to_json().get("Rules", {})
    return [assertion for name in rules if "Unbuilt" in name for assertion in rules[name]["Assertions"]]


def test_layer_without_build_is_not_deployable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analyzer_layer, "_LAYER", tmp_path / "nothing")
    (assertion,) = _refusing_assertions(tmp_path / "out")
    wanted, found = assertion["Assert"]["Fn::Equals"]
    assert wanted != found
    assert "python lambda/layers/analyzer/build.py" in assertion["AssertDescription"]


def test_layer_of_another_lock_is_not_deployable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "layer").mkdir()
    (tmp_path / "layer" / "requirements.txt").write_text("numpy==1.0\n", encoding="utf-8")
    monkeypatch.setattr(analyzer_layer, "_LAYER", tmp_path / "layer")
    assert _refusing_assertions(tmp_path / "out")


def test_built_layer_is_deployable(tmp_path: Path) -> None:
    assert not _refusing_assertions(tmp_path / "out")


@pytest.mark.parametrize("change", ["edited", "missing", "left over"])
def test_layer_of_another_analyzer_is_not_deployable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    package = tmp_path / "layer" / "python" / "drift_analyzer"
    shutil.copytree(analyzer_layer._ANALYZER, package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(analyzer_layer._LOCK / "requirements.txt", tmp_path / "layer")
    monkeypatch.setattr(analyzer_layer, "_LAYER", tmp_path / "layer")
    assert not _refusing_assertions(tmp_path / "before")
    if change == "edited":
        (package / "drift.py").write_text("", encoding="utf-8")
    elif change == "missing":
        (package / "drift.py").unlink()
    else:
        (package / "kinds.py").write_text("", encoding="utf-8")
    assert _refusing_assertions(tmp_path / "after")
