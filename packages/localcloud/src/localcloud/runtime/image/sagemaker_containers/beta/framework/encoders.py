"""Conversion of arrays to and from request and response bodies."""

from sagemaker_stand_in.codec import decode, encode

__all__ = ["decode", "encode"]
