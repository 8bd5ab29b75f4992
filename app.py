"""Evergreen's CDK app: `python app.py [evergreen.yaml [models]]`, or `npx cdk synth`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from configuration import ConfigurationError, load


def main() -> int:
    """Synthesise every stack and return the exit code: 2 for mistakes in the configuration."""
    root = Path(__file__).parent
    try:
        configuration = load(root, *sys.argv[1:3])
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    # Stack traces of tokens only show jsii, and collecting them takes a tenth of the synth.
    os.environ.setdefault("CDK_DISABLE_STACK_TRACE", "1")
    # Imported late: CDK takes seconds to import, and mistakes in the configuration should be reported at once.
    from pipelines import CompileError
    from stacks import build

    try:
        app = build(configuration, os.environ.get("CDK_OUTDIR", str(root / "cdk.out")))
    except (CompileError, ConfigurationError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    app.synth()
    return 0


if __name__ == "__main__":
    sys.exit(main())
