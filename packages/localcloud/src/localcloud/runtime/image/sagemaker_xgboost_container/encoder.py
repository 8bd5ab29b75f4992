"""Conversion of request bodies to DMatrix."""

from __future__ import annotations

from typing import Any

from sagemaker_stand_in.xgboost_data import decode_payload

decode = decode_payload


def csv_to_dmatrix(input: str | bytes, dtype: Any = None) -> Any:  # noqa: A002, ARG001 - the container's signature
    """Convert CSV rows without labels; values have single precision, as in XGBoost, whatever `dtype` is."""
    return decode_payload(input, "text/csv")


def libsvm_to_dmatrix(string_like: str | bytes) -> Any:
    """Convert LIBSVM rows."""
    return decode_payload(string_like, "text/libsvm")
