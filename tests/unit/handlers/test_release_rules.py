"""Rules of a release: who may approve, what a policy may say, which alarm is named."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from release.alarms import rollback_alarm
from release.four_eyes import UNKNOWN, is_one_of, objection
from shared.errors import PolicyError
from shared.ledger import Approval, Lease
from shared.release_policy import Pin, PreviousStage, StagePolicy, VerificationBounds, parse_release_policy
from shared.release_record import NO_RELEASE

if TYPE_CHECKING:
    from shared.clients import Alarms

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LEASE = Lease("release-controller/1", "release", "v7-00000000", NO_RELEASE.format(), 100, 200)
FULL: dict[str, Any] = {
    "verified_in": {"stage": "staging", "bucket": "artifacts"},
    "verify": {"latency_ms": 500, "error_percent": 1, "tolerance": 0.001},
    "approval": "life-cycle",
    "four_eyes": True,
    "description_required": True,
    "pin": {"version": 3, "until": "2026-12-31", "reason": "audit"},
}


def test_a_policy_is_read_as_written_and_every_key_has_a_default() -> None:
    assert parse_release_policy("{}") == StagePolicy()
    assert parse_release_policy(json.dumps(dict.fromkeys(("verified_in", "verify", "pin")))) == StagePolicy()
    assert parse_release_policy(json.dumps(FULL)) == StagePolicy(
        verified_in=PreviousStage("staging", "artifacts"),
        verify=VerificationBounds(500, 1, 0.001),
        approval="life-cycle",
        four_eyes=True,
        description_required=True,
        pin=Pin(3, date(2026, 12, 31), "audit"),
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"four_eye": True}, "four_eye is not known"),
        ({"four_eyes": "false"}, 'four_eyes must be true or false, got "false"'),
        ({"approval": None}, "approval must be registry or life-cycle, got null"),
        ({"verified_in": {"stage": ""}}, 'verified_in.bucket is missing; verified_in.stage must be text, got ""'),
        ({"verify": {**FULL["verify"], "latency_ms": 0}}, "verify.latency_ms must be a number above 0, got 0"),
        ({"pin": {**FULL["pin"], "until": "soon"}}, 'pin.until must be a date such as 2026-12-31, got "soon"'),
        ({"pin": {**FULL["pin"], "version": True}}, "pin.version must be a version, 1 or more, got true"),
    ],
)
def test_what_a_policy_may_not_say_is_named_with_the_value(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(match="the release policy is not valid") as caught:
        parse_release_policy(json.dumps({**FULL, **change}))
    assert sentence in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "null", "3", '"{}"'])
def test_what_is_no_policy_at_all_is_refused(text: str) -> None:
    with pytest.raises(PolicyError):
        parse_release_policy(text)


@pytest.mark.parametrize(
    ("approver", "creator", "same"),
    [
        ("arn:aws:sts::1:assumed-role/approver/ada", "arn:aws:iam::2:user/Ada", True),
        ("arn:aws:sts::1:assumed-role/sso/ada@example.com", "Ada@other.example", True),
        ("ada", "ada@example.com", True),
        ("arn:aws:sts::1:assumed-role/ada/bob", "ada@example.com", False),
        ("arn:aws:sts::1:assumed-role/approver/adams", "ada", False),
        ("ada", "", False),
        (UNKNOWN, "", False),
    ],
)
def test_people_are_known_by_the_end_of_their_arn_or_the_start_of_their_address(
    approver: str, creator: str, same: bool
) -> None:
    assert is_one_of(approver, [creator]) is same


def test_who_is_not_known_is_not_a_second_pair_of_eyes() -> None:
    assert objection(Approval(1, UNKNOWN, NOW, "good"), ["ada"])
    assert not objection(Approval(1, "arn:aws:iam::1:user/bob", NOW, "good"), ["ada"])


def test_a_rollback_names_its_alarm_and_figure_even_when_the_alarm_is_gone() -> None:
    asked: list[dict[str, Any]] = []
    reason = "Threshold Crossed: 2 out of the last 2 datapoints [0.2, 0.19] were greater than the threshold (0.01)."

    def describe_alarm_history(**request: Any) -> Any:
        asked.append(request)
        states = [] if request["AlarmName"].endswith("latency") else [("OK", "fine"), ("ALARM", reason), ("OK", "fine")]
        items = [{"newState": {"stateValue": value, "stateReason": why}} for value, why in states]
        return {"AlarmHistoryItems": [{"HistoryData": json.dumps(item)} for item in items]}

    cloudwatch = cast("Alarms", SimpleNamespace(describe_alarm_history=describe_alarm_history))
    clause = rollback_alarm(cloudwatch, "evergreen-churn-staging", LEASE)
    assert clause == f"the alarm evergreen-churn-staging-v7-00000000-5xx went off ({reason.rstrip('.')})"
    assert asked[0]["StartDate"] == datetime.fromtimestamp(100, UTC)
    silent = cast("Alarms", SimpleNamespace(describe_alarm_history=lambda **_: {"AlarmHistoryItems": []}))
    assert rollback_alarm(silent, "evergreen-churn-staging", LEASE) == ""
