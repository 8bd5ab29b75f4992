"""Conversion of request bodies to arrays."""

from sagemaker_stand_in.codec import decode

__all__ = ["decode"]
