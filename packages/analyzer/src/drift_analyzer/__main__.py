"""Run the command line: `python -m drift_analyzer`."""

import sys

from drift_analyzer.cli import main

if __name__ == "__main__":
    sys.exit(main())
