"""Conversion of training channels to DMatrix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sagemaker_stand_in.xgboost_data import channel_format, read_channel

get_content_type = channel_format


def get_dmatrix(data_path: str, content_type: str, csv_weights: int = 0) -> Any:
    """Return a channel's directory as one DMatrix, label first; None where the channel does not exist."""
    path = Path(data_path)
    return read_channel(path, channel_format(content_type), weights=csv_weights == 1) if path.exists() else None
