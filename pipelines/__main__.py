"""`python -m pipelines show <model>`: print a model's pipeline definition, to read and to diff."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from configuration import ConfigurationError, load
from pipelines.compiler import ROOT, CompileError, compile_pipeline


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the definition; 2 for a mistake of the user's, in one line each."""
    parser = argparse.ArgumentParser(prog="python -m pipelines", description="Compile SageMaker Pipelines.")
    commands = parser.add_subparsers(required=True)
    show = commands.add_parser("show", help="print a model's pipeline definition as indented JSON")
    show.add_argument("model", help="the model's name, such as flight-delays")
    options = parser.parse_args(arguments)
    try:
        models = {model.name: model for model in load(ROOT).models}
        if options.model not in models:
            known = ", ".join(models) or "none"
            print(f"no model {options.model!r} under models/, there is: {known}", file=sys.stderr)
            return 2
        definition = compile_pipeline(models[options.model])
    except (ConfigurationError, CompileError) as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(json.loads(definition), indent=2, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
