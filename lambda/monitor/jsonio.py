"""JSON in and out: orjson where it is installed, else the standard library (SageMaker's images lack orjson)."""

import json
from typing import Any

try:
    import orjson
except ImportError:
    orjson = None  # type: ignore[assignment]


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def loads(data: bytes | str) -> Any:
    """Parse strict JSON: NaN and Infinity raise ValueError with either parser, and so does invalid UTF-8."""
    if orjson is not None:
        return orjson.loads(data)
    text = data.decode("utf-8") if isinstance(data, bytes) else data
    text.encode("utf-8")
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def dumps(value: object, *, indent: bool = False) -> bytes:
    """Canonical JSON (sorted keys); NaN is refused by the standard library and so never written by either parser."""
    text = json.dumps(value, sort_keys=True, indent=2 if indent else None, allow_nan=False)
    return text.encode("utf-8")
