"""`evergreen check`, `evergreen schema` and `evergreen pipeline show`: offline commands on the files of the tree."""

from __future__ import annotations

import typer

from evergreen import ROOT
from evergreen.errors import UsageError
from evergreen.options import JsonOption, ModelArgument
from evergreen.output import say, say_json
from evergreen.settings import read_configuration

pipeline = typer.Typer(no_args_is_help=True, help="A model's SageMaker Pipeline.", rich_markup_mode=None)


def check(as_json: JsonOption = False) -> None:
    """Check evergreen.yaml and every model.yaml.

    All mistakes are reported at once, one line each.
    """
    configuration = read_configuration()
    models = [model.name for model in configuration.models]
    if as_json:
        say_json({"application": configuration.application.name, "models": models})
    else:
        say(f"{configuration.application.name}: models: {', '.join(models) or 'none'}")


def schema() -> None:
    """Write the JSON Schemas that editors read."""
    from configuration.schema import write_schemas

    for path in write_schemas():
        say(str(path.relative_to(ROOT)))


@pipeline.command()
def show(model: ModelArgument) -> None:
    """Print the model's compiled pipeline definition as indented JSON, to read or to compare."""
    import json

    from pipelines import compile_pipeline

    models = {one.name: one for one in read_configuration().models}
    if model not in models:
        raise UsageError(f"There is no model {model!r} under models/; there is {', '.join(models) or 'none'}.")
    say_json(json.loads(compile_pipeline(models[model])))
