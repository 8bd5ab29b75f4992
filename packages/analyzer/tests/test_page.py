"""The page answers the three questions, and draws what broke first."""

import re
from collections import Counter

import numpy as np
import pytest

from drift_analyzer.baseline_builder import ReferenceColumn, build_baseline
from drift_analyzer.baseline_files import Baseline, read_baseline
from drift_analyzer.data_quality import CapturedData, JudgedWindow, judge_windows
from drift_analyzer.drift import Rules, judge
from drift_analyzer.report.data_quality import render
from drift_analyzer.report.managed_run import render_managed_run
from drift_analyzer.window_state import NumericState, WindowState

ROWS = 400
KINDS = [f"k{place:02}" for place in range(14)]


def columns(generator: np.random.Generator, rows: int, numbers: int) -> list[ReferenceColumn]:
    found = [
        ReferenceColumn(f"a_rather_long_prefix_of_feature_{i}", generator.normal(size=rows)) for i in range(numbers)
    ]
    found.append(ReferenceColumn("flag", generator.integers(0, 2, rows).astype(float)))
    found.append(ReferenceColumn("kind", strings=generator.choice(KINDS, rows).tolist()))
    return found


def state_of(baseline: Baseline, current: list[ReferenceColumn]) -> WindowState:
    state = WindowState.empty(baseline.features)
    state.rows = state.records = ROWS
    for feature, column in zip(baseline.features, current, strict=True):
        target = state.features[feature.name]
        if isinstance(target, NumericState):
            assert column.numbers is not None
            target.add(column.numbers, feature)
        else:
            target.add(Counter(value for value in column.strings or () if value), 0, feature)
    return state


def page(numbers: int, windows: int) -> str:
    generator = np.random.default_rng(0)
    baseline = read_baseline(*build_baseline(columns(generator, 3000, numbers)))
    states = {}
    for window in range(windows):
        current = columns(generator, ROWS, numbers)
        kinds = [value if place % 4 else "NEW" for place, value in enumerate(current[-1].strings or ())]
        states[1_700_000_000 + window * 3600] = state_of(
            baseline, [*current[:-1], ReferenceColumn("kind", strings=kinds)]
        )
    captured = CapturedData(states, [], 0, {})
    return render(baseline, judge_windows(baseline, captured, Rules()), captured)


def test_the_page_answers_the_three_questions_and_draws_new_values_first() -> None:
    text = page(numbers=2, windows=3)
    for question in ("Can this window be judged?", "Is something broken?", "Has the data set drifted?"):
        assert question in text
    assert "When it began" in text
    assert text.index(">NEW (new): ") < text.index(">k0")
    cells = re.findall(r"<b title='([^']*)'>", text)
    assert cells[0] == "kind", "what is broken comes first"


def test_zero_and_one_are_drawn_as_they_are() -> None:
    flag = page(numbers=1, windows=1).split("<b title='flag'>")[1].split("</svg>")[0]
    assert re.findall(r"<title>([^:]+): ", flag) == ["0", "1", "0", "1"]


def test_a_page_of_sixty_features_is_small_has_no_script_and_tells_long_names_apart() -> None:
    text = page(numbers=58, windows=40)
    assert len(text.encode()) < 200_000
    assert "<script" not in text
    assert "http" not in text.replace("http://www.w3.org", "")
    shown = set(re.findall(r"<b title='[^']*'>([^<]*)</b>", text))
    assert len(shown) == len(re.findall(r"<b title='", text))


def test_a_feature_without_a_name_does_not_stop_the_page() -> None:
    statistics, constraints = build_baseline([ReferenceColumn("x", np.arange(1000.0))])
    statistics["features"][0]["name"] = constraints["features"][0]["name"] = ""
    baseline = read_baseline(statistics, constraints)
    state = state_of(baseline, [ReferenceColumn("", np.full(ROWS, 1e6))])
    verdict = judge(baseline, state, Rules())
    assert "(no name)" in render(baseline, [JudgedWindow(0, state, verdict)], CapturedData({0: state}, [], 0, {}))


@pytest.mark.parametrize(
    ("check", "title"),
    [("baseline_drift_check", "Data drift"), ("data_type_check", "Broken data"), ("", "No data drift")],
)
def test_the_head_of_a_managed_run_is_the_engines_own_verdict(check: str, title: str) -> None:
    statistics, constraints = build_baseline([ReferenceColumn("x", np.random.default_rng(0).normal(size=1000))])
    found = [{"feature_name": "x", "constraint_check_type": check, "description": "distance: 0.2"}] if check else []
    bodies = {"statistics.json": statistics, "constraints.json": constraints}
    text = render_managed_run("data_quality", {"statistics.json": statistics}, bodies, found, "reason", (0.0, 3600.0))
    assert f"<h1>{title}</h1>" in text
