"""Errors of AWS services."""

from __future__ import annotations


class AwsError(Exception):
    """An error response: its AWS code, message and HTTP status; `members` are further modelled members."""

    def __init__(self, code: str, message: str, status: int = 400, **members: object) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.members = members


def validation(message: str) -> AwsError:
    """Return a ValidationException."""
    return AwsError("ValidationException", message)
