"""Load and validate the configuration files of a tree, and report all mistakes at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from configuration.application import Application
from configuration.images import image_uri
from configuration.model import SCRIPTS, Model
from configuration.monitoring import MONITOR_KINDS
from configuration.problems import ConfigurationError, Problem, parse, problems_of, shown
from configuration.yaml_file import read_yaml

_Section = TypeVar("_Section", bound=BaseModel)

_LONGEST_ENDPOINT_NAME = 63


@dataclass(frozen=True)
class Configuration:
    """The validated configuration of a tree: its application and its models, in the order of their folders.

    Attributes:
        root: The repository: `cdk.json` and `package.json` lie there.
        models_folder: The folder that holds one folder a model.
    """

    root: Path
    application: Application
    models: tuple[Model, ...]
    models_folder: Path

    def folder_of(self, model: Model) -> Path:
        """Return the folder of a model's scripts."""
        return self.models_folder / model.folder


def load(root: Path, file: str = "evergreen.yaml", models: str = "models") -> Configuration:
    """Read `evergreen.yaml` and the `model.yaml` of every model.

    Args:
        root: The repository.
        file: The application's file, relative to the root.
        models: The folder of the models, relative to the root, or the folder of a single model.

    Raises:
        ConfigurationError: With every mistake of all files.
    """
    problems: list[Problem] = []
    application, document = _read(root / file, file, Application, problems)
    if application:
        problems += _region_without_image(application)
    found = []
    for folder in _folders(root / models):
        where = folder.relative_to(root).as_posix()
        problems += _missing_scripts(folder, where)
        model, model_document = _read(folder / "model.yaml", f"{where}/model.yaml", Model, problems)
        problems += _disagreements(f"{where}/model.yaml", folder.name, model_document, document)
        if model:
            found.append(model)
    if problems or not application:
        raise ConfigurationError(problems)
    return Configuration(root, application, tuple(found), _parent(root / models))


def load_application(root: Path, file: str = "evergreen.yaml") -> Application:
    """Read `evergreen.yaml` only, for commands that find the deployed models in AWS.

    Args:
        root: The repository.
        file: The application's file, relative to the root.

    Raises:
        ConfigurationError: With every mistake of the file.
    """
    problems: list[Problem] = []
    application, _ = _read(root / file, file, Application, problems)
    if not application:
        raise ConfigurationError(problems)
    return application


def _parent(models: Path) -> Path:
    """Return the folder that holds the models' folders."""
    return models.parent if (models / "model.yaml").is_file() else models


def _folders(models: Path) -> list[Path]:
    """Return the models' folders: all but caches and hidden ones."""
    if _parent(models) != models:
        return [models]
    folders = (p for p in models.iterdir() if p.is_dir()) if models.is_dir() else ()
    return sorted(p for p in folders if not p.name.startswith((".", "__")))


def _read(
    path: Path, file: str, schema: type[_Section], problems: list[Problem]
) -> tuple[_Section | None, Mapping[str, object]]:
    try:
        document = read_yaml(path, file)
    except ConfigurationError as error:
        problems += error.problems
        return None, {}
    if not isinstance(document, Mapping):
        problems.append(Problem(file, "", f"{shown(document)}: should be a section of keys"))
        return None, {}
    found = list(problems_of(schema, document, file))
    problems += found
    return None if found else parse(schema, document), document


def _missing_scripts(folder: Path, where: str) -> Iterator[Problem]:
    for script in SCRIPTS:
        if not (folder / script).is_file():
            yield Problem(f"{where}/{script}", "", "missing: every model has one (docs/your-model.md)")


def _disagreements(
    file: str, folder: str, model: Mapping[str, object], application: Mapping[str, object]
) -> Iterator[Problem]:
    """Report contradictions between two files; read the raw documents, so that other mistakes do not hide them."""
    name, app = model.get("name"), application.get("name")
    if isinstance(name, str) and name.replace("-", "_") != folder:
        yield Problem(file, "name", f"{shown(name)}: should be {shown(folder.replace('_', '-'))}, as its folder says")
    listed = application.get("stages")
    names = [stage.get("name") for stage in listed if isinstance(stage, Mapping)] if isinstance(listed, list) else []
    stages = [stage for stage in names if isinstance(stage, str)]
    serving = model.get("serving")
    if not isinstance(serving, Mapping) or not stages:
        return
    known = ", ".join(stages)
    for stage in serving:
        if stage not in stages:
            yield Problem(file, f"serving.{stage}", f"no such stage; evergreen.yaml has {known}")
        elif isinstance(name, str) and isinstance(app, str):
            endpoint = f"{app}-{name}-{stage}"
            if len(endpoint) > _LONGEST_ENDPOINT_NAME:
                excess = len(endpoint) - _LONGEST_ENDPOINT_NAME
                yield Problem(file, "name", f"{shown(name)}: should be {excess} shorter: the endpoint's name {endpoint}"
                              f" may have {_LONGEST_ENDPOINT_NAME} characters")  # fmt: skip
    yield from _not_watchable(file, model, name if isinstance(name, str) else "", str(app), serving, stages[-1])
    for stage in stages:
        if stage not in serving:
            yield Problem(file, f"serving.{stage}", f"required: how stage {stage} of evergreen.yaml serves the model")


def _not_watchable(
    file: str, model: Mapping[str, object], name: str, app: str, serving: Mapping[str, object], last: str
) -> Iterator[Problem]:
    """Report what cannot be monitored: a last stage that captures nothing, and a schedule's name that is too long."""
    monitoring = model.get("monitoring")
    if not isinstance(monitoring, Mapping):
        return
    kinds = [kind for kind in MONITOR_KINDS if kind in monitoring and monitoring[kind] is not None]
    longest = max((len(kind) + 1 for kind in kinds), default=0)
    for stage, section in serving.items():
        if not isinstance(section, Mapping):
            continue
        captures = section.get("profile") != "serverless" and section.get("capture_percent") != 0
        if not captures and stage != last:
            continue
        if section.get("profile") == "serverless":
            should = "realtime, or monitoring left out: a serverless endpoint captures nothing that could be judged"
            yield Problem(file, f"serving.{stage}.profile", f'"serverless": should be {should}')
        elif section.get("capture_percent") == 0:
            should = "more than 0, or monitoring left out, which judges what is captured"
            yield Problem(file, f"serving.{stage}.capture_percent", f"0: should be {should}")
        excess = len(f"{app}-{name}-{stage}") + longest - _LONGEST_ENDPOINT_NAME
        if 0 < excess <= longest:
            yield Problem(file, "name", f"{shown(name)}: should be {excess} shorter: the names of its monitoring"
                          f" schedules may have {_LONGEST_ENDPOINT_NAME} characters")  # fmt: skip


def _region_without_image(application: Application) -> Iterator[Problem]:
    for index, stage in enumerate(application.stages):
        try:
            image_uri("xgboost", "3.2-0", stage.region)
        except ValueError as error:
            yield Problem("evergreen.yaml", f"stages[{index}].region", f"{shown(stage.region)}: should be {error}")
