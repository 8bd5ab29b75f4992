"""Stand-in for Model Monitor's merge container: joins captured requests with their labels.

A label is matched to a request by `inferenceId`, else by `eventId`. Of two labels the later one counts. Requests
without a label are left out.
Source: "Ingest ground truth labels and merge them with predictions" (SageMaker Developer Guide).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def main() -> int:
    """Merge the data that the environment names, and print the number of labels."""
    environment = os.environ
    labels = {key: label for label in _lines(Path(environment["ground_truth_source"])) for key in _keys(label)[:1]}
    target = Path(environment["output_path"])
    target.mkdir(parents=True, exist_ok=True)
    requests = merged = 0
    with (target / "merged.jsonl").open("w") as file:
        for record in _lines(Path(environment["dataset_source"])):
            moment = record.get("eventMetadata", {}).get("inferenceTime", "")
            if not environment["start_time"] <= moment < environment["end_time"]:
                continue
            requests += 1
            label = next((labels[key] for key in _keys(record) if key in labels), None)
            if label is not None and "groundTruthData" in label:
                merged += 1
                file.write(json.dumps({**record, "groundTruthData": label["groundTruthData"]}) + "\n")
    sys.stdout.write(f"{merged} of {requests} requests have a label\n")
    return 0


def _keys(record: dict[str, Any]) -> list[str]:
    metadata = record.get("eventMetadata", {})
    return [metadata[name] for name in ("inferenceId", "eventId") if metadata.get(name)]


def _lines(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the records below the folder in the order of the file names, which is the order of arrival."""
    for path in sorted(folder.rglob("*.jsonl")):
        for line in path.read_text().splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                sys.stdout.write(f"{path.name}: a line that is not JSON is left out\n")
                continue
            if isinstance(record, dict):
                yield record


if __name__ == "__main__":
    raise SystemExit(main())
