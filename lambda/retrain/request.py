"""Parse the requests of people and deliveries, which invoke the function directly."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from retrain.evidence import one_sentence
from retrain.observation import RetrainRequest, RetrainTrigger

_CODE = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
# No blanks: an e-mail address, or a name as the registry knows people.
_AUTHOR = re.compile(r"\S{1,254}")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_KNOWN = {"retrain", "reason", "code", "commit", "author"}


@dataclass(frozen=True)
class ParsedRequest:
    """A request, and the model that it is for."""

    model: str
    request: RetrainRequest


def parse_request(
    event: Mapping[str, Any], models: Collection[str], invocation: str, now: datetime
) -> ParsedRequest | None:
    """Return the request in an event, or None where the event is a hint.

    Args:
        event: `{"retrain": model, "reason": sentence}` from a person. A delivery adds `"code": sha256`, and optionally
            `"commit": id` and `"author": address`.
        models: The stage's models.
        invocation: The id of a person's request.
        now: When the request was received.

    Raises:
        ValueError: The request is not valid. The message is one line.
    """
    if "retrain" not in event:
        return None
    model, reason, code, commit = (event.get(name, "") for name in ("retrain", "reason", "code", "commit"))
    unknown = sorted(set(event) - _KNOWN)
    if unknown:
        raise ValueError(f"a request has the keys {', '.join(sorted(_KNOWN))}, got {', '.join(unknown)} too")
    if model not in models:
        raise ValueError(f"no model {model!r} is in this stage; there are {', '.join(sorted(models)) or 'none'}")
    # A lone surrogate of a JSON escape is no character, and no AWS API takes it.
    if not isinstance(reason, str) or not one_sentence(reason) or _SURROGATE.search(reason):
        raise ValueError(f"reason must be a sentence, got {reason!r}")
    if "code" in event and not (isinstance(code, str) and _CODE.fullmatch(code)):
        raise ValueError(f"code must be the SHA-256 of the model's code, 64 hexadecimal digits, got {code!r}")
    if "commit" in event and not (isinstance(commit, str) and _COMMIT.fullmatch(commit)):
        raise ValueError(f"commit must be a commit id in hexadecimal digits, got {commit!r}")
    author = event.get("author", "")
    if author != "" and not (isinstance(author, str) and _AUTHOR.fullmatch(author) and not _SURROGATE.search(author)):
        raise ValueError(f"author must be the commit's author, an e-mail address, got {author!r}")
    trigger = RetrainTrigger.CODE if code else RetrainTrigger.PERSON
    request = RetrainRequest(trigger, code or invocation, one_sentence(reason), now, commit, author=author)
    return ParsedRequest(model, request)
