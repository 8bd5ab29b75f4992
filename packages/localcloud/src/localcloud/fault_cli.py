"""The command `localcloud fault`."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from localcloud.admin_client import AdminError, ask

_EXIT_USAGE = 2


def add_to(commands: Any, where: argparse.ArgumentParser) -> None:
    """Add the command to the parser's subcommands."""
    fault = commands.add_parser(
        "fault",
        parents=[where],
        help="let instances of an endpoint fail or answer late, or close a service; without options: list the faults",
    )
    fault.add_argument("--endpoint", metavar="E", help="the endpoint's name")
    fault.add_argument("--config", metavar="C", help="an endpoint configuration that serves or is being deployed")
    fault.add_argument("--instance", metavar="N", type=int, help="one instance, counted from 0 (default: all)")
    fault.add_argument("--error-rate", metavar="SHARE", type=float, help="share of HTTP 500 answers, e.g. 0.2")
    fault.add_argument("--latency-ms", metavar="N", type=int, help="milliseconds added to each of its answers")
    fault.add_argument(
        "--stack-outcome",
        metavar="STATUS",
        help="how the stack ends when the endpoint's next update rolls back: UPDATE_COMPLETE or "
        "UPDATE_ROLLBACK_FAILED (default: UPDATE_ROLLBACK_COMPLETE)",
    )
    fault.add_argument(
        "--closed",
        metavar="SERVICE",
        help="refuse to create resources of a service that AWS closed to new customers: model-monitor",
    )
    fault.add_argument("--clear", action="store_true", help="remove the faults that match, or all")
    fault.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    where = _given(options, "endpoint", "config", "instance", "closed")
    harm = _given(options, "error_rate", "latency_ms", "stack_outcome")
    if options.clear and harm:
        return _complain(f"--clear removes faults: leave out --{next(iter(harm)).replace('_', '-')}", _EXIT_USAGE)
    needed = {"endpoint"} if "stack_outcome" in harm else {"endpoint", "config"}
    if "closed" in where and len(where | harm) > 1:
        return _complain("give --closed alone: it is about the account", _EXIT_USAGE)
    if (where or harm) and not options.clear and "closed" not in where and not needed <= set(where):
        return _complain("a fault needs --endpoint and --config; --stack-outcome needs --endpoint", _EXIT_USAGE)
    method = "DELETE" if options.clear else "POST" if where or harm else None
    try:
        answer = ask(options.state, "faults", method, None if method is None else where | harm)
    except AdminError as error:
        return _complain(str(error), error.exit_code)
    sys.stdout.write(json.dumps(answer, indent=2) + "\n")
    return 0


def _given(options: argparse.Namespace, *names: str) -> dict[str, Any]:
    return {name: getattr(options, name) for name in names if getattr(options, name) is not None}


def _complain(text: str, exit_code: int) -> int:
    sys.stderr.write(text + "\n")
    return exit_code
