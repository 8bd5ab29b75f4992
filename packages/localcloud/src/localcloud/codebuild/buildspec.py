"""Parser of buildspecs (AWS CodeBuild User Guide, "Build specification reference for CodeBuild")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

PHASES = ("install", "pre_build", "build", "post_build")
_KNOWN = {"version", "run-as", "env", "proxy", "phases", "reports", "artifacts", "cache"}
_ON_FAILURE = {"ABORT", "CONTINUE"}


class BuildSpecError(Exception):
    """The buildspec is not valid or not supported; the message is the build's `YAML_FILE_ERROR`."""


@dataclass(frozen=True)
class Phase:
    """The commands of one phase; with `on_failure` None the default transitions between phases apply."""

    commands: tuple[str, ...] = ()
    finally_commands: tuple[str, ...] = ()
    on_failure: str | None = None


@dataclass(frozen=True)
class Files:
    """The files of an artifact or a report: glob patterns below a directory of the source."""

    patterns: tuple[str, ...] = ()
    base_directory: str = ""
    exclude: tuple[str, ...] = ()
    discard_paths: bool = False
    file_format: str = "JUNITXML"


@dataclass(frozen=True)
class BuildSpec:
    """A parsed buildspec."""

    phases: Mapping[str, Phase]
    shell: str = "sh"
    variables: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    exported: tuple[str, ...] = ()
    artifacts: Files | None = None
    secondary_artifacts: Mapping[str, Files] = field(default_factory=dict)
    reports: Mapping[str, Files] = field(default_factory=dict)


def parse(text: str) -> BuildSpec:
    """Parse a buildspec in YAML or JSON.

    Raises:
        BuildSpecError: the buildspec is malformed, or uses an unsupported feature.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BuildSpecError(f"the buildspec is not valid YAML: {error}") from error
    if not isinstance(document, dict):
        raise BuildSpecError("the buildspec must be a map with version and phases")
    if str(document.get("version")) != "0.2":
        raise BuildSpecError(f"only version 0.2 is supported, got {document.get('version')!r}")
    unknown = sorted(set(document) - _KNOWN)
    if unknown:
        raise BuildSpecError(f"the local cloud does not support {unknown[0]!r} in a buildspec")
    environment = _map(document, "env")
    for name in ("secrets-manager",):
        if environment.get(name):
            raise BuildSpecError(f"the local cloud does not support env/{name}")
    shell = str(environment.get("shell", "sh"))
    if shell not in ("sh", "bash", "/bin/sh", "/bin/bash"):
        raise BuildSpecError(f"the local cloud runs sh and bash, got env/shell {shell!r}")
    artifacts = _map(document, "artifacts")
    return BuildSpec(
        phases=_phases(_map(document, "phases")),
        shell=shell,
        variables={name: _scalar(value) for name, value in _map(environment, "variables").items()},
        parameters={name: _scalar(value) for name, value in _map(environment, "parameter-store").items()},
        exported=_strings(environment, "exported-variables"),
        artifacts=_files(artifacts) if "files" in artifacts else None,
        secondary_artifacts={name: _files(one) for name, one in _map(artifacts, "secondary-artifacts").items()},
        reports={name: _files(one) for name, one in _map(document, "reports").items()},
    )


def _phases(document: Mapping[str, Any]) -> dict[str, Phase]:
    unknown = sorted(set(document) - set(PHASES))
    if unknown:
        raise BuildSpecError(f"unknown phase {unknown[0]!r}; phases are {', '.join(PHASES)}")
    phases = {}
    for name in PHASES:
        one = _map(document, name)
        on_failure = one.get("on-failure")
        if on_failure is not None and on_failure not in _ON_FAILURE:
            raise BuildSpecError(f"the local cloud supports on-failure ABORT and CONTINUE, got {on_failure!r}")
        phases[name] = Phase(_strings(one, "commands"), _strings(one, "finally"), on_failure)
    return phases


def _files(document: Mapping[str, Any]) -> Files:
    return Files(
        patterns=_strings(document, "files"),
        base_directory=str(document.get("base-directory", "")),
        exclude=_strings(document, "exclude-paths"),
        discard_paths=_scalar(document.get("discard-paths", "no")) in ("yes", "true"),
        file_format=str(document.get("file-format", "JUNITXML")).upper(),
    )


def _map(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = document.get(name) or {}
    if not isinstance(value, dict):
        raise BuildSpecError(f"{name} must be a map, got {value!r}")
    return value


def _strings(document: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = document.get(name) or []
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(item, str | int | float) for item in items):
        raise BuildSpecError(f"{name} must be a list of strings, got {value!r}")
    return tuple(str(item) for item in items)


def _scalar(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
