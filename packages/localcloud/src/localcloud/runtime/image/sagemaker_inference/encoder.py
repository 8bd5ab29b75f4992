"""Conversion of arrays to response bodies."""

from sagemaker_stand_in.codec import encode

__all__ = ["encode"]
