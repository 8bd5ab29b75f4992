"""The command line of Evergreen."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The repository: `evergreen.yaml`, `models/` and `app.py` are here."""
