"""Histories: a month of noisy events, and random ones by hypothesis. The real controller runs on a simulated AWS.

At every call an invocation may be killed, or another one may run from beginning to end.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from retrain.controller import reconcile_retraining
from shared.clients import Clients
from shared.environment import RetrainEnvironment
from shared.ledger import Quarantine, ReleaseLedger
from shared.log import logger
from shared.reconcile import ReconcileError
from shared.verdict import Verdict, Verdicts
from tests.unit.handlers.simulated_aws import Broken, Calls, Counted, Killed, error

ENVIRONMENT = RetrainEnvironment("evergreen", "prod", "ledger", "data", "arn:topic")
START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
AUTOMATIC = {"drift", "quality", "new-data", "schedule"}


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    """Switch off the log, which takes longer than the thousands of invocations."""
    logger.setLevel("CRITICAL")
    yield
    logger.setLevel("INFO")


@dataclass
class Cloud(Calls):
    """The state of AWS."""

    policy: dict[str, Any] = field(default_factory=lambda: {"stage": "prod"})
    now: datetime = START
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)
    packages: list[dict[str, Any]] = field(default_factory=list)
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    alerts: list[tuple[datetime, str]] = field(default_factory=list)
    live: int = 1
    on_claim: Callable[[str], None] = lambda _: None

    @property
    def release_id(self) -> str:
        return f"v{self.live}-{self.live:08x}"

    @property
    def active(self) -> list[dict[str, Any]]:
        return [run for run in self.runs if run["PipelineExecutionStatus"] == "Executing"]

    @property
    def attempts(self) -> list[dict[str, Any]]:
        return [row for key, row in self.rows.items() if key.startswith("retrain#attempt#")]

    def clients(self) -> Clients:
        return cast("Clients", SimpleNamespace(**{name: Counted(self, make(self)) for name, make in SERVICES.items()}))

    def launch(self, name: str) -> str:
        arn = f"arn:aws:sagemaker:us-east-1:1:pipeline/evergreen-churn/execution/e{len(self.runs):04d}"
        run = {"PipelineExecutionArn": arn, "PipelineExecutionDisplayName": name}
        self.runs.append({**run, "PipelineExecutionStatus": "Executing", "StartTime": self.now})
        return arn

    def end(self, outcome: str) -> None:
        """End the in-flight run: registered, refused at the gate, failed or stopped."""
        for run in self.active:
            run["PipelineExecutionStatus"] = {"registered": "Succeeded", "stopped": "Stopped"}.get(outcome, "Failed")
            step: dict[str, Any] = {"StepName": "Train", "StepStatus": "Stopped"}
            if outcome == "registered":
                version = max((package["ModelPackageVersion"] for package in self.packages), default=self.live) + 1
                package = {"ModelPackageVersion": version, "ModelPackageArn": f"arn:package/{version}"}
                status = {"ModelApprovalStatus": "PendingManualApproval", "CreationTime": self.now}
                self.packages.append({**package, **status})
                step = {"StepName": "Register", "Metadata": {"RegisterModel": {"Arn": f"arn:package/{version}"}}}
            if outcome == "refused":
                step = {"StepName": "Refused", "StepStatus": "Failed", "FailureReason": "Not registered: 0.1 worse."}
            if outcome == "failed":
                step = {"StepName": "Train", "StepStatus": "Failed", "FailureReason": "out of memory"}
            self.steps[run["PipelineExecutionArn"]] = step

    def judge(self, approval: str) -> None:
        """Approve or reject the newest proposal. An approved version becomes live, or is rolled back."""
        proposed = [p for p in self.packages if p["ModelApprovalStatus"] == "PendingManualApproval"]
        for package in proposed[-1:]:
            package["ModelApprovalStatus"] = "Approved" if approval == "rolled back" else approval
            package["LastModifiedTime"] = self.now
            version = package["ModelPackageVersion"]
            if approval == "Approved":
                self.live = version
            if approval == "rolled back":
                table = cast("Any", DynamoDb(self))
                entry = Quarantine(version, "its canary failed", self.now, f"arn:package/{version}")
                ReleaseLedger(table, "ledger", model="churn", stage="prod").quarantine(entry)

    def find(self, kind: str, status: str, *, at: datetime | None = None, labels: int = 0) -> None:
        """Write a monitor's verdict on the window that ends now, or at `at`."""
        end = at or self.now
        verdict = Verdict(kind, status, end - HOUR, end, self.release_id, f"{kind} {status}", ("fare",), labels=labels)
        table = cast("Any", DynamoDb(self))
        Verdicts(table, "ledger", model="churn", stage="prod").write(verdict)

    def invoke(self, event: dict[str, Any] | None = None) -> None:
        """Invoke the controller. Lambda or the next tick retries after an error."""
        with suppress(ReconcileError, ClientError, Killed):
            reconcile_retraining(
                event or {"source": "evergreen.tick"},
                self.clients(),
                ENVIRONMENT,
                invocation=f"i{self.calls}",
                now=lambda: self.now,
            )


