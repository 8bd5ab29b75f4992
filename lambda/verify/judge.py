"""The judgement of a verification: from the endpoint's answers to the problems of the release. Pure."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from shared.release_policy import VerificationBounds


@dataclass(frozen=True)
class Call:
    """One request and its answer.

    Attributes:
        first: Index of its first row in the payload.
        rows: Number of rows sent.
        seconds: Time until the answer or the failure.
        answer: The body, None where the request failed.
        error: Why it failed.
        timed: Whether it counts for the latency: it sends one row and is not the first request.
    """

    first: int
    rows: int
    seconds: float
    answer: str | None
    error: str = ""
    timed: bool = True


@dataclass(frozen=True)
class VerificationResult:
    """The measurement of a release, and its problems.

    Attributes:
        rows: Rows of the payload.
        requests: Requests made.
        p50_ms: Median latency of a request of one row, as a caller in the region sees it.
        p95_ms: 95th percentile of that latency.
        errors: Requests that failed.
        largest_difference: Largest difference between an answer and its recorded score, None where none was recorded.
        problems: One sentence per problem. A release without problems is verified.
    """

    rows: int
    requests: int
    p50_ms: float
    p95_ms: float
    errors: int
    largest_difference: float | None
    problems: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """The measurement in words."""
        agreement = (
            "the record has no payload_scores, so agreement was not checked"
            if self.largest_difference is None
            else f"answers within {self.largest_difference:.2g} of the evaluation"
        )
        return (
            f"{self.rows} rows in {self.requests} requests, {self.errors} errors, "
            f"95th percentile {self.p95_ms:.0f} ms, {agreement}"
        )


def judge(
    calls: Sequence[Call], scores: Sequence[float] | None, rows: int, bounds: VerificationBounds
) -> VerificationResult:
    """Judge the calls.

    Args:
        calls: The requests and answers.
        scores: One score per row, as the evaluation recorded them; None where it recorded none.
        rows: Rows of the payload.
        bounds: The limits.
    """
    failed = [call for call in calls if call.answer is None]
    milliseconds = sorted(call.seconds * 1000 for call in calls if call.timed and call.answer is not None)
    problems: list[str] = []
    if 100 * len(failed) > bounds.error_percent * len(calls):
        problems.append(
            f"{len(failed)} of {len(calls)} requests failed, at most {bounds.error_percent:g} % may, "
            f"the first with {failed[0].error}"
        )
    p95 = percentile(milliseconds, 95)
    if p95 > bounds.latency_ms:
        problems.append(f"the 95th percentile of latency is {p95:.0f} ms, at most {bounds.latency_ms:g} ms is allowed")
    if scores is not None and len(scores) != rows:
        problems.append(f"the evaluation recorded {len(scores)} scores for the {rows} rows of the payload")
        scores = None
    answers = list(_answers(calls, problems))
    largest = None
    if scores is not None and not problems:
        largest = _largest_difference(answers, scores, bounds, problems)
    return VerificationResult(
        rows=rows,
        requests=len(calls),
        p50_ms=percentile(milliseconds, 50),
        p95_ms=p95,
        errors=len(failed),
        largest_difference=largest,
        problems=tuple(problems),
    )


def percentile(ordered: Sequence[float], percent: int) -> float:
    """Return a percentile by the nearest rank; 0 of nothing."""
    return ordered[math.ceil(len(ordered) * percent / 100) - 1] if ordered else 0.0


def _answers(calls: Sequence[Call], problems: list[str]) -> Iterator[tuple[int, str]]:
    """Return index and first column of each answered row. Report the first answer of another shape as a problem."""
    for call in calls:
        if call.answer is None:
            continue
        found = [row for row in csv.reader(io.StringIO(call.answer)) if row]
        if len(found) != call.rows:
            problems.append(f"{call.rows} rows were sent and {len(found)} answered")
            return
        for index, row in enumerate(found):
            yield call.first + index, row[0]


def _largest_difference(
    answers: Sequence[tuple[int, str]], scores: Sequence[float], bounds: VerificationBounds, problems: list[str]
) -> float | None:
    largest, where, answered = 0.0, 0, ""
    for index, text in answers:
        difference = _difference(text, scores[index])
        if difference is None:
            problems.append(f"row {index + 1} was answered with {text[:40]!r}, which is not a number")
            return None
        if difference > largest:
            largest, where, answered = difference, index, text
    if largest > bounds.tolerance:
        problems.append(
            f"row {where + 1} was answered with {answered} and the evaluation scored {scores[where]:g}, "
            f"further apart than {bounds.tolerance:g}"
        )
    return largest


def _difference(text: str, score: float) -> float | None:
    try:
        difference = abs(float(text) - score)
    except ValueError:
        return None
    return difference if math.isfinite(difference) else None
