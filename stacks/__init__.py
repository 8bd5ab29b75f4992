"""The stacks of the application, and the app that they make up."""

from stacks.application import build

__all__ = ["build"]
