"""`drift-analyzer`: baselines and verdicts for any captured folder, without an account."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

# Before numpy is loaded: counting has no use for OpenBLAS's threads, and starting them costs more than a small run.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from drift_analyzer.analysis import judge_all, read, summary, write
from drift_analyzer.dataset import FORMATS, BadDataset, files, read_json, reference
from drift_analyzer.drift import MODES, Rules
from drift_analyzer.jsonio import dumps
from drift_analyzer.records import BadRecord, timestamp
from drift_analyzer.schema import BadBaseline, Baseline, read_baseline
from drift_analyzer.times import Windows

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 fine, 1 drift or violations (with --fail-on-drift), 2 a mistake in what was given."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (BadDataset, BadBaseline, BadRecord, ValueError, OSError) as error:
        sys.stderr.write(f"monitor: {error}\n")
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="drift-analyzer", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    baseline = commands.add_parser("baseline", help="write statistics.json and constraints.json of reference data")
    baseline.add_argument("data", type=Path, help="file or folder, in time order")
    baseline.add_argument("--output", type=Path, required=True, help="folder to write to")
    baseline.add_argument("--format", choices=FORMATS, default="csv")
    baseline.add_argument("--no-header", action="store_true", help="the CSV has no header")
    baseline.add_argument("--drop", action="append", default=[], metavar="COLUMN", help="leave a column out (repeat)")
    baseline.add_argument("--critical", action="append", default=[], metavar="FEATURE", help="drift of it is drift")
    baseline.add_argument("--importances", type=Path, help="JSON object: feature to importance")
    baseline.set_defaults(run=_baseline)
    analyze = commands.add_parser("analyze", help="captured data against a baseline")
    analyze.add_argument("capture", type=Path, help="captured file or folder")
    analyze.add_argument("--baseline", type=Path, required=True, help="folder with statistics.json, constraints.json")
    analyze.add_argument("--output", type=Path, required=True, help="folder to write to")
    analyze.add_argument("--mode", choices=MODES, default="calibrated")
    analyze.add_argument("--window", type=_window, metavar="1h", help="windows of inference time: 30m, 1h, 1d …")
    analyze.add_argument("--start", type=timestamp, metavar="TIME", help="leave out what is before (ISO 8601)")
    analyze.add_argument("--end", type=timestamp, metavar="TIME", help="leave out what is at or after")
    analyze.add_argument("--min-rows", type=int, default=Rules.min_rows, help="no verdict below (%(default)s)")
    analyze.add_argument("--share", type=float, default=Rules.share, help="share by importance (%(default)s)")
    analyze.add_argument("--workers", type=int, default=1, help="processes, one file each at a time")
    analyze.add_argument("--no-report", action="store_true", help="no report.html")
    analyze.add_argument("--fail-on-drift", action="store_true", help="exit with 1 on drift or violations")
    analyze.set_defaults(run=_analyze)
    return parser


def _window(text: str) -> int:
    number, unit = text[:-1], text[-1:]
    if unit not in UNITS or not number.isdigit() or not int(number):
        raise argparse.ArgumentTypeError(f"a window is like 30m, 1h or 1d, got {text!r}")
    return int(number) * UNITS[unit]


def _baseline(options: argparse.Namespace) -> int:
    from drift_analyzer.baseline import build, with_weights

    columns = reference(options.data, options.format, header=not options.no_header)
    if unknown := set(options.drop) - {column.name for column in columns}:
        raise ValueError(f"no such column: {', '.join(sorted(unknown))}")
    columns = [column for column in columns if column.name not in options.drop]
    importances = read_json(options.importances) if options.importances else {}
    statistics, constraints = build(with_weights(columns, importances, options.critical))
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "statistics.json").write_bytes(dumps(statistics))
    (options.output / "constraints.json").write_bytes(dumps(constraints, indent=True))
    rows = statistics["dataset"]["item_count"]
    sys.stdout.write(f"baseline of {rows} rows, {len(columns)} features: {options.output}\n")
    return 0


def load_baseline(folder: Path) -> Baseline:
    """The baseline in a folder; `constraints.json` may be absent. Raises BadBaseline, BadDataset."""
    constraints = folder / "constraints.json"
    return read_baseline(
        read_json(folder / "statistics.json"), read_json(constraints) if constraints.exists() else None
    )


def _analyze(options: argparse.Namespace) -> int:
    baseline = load_baseline(options.baseline)
    rules = Rules(mode=options.mode, min_rows=options.min_rows, share=options.share)
    times = Windows(options.window, options.start, options.end)
    reading = read(baseline, files(options.capture, "*.jsonl"), times, options.workers)
    windows = judge_all(baseline, reading, rules)
    write(options.output, baseline, windows, reading)
    if not options.no_report:
        from drift_analyzer.report.drift import render

        (options.output / "report.html").write_text(render(baseline, windows, reading), encoding="utf-8")
    said = summary(windows)
    verdict = windows[-1].verdict
    sys.stdout.write(f"{verdict.status}: {verdict.reason} ({verdict.rows} rows, {reading.bad_count} bad records)\n")
    for violation in verdict.violations:
        sys.stdout.write(f"  {violation['feature_name']}: {violation['description']}\n")
    sys.stdout.write(f"alarm: {'yes' if said['alarm'] else 'no'} · files: {options.output}\n")
    return int(bool(options.fail_on_drift and (verdict.violations or verdict.status == "Drift")))


if __name__ == "__main__":
    sys.exit(main())
