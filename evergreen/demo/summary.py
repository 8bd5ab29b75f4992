"""The summary of the replay, read back from the ledger, the monitors' reports and the stored answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from evergreen.demo.bad_model import BadRelease
from evergreen.demo.cloud import LocalCloud, ledger_of
from evergreen.demo.figures import Answered, Month
from evergreen.demo.picture import Decision, Drift, Picture, image, page
from evergreen.demo.replay import FIRST, LABEL_DELAY
from evergreen.demo.serving import live_version
from evergreen.demo.training import read_json
from evergreen.ledger import RUN_ENDED, RUN_STARTED, Ledger, Row
from evergreen.names import Names

PAGE, IMAGE = "loop.html", "loop.svg"
_WINDOW = timedelta(days=7)
_RETRAINING_KINDS = ("data_quality", "model_quality")  # drift of these kinds may start a retraining


def folder(cloud: LocalCloud) -> Path:
    """Return the folder of the demo's own files, beside the cloud's state."""
    return cloud.state / "demo"


def finished(cloud: LocalCloud, last: date) -> bool:
    """Say whether the replay has reached its last day."""
    return (folder(cloud) / "answers" / f"{last}.csv").exists()


def picture(
    cloud: LocalCloud, model: Names, found: Sequence[Month], answered: Sequence[Answered], last: date
) -> Picture:
    """Return what the pictures show: monthly figures, drift by week, and decisions."""
    ledger = ledger_of(cloud, model)
    verdicts = [row for row in ledger.rows("verdict") if _day(row["window_end"]) <= last + timedelta(days=1)]
    return Picture(
        first=FIRST,
        last=last,
        months=tuple(found),
        drift=tuple(_drift(cloud, verdicts)),
        # Two invocations at once may both report that a run has ended.
        decisions=tuple(sorted(dict.fromkeys(_decisions(ledger, verdicts, answered, last)), key=lambda one: one.at)),
    )


def draw(cloud: LocalCloud, drawn: Picture) -> tuple[Path, Path]:
    """Write the HTML page and the SVG image. Return their paths."""
    paths = folder(cloud) / PAGE, folder(cloud) / IMAGE
    for path, text in zip(paths, (page(drawn), image(drawn)), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def lines(drawn: Picture, bad: BadRelease | None) -> Iterator[str]:
    """Yield what happened, one line for each release and refusal, then the bad version and the result."""
    reason, proposed = "", drawn.first
    for one in drawn.decisions:
        when = f"{one.at:%d %b}"
        if one.kind == "started":
            reason = "data drifted" if "data drifted" in one.text else "quality fell"
        elif one.kind == "proposed":
            proposed = one.at
        elif one.kind == "refused":
            yield f"{when}  {reason}: retrained; the new version is not better, so the gate refused it"
        elif one.kind == "released":
            version = one.text.split()[1]
            how = f"{reason}: retrained, approved, and" if reason else "trained, approved, and"
            # The version answers from the day after its approval.
            yield f"{proposed:%d %b}  {how} version {version} is live"
            reason = ""
    if bad is not None:
        yield f"then    {bad.line}"
    loop, never = (sum(values) / len(drawn.months) for values in drawn.series)
    span = f"{drawn.first:%b}-{drawn.last:%b}"
    yield f"{span}  mean AUC {loop:.3f} with the loop, {never:.3f} for the first version alone"


def look_around(cloud: LocalCloud, model: Names) -> Iterator[tuple[str, str]]:
    """Yield what there is to see, each with the line that shows it."""
    platform = cloud.outputs(model.platform_stack)
    data, ledger = platform["DataBucketName"], ledger_of(cloud, model)
    _, _, package_arn, _ = live_version(cloud, model).split("|")
    version = package_arn.rsplit("/", 1)[1]
    aws, evergreen = cloud.aws, cloud.evergreen
    yield "what is live, and what waits for a person", evergreen("status")
    yield "every decision, and why", evergreen(f"ledger decisions {model.name}")
    yield "what the monitors found", evergreen(f"ledger verdicts {model.name}")
    yield "what the release controller logged", evergreen("logs release --since 1d")
    yield "what the live version carries", aws(f"sagemaker describe-model-package --model-package-name {package_arn}")
    yield "captured requests and answers", aws(f"s3 ls --recursive s3://{data}/{model.name}/capture/ --page-size 100")
    reports = [row for row in ledger.rows("verdict") if row["report"] and row["kind"] in _RETRAINING_KINDS]
    if reports:
        shown = next((row for row in reversed(reports) if row["status"] == "Drift"), reports[-1])
        what = f"a monitor's report: {shown['kind']} to {shown['window_end'][:10]}, {shown['status']}"
        yield what, aws(f"s3 cp {shown['report']} {folder(cloud) / 'report.html'}")
    where = f"--port {cloud.port} --state {cloud.state}"
    yield "the virtual clock", f".venv/bin/localcloud clock status {where}"
    yield (
        "roll back: reject the live version, and the newest approved one below it is released",
        evergreen(f"reject {model.name} {version} --note 'trying a rollback'"),
    )


def _drift(cloud: LocalCloud, verdicts: Sequence[Row]) -> Iterator[Drift]:
    """Yield each feature's distance from the live version's baseline, by consecutive windows of seven days."""
    ends = FIRST + _WINDOW
    for row in verdicts:
        if row["kind"] != "data_quality" or _day(row["window_end"]) != ends or not row["report"]:
            continue
        ends += _WINDOW
        verdict = read_json(cloud, row["report"].replace("report.html", "verdict.json"))
        for feature in verdict["features"]:
            yield Drift(
                feature=str(feature["name"]),
                start=_day(row["window_end"]) - _WINDOW,
                distance=float(feature["distance"]),
                threshold=float(feature["threshold"]),
            )


def _decisions(ledger: Ledger, verdicts: Sequence[Row], answered: Sequence[Answered], last: date) -> Iterator[Decision]:
    for row in verdicts:
        if row["status"] == "Drift" and row["kind"] in _RETRAINING_KINDS:
            late = LABEL_DELAY if row["kind"] == "model_quality" else timedelta()
            yield Decision(_day(row["window_end"]) + late, row["kind"], row["evidence"])
    for row in ledger.rows("retrain-decision"):
        day = _day(row["at"])
        if day <= last and row["step"] == RUN_STARTED:
            yield Decision(day, "started", row["reason"])
        elif day <= last and row["step"] == RUN_ENDED:
            yield Decision(day, "refused" if "does not beat" in row["reason"] else "proposed", row["reason"])
    live = ""
    for one in answered:
        if one.release != live:
            live = one.release
            yield Decision(one.day, "released", f"version {live.split('-')[0].removeprefix('v')} is live")


def _day(text: str) -> date:
    return datetime.fromisoformat(text).astimezone(UTC).date()
