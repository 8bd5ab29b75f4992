"""Preflight reports what an account lacks, with the line to change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from configuration import Configuration, Model, Stage
from evergreen.cli import run
from evergreen.preflight import checks
from evergreen.preflight.checks import Answer, account, bootstrap, instances, model_monitor, quotas

STAGE = Stage(name="prod", account=None, region="us-east-1", model_monitor="available")


class Answering:
    """A session whose only client gives prepared answers."""

    def __init__(self, **calls: Any) -> None:
        self._calls = calls

    def client(self, _service: str) -> Answering:
        return self

    def __getattr__(self, name: str) -> Any:
        answer = self._calls[name]

        def call(**_arguments: Any) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call

    def get_paginator(self, _name: str) -> Answering:
        return self


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[boto3.Session]:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with mock_aws():
        yield boto3.Session(region_name="us-east-1")


@pytest.fixture
def models(configuration: Configuration) -> tuple[Model, ...]:
    return configuration.models


def test_another_account_than_the_stages_is_named(session: boto3.Session) -> None:
    assert account(session, STAGE).good
    answer = account(session, STAGE.model_copy(update={"account": "999999999999"}))
    assert answer.change.startswith('evergreen.yaml, stages[0].account: "123456789012"')


def test_a_missing_or_old_bootstrap_is_reported(session: boto3.Session) -> None:
    assert "cdk bootstrap" in bootstrap(session).change
    parameters = session.client("ssm")
    for version, good in (("5", False), ("30", True)):
        parameters.put_parameter(Name="/cdk-bootstrap/hnb659fds/version", Value=version, Type="String", Overwrite=True)
        assert bootstrap(session).good is good


def test_a_quota_that_is_too_low_is_reported_by_name_and_number(models: tuple[Model, ...]) -> None:
    wanted = instances(STAGE, models)
    assert wanted["ml.m5.large for endpoint usage"] == 8
    listed = [{"QuotaName": name, "Value": 4.0} for name in wanted]
    session: Any = Answering(paginate=[{"Quotas": listed}])
    found = {answer.question: answer for answer in quotas(session, STAGE, models)}
    assert 'ask for 8 of "ml.m5.large for endpoint usage"' in found["ml.m5.large for endpoint usage"].change
    assert found["ml.m5.xlarge for training job usage"].good


@pytest.mark.parametrize(
    ("schedules", "says", "change"),
    [
        ([{"MonitoringScheduleName": "x"}], "available", ""),
        ([{"MonitoringScheduleName": "x"}], "closed", "evergreen.yaml, stages[0].model_monitor: available"),
        ([], "available", "evergreen.yaml, stages[0].model_monitor: closed (AWS closed it to new customers; if"),
        ([], "closed", ""),
    ],
)
def test_the_line_to_change_for_model_monitor_is_reported(schedules: list[Any], says: Any, change: str) -> None:
    session: Any = Answering(
        list_monitoring_schedules={"MonitoringScheduleSummaries": schedules},
        list_data_quality_job_definitions={"JobDefinitionSummaries": []},
    )
    answer = model_monitor(session, STAGE.model_copy(update={"model_monitor": says}))
    assert answer.change.startswith(change)
    assert answer.good is not bool(change)


def test_a_refusal_closes_it_and_a_missing_permission_decides_nothing() -> None:
    def refused(code: str, message: str = "no") -> Any:
        error = ClientError({"Error": {"Code": code, "Message": message}}, "ListMonitoringSchedules")
        return Answering(list_monitoring_schedules=error)

    assert "model_monitor: closed" in model_monitor(refused("ValidationException"), STAGE).change
    assert "permission" in model_monitor(refused("AccessDeniedException"), STAGE).change
    closed = refused("AccessDeniedException", "The service is no longer available to new customers.")
    assert model_monitor(closed, STAGE, 2).change.startswith("evergreen.yaml, stages[2].model_monitor: closed")


@pytest.mark.parametrize(("arguments", "code"), [([], 1), (["--before-deploy"], 0)])
def test_a_bootstrap_that_the_deployment_makes_does_not_stop_it(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int
) -> None:
    missing = Answer("bootstrap", "none", "npx cdk bootstrap", by_deploy=True)
    monkeypatch.setattr(checks, "answers", lambda *_: [Answer("account", "1"), missing])
    assert run(["preflight", "--target", "aws", *arguments]) == code
    monkeypatch.setattr(checks, "answers", lambda *_: [missing, Answer("quota", "0", "ask for 1")])
    assert run(["preflight", "--target", "aws", *arguments]) == 1
