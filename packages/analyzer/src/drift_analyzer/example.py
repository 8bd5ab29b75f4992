"""Example data: a reference, and three hours of captured traffic of which the last two have drifted."""

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

_REFERENCE_ROWS, _HOURLY_REQUESTS = 5000, 600
_START = datetime(2026, 2, 14, 15, tzinfo=UTC)
_WARMING = (0.0, 6.0, 6.0)
"""Degrees by which the temperature of each hour exceeds the reference."""


def write_example(folder: Path) -> tuple[int, int]:
    """Write `reference.csv` and `capture/`, always with the same content.

    Returns:
        The number of reference rows, and of captured requests.
    """
    source = random.Random(2026)  # noqa: S311 (example data, no secret)
    rows = [_row(source) for _ in range(_REFERENCE_ROWS)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "reference.csv").write_text("\n".join(["temperature,humidity,site", *rows]) + "\n", encoding="utf-8")
    for number, warming in enumerate(_WARMING):
        hour = _START + timedelta(hours=number)
        path = folder / "capture" / "weather" / "AllTraffic" / f"{hour:%Y/%m/%d/%H}" / "requests.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(line + "\n" for line in _requests(source, hour, warming)), encoding="utf-8")
    return _REFERENCE_ROWS, _HOURLY_REQUESTS * len(_WARMING)


def _row(source: random.Random, warming: float = 0.0) -> str:
    temperature, humidity = source.gauss(15 + warming, 5), source.uniform(0.3, 0.9)
    return f"{temperature:.2f},{humidity:.3f},{source.choice(('north', 'south', 'west'))}"


def _requests(source: random.Random, hour: datetime, warming: float) -> Iterator[str]:
    csv = {"observedContentType": "text/csv", "encoding": "CSV"}
    for number in range(_HOURLY_REQUESTS):
        moment = hour + timedelta(seconds=number * 3600 // _HOURLY_REQUESTS)
        record = {
            "captureData": {
                "endpointInput": {**csv, "mode": "INPUT", "data": _row(source, warming) + "\n"},
                "endpointOutput": {**csv, "mode": "OUTPUT", "data": f"{source.random():.4f}\n"},
            },
            "eventMetadata": {"eventId": f"{hour:%H}-{number:04}", "inferenceTime": f"{moment:%Y-%m-%dT%H:%M:%SZ}"},
            "eventVersion": "0",
        }
        yield json.dumps(record)
