"""Response object that `output_fn` of older scripts returns."""

from __future__ import annotations


class Response:
    """A body with its content type and status."""

    def __init__(
        self,
        response: str | bytes | None = None,
        accept: str | None = None,
        status: int = 200,
        mimetype: str | None = None,
    ) -> None:
        self.response = b"" if response is None else response
        self.mimetype = mimetype or accept
        self.status_code = status
