"""The fast evaluation of a condition agrees with ministack's."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ministack.services import dynamodb

from localcloud.ministack_adapter import queries

TEXT = st.text(alphabet="ab#1", max_size=4)
KEYS, FILTER = "KeyConditionExpression", "FilterExpression"


@settings(max_examples=200, deadline=None)
@given(
    condition=st.sampled_from(
        [
            (KEYS, "pk = :p"),
            (KEYS, "pk = :p AND begins_with(sk, :a)"),
            (KEYS, "pk = :p AND sk BETWEEN :a AND :b"),
            (FILTER, "NOT sk IN (:a)"),
            (FILTER, "NOT sk IN (:a, :b, :p)"),
        ],
    ),
    keys=st.tuples(TEXT, TEXT),
    values=st.tuples(TEXT, TEXT, TEXT),
)
def test_the_quick_reading_and_ministacks_agree(
    condition: tuple[str, str], keys: tuple[str, str], values: tuple[str, str, str]
) -> None:
    slot, form = condition
    item = {"pk": {"S": keys[0]}, "sk": {"S": keys[1]}}
    given_values = {name: {"S": value} for name, value in zip((":p", ":a", ":b"), values, strict=True)}
    quick = queries.test(form, given_values, slot)
    if quick is not None:
        assert quick(item) == dynamodb._evaluate_condition(form, item, given_values, {}, slot=slot)
    else:
        assert "BETWEEN" in form and values[1] > values[2], "the only mistake among these"


@pytest.mark.parametrize(
    ("slot", "form"),
    [
        (KEYS, "#pk = :p"),
        (KEYS, "pk = :p AND sk > :a"),
        (KEYS, "pk = :p OR sk = :a"),
        (KEYS, "(pk = :p)"),
        (FILTER, "sk IN (:p)"),
        (FILTER, "NOT #sk IN (:p)"),
        ("ConditionExpression", "pk = :p"),
    ],
)
def test_other_forms_are_left_to_ministack(slot: str, form: str) -> None:
    assert queries.test(form, {":p": {"S": "x"}, ":a": {"S": "y"}}, slot) is None


def test_what_is_no_text_is_left_to_ministack() -> None:
    quick = queries.test("pk = :p", {":p": {"S": "1"}}, KEYS)
    assert quick is not None
    assert quick({"pk": {"N": "1"}}) is None
    assert queries.test("pk = :p", {":p": {"N": "1"}}, KEYS) is None
    assert queries.test("NOT step IN (:a)", {":a": {"N": "1"}}, FILTER) is None


def test_conditions_of_one_query_after_another_are_not_mixed_up() -> None:
    evaluate = queries.with_parsed_conditions(dynamodb._evaluate_condition)
    item = {"pk": {"S": "a"}}
    for value in ("a", "b", "a"):
        assert evaluate("pk = :p", item, {":p": {"S": value}}, {}, slot=KEYS) == (value == "a")


@settings(max_examples=100, deadline=None)
@given(
    form=st.sampled_from(
        ["pk = :p AND begins_with(sk, :a)", "pk = :p AND sk BETWEEN :a AND :b", "pk = :p", "pk = :p AND sk > :a"]
    ),
    keys=st.sets(st.tuples(st.sampled_from("ab"), TEXT.filter(bool)), max_size=12),
    values=st.tuples(st.sampled_from("ab"), TEXT.filter(bool), TEXT.filter(bool)),
    more=st.fixed_dictionaries(
        {}, optional={"ScanIndexForward": st.booleans(), "Limit": st.integers(1, 3), "Select": st.just("COUNT")}
    ),
)
def test_a_query_that_sees_its_range_alone_answers_the_same(
    form: str, keys: set[tuple[str, str]], values: tuple[str, str, str], more: dict[str, Any]
) -> None:
    definition = {
        "TableName": "ledger",
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
        "BillingMode": "PAY_PER_REQUEST",
    }
    names = [name for name in (":p", ":a", ":b") if name in form]
    given_values = {name: {"S": value} for name, value in zip((":p", ":a", ":b"), values, strict=True) if name in names}
    request = {
        "TableName": "ledger",
        "KeyConditionExpression": form,
        "ExpressionAttributeValues": given_values,
        **more,
    }
    try:
        assert dynamodb._create_table(definition)[0] == 200
        for pk, sk in keys:
            dynamodb._put_item({"TableName": "ledger", "Item": {"pk": {"S": pk}, "sk": {"S": sk}}})
        assert (queries.in_range(request) is not None) == ("begins" in form or "BETWEEN" in form)
        assert queries.with_range_only(dynamodb._query)(request) == dynamodb._query(request)
    finally:
        dynamodb._tables.clear()
