"""Configurations that several tests of the stacks need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from configuration import Configuration, ReleasePolicy, Serverless


@pytest.fixture(scope="session")
def staged(configuration: Configuration) -> Callable[[dict[str, str | None]], Configuration]:
    """Return a function that gives the test application several stages; only the last one has instances."""

    def make(accounts: dict[str, str | None]) -> Configuration:
        shipped = configuration.application.stage
        release = ReleasePolicy(approval="life-cycle", four_eyes=True, description_required=True)
        *names, last = accounts
        stages = tuple(
            shipped.model_copy(
                update={"name": name, "account": account, "release": release if name == last else shipped.release}
            )
            for name, account in accounts.items()
        )
        cheap = Serverless(profile="serverless", memory_mb=2048, max_concurrency=5)
        models = tuple(
            model.model_copy(update={"serving": {**dict.fromkeys(names, cheap), last: model.serving[shipped.name]}})
            for model in configuration.models
        )
        application = configuration.application.model_copy(update={"stages": stages})
        return replace(configuration, application=application, models=models)

    return make
