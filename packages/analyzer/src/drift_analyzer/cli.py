"""The command line `drift-analyzer`."""

import argparse
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

# Before numpy is loaded: the analyzer does not use OpenBLAS's threads, and starting them takes longer than a small run.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from drift_analyzer import __version__
from drift_analyzer.capture_records import timestamp
from drift_analyzer.drift import MODES, Rules
from drift_analyzer.inference_time import TimeWindows
from drift_analyzer.jsonio import dumps

if TYPE_CHECKING:
    from drift_analyzer.baseline_files import Baseline

_FORMATS = ("csv", "json", "parquet", "sagemakerCaptureJson")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Exit with one line instead of the usage."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        0; or 1 on drift or violations with `--fail-on-drift`; or 2 for input that cannot be analyzed.
    """
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (ValueError, OSError) as error:
        sys.stderr.write(f"drift-analyzer: {' '.join(str(error).split())}\n")
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="drift-analyzer",
        description="Detect drift of captured SageMaker traffic against a baseline. Needs no AWS account.",
    )
    parser.add_argument("--version", action="version", version=f"drift-analyzer {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_baseline(commands)
    _add_analyze(commands)
    _add_example(commands)
    return parser


def _add_baseline(commands: Any) -> None:
    command = commands.add_parser("baseline", help="build a baseline from reference data")
    command.description = "Build a baseline, statistics.json and constraints.json, from reference data."
    command.add_argument("data", type=Path, help="file or folder with the reference data in order of time")
    command.add_argument("--output", type=Path, required=True, help="folder to write to")
    command.add_argument("--format", choices=_FORMATS, default="csv", help="format of the data (%(default)s)")
    command.add_argument("--no-header", action="store_true", help="the CSV has no header; columns are _c0, _c1, …")
    command.add_argument(
        "--drop", action="append", default=[], metavar="COLUMN", help="leave a column out (repeatable)"
    )
    command.add_argument(
        "--critical",
        action="append",
        default=[],
        metavar="FEATURE",
        help="drift of this feature alone is drift of the data set (repeatable)",
    )
    command.add_argument("--importances", type=Path, metavar="FILE", help="JSON object: weight by feature")
    command.add_argument("--json", action="store_true", help="print the result as JSON")
    command.set_defaults(run=_baseline)


def _add_analyze(commands: Any) -> None:
    command = commands.add_parser("analyze", help="judge captured traffic against a baseline")
    command.description = (
        "Judge captured traffic against a baseline; write the verdict, Model Monitor's files, a report."
    )
    command.add_argument("capture", type=Path, help="captured file, or folder with files *.jsonl")
    command.add_argument("--baseline", type=Path, required=True, help="folder with statistics.json, constraints.json")
    command.add_argument("--output", type=Path, required=True, help="folder to write to")
    command.add_argument("--mode", choices=MODES, default="calibrated", help="rules of the verdict (%(default)s)")
    command.add_argument("--window", type=_window, metavar="1h", help="judge windows of this length: 30m, 1h, 1d …")
    command.add_argument("--start", type=_time, metavar="TIME", help="ignore earlier records (ISO 8601)")
    command.add_argument("--end", type=_time, metavar="TIME", help="ignore records from this time on (ISO 8601)")
    command.add_argument(
        "--min-rows", type=_positive, default=Rules.min_rows, metavar="N", help="fewer rows: no verdict (%(default)s)"
    )
    command.add_argument(
        "--share",
        type=_share,
        default=Rules.share,
        help="share of the features' importance that must drift for the data set to drift (%(default)s)",
    )
    command.add_argument("--workers", type=_positive, default=1, metavar="N", help="processes that read files")
    command.add_argument("--no-report", action="store_true", help="write no report.html")
    command.add_argument("--fail-on-drift", action="store_true", help="exit with 1 on drift or violations")
    command.add_argument("--json", action="store_true", help="print the verdict as JSON")
    command.set_defaults(run=_analyze)


def _add_example(commands: Any) -> None:
    command = commands.add_parser("example", help="write reference data and captured traffic to try it with")
    command.description = "Write reference.csv and capture/, three hours of traffic of which two have drifted."
    command.add_argument("folder", type=Path, help="folder to write to")
    command.set_defaults(run=_example)


def _window(text: str) -> int:
    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not number.isdecimal() or not int(number):
        raise argparse.ArgumentTypeError(f"a window is like 30m, 1h or 1d, got {text!r}")
    return int(number) * _UNITS[unit]


def _time(text: str) -> float:
    try:
        return timestamp(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a time is like 2026-02-14T17:00:00Z, got {text!r}") from None


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"expected a share from 0 to 1, got {text!r}")
    return share


def _baseline(options: argparse.Namespace) -> int:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        baseline = _create(options)
    for warning in caught:
        sys.stderr.write(f"drift-analyzer: note: {warning.message}\n")
    if options.json:
        _print_json({"rows": baseline.rows, "features": len(baseline.features), "output": str(options.output)})
    else:
        sys.stdout.write(f"baseline of {baseline.rows} rows, {len(baseline.features)} features: {options.output}\n")
    return 0


def _create(options: argparse.Namespace) -> "Baseline":
    from drift_analyzer.api import create_baseline

    return create_baseline(
        options.data,
        options.output,
        data_format=options.format,
        header=not options.no_header,
        drop=options.drop,
        critical=options.critical,
        importances=_importances(options.importances) if options.importances else None,
    )


def _importances(path: Path) -> Mapping[str, float]:
    from drift_analyzer.input_files import read_json

    body = read_json(path)
    numbers = isinstance(body, dict) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in body.values()
    )
    if not numbers:
        raise ValueError(f"{path} is not a JSON object of numbers")
    return dict(body)


def _analyze(options: argparse.Namespace) -> int:
    from drift_analyzer.api import analyze

    analysis = analyze(
        options.capture,
        options.baseline,
        times=TimeWindows(options.window, options.start, options.end),
        rules=Rules(mode=options.mode, min_rows=options.min_rows, share=options.share),
        workers=options.workers,
    )
    analysis.write(options.output, report=not options.no_report)
    verdict = analysis.verdict
    if options.json:
        _print_json(analysis.summary() | {"output": str(options.output)})
    else:
        bad = analysis.captured.bad_count
        sys.stdout.write(f"{verdict.status}: {verdict.reason} ({verdict.rows} rows, {bad} bad records)\n")
        for violation in verdict.violations:
            sys.stdout.write(f"  {violation['feature_name']}: {violation['description']}\n")
        sys.stdout.write(f"alarm: {'yes' if analysis.alarm else 'no'} · files: {options.output}\n")
    return int(bool(options.fail_on_drift and (verdict.violations or verdict.data_drifted)))


def _example(options: argparse.Namespace) -> int:
    from drift_analyzer.example import write_example

    rows, requests = write_example(options.folder)
    sys.stdout.write(f"{options.folder}: reference.csv ({rows} rows), capture/ ({requests} requests)\n")
    return 0


def _print_json(body: Mapping[str, Any]) -> None:
    sys.stdout.write(dumps(body, indent=True).decode("utf-8") + "\n")
