"""The environment of a function, and its logs and metrics."""

from __future__ import annotations

import json
from pathlib import Path

import localcloud
from localcloud.testing import LocalCloud, wait_until

_SPEAKS = """
from aws_lambda_powertools import Logger

logger = Logger()


def handler(event, context):
    logger.info("decided", step="Nothing")
    logger.debug("not logged")
"""


_LOOKS = """
import os, pathlib

def attempt(act):
    try:
        return str(act())
    except OSError as error:
        return type(error).__name__

def handler(event, context):
    pathlib.Path("/tmp/mine").write_text("x")
    return {
        "read": {path: attempt(lambda: os.listdir(path)) for path in event["asked"]},
        "code": attempt(lambda: pathlib.Path(__file__).write_text("x")),
        "root": attempt(lambda: pathlib.Path("/x").write_text("x")),
        "home": os.listdir(os.path.expanduser("~")),
        "variables": sorted(os.environ),
    }
"""


def test_a_function_sees_its_code_and_nothing_of_the_host(local: LocalCloud, namespaces: None) -> None:
    arn = local.create_function(_LOOKS, local.create_role([], service="lambda.amazonaws.com"))
    project = Path(localcloud.__file__).parents[2]
    asked = [str(local.state / "ministack.db"), str(local.state / "s3"), str(project / "tests"), "/home/*", "/etc/ssh"]
    reply = local.client("lambda").invoke(FunctionName=arn, Payload=json.dumps({"asked": asked}))
    seen = json.load(reply["Payload"])
    assert set(seen["read"].values()) == {"FileNotFoundError"}, seen
    assert (seen["code"], seen["root"]) == ("OSError", "OSError")  # read-only, as on AWS
    assert "mine" in seen["home"]
    assert not {"PIP_FIND_LINKS", "PYTEST_CURRENT_TEST", "USER", "LOGNAME", "SHELL"} & set(seen["variables"])


def test_a_functions_structured_log_line_is_in_its_log_group(local: LocalCloud) -> None:
    arn = local.create_function(_SPEAKS, local.create_role([], service="lambda.amazonaws.com"))
    name = arn.rpartition(":")[2]
    local.client("lambda").invoke(FunctionName=name)
    logs = local.client("logs")

    def lines() -> list[dict[str, str]]:
        events = logs.filter_log_events(logGroupName=f"/aws/lambda/{name}")["events"]
        return [json.loads(event["message"]) for event in events if event["message"].startswith("{")]

    (line,) = wait_until(lines)
    assert (line["level"], line["message"], line["step"]) == ("INFO", "decided", "Nothing")
