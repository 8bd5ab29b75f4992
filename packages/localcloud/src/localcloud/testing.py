"""A real local cloud under test: started by its own commands, asked as its clients ask it."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import time
import uuid
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import boto3

ACCOUNT, REGION = "000000000000", "us-east-1"


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(what: Callable[[], Any], seconds: float = 15) -> Any:
    """The first true value of `what`."""
    deadline = time.monotonic() + seconds
    while True:
        value = what()
        if value:
            return value
        assert time.monotonic() < deadline, f"nothing within {seconds} s"
        time.sleep(0.05)


@cache
def _client(endpoint_url: str, service: str, key: str, secret: str, token: str | None) -> Any:
    make: Any = boto3.session.Session().client  # its overloads want a literal service name
    return make(
        service,
        endpoint_url=endpoint_url,
        region_name=REGION,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
    )


@dataclass
class Local:
    """A local cloud under test."""

    port: int
    state: Path

    def run(self, verb: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "localcloud", verb, "--port", str(self.port), "--state", str(self.state)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True)

    def up(self) -> None:
        started = self.run("up")
        assert started.returncode == 0, started.stdout + started.stderr

    @property
    def pid(self) -> int:
        return int(json.loads((self.state / "gateway.json").read_text())["pid"])

    def client(self, service: str, key: str = "test", secret: str = "test", token: str | None = None) -> Any:  # noqa: S107 (the root key of every local cloud)
        return _client(f"http://127.0.0.1:{self.port}", service, key, secret, token)

    def assumed(self, service: str, role_arn: str) -> Any:
        """A client with a role's credentials, by STS."""
        made = self.client("sts").assume_role(RoleArn=role_arn, RoleSessionName="test")["Credentials"]
        return self.client(service, made["AccessKeyId"], made["SecretAccessKey"], made["SessionToken"])

    def role(self, statements: list[dict[str, Any]], service: str | None = None) -> str:
        """A role with these statements, trusted by the account or by a service; its ARN."""
        name = f"role-{uuid.uuid4().hex[:8]}"
        principal = {"Service": service} if service else {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
        trust = {"Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal}]}
        iam = self.client("iam")
        arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
        if statements:
            document = json.dumps({"Version": "2012-10-17", "Statement": statements})
            iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=document)
        return str(arn)

    def deploy(self, name: str, template: dict[str, Any], **parameters: str) -> dict[str, Any]:
        """Create or update a stack; the stack when it has settled."""
        cloudformation = self.client("cloudformation")
        request: dict[str, Any] = {
            "StackName": name,
            "TemplateBody": json.dumps(template),
            "Capabilities": ["CAPABILITY_NAMED_IAM"],
            "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        }
        known = {stack["StackName"] for stack in cloudformation.describe_stacks()["Stacks"]}
        (cloudformation.update_stack if name in known else cloudformation.create_stack)(**request)
        return self.settled(name)

    def settled(self, name: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            stack: dict[str, Any] = self.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
            return None if stack["StackStatus"].endswith("_IN_PROGRESS") else stack

        settled: dict[str, Any] = until(look, 30)
        return settled

    def queue(self, policy: bool = True) -> tuple[str, str]:
        """A queue's URL and ARN; EventBridge may send to it unless told otherwise."""
        sqs = self.client("sqs")
        name = f"queue-{uuid.uuid4().hex[:8]}"
        arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"
        allow = {
            "Effect": "Allow",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
        }
        attributes = {"Policy": json.dumps({"Version": "2012-10-17", "Statement": [allow]})} if policy else {}
        return str(sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]), arn

    def message(self, url: str, seconds: float = 15) -> dict[str, Any]:
        """The next message of a queue."""
        sqs = self.client("sqs")

        def look() -> dict[str, Any] | None:
            found = sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"]).get("Messages", [])
            return found[0] if found else None

        message: dict[str, Any] = until(look, seconds)
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return message

    def rule(self, pattern: dict[str, Any], target: dict[str, Any]) -> str:
        """A rule on the default bus with one target; its ARN."""
        events = self.client("events")
        name = f"rule-{uuid.uuid4().hex[:8]}"
        arn = str(events.put_rule(Name=name, EventPattern=json.dumps(pattern))["RuleArn"])
        events.put_targets(Rule=name, Targets=[{"Id": "1", **target}])
        return arn

    def function(self, code: str, role_arn: str, **settings: Any) -> str:
        """A Python function of one file; its ARN. EventBridge may invoke it."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("index.py", code)
        functions = self.client("lambda")
        name = f"function-{uuid.uuid4().hex[:8]}"
        arn = functions.create_function(
            FunctionName=name,
            Runtime="python3.14",
            Architectures=["arm64"],
            Handler="index.handler",
            Role=role_arn,
            Code={"ZipFile": packed.getvalue()},
            Timeout=20,
            **settings,
        )["FunctionArn"]
        functions.add_permission(
            FunctionName=name, StatementId="events", Action="lambda:InvokeFunction", Principal="events.amazonaws.com"
        )
        return str(arn)


class Accelerated(Local):
    """A local cloud whose clock starts on 1 March 2013."""

    def up(self) -> None:
        started = self.run("up", "--clock", "accelerated")
        assert started.returncode == 0, started.stdout + started.stderr

    def clock(self, *arguments: str) -> dict[str, Any]:
        done = self.clock_command(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return dict(json.loads(done.stdout))

    def clock_command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "localcloud", "clock", *arguments, "--state", str(self.state)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)