@dataclass
class Service:
    cloud: Cloud


class Sns(Service):
    def publish(self, *, Message: str, **_: str) -> None:
        assert "\n" not in Message
        self.cloud.alerts.append((self.cloud.now, Message))


class Ssm(Service):
    exceptions = SimpleNamespace(ParameterNotFound=KeyError)

    def get_parameter(self, *, Name: str) -> Any:
        record = f"{self.cloud.release_id}|image@sha256:0|arn:package|{'a' * 64}"
        return {"Parameter": {"Value": record if Name.endswith("/release") else json.dumps(self.cloud.policy)}}

    def get_paginator(self, _: str) -> Any:
        return SimpleNamespace(paginate=lambda **_: [{"Parameters": [{"Name": "/evergreen/churn/prod/release"}]}])


class SageMaker(Service):
    def list_pipeline_executions(self, **_: Any) -> Any:
        return {"PipelineExecutionSummaries": [dict(run) for run in reversed(self.cloud.runs)]}

    def list_model_packages(self, **_: Any) -> Any:
        return {"ModelPackageSummaryList": [dict(package) for package in reversed(self.cloud.packages)]}

    def describe_model_package(self, *, ModelPackageName: str) -> Any:
        version = int(ModelPackageName.rpartition("/")[2])
        return next(dict(package) for package in self.cloud.packages if package["ModelPackageVersion"] == version)

    def get_paginator(self, _: str) -> Any:
        steps = self.cloud.steps
        return SimpleNamespace(
            paginate=lambda *, PipelineExecutionArn: [{"PipelineExecutionSteps": [steps[PipelineExecutionArn]]}]
        )

    def start_pipeline_execution(self, **request: Any) -> None:
        token, cloud = request["ClientRequestToken"], self.cloud
        if token in cloud.tokens:
            if cloud.tokens[token] != json.dumps(request, sort_keys=True):
                raise Broken("one client token for two requests")
            return
        if cloud.active:
            raise Broken("two runs at once")
        parameters = {one["Name"]: one["Value"] for one in request["PipelineParameters"]}
        if len(parameters["Evidence"]) > 256 or not parameters["Trigger"]:
            raise Broken("a run without its evidence")
        cloud.tokens[token] = json.dumps(request, sort_keys=True)
        cloud.launch(request["PipelineExecutionDisplayName"])


class DynamoDb(Service):
    def _check(self, item: Any, condition: str = "", values: Any = None) -> None:
        row = self.cloud.rows.get(item["sk"]["S"])
        if condition == "attribute_not_exists(pk)":
            holds = row is None
        else:
            pairs = [clause.split(" = ") for clause in condition.split(" AND ") if clause]
            holds = all((row or {}).get(name) == values[value] for name, value in pairs)
        if not holds:
            raise error("ConditionalCheckFailedException")

    def put_item(self, *, Item: Any, **rest: Any) -> None:
        self._check(Item, rest.get("ConditionExpression", ""), rest.get("ExpressionAttributeValues"))
        self.cloud.rows[Item["sk"]["S"]] = Item

    def transact_write_items(self, *, TransactItems: Any) -> None:
        puts = [one["Put"] for one in TransactItems]
        try:
            for put in puts:
                self._check(put["Item"], put["ConditionExpression"], put.get("ExpressionAttributeValues"))
        except ClientError:
            raise error("TransactionCanceledException") from None
        self.cloud.on_claim(puts[0]["Item"]["trigger_kind"]["S"])
        for put in puts:
            self.cloud.rows[put["Item"]["sk"]["S"]] = put["Item"]

    def get_paginator(self, _: str) -> Any:
        def paginate(*, ExpressionAttributeValues: Any, **_: Any) -> Any:
            values = {key: value["S"] for key, value in ExpressionAttributeValues.items()}
            first = values[":prefix"] if ":prefix" in values else values[":first"]
            last = values.get(":last", f"{first}\uffff")
            return [{"Items": [self.cloud.rows[key] for key in sorted(self.cloud.rows) if first <= key <= last]}]

        return SimpleNamespace(paginate=paginate)


