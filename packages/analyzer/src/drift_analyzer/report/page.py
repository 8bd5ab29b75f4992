"""Parts that all reports share: the frame, the verdict, violations, bad records, and a place for further sections."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from html import escape

_STYLE = """
:root{color-scheme:light;--ink:#1c2430;--dim:#667085;--line:#e4e7ec;--base:#98a2b3;--now:#2563eb;
--bad:#c2410c;--ok:#15803d}*{box-sizing:border-box}
body{font:15px/1.45 system-ui,'DejaVu Sans',sans-serif;color:var(--ink);background:#f6f7f9;margin:0}
main{max-width:1080px;margin:0 auto;padding:28px 20px 60px}h1{font-size:26px;margin:0 0 4px}
h2{font-size:17px;margin:34px 0 10px}
.card{background:#fff;border:1px solid var(--line);border-radius:10px;padding:16px 18px}
.head{border-left:8px solid var(--ok)}.head.Drift{border-color:var(--bad)}
.head.Violation{border-color:var(--bad)}.head.InsufficientData{border-color:var(--base)}.dim{color:var(--dim);font-size:13px}
.facts{display:flex;gap:28px;flex-wrap:wrap;margin-top:12px}.facts b{display:block;font-size:19px}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(245px,1fr));gap:12px}.cell b{font-size:14px}
.cell.drifted{border-color:var(--bad)}
.tag{font-size:11px;border-radius:9px;padding:1px 7px;background:#eef1f5;margin-left:6px}
.tag.bad{background:#fdeadf;color:var(--bad)}svg{display:block;width:100%;height:auto}.card p{margin:10px 0 0}
svg text{font:12px system-ui,'DejaVu Sans'}table{border-collapse:collapse;width:100%;font-size:13px}
.when{white-space:nowrap;color:var(--dim)}
td,th{vertical-align:top;text-align:left;padding:5px 16px 5px 0;border-bottom:1px solid var(--line)}
.key i{display:inline-block;width:11px;height:11px;border-radius:2px;margin:0 5px 0 12px}
"""
_HISTORY = "<!-- history -->"


def page(kind: str, title: str, sections: Iterable[str]) -> str:
    """Assemble a page.

    Args:
        kind: The kind of monitor, such as `Data quality`.
        title: The verdict in a few words.
        sections: HTML sections; the first is the head.
    """
    head, *rest = sections
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(kind)}: {escape(title)}</title>'
        f"<style>{_STYLE}</style><main>{head}{_HISTORY}{''.join(rest)}</main></html>\n"
    )


def with_history(text: str, sections: str) -> str:
    """Insert sections below the verdict, such as earlier verdicts, which a job without a network does not know."""
    return text.replace(_HISTORY, sections, 1)


def head(subject: str, status: str, title: str, reason: str, facts: Mapping[str, str]) -> str:
    """Render the verdict.

    Args:
        subject: The monitor and the window.
        status: The status, for the colour.
        title: The verdict in a few words.
        reason: The reason in one sentence.
        facts: Figures by name.
    """
    shown = "".join(
        f"<span><b>{escape(value)}</b><span class=dim>{escape(name)}</span></span>" for name, value in facts.items()
    )
    return (
        f'<section class="card head {status}"><span class=dim>{escape(subject)}</span><h1>{escape(title)}</h1>'
        f"<div>{escape(reason)}</div><div class=facts>{shown}</div></section>"
    )


def subject(kind: str, when: str) -> str:
    """Return the monitor with its window, if one is given."""
    return f"{kind} · {when}" if when else kind


def period(start: float | None, end: float | None) -> str:
    """Return a window of inference time (epoch seconds) in words."""
    first, last = (
        None if one is None else f"{datetime.fromtimestamp(one, UTC):%Y-%m-%d %H:%M}" for one in (start, end)
    )
    if first and last:
        return f"{first} to {last} UTC"
    return f"from {first} UTC" if first else f"up to {last} UTC" if last else "all captured data"


def short(name: str) -> str:
    """Shorten a name to 28 characters; its end, which tells long names apart, stays."""
    return name if len(name) <= 28 else f"{name[:12]}…{name[-15:]}"


def violations(found: Iterable[Mapping[str, str]]) -> str:
    """Render the violated constraints."""
    rows = "".join(
        f"<tr><td><b>{escape(_subject(item))}</b><td>{escape(item['constraint_check_type'])}"
        f"<td>{escape(item['description'])}"
        for item in found
    )
    head = "<tr><th>feature or metric<th>check<th>description"
    return f"<h2>Violations</h2><div class=card><table>{head}{rows}</table></div>" if rows else ""


def _subject(item: Mapping[str, str]) -> str:
    if "facet" in item:
        return f"{item['metric_name']} of {item['facet']} = {item['facet_value']}"
    return item.get("feature_name") or item.get("metric_name") or "(no name)"


def bad_records(count: int, reasons: Mapping[str, int]) -> str:
    """Render the number of bad records by reason."""
    if not count:
        return ""
    ordered = sorted(reasons.items(), key=lambda item: -item[1])
    rows = "".join(f"<tr><td>{number:,}<td>{escape(reason)}" for reason, number in ordered)
    return (
        f"<h2>Records that could not be read</h2><div class=card><table>{rows}</table>"
        "<p class=dim>bad_records.jsonl holds the records.</p></div>"
    )
