"""Compiling is remembered by content, and its mistakes are one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from configuration import Model
from evergreen.cli import run
from pipelines import CompileError, compiler


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Names of the models that each subprocess would have compiled."""
    calls: list[list[str]] = []

    def compile_(models: list[Model]) -> list[str]:
        calls.append([model.name for model in models])
        return [f'{{"of": "{model.name}"}}' for model in models]

    monkeypatch.setattr(compiler, "_compile", compile_)
    return calls


def test_what_was_compiled_is_not_compiled_again_and_the_rest_goes_together(
    model: Model, variant: Model, compiled: list[list[str]], tmp_path: Path
) -> None:
    third = model.model_copy(update={"name": "third"})
    assert compiler.compile_pipelines([model], tmp_path) == ['{"of": "flight-delays"}']
    several = compiler.compile_pipelines([variant, model, third], tmp_path)
    assert several == ['{"of": "variant"}', '{"of": "flight-delays"}', '{"of": "third"}']
    assert compiled == [["flight-delays"], ["variant", "third"]]


def test_another_specification_is_another_pipeline(model: Model, compiled: list[list[str]], tmp_path: Path) -> None:
    compiler.compile_pipelines([model], tmp_path)
    compiler.compile_pipelines([model.model_copy(update={"description": "Another"})], tmp_path)
    assert len(compiled) == 2


def test_another_sdk_is_another_pipeline(
    model: Model, compiled: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler.compile_pipelines([model], tmp_path)
    monkeypatch.setattr("importlib.metadata.version", lambda _: "0")
    compiler.compile_pipelines([model], tmp_path)
    assert len(compiled) == 2


def test_a_model_that_does_not_compile_is_named_with_the_reason(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "__init__.py").touch()
    monkeypatch.setattr(compiler, "ROOT", tmp_path)
    with pytest.raises(CompileError, match=r"the pipeline of flight-delays does not compile: .*No module named"):
        compiler.compile_pipelines([model], tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_an_unknown_model_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["pipeline", "show", "nope"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("There is no model 'nope' under models/; there is ")
    assert output.err.count("\n") == 1
