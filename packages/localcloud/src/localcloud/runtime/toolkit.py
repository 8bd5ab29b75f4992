"""What training jobs tell SageMaker's toolkits, and what the toolkits' logs tell of an error."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

CODE = "/opt/ml/code"
_ERROR_LINE = re.compile(r"^\s*([A-Za-z_][\w.]*(Error|Exception|Warning|Exit|Interrupt)\b.*)")


def hyperparameter(request: Mapping[str, Any], name: str) -> str:
    """Return a hyperparameter of the toolkit's as text, "" where there is none; its value may be JSON."""
    text = str(request.get("HyperParameters", {}).get(name, ""))
    try:
        return str(json.loads(text))
    except ValueError:
        return text


def input_data_config(request: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return `/opt/ml/input/config/inputdataconfig.json`."""
    config = {}
    for channel in request.get("InputDataConfig", ()):
        source = channel["DataSource"]["S3DataSource"]
        entry = {
            "TrainingInputMode": "File",
            "S3DistributionType": source.get("S3DataDistributionType", "FullyReplicated"),
            "RecordWrapperType": channel.get("RecordWrapperType", "None"),
        }
        if "ContentType" in channel:
            entry["ContentType"] = channel["ContentType"]
        config[channel["ChannelName"]] = entry
    return config


def error_message(lines: Sequence[str]) -> str:
    """Return the last error that a program wrote: the last line of a traceback and what follows it."""
    for start in range(len(lines) - 1, -1, -1):
        if _ERROR_LINE.match(lines[start]):
            return "\n".join(lines[start:]).strip()
    return ""
