"""The table of a proof, as files that can be sent."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from evergreen.prove import rows
from evergreen.prove.state import State

_ACCOUNT = "<account>"


def write(folder: Path, state: State) -> Path:
    """Write the table as Markdown and as JSON, without the account's number. Return the Markdown file."""
    document = content(state)
    (folder / "report.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    path = folder / "report.md"
    path.write_text(markdown(document), encoding="utf-8")
    return path


def content(state: State) -> dict[str, Any]:
    """Return the report's content."""
    listed = [{key: _masked(value, state.account) for key, value in row.items()} for row in rows.table(state.rows)]
    return {
        "name": state.name,
        "region": state.region,
        "began": state.began,
        "engine": state.facts.get("engine", ""),
        "steps": list(state.done),
        "failure": _masked(state.failure, state.account),
        "counts": dict(Counter(row["verdict"] for row in listed)),
        "rows": listed,
    }


def markdown(document: dict[str, Any]) -> str:
    """Return the report for people."""
    counts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(document["counts"].items()))
    lines = [
        f"# Proof {document['name']}",
        "",
        f"Region {document['region']}, begun {document['began']}, engine {document['engine'] or 'unknown'}: {counts}.",
        *(["", f"It stopped: {document['failure']}"] if document["failure"] else []),
        "",
        "| id | assumption | source | expected | seen | verdict |",
        "|---|---|---|---|---|---|",
    ]
    columns = ("id", "statement", "source", "expected", "seen", "verdict")
    for row in document["rows"]:
        lines.append("| " + " | ".join(row[column].replace("|", "\\|") for column in columns) + " |")
    return "\n".join(lines) + "\n"


def _masked(text: str, account: str) -> str:
    """Return a text without account numbers."""
    return re.sub(r"(?<!\d)\d{12}(?!\d)", _ACCOUNT, text.replace(account, _ACCOUNT))
