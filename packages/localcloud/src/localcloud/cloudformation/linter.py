"""cfn-lint in a process of its own: 120 MB and a second of imports that an idle gateway does not carry.

The process starts with the first request to CloudFormation and ends a minute after the last one, or with the gateway.
One line of JSON asks, one line answers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

_IDLE_SECONDS = 60.0
_REGION = "us-east-1"
# Findings that CloudFormation does not share, each with its reason.
_NOT_REFUSED = {
    "E1019": "a resolved text may hold ${…}: the Fn::Sub that would read it is gone",
    "E1029": "the same, for a text without Fn::Sub",
}


class Linter:
    """The client. Its process is started anew where it has ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._timer: threading.Timer | None = None

    def warm_up(self) -> None:
        """Start the process, which imports cfn-lint while its first request is on the way."""
        with self._lock:
            self._running()

    def attributes(self, resource_type: str) -> list[str] | None:
        """Return what `Fn::GetAtt` gives of a resource type, or None if AWS publishes no such type."""
        answer: list[str] | None = self._ask({"type": resource_type})
        return answer

    def findings(self, resource_type: str, properties: Mapping[str, Any]) -> list[tuple[list[Any], str, str]]:
        """Return path, schema keyword and message of each error in resolved properties."""
        answer: list[tuple[list[Any], str, str]] = self._ask({"type": resource_type, "properties": properties})
        return answer

    def _ask(self, request: Mapping[str, Any]) -> Any:
        line = json.dumps(request, default=str) + "\n"
        with self._lock:
            try:
                answer = self._exchange(line)
            except (BrokenPipeError, EOFError):
                self._process = None
                answer = self._exchange(line)
            self._end_when_idle()
        return json.loads(answer)

    def _exchange(self, line: str) -> str:
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(line)
        process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            raise EOFError("the linter's process has ended")
        return answer

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            command = [sys.executable, "-m", "localcloud.cloudformation.linter"]
            # Compiled once: its modules take three seconds to compile, and one to load.
            environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
            # Of its own session, so that Ctrl-C at a terminal ends the gateway first.
            self._process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        return self._process

    def _end_when_idle(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(_IDLE_SECONDS, self.stop)
        self._timer.daemon = True
        self._timer.start()

    def stop(self) -> None:
        """End the process; the next question starts another."""
        with self._lock:
            if self._process is not None and self._process.stdin is not None:
                self._process.stdin.close()
                self._process.wait()
            self._process = None


linter = Linter()
"""The one linter of this process."""


def main() -> int:
    """Answer each line of standard input until it ends."""
    attributes, findings = _load()
    for line in sys.stdin:
        request = json.loads(line)
        kind = request["type"]
        answer = list(findings(kind, request["properties"])) if "properties" in request else attributes(kind)
        sys.stdout.write(json.dumps(answer, default=str) + "\n")
        sys.stdout.flush()
    return 0


def _load() -> tuple[Callable[[str], list[str] | None], Callable[[str, Any], Iterator[Any]]]:
    """Import cfn-lint, and return what answers the two questions."""
    import cfnlint.rules
    from cfnlint.config import ConfigMixIn
    from cfnlint.decode.decode import decode_str
    from cfnlint.rules import CloudFormationLintRule
    from cfnlint.runner import run_template_by_data
    from cfnlint.schema import ResourceNotFoundError
    from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

    class Rules(cfnlint.rules.Rules):  # type: ignore[misc]  # cfn-lint is untyped
        """cfn-lint's rules, connected to each other once: its own `run` does that anew for each template."""

        connected = False

        def run(self, filename: str | None, cfn: Any, config: Any) -> Iterator[Any]:
            """Yield the findings of the rules that look at a template themselves; they ask the others."""
            if not self.connected:
                self.connected = True
                yield from super().run(filename, cfn, config)
                return
            for rule in self.data.values():
                rule.initialize(cfn)
            for rule in self.data.values():
                if type(rule).match is not CloudFormationLintRule.match:
                    yield from rule.matchall(filename, cfn)
            for name, resource in cfn.get_resources().items():
                where = ["Resources", name, "Properties"]
                for rule in self.data.values():
                    if resource["Type"] in rule.resource_property_types:
                        given = resource.get("Properties", {})
                        yield from rule.matchall_resource_properties(filename, cfn, given, resource["Type"], where)

    everything = Rules.create_from_directory(str(Path(cfnlint.rules.__file__).parent))
    rules = Rules({name: rule for name, rule in everything.items() if name.startswith("E")})
    config = ConfigMixIn(regions=[_REGION])

    def attributes(resource_type: str) -> list[str] | None:
        try:
            return list(PROVIDER_SCHEMA_MANAGER.get_resource_schema(_REGION, resource_type).get_atts)
        except ResourceNotFoundError:
            return None

    def findings(resource_type: str, properties: Any) -> Iterator[Any]:
        resource = {"Type": resource_type, "Properties": properties}
        template, _ = decode_str(json.dumps({"Resources": {"Resource": resource}}))
        for match in run_template_by_data(template or {}, config, rules):
            if match.rule.id.startswith("E") and match.rule.id not in _NOT_REFUSED:
                yield list(getattr(match, "path", []))[3:], str(getattr(match, "validator", "") or ""), match.message

    return attributes, findings


if __name__ == "__main__":
    sys.exit(main())
