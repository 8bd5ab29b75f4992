"""Arrays to and from bodies."""

from sagemaker_stand_in.codec import decode, encode

__all__ = ["decode", "encode"]
