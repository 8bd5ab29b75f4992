"""Leases keep release controllers away from a stage that is deployed; trainings are asked for once per content."""

from __future__ import annotations

import io
import json
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from moto import mock_aws

from configuration import Application, Configuration
from evergreen.cli import run
from evergreen.delivery import accounts
from evergreen.delivery.accounts import platform_of
from evergreen.delivery.leases import LEASE_SECONDS, Leases, NotSettledError
from evergreen.delivery.trainings import Commit, NotRequestedError, Trainings
from evergreen.deployed import Platform
from evergreen.errors import UsageError

_REAL_CALL = BaseClient._make_api_call  # type: ignore[attr-defined]
TABLE = "ledger"
NOW = 1_800_000_000
CONTENT = "c0ffee" * 10 + "0123"
COMMIT = Commit("0123456789abcdef0123456789abcdef01234567", "ada@example.com")


class Account:
    """Stacks and endpoints, which moto cannot hold in the state that a test wants; the rest is moto's."""

    def __init__(self) -> None:
        self.stacks: dict[str, tuple[str, dict[str, str]]] = {}
        self.endpoints: dict[str, str] = {}

    def deploy(self, name: str, outputs: dict[str, str], status: str = "CREATE_COMPLETE") -> None:
        self.stacks[name] = (status, outputs)

    def answer(self, client: BaseClient, operation: str, request: dict[str, Any]) -> Any:
        if operation == "DescribeStacks":
            name = request["StackName"]
            if name not in self.stacks:
                raise ClientError(_error("ValidationError", f"Stack with id {name} does not exist"), operation)
            status, outputs = self.stacks[name]
            listed = [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()]
            return {"Stacks": [{"StackName": name, "StackStatus": status, "Outputs": listed}]}
        if operation == "DescribeEndpoint":
            name = request["EndpointName"]
            if name not in self.endpoints:
                raise ClientError(_error("ValidationException", f'Could not find endpoint "{name}".'), operation)
            return {"EndpointName": name, "EndpointStatus": self.endpoints[name]}
        return _REAL_CALL(client, operation, request)


def _error(code: str, message: str) -> Any:
    return {"Error": {"Code": code, "Message": message}}


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    account = Account()
    monkeypatch.setattr(BaseClient, "_make_api_call", lambda *call: account.answer(*call))
    with mock_aws():
        yield account


@pytest.fixture(autouse=True)
def application(configuration: Configuration, monkeypatch: pytest.MonkeyPatch) -> Application:
    """Let the commands read the test application."""
    monkeypatch.setenv("EVERGREEN_CONFIG", "tests/fixtures/application/evergreen.yaml")
    return configuration.application


@pytest.fixture
def platform(account: Account, application: Application) -> Platform:
    dynamodb = boto3.client("dynamodb", region_name="us-east-1")
    dynamodb.create_table(
        TableName=TABLE,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
        BillingMode="PAY_PER_REQUEST",
    )
    ssm = boto3.client("ssm", region_name="us-east-1")
    for model in ("bus-delays", "flight-delays"):
        ssm.put_parameter(Name=f"/evergreen/{model}/prod/release", Value="none|none|none|none", Type="String")
    ssm.put_parameter(Name="/evergreen/other/staging/release", Value="none|none|none|none", Type="String")
    role = "arn:aws:iam::123456789012:role/evergreen-delivery-prod"
    account.deploy(
        "evergreen-platform-prod",
        {"LedgerTableName": TABLE, "DeliveryRoleArn": role, "RetrainFunctionName": "retrain"},
    )
    found = platform_of(boto3.Session(region_name="us-east-1"), application, application.stage)
    assert found is not None
    return found


class Clock:
    """A clock that advances only during a sleep. `then` holds what happens in each sleep."""

    def __init__(self) -> None:
        self.now = float(NOW)
        self.then: list[Any] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.then:
            self.then.pop(0)()


