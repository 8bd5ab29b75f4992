"""The environment of a function, and its logs and metrics."""

from __future__ import annotations

import json

from localcloud.testing import LocalCloud, wait_until

_SPEAKS = """
from aws_lambda_powertools import Logger

logger = Logger()


def handler(event, context):
    logger.info("decided", step="Nothing")
    logger.debug("not logged")
"""


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
