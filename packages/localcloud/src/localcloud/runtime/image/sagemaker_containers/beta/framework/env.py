"""Imported by many scripts, used by few: what they would use of it is refused by name."""

from sagemaker_stand_in.absent import refusal

__getattr__ = refusal(__name__)
