"""The demo's figures, pictures and lines agree with what was answered and decided."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest

from configuration import load_application
from evergreen.cli import run
from evergreen.demo import Engine
from evergreen.demo.figures import Answered, Month, disagreement, months, read_answers, rows, write_answers
from evergreen.demo.flights import one_by_one, opening, raw_file, requests
from evergreen.demo.picture import Decision, Drift, Picture, image, page
from evergreen.demo.replay import ground_truth, news
from evergreen.demo.run import with_engine
from evergreen.demo.summary import lines

MARCH, APRIL = date(2013, 3, 1), date(2013, 4, 1)


def answered(day: date, scores: list[tuple[int, float]], release: str) -> list[Answered]:
    return [Answered(f"{day}-{n}", day, late, score, release) for n, (late, score) in enumerate(scores)]


def test_each_month_is_both_models_auc_on_the_same_flights() -> None:
    march = answered(MARCH, [(1, 0.9), (0, 0.1), (1, 0.4), (0, 0.3)], "v1-a")
    april = answered(APRIL, [(1, 0.2), (0, 0.6), (0, 0.1)], "v1-a") + answered(APRIL + timedelta(1), [(1, 0.9)], "v2-b")
    never = {one.flight: one.score for one in march} | {one.flight: float(one.late) for one in april}
    first, second = months(march + april, never)
    assert (first.first, first.flights, first.loop, first.never, first.releases) == (MARCH, 4, 1.0, 1.0, ("v1-a",))
    assert (second.flights, second.loop, second.never, second.releases) == (4, 0.75, 1.0, ("v1-a", "v2-b"))
    table = rows([first, second])
    assert table[1] == ("April", "4", "0.750", "1.000", "-0.250", "v1, v2")
    assert table[-1] == ("mean", "8", "0.875", "1.000", "-0.125", "")


def test_a_flight_without_a_score_of_the_first_version_is_no_comparison() -> None:
    with pytest.raises(KeyError):
        months(answered(MARCH, [(1, 0.9), (0, 0.1)], "v1-a"), {})


def test_only_the_first_versions_own_answers_are_held_against_its_scores() -> None:
    both = answered(MARCH, [(1, 0.5), (0, 0.1)], "v1-a") + answered(APRIL, [(1, 0.9), (0, 0.2)], "v2-b")
    never = {one.flight: one.score for one in both[:2]} | {one.flight: 0.0 for one in both[2:]}
    assert disagreement(both, never) == 0
    assert disagreement(both, never | {both[0].flight: 0.75}) == 0.25


def test_answers_survive_the_file(tmp_path: Path) -> None:
    given = answered(MARCH, [(1, 0.1 + 0.2), (0, 1e-9)], "v1-a")
    write_answers(tmp_path / f"{MARCH}.csv", given)
    assert read_answers(tmp_path) == given


def test_a_days_requests_hold_every_flight_that_landed_once_and_labels_in_the_order_of_the_rows(tmp_path: Path) -> None:
    path = raw_file(tmp_path, MARCH)
    path.parent.mkdir(parents=True)
    path.write_text(
        "flight_id,scheduled_at,carrier,temp,late\n"
        "a,2013-03-01T05:15:00,UA,39.0,1\n"
        "b,2013-03-01T06:00:00,AA,,0\n"
        "c,2013-03-01T05:45:00,DL,38.0,\n"
        "d,2013-03-01T05:59:00,B6,37.0,0\n"
    )
    five, six = requests(path)
    assert (five.flights, five.rows, five.labels) == (("a", "d"), ("UA,39.0", "B6,37.0"), (1, 0))
    assert (six.flights, six.body) == (("b",), b"AA,\n")
    assert '"data": "1\\n0\\n"' in ground_truth(five)
    assert [(one.id, one.body) for one in one_by_one([five])] == [("a", b"UA,39.0\n"), ("d", b"B6,37.0\n")]
    assert [one.id for one in opening([five, six], 1)] == ["a", "d", "2013-03-01T06"]


def test_a_decision_to_do_nothing_is_no_news() -> None:
    row = {"at": "2013-05-09T12:00:00+00:00", "reason": "because"}
    assert news({**row, "step": "Nothing"}) is None
    assert news({**row, "step": "Start"}) == "09 May  because"


@pytest.fixture
def picture() -> Picture:
    weeks = [MARCH + timedelta(7 * n) for n in range(8)]
    return Picture(
        first=MARCH,
        last=date(2013, 4, 30),
        months=(
            Month(MARCH, 27000, 0.708, 0.708, ("v1-a",)),
            Month(APRIL, 26000, 0.66, 0.634, ("v1-a", "v2-b")),
        ),
        drift=tuple(Drift(name, week, far, 0.5) for week in weeks for name, far in (("dewp", 0.9), ("origin", 0.1))),
        decisions=(
            Decision(MARCH, "released", "version 1 is live"),
            Decision(APRIL, "data_quality", "temp <moved>"),
            Decision(APRIL, "started", "3 of the last 3 windows drifted"),
            Decision(APRIL, "refused", "does not beat the champion"),
            Decision(date(2013, 4, 8), "proposed", "version 2 waits for approval"),
            Decision(date(2013, 4, 9), "released", "version 2 is live"),
        ),
    )


def test_the_picture_shows_every_figure_and_decision_and_fetches_nothing(picture: Picture) -> None:
    html = page(picture)
    assert not re.search(r"""(src|href)\s*=|url\(|@import""", html)
    svg = ElementTree.fromstring(re.search(r"<svg.*</svg>", html, re.DOTALL)[0])  # type: ignore[index]
    tips = [tip.text or "" for tip in svg.iter("title")]
    assert "April, the loop: 0.660 on 26,000 flights" in tips
    assert "April, never retrained: 0.634 on 26,000 flights" in tips
    assert sum("drifted" in tip and tip.startswith("dewp") for tip in tips) == 8
    assert {f"{one.at:%d %B}: {one.text}" for one in picture.decisions} <= set(tips)


def test_the_image_stands_alone_and_shows_the_result(picture: Picture) -> None:
    text = image(picture)
    assert not re.search(r"""(src|href)\s*=|url\(|@import|<script""", text)
    svg = ElementTree.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    assert svg.tag == f"{space}svg"
    background = svg.find(f"{space}rect")
    assert background is not None
    assert background.attrib["fill"] == "#ffffff", "readable on a dark page too"
    assert picture.summary in [one.text for one in svg.iter(f"{space}text")]
    tips = {one.text for one in svg.iter(f"{space}title")}
    assert {f"{one.at:%d %B}: {one.text}" for one in picture.decisions} <= tips


def test_the_summary_has_a_line_for_each_release_and_refusal_and_the_result(picture: Picture) -> None:
    assert list(lines(picture, None)) == [
        "01 Mar  trained, approved, and version 1 is live",
        "01 Apr  quality fell: retrained; the new version is not better, so the gate refused it",
        "08 Apr  quality fell: retrained, approved, and version 2 is live",
        "Mar-Apr  mean AUC 0.684 with the loop, 0.671 for the first version alone",
    ]


@pytest.mark.parametrize("drawn", [page, image])
def test_what_is_drawn_stays_on_the_page(picture: Picture, drawn: Callable[[Picture], str]) -> None:
    svg = ElementTree.fromstring(re.search(r"<svg.*</svg>", drawn(picture), re.DOTALL)[0])  # type: ignore[index]
    _, _, width, height = map(float, svg.attrib["viewBox"].split())
    for shape in svg.iter():
        for name, limit in (("x", width), ("cx", width), ("x2", width), ("y", height), ("cy", height), ("y2", height)):
            assert 0 <= float(shape.attrib.get(name, 0)) <= limit, ElementTree.tostring(shape)


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--help"]) == 0
    said = capsys.readouterr().out
    assert all(option in said for option in ("--yes", "--full", "--until", "--push", "--fresh", "--port", "--state"))


@pytest.mark.parametrize("other", [["--quick"], ["--until", "live"]])
def test_the_full_replay_excludes_a_shorter_one(other: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--full", *other]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(("engine", "access"), [(Engine.BUILTIN, "closed"), (Engine.MODEL_MONITOR, "available")])
def test_the_demo_shows_either_engine(root: Path, tmp_path: Path, engine: Engine, access: str) -> None:
    application = load_application(root, with_engine(tmp_path, engine))
    assert [stage.model_monitor for stage in application.stages] == [access]
