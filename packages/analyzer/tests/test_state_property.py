"""Window states merge exactly, in any grouping and order, and through JSON."""

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from drift_analyzer.baseline_files import Feature
from drift_analyzer.window_state import CategoryState, NumericState, WindowState

NUMBER = Feature("x", "Fractional", edges=np.array([-1.0, 0.0, 2.0]), counts=np.ones(4), centre=0.3, scale=1.7)
TEXT = Feature("c", "String", categories={"a": 1, "b": 1})
values = st.lists(
    st.one_of(st.floats(width=32), st.sampled_from([0.0, 1e300, -1e200, 1e12, float("nan"), float("inf")])), max_size=30
)
texts = st.lists(st.sampled_from([*"abcdefghijklmnopqrstuvwxyz"]), max_size=30)


def state(numbers: list[float], strings: list[str]) -> WindowState:
    found = WindowState.empty([NUMBER, TEXT])
    number, text = found.features["x"], found.features["c"]
    assert isinstance(number, NumericState)
    assert isinstance(text, CategoryState)
    number.add(np.array(numbers, dtype=float), NUMBER)
    text.add({value: strings.count(value) for value in strings}, 1, TEXT)
    found.rows = len(numbers)
    found.add_bad("reason")
    return found


def merged(parts: list[WindowState]) -> dict[str, object]:
    total = WindowState.empty([NUMBER, TEXT])
    for part in parts:
        total.merge(WindowState.from_json(json.loads(json.dumps(part.to_json()))))
    return total.to_json()


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(values, texts), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_merging_is_exact_whatever_the_order_and_the_grouping(
    parts: list[tuple[list[float], list[str]]], random: object
) -> None:
    states = [state(*part) for part in parts]
    shuffled = list(states)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    whole = state(
        [number for numbers, _ in parts for number in numbers], [text for _, strings in parts for text in strings]
    )
    whole.bad, whole.reasons["reason"] = len(parts), len(parts)
    text = whole.features["c"]
    assert isinstance(text, CategoryState)
    text.missing = len(parts)
    assert merged(states) == merged(shuffled) == whole.to_json()


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=50))
def test_the_moments_are_those_of_the_values(numbers: list[float]) -> None:
    feature = Feature("x", "Fractional", edges=np.array([0.0]), counts=np.ones(2), centre=0.0, scale=1e3)
    found = NumericState(np.zeros(2, dtype=np.int64))
    found.add(np.array(numbers), feature)
    assert abs(found.mean(feature) - np.mean(numbers)) < 1
    assert abs(found.deviation(feature) - np.std(numbers)) < 1