SERVICES: dict[str, Callable[[Cloud], Service]] = {
    "sns": Sns,
    "ssm": Ssm,
    "sagemaker": SageMaker,
    "dynamodb": DynamoDb,
    "s3": Service,
}


@pytest.mark.parametrize("gate", ["registered", "refused"])
@pytest.mark.parametrize("seed", range(3))
def test_a_month_of_noise_costs_at_most_two_runs_and_answers_the_drift(gate: str, seed: int) -> None:
    chance = random.Random(seed)
    cloud = Cloud()
    events: list[datetime] = []
    for hour in range(30 * 24):
        cloud.now = START + hour * HOUR
        really = 12 <= hour // 24 < 17 and cloud.live == 1
        if hour % 4 == 0 and chance.random() > 0.1:
            spoke = "Drift" if chance.random() < (0.9 if really else 0.02) else "OK"
            late = cloud.now - chance.choice([0, 0, 0, 9]) * HOUR
            cloud.find("data_quality", spoke if chance.random() > 0.1 else "InsufficientData", at=late)
        if hour % 24 == 0 and chance.random() > 0.1:
            cloud.find("model_quality", "Drift" if really and chance.random() < 0.7 else "OK", labels=300)
        # An alarm flaps: every change is an event; each may be lost, doubled, or come hours later.
        if chance.random() < (0.6 if really else 0.1):
            events += [cloud.now + chance.randrange(6) * HOUR] * chance.choice([0, 1, 1, 2])
        for _ in [due for due in events if due == cloud.now]:
            cloud.invoke({"detail-type": "CloudWatch Alarm State Change", "alarm": "evergreen-churn-prod-drift"})
        if chance.random() < 0.8:
            cloud.invoke()
        if cloud.active and cloud.now - cloud.runs[-1]["StartTime"] >= 2 * HOUR:
            cloud.end(gate)
        if hour % 24 == 9:
            cloud.judge("Approved")
    assert len(cloud.runs) <= 2, [run["PipelineExecutionDisplayName"] for run in cloud.runs]
    answered = [run["StartTime"] - START for run in cloud.runs if run["StartTime"] >= START + timedelta(days=12)]
    assert answered and answered[0] < timedelta(days=14)
    assert cloud.alerts


