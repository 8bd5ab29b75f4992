"""What a person or a delivery asks for, by direct invocation."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from retrain.causes import one_sentence
from retrain.world import Request

_CODE = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
# No blanks: an e-mail address, or a name as the registry knows people.
_AUTHOR = re.compile(r"\S{1,254}")
_KNOWN = {"retrain", "reason", "code", "commit", "author"}


@dataclass(frozen=True)
class Asked:
    """A request, and the model it is for."""

    model: str
    request: Request


def request_of(event: Mapping[str, Any], models: Collection[str], invocation: str, now: datetime) -> Asked | None:
    """Return what the event asks for, or None where it is only a hint.

    Args:
        event: `{"retrain": model, "reason": sentence}` from a person; with `"code": sha256` and perhaps
            `"commit": id` and `"author": address` from a delivery.

    Raises:
        ValueError: it asks for what cannot be; one line.
    """
    if "retrain" not in event:
        return None
    model, reason, code, commit = (event.get(name, "") for name in ("retrain", "reason", "code", "commit"))
    unknown = sorted(set(event) - _KNOWN)
    if unknown:
        raise ValueError(f"a request has {', '.join(sorted(_KNOWN))}, got {', '.join(unknown)} too")
    if model not in models:
        raise ValueError(f"no model {model!r} is in this stage; there are {', '.join(sorted(models)) or 'none'}")
    if not isinstance(reason, str) or not reason.strip():
        raise ValueError(f"a request gives its reason in a sentence, got {reason!r}")
    if "code" in event and not (isinstance(code, str) and _CODE.fullmatch(code)):
        raise ValueError(f"code is the SHA-256 of the model's code, 64 hexadecimal digits, got {code!r}")
    if "commit" in event and not (isinstance(commit, str) and _COMMIT.fullmatch(commit)):
        raise ValueError(f"commit is a commit's id in hexadecimal digits, got {commit!r}")
    author = event.get("author", "")
    if author and not (isinstance(author, str) and _AUTHOR.fullmatch(author)):
        raise ValueError(f"author is the commit's author, an e-mail address, got {author!r}")
    trigger = "code" if code else "person"
    return Asked(model, Request(trigger, code or invocation, one_sentence(reason), now, commit, author=author))
