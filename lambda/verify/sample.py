"""What a release carries to be verified by: its sample payload, and the scores that its evaluation gave to it."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shared.canonical import sha256_of
from shared.record import release_id, version_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# More says no more, and a request to an endpoint holds 6 MB.
_MOST_ROWS = 100


class NoSample(Exception):
    """The release cannot be verified by what it carries; the message says why in one sentence."""


@dataclass(frozen=True)
class Sample:
    """A release's payload.

    Attributes:
        rows: of its CSV, at most 100.
        content_type: of a request.
        scores: of the rows, None where the evaluation recorded none.
    """

    rows: tuple[tuple[str, ...], ...]
    content_type: str
    scores: tuple[float, ...] | None

    def body(self, first: int, count: int) -> bytes:
        """Return some rows as a request."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(self.rows[first : first + count])
        return text.getvalue().encode()


def read_sample(s3: S3Client, bucket: str, model: str, release: str) -> Sample:
    """Read the release's own copies, and check that they are what was registered.

    Raises:
        NoSample: they are not, or the payload has no rows.
    """
    folder = f"releases/{model}/{release}"
    record = s3.get_object(Bucket=bucket, Key=f"{folder}/record.json")["Body"].read()
    if release != release_id(version_of(release) or 0, sha256_of(record)):
        raise NoSample(f"its registration record s3://{bucket}/{folder}/record.json is not the one it is named by")
    content: dict[str, Any] = json.loads(record)
    payload = s3.get_object(Bucket=bucket, Key=f"{folder}/payload.csv")["Body"].read()
    registered = content["sample_payload"]
    if sha256_of(payload) != registered["sha256"]:
        raise NoSample(f"its payload s3://{bucket}/{folder}/payload.csv is not what was registered")
    rows = [tuple(row) for row in csv.reader(io.StringIO(payload.decode())) if row][:_MOST_ROWS]
    if not rows:
        raise NoSample("its sample payload has no rows")
    scores = content.get("evaluation", {}).get("payload_scores")
    return Sample(
        rows=tuple(rows),
        content_type=registered.get("content_type", "text/csv"),
        scores=None if scores is None else tuple(float(score) for score in scores[:_MOST_ROWS]),
    )
