"""Errors by who can mend them; the toolkit writes their text to `/opt/ml/output/failure`."""

from __future__ import annotations


class BaseToolkitError(Exception):
    """An error of the algorithm; `caused_by` is the exception behind it."""

    def __init__(self, message: str | None = None, caused_by: Exception | None = None) -> None:
        text = message or (str(caused_by) if caused_by else "unknown error occurred")
        if caused_by is not None:
            text += f" (caused by {type(caused_by).__name__})"
        super().__init__(text)
        self.message, self.caused_by = text, caused_by


class AlgorithmError(BaseToolkitError):
    """The algorithm failed."""


class UserError(BaseToolkitError):
    """The request or its data are wrong."""


class PlatformError(BaseToolkitError):
    """The machine lacks something."""
