"""`DataProcessing` of transform jobs: JSONPath filters on records, and the join of input and output.

Source: SageMaker Developer Guide, "Associate Prediction Results with Input Records".
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_PATH = re.compile(r"\$(?P<rest>.*)")
_STEP = re.compile(r"\.(?P<name>[\w-]+)|\['(?P<quoted>[^']+)'\]|\[(?P<index>-?\d+(?:,-?\d+)*)\]|"
                   r"\[(?P<start>-?\d*):(?P<end>-?\d*)\]")  # fmt: skip
_FAILURE = "ClientError: {}"


class FilterError(ValueError):
    """A filter or a record does not fit; the text is the job's failure reason."""


def check(processing: Mapping[str, Any]) -> None:
    """Check the filters of a request.

    Raises:
        FilterError: a filter is no JSONPath that batch transform supports.
    """
    for member in ("InputFilter", "OutputFilter"):
        _steps(processing.get(member, "$"))


def applied(
    request: Mapping[str, Any], body: bytes, invoke: Callable[[bytes], bytes], transform: Callable[..., bytes]
) -> bytes:
    """Return one object's output with the request's `DataProcessing`.

    Args:
        request: the `CreateTransformJob` request.
        body: the object.
        invoke: sends one request body to the model.
        transform: `batch.transform`.

    Raises:
        FilterError: a record does not fit the filter, or input and output have different numbers of records.
    """
    processing = request.get("DataProcessing") or {}
    chosen = processing.get("InputFilter", "$"), processing.get("OutputFilter", "$")
    join = processing.get("JoinSource", "None") == "Input"
    if chosen == ("$", "$") and not join:
        return transform(request, body, invoke)
    source = request["TransformInput"].get("ContentType", "text/csv")
    target = request["TransformOutput"].get("Accept") or source
    records = _records(body, source)
    sent = _body([_select(one, chosen[0]) for one in records], source)
    answers = _records(transform(request, sent, invoke), target)
    if join:
        if len(answers) != len(records):
            raise FilterError(
                _FAILURE.format(f"{len(records)} input records cannot be joined with {len(answers)} output records")
            )
        answers = [_joined(one, answer) for one, answer in zip(records, answers, strict=True)]
    return _body([_select(one, chosen[1]) for one in answers], source if join else target)


def _records(body: bytes, content_type: str) -> list[Any]:
    text = body.decode("utf-8")
    if "csv" in content_type:
        return [row for row in csv.reader(io.StringIO(text)) if row]
    try:
        if "jsonlines" in content_type:
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        if "json" in content_type:
            return [json.loads(text)]
    except ValueError as error:
        raise FilterError(_FAILURE.format(f"a record is not valid JSON: {error}")) from error
    raise FilterError(_FAILURE.format(f"DataProcessing needs CSV, JSON or JSON Lines, got {content_type}"))


def _body(records: Sequence[Any], content_type: str) -> bytes:
    if "csv" in content_type:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(one if isinstance(one, list) else [one] for one in records)
        return text.getvalue().encode()
    return "".join(json.dumps(one) + "\n" for one in records).encode()


def _joined(record: Any, answer: Any) -> Any:
    if isinstance(record, list):
        return [*record, *(answer if isinstance(answer, list) else [answer])]
    if isinstance(record, dict):
        return {**record, "SageMakerOutput": answer}
    return {"SageMakerInput": record, "SageMakerOutput": answer}


def _steps(path: str) -> list[re.Match[str]]:
    whole = _PATH.fullmatch(path)
    rest, found = (whole["rest"] if whole else "?"), []
    while rest:
        step = _STEP.match(rest)
        if step is None:
            raise FilterError(_FAILURE.format(f"the filter {path!r} is not a supported JSONPath"))
        found.append(step)
        rest = rest[step.end() :]
    return found


def _select(value: Any, path: str) -> Any:
    for step in _steps(path):
        name = step["name"] or step["quoted"]
        try:
            if name is not None:
                value = value[name]
            elif step["index"] is not None:
                indices = [int(one) for one in step["index"].split(",")]
                value = value[indices[0]] if len(indices) == 1 else [value[one] for one in indices]
            else:
                start, end = (int(step[side]) if step[side] else None for side in ("start", "end"))
                value = value[slice(start, end)]
        except (KeyError, IndexError, TypeError) as error:
            raise FilterError(_FAILURE.format(f"the filter {path!r} does not fit a record")) from error
    return value
