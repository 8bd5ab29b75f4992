"""Errors that carry their HTTP status."""

from sagemaker_stand_in.codec import UnsupportedFormatError

__all__ = ["BaseInferenceToolkitError", "GenericInferenceToolkitError", "UnsupportedFormatError"]


class BaseInferenceToolkitError(Exception):
    """Error that a handler raises to respond with a certain status."""

    def __init__(self, status_code: int, message: str, phrase: str | None = None) -> None:
        self.status_code, self.message, self.phrase = status_code, message, phrase or message
        super().__init__(message)


class GenericInferenceToolkitError(BaseInferenceToolkitError):
    """The base error, for cases without a class of their own."""
