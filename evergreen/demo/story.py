"""The story as the account can tell it afterwards: from the ledger, the reports and the answers that were kept."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from evergreen.demo.cloud import LocalCloud
from evergreen.demo.figures import Answered, Month
from evergreen.demo.ledger import Ledger, Row
from evergreen.demo.picture import Decision, Drift, Picture, page
from evergreen.demo.replay import FIRST, LABEL_DELAY
from evergreen.demo.serving import live_version
from evergreen.demo.training import Model, read_json

PICTURE = "story.html"
_WINDOW = timedelta(days=7)
_FOUND = ("data_quality", "model_quality")  # the kinds whose drift may retrain


def folder(cloud: LocalCloud) -> Path:
    """Where the demo keeps what is its own, beside the cloud's state."""
    return cloud.state / "demo"


def finished(cloud: LocalCloud, last: date) -> bool:
    """Whether the replay came to its last day."""
    return (folder(cloud) / "answers" / f"{last}.csv").exists()


def draw(cloud: LocalCloud, model: Model, found: Sequence[Month], answered: Sequence[Answered], last: date) -> Path:
    """Write the picture; return where it is."""
    ledger = Ledger(cloud, model)
    verdicts = [row for row in ledger.rows("verdict") if _day(row["window_end"]) <= last + timedelta(days=1)]
    picture = Picture(
        first=FIRST,
        last=last,
        months=tuple(found),
        drift=tuple(_drift(cloud, verdicts)),
        # Two invocations at once may both write that a run has ended.
        decisions=tuple(sorted(dict.fromkeys(_decisions(ledger, verdicts, answered, last)), key=lambda one: one.at)),
    )
    path = folder(cloud) / PICTURE
    path.write_text(page(picture), encoding="utf-8")
    return path


def _drift(cloud: LocalCloud, verdicts: Sequence[Row]) -> Iterator[Drift]:
    """How far each feature was from the live version's baseline, by windows of seven days that follow each other."""
    ends = FIRST + _WINDOW
    for row in verdicts:
        if row["kind"] != "data_quality" or _day(row["window_end"]) != ends or not row["report"]:
            continue
        ends += _WINDOW
        said = read_json(cloud, row["report"].replace("report.html", "verdict.json"))
        for feature in said["features"]:
            yield Drift(
                feature=str(feature["name"]),
                start=_day(row["window_end"]) - _WINDOW,
                distance=float(feature["distance"]),
                threshold=float(feature["threshold"]),
            )


def _decisions(ledger: Ledger, verdicts: Sequence[Row], answered: Sequence[Answered], last: date) -> Iterator[Decision]:
    for row in verdicts:
        if row["status"] == "Drift" and row["kind"] in _FOUND:
            late = LABEL_DELAY if row["kind"] == "model_quality" else timedelta()
            yield Decision(_day(row["window_end"]) + late, row["kind"], row["evidence"])
    for row in ledger.rows("retrain-decision"):
        day = _day(row["at"])
        if day <= last and row["step"] == "Start":
            yield Decision(day, "started", row["reason"])
        elif day <= last and row["step"] == "Settle":
            yield Decision(day, "refused" if "does not beat" in row["reason"] else "proposed", row["reason"])
    live = ""
    for one in answered:
        if one.release != live:
            live = one.release
            yield Decision(one.day, "released", f"version {live.split('-')[0].removeprefix('v')} is live")


def _day(text: str) -> date:
    return datetime.fromisoformat(text).astimezone(UTC).date()


def look_around(cloud: LocalCloud, model: Model) -> Iterator[tuple[str, str]]:
    """What to look at, and the line that shows it."""
    platform = cloud.outputs(f"{model.app}-platform-{model.stage}")
    data, ledger = platform["DataBucketName"], Ledger(cloud, model)
    serving = f"{model.app}-serving-{model.name}-{model.stage}"
    package_arn = live_version(cloud, model).split("|")[2]
    aws = cloud.aws
    yield "what the package carries", aws(f"sagemaker describe-model-package --model-package-name {package_arn}")
    yield "what ran", aws(f"sagemaker list-pipeline-executions --pipeline-name {model.group}")
    yield (
        "what CloudFormation did",
        aws(f"cloudformation describe-stack-events --stack-name {serving} --max-items 20"),
    )
    yield "what was asked and answered", aws(f"s3 ls --recursive s3://{data}/{model.name}/capture/ --page-size 100")
    reports = [row for row in ledger.rows("verdict") if row["report"] and row["kind"] in _FOUND]
    if reports:
        telling = next((row for row in reversed(reports) if row["status"] == "Drift"), reports[-1])
        what = f"a monitor's report, of {telling['kind']} to {telling['window_end'][:10]}: {telling['status']}"
        yield what, aws(f"s3 cp {telling['report']} {folder(cloud) / 'report.html'}")
    yield "every retrain decision, and why", _decided(cloud, model, ledger)
    clock = f"{Path(sys.executable).name} -m localcloud clock status --port {cloud.port} --state {cloud.state}"
    yield "what the clock says", f".venv/bin/{clock}"
    yield (
        "reject the live version: the controller goes back to the one before, or holds it, and the ledger says why",
        aws(f"sagemaker update-model-package --model-package-arn {package_arn} --model-approval-status Rejected"),
    )


def _decided(cloud: LocalCloud, model: Model, ledger: Ledger) -> str:
    values = json.dumps({":pk": {"S": f"{model.name}#{model.stage}"}, ":sk": {"S": "retrain-decision#"}})
    return cloud.aws(
        f"dynamodb query --table-name {ledger.table} --key-condition-expression 'pk = :pk AND begins_with(sk, :sk)' "
        f"--expression-attribute-values '{values}' --query 'Items[].[at.S,step.S,reason.S]' --output text"
    )