class Controlled(RuleBasedStateMachine):
    """People, monitors, runs and invocations in any order. Time passes only with ticks."""

    @initialize(zero=st.booleans(), labels=st.sampled_from([0, 200]), schedule=st.sampled_from([None, 8]))
    def begin(self, zero: bool, labels: int, schedule: int | None) -> None:
        policy = {"stage": "prod", "cooldown_hours": 24, "cooldown_cap_hours": 96, "budget_days": 10}
        self.cloud = Cloud(policy={**policy, "budget_runs": 0 if zero else 2, "min_labels": labels})
        self.cloud.policy["schedule_days"] = schedule
        self.cloud.on_claim = self.claimed
        self.persists_since: datetime | None = None

    def newest(self, kind: str, *, since: str = "") -> list[str]:
        """Return the statuses of the last six conclusive verdicts on the live release, newest first."""
        first = f"verdict#{(self.cloud.now - timedelta(days=14)).isoformat(timespec='seconds')}"
        rows = [row for key, row in sorted(self.cloud.rows.items(), reverse=True) if first <= key < "verdict#:"]
        said = [
            row["status"]["S"]
            for row in rows
            if row["kind"]["S"] == kind
            and row["release_id"]["S"] == self.cloud.release_id
            and row["window_end"]["S"] > since
        ]
        return [status for status in said if status in {"OK", "Drift", "Violation"}][:6]

    def claimed(self, trigger: str) -> None:
        if trigger in AUTOMATIC and "Violation" in self.newest("data_quality")[:3]:
            raise Broken(f"{trigger} retrains although data violate the schema")

    def look(self) -> None:
        """Invoke the tick, then check that drift which persists for long was answered."""
        self.cloud.invoke()
        now = self.cloud.now
        trained = max((row["at"]["S"] for row in self.cloud.attempts), default="")
        if self.newest("data_quality", since=trained).count("Drift") < 3:
            self.persists_since = None
            return
        self.persists_since = self.persists_since or now
        if now - self.persists_since >= timedelta(hours=96 + 12):
            since = self.persists_since
            notified = any(at >= since for at, _ in self.cloud.alerts)
            ran = bool(self.cloud.active) or any(run["StartTime"] >= since for run in self.cloud.runs)
            assert notified or ran, "persistent drift was not answered"

    @rule(hours=st.integers(1, 60))
    def time_passes(self, hours: int) -> None:
        for passed in range(0, hours, 12):
            self.cloud.now += min(12, hours - passed) * HOUR
            self.look()

    @rule(
        kind=st.sampled_from(["data_quality", "data_quality", "model_quality", "bias", "explainability"]),
        status=st.sampled_from(["OK", "Drift", "Drift", "Drift", "Violation", "InsufficientData", "LowPower"]),
        labels=st.integers(0, 300),
        late=st.sampled_from([0, 0, 7, 100]),
    )
    def a_monitor_writes_a_verdict(self, kind: str, status: str, labels: int, late: int) -> None:
        self.cloud.now += HOUR
        written = "Drift" if status == "Violation" and kind != "data_quality" else status
        self.cloud.find(kind, written, labels=labels, at=self.cloud.now - late * HOUR)
        self.look()

    @rule()
    def nothing_but_drift_for_days(self) -> None:
        for _ in range(14):
            self.a_monitor_writes_a_verdict("data_quality", "Drift", 0, 0)
            self.time_passes(8)

    @rule()
    def the_schema_breaks_amid_drift(self) -> None:
        for status in ("Drift", "Violation", "Drift", "Drift"):
            self.a_monitor_writes_a_verdict("data_quality", status, 0, 0)

    @precondition(lambda self: self.cloud.active)
    @rule(outcome=st.sampled_from(["registered", "refused", "failed", "stopped"]))
    def the_run_ends(self, outcome: str) -> None:
        self.cloud.now += HOUR
        self.cloud.end(outcome)
        self.look()

    @rule(approval=st.sampled_from(["Approved", "Rejected", "rolled back"]))
    def a_person_judges(self, approval: str) -> None:
        self.cloud.judge(approval)

    @rule(code=st.sampled_from([None, "a" * 64, "b" * 64]))
    def somebody_asks(self, code: str | None) -> None:
        self.cloud.invoke({"retrain": "churn", "reason": "it is wanted", **({"code": code} if code else {})})

    @precondition(lambda self: not self.cloud.active)
    @rule()
    def somebody_starts_by_hand(self) -> None:
        self.cloud.launch(f"by-hand-{len(self.cloud.runs)}")

    @rule(at=st.integers(1, 25), fault=st.sampled_from(["killed", "throttled", "another"]))
    def an_invocation_goes_wrong(self, at: int, fault: str) -> None:
        def strike() -> None:
            if fault == "another":
                return self.cloud.invoke()
            raise Killed if fault == "killed" else error("ThrottlingException")

        self.cloud.fault, self.cloud.fault_at = strike, self.cloud.calls + at
        self.cloud.invoke()
        self.cloud.fault = None

    @invariant()
    def within_the_budget(self) -> None:
        if not hasattr(self, "cloud"):
            return
        at = [datetime.fromisoformat(row["at"]["S"]) for row in self.cloud.attempts]
        allowed = self.cloud.policy["budget_runs"]
        assert all(sum(0 <= (one - other).days < 10 for other in at) <= allowed for one in at)
        assert len(self.cloud.tokens) <= len(at)


TestControlled = Controlled.TestCase
TestControlled.settings = settings(max_examples=15, stateful_step_count=20, deadline=None, database=None)


@pytest.mark.parametrize("labels", [0, 200])
def test_broken_schemas_and_lone_drift_are_met_in_every_run(labels: int) -> None:
    """Play two histories that hypothesis may leave out."""
    for history in (Controlled.the_schema_breaks_amid_drift, Controlled.nothing_but_drift_for_days):
        machine = Controlled()
        machine.begin(zero=False, labels=labels, schedule=None)
        history(machine)
        machine.within_the_budget()
        assert machine.cloud.alerts
