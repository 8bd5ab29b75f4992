"""A function's variables: its own, and of the gateway's those that programs need."""

from __future__ import annotations

import pytest

from localcloud.ministack_adapter.function_processes import own_variables


def test_a_function_gets_its_own_variables_and_neither_the_developers_nor_the_roots_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gateway = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "the root's",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:4747",
        "GITHUB_TOKEN": "the developer's",
        "HTTPS_PROXY": "http://proxy",
        "SSL_CERT_FILE": "/etc/ssl/own.pem",
        "LOG_LEVEL": "DEBUG",
    }
    for name, value in gateway.items():
        monkeypatch.setenv(name, value)
    inherited = {"AWS_ENDPOINT_URL", "HTTPS_PROXY", "SSL_CERT_FILE"}
    assert set(own_variables(gateway)) == {*inherited, "HOME"}
    session = {"AWS_ACCESS_KEY_ID": "ASIA", "AWS_SECRET_ACCESS_KEY": "its own", "AWS_SESSION_TOKEN": "t"}
    given = own_variables({**gateway, **session, "LOG_LEVEL": "INFO", "TABLE": "t"})
    assert {name: given[name] for name in session} == session
    assert (given["LOG_LEVEL"], given["TABLE"]) == ("INFO", "t")
    assert "GITHUB_TOKEN" not in given
