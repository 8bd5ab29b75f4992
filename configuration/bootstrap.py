"""CDK's bootstrap, which names its roles and parameters after a qualifier."""

from __future__ import annotations

import json
from pathlib import Path

DEFAULT_QUALIFIER = "hnb659fds"
"""CDK's own, where cdk.json names none."""

_ROOT = Path(__file__).parent.parent


def bootstrap_qualifier(root: Path = _ROOT) -> str:
    """Return the qualifier that CDK synthesises with, from the context in `cdk.json`."""
    context = json.loads((root / "cdk.json").read_text(encoding="utf-8")).get("context", {})
    return str(context.get("@aws-cdk/core:bootstrapQualifier", DEFAULT_QUALIFIER))