def leases(platform: Platform, clock: Clock, owner: str = "codepipeline/1") -> Leases:
    said: list[str] = []
    made = Leases(platform, owner=owner, say=said.append, now=clock, sleep=clock.sleep)
    made.said = said  # type: ignore[attr-defined]
    return made


def rows() -> dict[tuple[str, str], dict[str, Any]]:
    items = boto3.client("dynamodb", region_name="us-east-1").scan(TableName=TABLE)["Items"]
    return {(item["pk"]["S"], item["sk"]["S"]): item for item in items}


def lease(model: str, owner: str, expires_at: int) -> None:
    boto3.client("dynamodb", region_name="us-east-1").put_item(
        TableName=TABLE,
        Item={
            "pk": {"S": f"{model}#prod"},
            "sk": {"S": "lease"},
            "owner": {"S": owner},
            "expires_at": {"N": str(expires_at)},
        },
    )


def test_every_models_lease_is_taken_for_an_hour_and_given_back(platform: Platform) -> None:
    clock = Clock()
    taken = leases(platform, clock)
    taken.take(60)
    held = rows()
    assert set(held) == {("bus-delays#prod", "lease"), ("flight-delays#prod", "lease")}
    for item in held.values():
        assert (item["owner"]["S"], item["purpose"]["S"]) == ("codepipeline/1", "deploy")
        assert int(item["expires_at"]["N"]) == NOW + LEASE_SECONDS
    taken.give()
    assert rows() == {}


def test_a_lease_reads_as_the_release_controllers_do(platform: Platform) -> None:
    from shared.ledger import ReleaseLedger

    leases(platform, Clock()).take(60)
    ledger = ReleaseLedger(
        boto3.client("dynamodb", region_name="us-east-1"), TABLE, model="flight-delays", stage="prod"
    )
    read = ledger.lease()
    assert read is not None
    assert (read.owner, read.acquired_at, read.expires_at) == ("codepipeline/1", NOW, NOW + LEASE_SECONDS)


def test_a_release_under_way_is_waited_for(platform: Platform) -> None:
    clock = Clock()
    lease("flight-delays", "release-controller/abc", NOW + 9 * 3600)
    table = boto3.client("dynamodb", region_name="us-east-1")
    key = {"pk": {"S": "flight-delays#prod"}, "sk": {"S": "lease"}}
    clock.then = [lambda: None, lambda: table.delete_item(TableName=TABLE, Key=key)]
    leases(platform, clock).take(600)
    assert clock.now == NOW + 30
    assert {item["owner"]["S"] for item in rows().values()} == {"codepipeline/1"}
    # What was taken first is as fresh as what was taken last.
    assert {int(item["expires_at"]["N"]) for item in rows().values()} == {NOW + 30 + LEASE_SECONDS}


def test_leases_are_given_back_if_another_one_is_not_available(platform: Platform) -> None:
    lease("flight-delays", "release-controller/abc", NOW + 9 * 3600)
    with pytest.raises(NotSettledError, match=r"after 1 minutes: another owner holds the lease of flight-delays$"):
        leases(platform, Clock()).take(60)
    assert {pk: item["owner"]["S"] for (pk, _), item in rows().items()} == {
        "flight-delays#prod": "release-controller/abc"
    }


def test_an_interrupted_wait_gives_back_what_it_took(platform: Platform) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    clock = Clock()
    clock.then = [interrupt]
    lease("flight-delays", "release-controller/abc", NOW + 9 * 3600)
    with pytest.raises(KeyboardInterrupt):
        leases(platform, clock).take(600)
    assert set(rows()) == {("flight-delays#prod", "lease")}


def test_an_expired_lease_and_ones_own_are_taken_again(platform: Platform) -> None:
    lease("flight-delays", "codepipeline/0", NOW - 1)
    lease("bus-delays", "codepipeline/1", NOW + 600)
    leases(platform, Clock()).take(0)
    assert {item["owner"]["S"] for item in rows().values()} == {"codepipeline/1"}


