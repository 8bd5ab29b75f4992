"""Read and write JSON with orjson, or with the standard library, because SageMaker's images lack orjson."""

import json
import math
from typing import Any

try:
    import orjson
except ImportError:
    orjson = None  # type: ignore[assignment]


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def loads(data: bytes | str) -> Any:
    """Parse strict JSON.

    Raises:
        ValueError: The data are not JSON in UTF-8; NaN and Infinity are not.
    """
    if orjson is not None:
        return orjson.loads(data)
    text = data.decode("utf-8") if isinstance(data, bytes) else data
    text.encode("utf-8")
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def dumps(value: object, *, indent: bool = False) -> bytes:
    """Return JSON with sorted keys; numbers that are not finite become null."""
    if orjson is not None:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | (orjson.OPT_INDENT_2 if indent else 0))
    text = json.dumps(_finite(value), sort_keys=True, indent=2 if indent else None, ensure_ascii=False)
    return text.encode("utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
