"""Idempotency by `ClientRequestToken`: the same request with the same token runs once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from localcloud.sagemaker.context import Document
from localcloud.sagemaker.errors import conflict
from localcloud.store import Store

KIND = "ClientRequestToken"


def run_once(
    store: Store, operation: str, request: Mapping[str, Any], act: Callable[[], Document]
) -> tuple[Document, bool]:
    """Run `act` once for each token; its writes and the token are one commit.

    Args:
        store: the documents.
        operation: the operation's name.
        request: the request, with `ClientRequestToken`.
        act: returns the response.

    Returns:
        The response, and whether `act` ran now.

    Raises:
        AwsError: ConflictException where the token was used with other parameters.
    """
    key = f"{operation}/{request['ClientRequestToken']}"
    with store.transaction():
        known = store.get(KIND, key)
        if known is not None:
            if known["Request"] != dict(request):
                raise conflict(f"The ClientRequestToken was used before in {operation}, with other parameters.")
            return known["Response"], False
        response = act()
        store.put(KIND, key, {"Request": dict(request), "Response": response})
    return response, True
