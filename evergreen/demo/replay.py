"""March to December, day by day: the clock goes on, flights are asked for, labels come two days late.

Nothing here retrains or releases anything. A day is: the clock advances to noon with all that falls due; what was asked
two days ago gets its labels, as ground truth and as a raw object; the day's flights are asked for.
"""

from __future__ import annotations

import json
import textwrap
from datetime import UTC, date, datetime, time, timedelta
from itertools import chain
from pathlib import Path

from evergreen.demo import flights
from evergreen.demo.cloud import LocalCloud
from evergreen.demo.figures import Answered, write_answers
from evergreen.demo.ledger import Ledger, Row
from evergreen.demo.serving import Traffic, await_release, live_version, send
from evergreen.demo.terminal import Days, heading, say
from evergreen.demo.training import Model, approve, evaluation, read_json

FIRST = date(2013, 3, 1)
LABEL_DELAY = timedelta(days=2)
_SINGLE = 200  # of the first day's flights are asked for one by one, to see what a caller sees
# Ticks and schedules that fall due within half a day are done together: one look at midnight, one at noon, which finds
# what the monitors said at midnight. With one look a day every answer to a drift comes a day later.
_RESOLUTION = timedelta(hours=12)
_MARKS = {"OK": "·", "Drift": "[red]D[/]", "Violation": "[red]V[/]"}


class Replay:
    """One local cloud's year.

    Args:
        folder: Keeps the raw objects and each day's answers, so that an interrupted replay goes on.
        granted: Approvals are given without asking.
    """

    def __init__(self, cloud: LocalCloud, model: Model, folder: Path, *, granted: bool) -> None:
        self._cloud, self._model, self._folder, self._granted = cloud, model, folder, granted
        self._bucket = cloud.outputs(f"{model.app}-platform-{model.stage}")["DataBucketName"]
        self._ledger = Ledger(cloud, model)
        self._days = Days()
        self._said = ""
        self._told = max((row["sk"] for row in self._ledger.rows("retrain-decision")), default="")

    @property
    def answers(self) -> Path:
        return self._folder / "answers"

    def asked(self, day: date) -> bool:
        return (self.answers / f"{day}.csv").exists()

    def first_day(self) -> Traffic:
        """The first day, which shows what a caller sees."""
        self._advance(FIRST)
        return self._ask(FIRST, self._requests(FIRST))

    def through(self, last: date) -> None:
        """Every day that was not asked yet, up to the last."""
        month = 0
        for day in flights.days(FIRST, last):
            if self.asked(day):
                continue
            if day.month != month:
                self._days.end()
                heading(f"{day:%B}: a mark a day, D where the last seven days' data have drifted, Q where quality fell")
                month = day.month
            self._advance(day)
            self._labels_arrive(day - LABEL_DELAY)
            self._ask(day, self._requests(day))
            self._days.mark(self._mark(day))
            self._news()
        self._days.end()

    def _requests(self, day: date) -> list[flights.Request]:
        found = flights.requests(flights.raw_file(self._folder, day))
        return flights.opening(found, _SINGLE) if day == FIRST else found

    def _advance(self, day: date) -> None:
        noon = datetime.combine(day, time(12), UTC)
        while self._cloud.advance(noon, _RESOLUTION):
            self._news()
            self._decide()

    def _decide(self) -> None:
        """The newest proposal, with its evidence, to a person."""
        sagemaker = self._cloud.client("sagemaker")
        newest = sagemaker.list_model_packages(
            ModelPackageGroupName=self._model.group, SortBy="CreationTime", SortOrder="Descending", MaxResults=1
        )["ModelPackageSummaryList"][0]
        package = sagemaker.describe_model_package(ModelPackageName=newest["ModelPackageArn"])
        record = read_json(self._cloud, package["CustomerMetadataProperties"]["record_uri"])
        self._days.end()
        say(f"{self._cloud.now():%d %B}: version {package['ModelPackageVersion']} is proposed, because of")
        say(f"  {record['trigger']['kind']}: {record['trigger']['evidence']}")
        say(f"  {evaluation(self._cloud, package)['verdict']}")
        if approve(self._cloud, package, granted=self._granted):
            await_release(self._cloud, self._model, package["ModelPackageArn"])
            return
        # An open proposal would hold the clock, and every further training.
        sagemaker.update_model_package(
            ModelPackageArn=package["ModelPackageArn"],
            ModelApprovalStatus="Rejected",
            ApprovalDescription="Not approved in the demo.",
        )
        say("rejected: the live version stays")

    def _labels_arrive(self, day: date) -> None:
        """What became of a day's flights: under the hour in which it is known, and as the day's raw object."""
        if day < FIRST:
            return
        raw = flights.raw_file(self._folder, day)
        now = datetime.combine(day + LABEL_DELAY, time(12), UTC)
        s3 = self._cloud.client("s3")
        s3.put_object(
            Bucket=self._bucket,
            Key=f"{self._model.name}/ground-truth/{now:%Y/%m/%d/%H}/{day}.jsonl",
            Body="".join(ground_truth(request) for request in self._requests(day)).encode(),
        )
        s3.put_object(
            Bucket=self._bucket, Key=f"{self._model.name}/raw/{raw.parent.name}/{raw.name}", Body=raw.read_bytes()
        )

    def _ask(self, day: date, requests: list[flights.Request]) -> Traffic:
        release = live_version(self._cloud, self._model).split("|")[0]
        traffic = send(self._cloud, self._model, requests)
        asked = chain.from_iterable(zip(request.flights, request.labels, strict=True) for request in requests)
        write_answers(
            self.answers / f"{day}.csv",
            [
                Answered(flight, day, late, score, release)
                for (flight, late), score in zip(asked, traffic.scores, strict=True)
            ],
        )
        return traffic

    def _mark(self, day: date) -> str:
        """What was found at midnight: on the data up to it, on the answers up to two days before."""
        ends = {
            "data_quality": datetime.combine(day, time(), UTC),
            "model_quality": datetime.combine(day - LABEL_DELAY, time(), UTC),
        }
        since = f"verdict#{(day - LABEL_DELAY).isoformat()}"
        found = {(row["kind"], row["window_end"]): row["status"] for row in self._ledger.rows("verdict", since)}
        status = {kind: found.get((kind, end.isoformat()), "") for kind, end in ends.items()}
        return _MARKS.get(status["data_quality"], "-") + ("[red]Q[/]" if status["model_quality"] == "Drift" else "")

    def _news(self) -> None:
        for row in self._ledger.rows("retrain-decision", self._told):
            self._told = row["sk"]
            text = news(row)
            # Two invocations at once may both find that a run has ended.
            if text is not None and text != self._said:
                self._days.say(text)
                self._said = text


def news(row: Row) -> str | None:
    """What a person wants to hear of a retrain decision; None of that nothing was to be done."""
    if row["step"] not in {"Start", "Settle", "Refuse"}:
        return None
    return f"{row['at'][:10]}  {textwrap.shorten(row['reason'], 220)}"


def ground_truth(request: flights.Request) -> str:
    """A request's labels as Model Monitor takes them: one line, joined by the request's inference id."""
    data = {"data": "".join(f"{label}\n" for label in request.labels), "encoding": "CSV"}
    return json.dumps({"groundTruthData": data, "eventMetadata": {"eventId": request.id}, "eventVersion": "0"}) + "\n"