def test_an_expired_lease_of_the_release_controller_is_not_taken(platform: Platform) -> None:
    lease("flight-delays", "release-controller/abc", NOW - 3600)
    with pytest.raises(NotSettledError, match="another owner holds the lease of flight-delays"):
        leases(platform, Clock()).take(60)
    assert rows()["flight-delays#prod", "lease"]["owner"]["S"] == "release-controller/abc"


def test_leases_are_renewed_while_a_command_deploys_and_given_back_if_it_fails(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evergreen.delivery.leases._RENEW_SECONDS", 0.01)
    clock, began = Clock(), time.monotonic()
    with pytest.raises(RuntimeError), leases(platform, clock).held(0):
        clock.now += 1800
        renewed: set[int] = set()
        while renewed != {NOW + 1800 + LEASE_SECONDS}:
            assert time.monotonic() < began + 20
            renewed = {int(item["expires_at"]["N"]) for item in rows().values()}
        raise RuntimeError
    assert rows() == {}


def test_a_deployment_by_hand_holds_the_leases_of_its_account(
    account: Account, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[str]] = []

    def deploys(command: list[str], *, check: bool) -> subprocess.CompletedProcess[str]:
        assert (command, check) == (["npx", "cdk", "deploy", "--all"], False)
        seen.append({item["owner"]["S"] for item in rows().values()})
        return subprocess.CompletedProcess(command, 3)

    monkeypatch.setattr("evergreen.delivery.commands.subprocess.run", deploys)
    code = run(
        ["delivery", "hold", "--target", "aws", "--owner", "deploy/ada/1", "--", "npx", "cdk", "deploy", "--all"]
    )
    assert (code, seen, rows()) == (3, [{"deploy/ada/1"}], {})


def test_another_owners_lease_is_never_given_back(platform: Platform) -> None:
    lease("flight-delays", "codepipeline/2", NOW + 600)
    leases(platform, Clock()).give()
    assert set(rows()) == {("flight-delays#prod", "lease")}


def test_a_stack_or_an_endpoint_that_moves_is_waited_for(account: Account, platform: Platform) -> None:
    serving, endpoint = "evergreen-serving-flight-delays-prod", "evergreen-flight-delays-prod"

    def moment(stack: str, fleet: str) -> None:
        account.deploy(serving, {}, stack)
        account.endpoints[endpoint] = fleet

    moment("UPDATE_IN_PROGRESS", "Updating")
    clock = Clock()
    clock.then = [
        lambda: moment("UPDATE_ROLLBACK_IN_PROGRESS", "InService"),
        lambda: moment("UPDATE_ROLLBACK_COMPLETE", "InService"),
    ]
    taken = leases(platform, clock)
    taken.take(600)
    assert clock.now == NOW + 30
    assert taken.said[:2] == [  # type: ignore[attr-defined]
        f"prod: waiting, because stack {serving} is UPDATE_IN_PROGRESS; endpoint {endpoint} is Updating",
        f"prod: waiting, because stack {serving} is UPDATE_ROLLBACK_IN_PROGRESS",
    ]


def test_before_the_first_deployment_there_is_nothing_to_lease(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["delivery", "lease", "--target", "aws", "take", "--stage", "prod", "--owner", "codepipeline/1"]) == 0
    assert capsys.readouterr().out == "prod is not deployed yet: nothing to do\n"


def test_a_platform_older_than_the_delivery_is_named(account: Account, application: Application) -> None:
    account.deploy("evergreen-platform-prod", {"LedgerTableName": TABLE})
    with pytest.raises(UsageError, match="no output DeliveryRoleArn: deploy it once by hand, npx cdk deploy"):
        platform_of(boto3.Session(region_name="us-east-1"), application, application.stage)


def test_a_role_that_cannot_be_taken_says_what_to_do(
    account: Account, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = boto3.Session(region_name="us-east-1")

    def deny(_account: Account, _client: BaseClient, operation: str, _request: dict[str, Any]) -> Any:
        raise ClientError(_error("AccessDenied", "User is not authorized to perform: sts:AssumeRole"), operation)

    monkeypatch.setattr(Account, "answer", deny)
    with pytest.raises(UsageError, match="cannot be assumed; is prod's account bootstrapped with --trust"):
        accounts._session(session, "arn:aws:iam::123456789012:role/x-lookup", application.stage)


def test_an_unknown_stage_is_reported_with_the_known_ones(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["delivery", "lease", "--target", "aws", "give", "--stage", "production", "--owner", "me"]) == 2
    assert capsys.readouterr().err == "evergreen.yaml has no stage 'production'; it has prod\n"


class Retrain:
    """The retrain function, in place of Lambda."""

    def __init__(self, error: str = "") -> None:
        self.error = error
        self.asked: list[dict[str, str]] = []

    def invoke(self, *, FunctionName: str, Payload: bytes) -> dict[str, Any]:
        assert FunctionName == "retrain"
        request = json.loads(Payload)
        self.asked.append(request)
        if self.error:
            return {
                "FunctionError": "Unhandled",
                "Payload": io.BytesIO(json.dumps({"errorMessage": self.error}).encode()),
            }
        return {"Payload": io.BytesIO(json.dumps({request["retrain"]: "Start"}).encode())}


def trainings(platform: Platform, function: Retrain, monkeypatch: pytest.MonkeyPatch) -> tuple[Trainings, list[str]]:
    said: list[str] = []
    clients = platform.session.client
    monkeypatch.setattr(
        platform.session, "client", lambda name, **options: function if name == "lambda" else clients(name, **options)
    )
    return Trainings(platform, say=said.append), said


def test_a_training_of_new_content_is_requested_once(
    account: Account, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.deploy("evergreen-training-flight-delays", {"ContentSha256": CONTENT})
    function = Retrain()
    delivered, said = trainings(platform, function, monkeypatch)
    delivered.request(COMMIT)
    delivered.request(COMMIT)
    (request,) = function.asked
    assert (request["retrain"], request["code"], request["commit"]) == ("flight-delays", CONTENT, COMMIT.id)
    assert request["reason"].startswith("commit 0123456789ab of ada@example.com changed")
    assert next(line for line in said if "bus-delays" in line).endswith("so there is nothing to train")
    assert said[-1] == f"flight-delays: unchanged since a delivery that requested a training ({CONTENT[:12]})"
    assert rows()[("flight-delays#delivery", f"code#{CONTENT}")]["author"]["S"] == "ada@example.com"


def test_the_request_is_one_that_the_retrain_function_takes(
    account: Account, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import UTC, datetime

    from retrain.request import parse_request

    account.deploy("evergreen-training-flight-delays", {"ContentSha256": CONTENT})
    function = Retrain()
    trainings(platform, function, monkeypatch)[0].request(COMMIT)
    parsed = parse_request(function.asked[0], ["flight-delays"], "invocation", datetime.now(UTC))
    assert parsed is not None
    assert (parsed.request.trigger, parsed.request.id) == ("code", CONTENT)
    assert (parsed.request.commit, parsed.request.author) == (COMMIT.id, COMMIT.author)


def test_a_failed_request_is_repeated(account: Account, platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    account.deploy("evergreen-training-flight-delays", {"ContentSha256": CONTENT})
    function = Retrain(error="the policy is not valid")
    delivered, _ = trainings(platform, function, monkeypatch)
    with pytest.raises(NotRequestedError, match=r"^flight-delays: the retrain function failed: the policy"):
        delivered.request(COMMIT)
    function.error = ""
    delivered.request(COMMIT)
    delivered.request(COMMIT)
    assert len(function.asked) == 2
