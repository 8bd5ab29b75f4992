"""What becomes of an event that a target does not take."""

from __future__ import annotations


class DeliveryError(Exception):
    """A target did not take an event.

    Attributes:
        code: AWS's `ERROR_CODE` in the dead-letter message.
        lasting: trying again cannot help: the target is missing, or its policy does not let EventBridge in.
    """

    def __init__(self, code: str, message: str, *, lasting: bool) -> None:
        super().__init__(message)
        self.code = code
        self.lasting = lasting
