"""The replay of March to December, day by day on the virtual clock.

Each day the clock advances to noon, and everything scheduled until then runs. The flights of two days before get their
labels, as ground truth and as a raw object. Then the day's flights are sent to the endpoint. Nothing here retrains or
releases: Evergreen does.
"""

from __future__ import annotations

import json
import textwrap
from datetime import UTC, date, datetime, time, timedelta
from itertools import chain
from pathlib import Path

from evergreen.demo import flights
from evergreen.demo.cloud import LocalCloud, ledger_of
from evergreen.demo.figures import Answered, write_answers
from evergreen.demo.serving import Traffic, await_release, live_version, send
from evergreen.demo.terminal import Days, heading, say
from evergreen.demo.training import approve, evaluation, read_json
from evergreen.ledger import REQUEST_REFUSED, RUN_ENDED, RUN_STARTED, Row
from evergreen.names import Names

FIRST = date(2013, 3, 1)
LABEL_DELAY = timedelta(days=2)
_SINGLE = 200  # flights of the first day that are sent one by one, to measure the latency that a caller sees
# Ticks and schedules within half a day run together: once at midnight, and once at noon, when the controllers read the
# verdicts of midnight. With one run a day, each reaction to drift would come a day later.
_RESOLUTION = timedelta(hours=12)
_MARKS = {"OK": "·", "Drift": "[red]D[/]", "Violation": "[red]V[/]"}


class Replay:
    """The replay on one local cloud.

    Args:
        cloud: The local cloud, on an accelerated clock.
        model: The model's names.
        folder: Keeps the raw objects and each day's answers, so that an interrupted replay continues.
        granted: Approvals are given without asking.
    """

    def __init__(self, cloud: LocalCloud, model: Names, folder: Path, *, granted: bool) -> None:
        self._cloud, self._model, self._folder, self._granted = cloud, model, folder, granted
        self._bucket = cloud.outputs(model.platform_stack)["DataBucketName"]
        self._ledger = ledger_of(cloud, model)
        self._days = Days()
        self._last_news = ""
        self._read_up_to = max((row["sk"] for row in self._ledger.rows("retrain-decision")), default="")

    @property
    def answers(self) -> Path:
        """The folder with each day's answers."""
        return self._folder / "answers"

    def asked(self, day: date) -> bool:
        """Say whether a day's flights were sent and answered."""
        return (self.answers / f"{day}.csv").exists()

    def first_day(self) -> Traffic:
        """Replay the first day. Return its scores and latencies."""
        self._advance(FIRST)
        return self._ask(FIRST, self._requests(FIRST))

    def through(self, last: date) -> None:
        """Replay every day that was not replayed yet, up to the last one."""
        month = 0
        for day in flights.days(FIRST, last):
            if self.asked(day):
                continue
            if day.month != month:
                self._days.end()
                heading(f"{day:%B}, one a day: · no drift, D data drift, V broken features, Q quality below baseline")
                month = day.month
            self._advance(day)
            self._labels_arrive(day - LABEL_DELAY)
            self._ask(day, self._requests(day))
            self._days.mark(self._mark(day))
            self._print_news()
        self._days.end()

    def _requests(self, day: date) -> list[flights.Request]:
        found = flights.requests(flights.raw_file(self._folder, day))
        return flights.opening(found, _SINGLE) if day == FIRST else found

    def _advance(self, day: date) -> None:
        noon = datetime.combine(day, time(12), UTC)
        while self._cloud.advance(noon, _RESOLUTION):
            self._print_news()
            self._decide()

    def _decide(self) -> None:
        """Ask a person about the newest version, with the evidence, and release it if approved."""
        sagemaker = self._cloud.client("sagemaker")
        newest = sagemaker.list_model_packages(
            ModelPackageGroupName=self._model.group, SortBy="CreationTime", SortOrder="Descending", MaxResults=1
        )["ModelPackageSummaryList"][0]
        package = sagemaker.describe_model_package(ModelPackageName=newest["ModelPackageArn"])
        record = read_json(self._cloud, package["CustomerMetadataProperties"]["record_uri"])
        self._days.end()
        version, trigger = package["ModelPackageVersion"], record["trigger"]
        verdict = evaluation(self._cloud, package)["verdict"]
        say(f"{self._cloud.now():%d %B}  version {version} waits for approval: {verdict}")
        say(f"[dim]trained because of {trigger['kind']}: {trigger['evidence']}[/]")
        if approve(self._cloud, package, granted=self._granted):
            await_release(self._cloud, self._model, package["ModelPackageArn"])
            return
        # A version that waits for approval stops the clock and every further training.
        sagemaker.update_model_package(
            ModelPackageArn=package["ModelPackageArn"],
            ModelApprovalStatus="Rejected",
            ApprovalDescription="Not approved in the demo.",
        )
        say(f"version {version} is rejected; the live version stays")

    def _labels_arrive(self, day: date) -> None:
        """Write a day's labels as ground truth, under the hour of their arrival, and the day's raw object."""
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
        """Return the day's mark from the verdicts of midnight. Quality is judged on answers up to two days before."""
        ends = {
            "data_quality": datetime.combine(day, time(), UTC),
            "model_quality": datetime.combine(day - LABEL_DELAY, time(), UTC),
        }
        since = f"verdict#{(day - LABEL_DELAY).isoformat()}"
        found = {(row["kind"], row["window_end"]): row["status"] for row in self._ledger.rows("verdict", since)}
        status = {kind: found.get((kind, end.isoformat()), "") for kind, end in ends.items()}
        return _MARKS.get(status["data_quality"], "-") + ("[red]Q[/]" if status["model_quality"] == "Drift" else "")

    def _print_news(self) -> None:
        for row in self._ledger.rows("retrain-decision", self._read_up_to):
            self._read_up_to = row["sk"]
            text = news(row)
            # Two invocations at once may both report that a run has ended.
            if text is not None and text != self._last_news:
                self._days.say(text)
                self._last_news = text


def news(row: Row) -> str | None:
    """Return a retrain decision as a line, None for a decision to do nothing.

    A run that ended with a version is left out: the question about its approval follows.
    """
    if row["step"] not in {RUN_STARTED, RUN_ENDED, REQUEST_REFUSED} or "waits for approval" in row["reason"]:
        return None
    return f"{datetime.fromisoformat(row['at']):%d %B}  {textwrap.shorten(row['reason'], 220, placeholder=' …')}"


def ground_truth(request: flights.Request) -> str:
    """Return a request's labels in Model Monitor's format: one line, joined by the request's inference id."""
    data = {"data": "".join(f"{label}\n" for label in request.labels), "encoding": "CSV"}
    return json.dumps({"groundTruthData": data, "eventMetadata": {"eventId": request.id}, "eventVersion": "0"}) + "\n"
