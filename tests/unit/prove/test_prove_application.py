"""What a proof deploys: a valid application of its own, and a bad version that is bad only where it should be."""

from __future__ import annotations

import csv
import io
import os
import sys
import zipfile
from pathlib import Path

import pytest

from configuration import load
from configuration.serving import Realtime
from evergreen import ROOT
from evergreen.prove import application, plan, report, traffic
from evergreen.prove.rows import ASSUMPTIONS
from evergreen.prove.state import STAGE
from tests.unit.prove.conftest import ACCOUNT, Scripted


@pytest.mark.parametrize("engine", ["available", "closed"])
def test_the_application_is_valid_and_quick_to_prove(tmp_path: Path, engine: str) -> None:
    application.write(tmp_path, "prove0123abcd", "eu-west-1", engine)
    files = [os.path.relpath(tmp_path / name, ROOT) for name in ("evergreen.yaml", "models")]
    found = load(ROOT, *files)
    assert found.application.name == "prove0123abcd"
    assert (found.application.stage.region, found.application.stage.model_monitor) == ("eu-west-1", engine)
    (model,) = found.models
    serving = model.serving[STAGE]
    assert isinstance(serving, Realtime)
    assert serving.deployment.waits_seconds <= 15 * 60
    assert model.retraining.drifted == model.retraining.of_last == 1
    assert model.monitoring
    assert model.monitoring.schedule_hours == 1


def test_the_bad_version_fails_on_marked_rows_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(io.BytesIO(application.bad_code())) as archive:
        archive.extractall(tmp_path)
    row = "UA,EWR,IAH,1400,315,499,2,39.02,28.04,64.43,260,12.66,0,1011.9,10"
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("inference", "features"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import inference  # type: ignore[import-not-found, unused-ignore]

    good = inference.input_fn(row, "text/csv")
    marked = inference.input_fn(application.marked(row), "text/csv")
    assert len(marked[0]) == len(good[0]) == 15
    assert sum(one != other for one, other in zip(marked[0], good[0], strict=True)) == 1
    with pytest.raises(RuntimeError, match="on purpose"):
        inference.predict_fn(marked, None)
    refused = inference.predict_fn(inference.input_fn(b"", "text/csv"), None)
    assert refused.status == 400
    for name in ("inference", "features"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_no_row_of_the_training_data_is_marked(tmp_path: Path) -> None:
    files = application.raw_files(tmp_path)
    rows = application.winter_rows(list(files.values()))
    assert len(files) == 59
    assert {len(next(csv.reader([row]))) for row in rows} == {15}
    assert not any(application.MARKED[1] in row for row in rows)
    assert rows == application.winter_rows(list(files.values()))
    drifted = application.drifted_rows(list(files.values()))
    assert len(set(drifted)) > 3500
    long, usual = (sum(float(row.split(",")[3]) >= 1000 for row in found) / len(found) for found in (drifted, rows))
    assert long > usual + 0.2


def test_a_malformed_request_is_known_again_among_captured_ones() -> None:
    row = "UA,EWR,IAH,1400,315,499,2,39.02,28.04,64.43,260,12.66,0,1011.9,10"
    wrong = traffic.malformed(row)
    assert len(wrong) == 6
    by_body = {what for what, (body, _, _) in wrong.items() if traffic.is_malformed(body.decode())}
    assert by_body == {"a header row", "too few columns", "no JSON", "an empty body"}
    assert not traffic.is_malformed(f"{row}\n")


def test_prices_are_those_of_the_document() -> None:
    document = (ROOT / "docs" / "reference" / "cost.md").read_text(encoding="utf-8")
    assert f"list prices of {plan.PRICED}" in document
    assert f"hosting {plan.M5_LARGE_HOUR} $/h" in document
    assert f"`ml.m5.xlarge` {plan.M5_XLARGE_HOUR} $/h" in document
    assert f"customer managed key {plan.KEY_MONTH:.0f} $" in document


def test_what_a_proof_costs_is_said_with_its_arithmetic() -> None:
    said = "\n".join(plan.lines("prove0123abcd", "arn:aws:iam::1:user/a", ACCOUNT, "eu-west-1"))
    total = sum(amount for _, _, amount in plan.costs())
    assert 1 < total < 5
    for part in (ACCOUNT, "eu-west-1", "arn:aws:iam::1:user/a", f"{total:.2f} $", "prove0123abcd", "× 0.115 ×"):
        assert part in said


def test_the_report_has_every_assumption_and_no_account(proof: Scripted) -> None:
    proof.see("approver", f"arn:aws:iam::{ACCOUNT}:user/a | b", held=True)
    proof.see("quotas", "ml.m5.large: 0, and 6 are needed", held=False)
    proof.state.failure = f"stack in {ACCOUNT}"
    path = report.write(proof.folder, proof.state)
    text, data = path.read_text(encoding="utf-8"), (proof.folder / "report.json").read_text(encoding="utf-8")
    assert ACCOUNT not in text + data
    table = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert len(table) == len(ASSUMPTIONS)
    assert sum("| not reached |" in line for line in table) == len(ASSUMPTIONS) - 2
    assert any("user/a \\| b | held |" in line for line in table)
