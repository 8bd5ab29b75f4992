"""`python -m configuration check` reads every file; `python -m configuration schema` writes the editors' schemas."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from configuration.load import load
from configuration.problems import ConfigurationError
from configuration.schema import write_schemas


def main() -> int:
    """Run one command; 2 stands for mistakes in the files."""
    parser = argparse.ArgumentParser(prog="python -m configuration", description=__doc__)
    parser.add_argument("command", choices=("check", "schema"))
    root = Path(__file__).parent.parent
    if parser.parse_args().command == "schema":
        for path in write_schemas():
            sys.stdout.write(f"{path.relative_to(root)}\n")
        return 0
    try:
        configuration = load(root)
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    names = ", ".join(model.name for model in configuration.models) or "none"
    sys.stdout.write(f"{configuration.application.name}: models: {names}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
