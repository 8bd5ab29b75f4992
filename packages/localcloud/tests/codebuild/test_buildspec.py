"""Parsing of buildspecs, and their commands in a real shell."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from localcloud.codebuild.buildspec import BuildSpecError, parse
from localcloud.codebuild.script import ProgressReader, commands, render


def _run(text: str, folder: Path) -> tuple[list[str], str]:
    """Run a buildspec's program; return its progress lines and its output."""
    spec = parse(text)
    exports = folder / "exports"
    exports.mkdir()
    progress = ProgressReader(folder / "notes")
    program = folder / "build.sh"
    program.write_text(render(spec, str(exports)))
    environment = {"PATH": "/usr/bin:/bin", "_CB_NOTES": str(folder / "notes")}
    done = subprocess.run([spec.shell, str(program)], cwd=folder, env=environment, capture_output=True, text=True)
    return [" ".join(note) for note in progress.new_entries()], done.stdout


def _spec(**phases: str) -> str:
    lines = [f"  {name}:\n    commands: {text}" for name, text in phases.items()]
    return "version: 0.2\nphases:\n" + "\n".join(lines)


def test_all_commands_share_one_shell(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    text = _spec(install='["cd inner", "export SAID=hello"]', build='["pwd", "echo $SAID from here"]')
    _, said = _run(text, tmp_path)
    assert f"{tmp_path}/inner\n" in said
    assert "hello from here" in said


def test_a_failed_command_ends_its_phase_and_is_reported(tmp_path: Path) -> None:
    notes, said = _run(_spec(build='["echo one", "(exit 3)", "echo never"]'), tmp_path)
    assert "failed BUILD 3 1" in notes
    assert "\nnever" not in said
    assert commands(parse(_spec(build='["echo one", "(exit 3)", "echo never"]')))[1] == "(exit 3)"


def test_post_build_runs_after_a_failed_build_and_sees_the_failure(tmp_path: Path) -> None:
    text = _spec(build='["false"]', post_build='["echo succeeding=$CODEBUILD_BUILD_SUCCEEDING"]')
    _, said = _run(text, tmp_path)
    assert "succeeding=0" in said


def test_a_failed_install_ends_the_build(tmp_path: Path) -> None:
    notes, said = _run(_spec(install='["false"]', build='["echo built"]'), tmp_path)
    assert "begin BUILD" not in notes
    assert "\nbuilt" not in said


def test_on_failure_decides_whether_the_build_continues(tmp_path: Path) -> None:
    going = (
        "version: 0.2\nphases:\n  install: {commands: ['false'], on-failure: CONTINUE}\n  build: {commands: ['true']}"
    )
    notes, _ = _run(going, tmp_path)
    assert "begin BUILD" in notes
    other = tmp_path / "other"
    other.mkdir()
    ending = (
        "version: 0.2\nphases:\n  build: {commands: ['false'], on-failure: ABORT}\n  post_build: {commands: ['true']}"
    )
    notes, _ = _run(ending, other)
    assert "begin POST_BUILD" not in notes


def test_finally_runs_after_a_failure(tmp_path: Path) -> None:
    text = "version: 0.2\nphases:\n  build: {commands: ['false', 'echo no'], finally: ['echo tidied']}"
    _, said = _run(text, tmp_path)
    assert "\ntidied" in said
    assert "\nno\n" not in said


def test_quotes_and_several_lines_reach_the_shell_unchanged(tmp_path: Path) -> None:
    command = "if true; then\n  echo \"it's\" 'so'\nfi\n"
    _, said = _run(json.dumps({"version": 0.2, "phases": {"build": {"commands": [command]}}}), tmp_path)
    assert "it's so" in said


def test_exported_variables_have_their_final_values(tmp_path: Path) -> None:
    text = "version: 0.2\nenv: {exported-variables: [WHAT, NONE]}\nphases: {build: {commands: ['WHAT=\"a b\"']}}"
    _run(text, tmp_path)
    assert (tmp_path / "exports" / "WHAT").read_text() == "a b"
    assert (tmp_path / "exports" / "NONE").read_text() == ""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("version: 0.1", "0.1"),
        ("version: 0.2\nbatch: {}", "batch"),
        ("version: 0.2\nphases: {compile: {}}", "compile"),
        ("version: 0.2\nenv: {shell: powershell}", "powershell"),
        ("version: 0.2\nenv: {secrets-manager: {A: b}}", "secrets-manager"),
        ("version: 0.2\nphases: {build: {on-failure: RETRY-2}}", "RETRY-2"),
        ("phases: [", "YAML"),
        ("just words", "map"),
    ],
)
def test_unsupported_buildspecs_are_rejected_by_name(text: str, says: str) -> None:
    with pytest.raises(BuildSpecError, match=says):
        parse(text)
