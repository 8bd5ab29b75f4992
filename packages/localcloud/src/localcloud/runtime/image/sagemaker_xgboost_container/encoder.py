"""Request bodies to DMatrix."""

from __future__ import annotations

from typing import Any

from sagemaker_stand_in.xgboost_data import decode_payload

decode = decode_payload


def csv_to_dmatrix(input: str | bytes, dtype: Any = None) -> Any:  # noqa: A002, ARG001 - the container's signature
    """CSV rows without labels; values are single precision whatever `dtype` asks for, as XGBoost keeps them."""
    return decode_payload(input, "text/csv")


def libsvm_to_dmatrix(string_like: str | bytes) -> Any:
    """LIBSVM rows."""
    return decode_payload(string_like, "text/libsvm")
