"""Errors that a command reports in one line, without a traceback."""

from __future__ import annotations


class UsageError(Exception):
    """A mistake of the caller's: wrong argument, wrong account, or nothing deployed. Exit code 2."""


class FailedError(Exception):
    """The command was right and did not succeed. Exit code 1."""
