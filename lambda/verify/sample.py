"""The sample of a release: its payload, and the scores that its evaluation recorded for it."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shared.canonical import sha256_of
from shared.release_record import release_id, version_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# More rows prove no more, and a request to an endpoint holds 6 MB.
_MOST_ROWS = 100


class SampleError(Exception):
    """A release cannot be verified by its sample. The message is the reason in one sentence."""


@dataclass(frozen=True)
class Sample:
    """The sample of a release.

    Attributes:
        rows: The rows of its CSV, at most 100.
        content_type: The content type of a request.
        scores: One score per row, None where the evaluation recorded none.
    """

    rows: tuple[tuple[str, ...], ...]
    content_type: str
    scores: tuple[float, ...] | None

    def body(self, first: int, count: int) -> bytes:
        """Return `count` rows from index `first` as the body of a request."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(self.rows[first : first + count])
        return text.getvalue().encode()


def read_sample(s3: S3Client, bucket: str, model: str, release: str) -> Sample:
    """Read the copies in the release, and check them against what was registered.

    Raises:
        SampleError: They differ, or the payload has no rows.
    """
    try:
        return _read_sample(s3, bucket, model, release)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SampleError(f"its registration record or its payload cannot be read: {error!r}") from error


def _read_sample(s3: S3Client, bucket: str, model: str, release: str) -> Sample:
    folder = f"releases/{model}/{release}"
    record = s3.get_object(Bucket=bucket, Key=f"{folder}/record.json")["Body"].read()
    if release != release_id(version_of(release) or 0, sha256_of(record)):
        raise SampleError(f"its registration record s3://{bucket}/{folder}/record.json is not the one it is named by")
    content: dict[str, Any] = json.loads(record)
    payload = s3.get_object(Bucket=bucket, Key=f"{folder}/payload.csv")["Body"].read()
    registered = content["sample_payload"]
    if sha256_of(payload) != registered["sha256"]:
        raise SampleError(f"its payload s3://{bucket}/{folder}/payload.csv is not what was registered")
    rows = [tuple(row) for row in csv.reader(io.StringIO(payload.decode())) if row][:_MOST_ROWS]
    if not rows:
        raise SampleError("its sample payload has no rows")
    scores = content.get("evaluation", {}).get("payload_scores")
    return Sample(
        rows=tuple(rows),
        content_type=registered.get("content_type", "text/csv"),
        scores=None if scores is None else _scores(scores),
    )


def _scores(recorded: object) -> tuple[float, ...]:
    """Return the recorded scores.

    Raises:
        SampleError: They are not a list of numbers: no answer can be compared with them.
    """
    if not isinstance(recorded, list):
        raise SampleError(f"its payload_scores must be a list of numbers, got {json.dumps(recorded)[:80]}")
    for score in recorded[:_MOST_ROWS]:
        if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
            raise SampleError(f"its payload_scores must be numbers, got {json.dumps(score)[:80]} among them")
    return tuple(float(score) for score in recorded[:_MOST_ROWS])
