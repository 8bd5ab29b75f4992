"""A key condition read quickly says what ministack's own evaluator says."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ministack.services import dynamodb

from localcloud.ministack_adapter.queries import _form, matches

TEXT = st.text(alphabet="ab#1", max_size=4)
SLOT = "KeyConditionExpression"


@settings(max_examples=200, deadline=None)
@given(
    form=st.sampled_from(
        ["pk = :p", "pk = :p AND begins_with(sk, :a)", "pk = :p AND sk BETWEEN :a AND :b"],
    ),
    keys=st.tuples(TEXT, TEXT),
    values=st.tuples(TEXT, TEXT, TEXT),
)
def test_the_quick_reading_and_ministacks_agree(form: str, keys: tuple[str, str], values: tuple[str, str, str]) -> None:
    item = {"pk": {"S": keys[0]}, "sk": {"S": keys[1]}}
    given_values = {name: {"S": value} for name, value in zip((":p", ":a", ":b"), values, strict=True)}
    groups = _form(form)
    assert groups is not None
    found = matches(groups, item, given_values)
    if found is not None:
        assert found == dynamodb._evaluate_condition(form, item, given_values, {}, slot=SLOT)
    else:
        assert "BETWEEN" in form and values[1] > values[2], "the only mistake among these"


@pytest.mark.parametrize("form", ["#pk = :p", "pk = :p AND sk > :a", "pk = :p OR sk = :a", "(pk = :p)"])
def test_other_forms_are_left_to_ministack(form: str) -> None:
    assert _form(form) is None


def test_keys_that_are_no_text_are_left_to_ministack() -> None:
    groups = _form("pk = :p")
    assert groups is not None
    assert matches(groups, {"pk": {"N": "1"}}, {":p": {"N": "1"}}) is None
