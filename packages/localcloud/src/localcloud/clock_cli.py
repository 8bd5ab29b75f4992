"""The commands `localcloud clock status` and `localcloud clock advance`."""

from __future__ import annotations

import argparse
import json
import re
import sys
from datetime import UTC, datetime
from typing import Any

from localcloud.admin_client import AdminError, ask

_EXIT_HELD = 4
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+)([smhd])")


def add_to(commands: Any, where: argparse.ArgumentParser) -> None:
    """Add the command to the parser's subcommands."""
    clock = commands.add_parser("clock", help="show or advance the accelerated clock")
    actions = clock.add_subparsers(required=True, metavar="action")
    status = actions.add_parser("status", parents=[where], help="show the time, what is due next, what it waits for")
    status.set_defaults(run=_status)
    advance = actions.add_parser(
        "advance",
        parents=[where],
        help="advance and do everything that falls due; exit code 4 if an open approval stops it",
    )
    target = advance.add_mutually_exclusive_group(required=True)
    target.add_argument("--to", type=instant, help="an instant, e.g. 2013-04-01T00:00:00Z")
    target.add_argument("--by", type=duration, help="a duration, e.g. 1d, 6h, 90m")
    advance.add_argument(
        "--resolution",
        type=duration,
        default=1,
        help="what falls due within it is done together (default: 1s)",
    )
    advance.add_argument("--over-approvals", action="store_true", help="do not stop at an open approval")
    advance.add_argument(
        "--patience", type=duration, default=3600, help="real time that one thing may be in progress (default: 1h)"
    )
    advance.set_defaults(run=_advance)


def instant(text: str) -> datetime:
    """Parse an ISO 8601 instant; without an offset it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"an instant is like 2013-03-01T00:00:00Z, got {text!r}") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def duration(text: str) -> int:
    """Parse `90s`, `15m`, `6h`, `1d`, or several of them together, into seconds."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise argparse.ArgumentTypeError(f"a duration is like 90s, 15m, 6h, 1d or 1d12h, got {text!r}")
    return sum(int(number) * _UNITS[unit] for number, unit in parts)


def _status(options: argparse.Namespace) -> int:
    return _ask(options, None)


def _advance(options: argparse.Namespace) -> int:
    request: dict[str, Any] = {"resolution": options.resolution, "patience": options.patience}
    request |= {"to": options.to.timestamp()} if options.to else {"by": options.by}
    return _ask(options, request | {"over_approvals": options.over_approvals})


def _ask(options: argparse.Namespace, request: dict[str, Any] | None) -> int:
    """Send the request (None: only read the status) and print the answer as JSON."""
    try:
        answer = ask(options.state, "clock", None if request is None else "POST", request)
    except AdminError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(json.dumps(answer, indent=2) + "\n")
    return _EXIT_HELD if answer.get("held_by") else 0
