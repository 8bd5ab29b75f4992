"""Requests to the endpoint, good ones and wrong ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from evergreen.prove import application
from evergreen.prove.proof import Proof

CSV, JSON = "text/csv", "application/json"
_BATCH = 100
_TOO_FEW, _NO_JSON = "UA,EWR", "not json"


@dataclass(frozen=True)
class Answer:
    """An answer of the endpoint.

    Attributes:
        status: The HTTP status that the model's container gave, or SageMaker itself.
        content_type: Of a good answer.
        body: Of a good answer; otherwise the error's sentence.
    """

    status: int
    content_type: str
    body: str


def ask(proof: Proof, body: bytes, content_type: str = CSV, accept: str | None = None) -> Answer:
    """Send one request. A refusal is an answer, too."""
    options: dict[str, Any] = {"Accept": accept} if accept else {}
    try:
        reply = proof.client("sagemaker-runtime").invoke_endpoint(
            EndpointName=proof.names.endpoint, ContentType=content_type, Body=body, **options
        )
    except ClientError as error:
        details: dict[str, Any] = dict(error.response)
        status = details.get("OriginalStatusCode") or details["ResponseMetadata"]["HTTPStatusCode"]
        if error.response["Error"]["Code"] not in {"ModelError", "ValidationError", "ValidationException"}:
            raise
        return Answer(int(status), "", str(error))
    return Answer(200, str(reply.get("ContentType", "")), reply["Body"].read().decode())


def send(proof: Proof, rows: Sequence[str]) -> int:
    """Send rows in batches. Return the number of scores."""
    return sum(len(ask(proof, body, CSV, CSV).body.split()) for body in application.batches(rows, _BATCH))


def malformed(row: str) -> dict[str, tuple[bytes, str, str | None]]:
    """Return requests that are wrong, by what is wrong: body, content type, Accept."""
    good = f"{row}\n".encode()
    return {
        "a header row": (f"{application.header()}\n".encode() + good, CSV, None),
        "an unknown content type": (good, "application/xml", None),
        "too few columns": (f"{_TOO_FEW}\n".encode(), CSV, None),
        "no JSON": (_NO_JSON.encode(), JSON, None),
        "an empty body": (b"", CSV, None),
        "an unknown Accept": (good, CSV, "application/xml"),
    }


def is_malformed(body: str) -> bool:
    """Say whether a captured request is one of those whose body is wrong."""
    return body.strip() in {_TOO_FEW, _NO_JSON, ""} or body.startswith(application.header())


def send_malformed(proof: Proof, row: str) -> dict[str, int]:
    """Send each malformed request once. Return the statuses by what is wrong."""
    return {wrong: ask(proof, *request).status for wrong, request in malformed(row).items()}


def are_refusals(statuses: dict[str, int]) -> bool:
    """Say whether every status is the caller's mistake."""
    return all(400 <= status < 500 for status in statuses.values())


def winter(proof: Proof) -> list[str]:
    """Return request rows of the training's own days."""
    return application.winter_rows(list(application.raw_files(proof.folder).values()))
