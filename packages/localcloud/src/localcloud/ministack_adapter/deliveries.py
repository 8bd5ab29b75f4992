"""Failed deliveries of events."""

from __future__ import annotations


class DeliveryError(Exception):
    """A target did not accept an event.

    Attributes:
        code: AWS's `ERROR_CODE` in the dead-letter message.
        lasting: A retry cannot help: the target is missing, or its policy does not admit EventBridge.
    """

    def __init__(self, code: str, message: str, *, lasting: bool) -> None:
        super().__init__(message)
        self.code = code
        self.lasting = lasting
