"""Run a local cloud in tests.

A test starts the real gateway in a process of its own and uses it as any AWS client would:

    @pytest.fixture(scope="session")
    def cloud(tmp_path_factory):
        with LocalCloud(tmp_path_factory.mktemp("cloud")) as cloud:
            yield cloud

    def test_upload(cloud):
        cloud.client("s3").create_bucket(Bucket="data")

This module and the command line are the package's public interface.
"""

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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

import boto3
from botocore.config import Config

from localcloud import loopback
from localcloud.ministack_adapter.environment import ACCOUNT, REGION, ROOT_KEY, root_secret

__all__ = ["ACCOUNT", "REGION", "LocalCloud", "LocalCloudError", "free_port", "wait_until"]

_COMMAND_SECONDS = 240


class LocalCloudError(RuntimeError):
    """A command of the local cloud failed; the text is what it printed."""


def free_port() -> int:
    """Return a loopback port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], Any], seconds: float = 15) -> Any:
    """Call `condition` every 50 ms and return its first true value.

    Args:
        condition: Any function without arguments. Its exceptions pass through.
        seconds: How long to wait, by the real clock.

    Raises:
        TimeoutError: The value was still false after that time.
    """
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise TimeoutError(f"the condition was not met within {seconds} s; its last value is {value!r}")
        time.sleep(0.05)


@cache
def _client(endpoint_url: str, service: str, access_key: str, secret_key: str, session_token: str | None) -> Any:
    make: Any = boto3.session.Session().client  # its overloads want a literal service name
    return make(
        service,
        endpoint_url=endpoint_url,
        region_name=REGION,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        aws_session_token=session_token,
        config=Config(proxies={}),
    )


@dataclass
class LocalCloud:
    """A local cloud with a state folder and a port of its own.

    As a context manager it starts the gateway (about seven seconds), and at the end stops it and deletes the state.

    Attributes:
        state: The state folder. It is created where it does not exist.
        port: The loopback port; by default a free one.
        accelerated: Run on a virtual clock that starts on 1 March 2013 and that only `clock` moves.
        without_isolation: Run jobs, functions and builds also on a machine that cannot isolate them: with your rights
            on your files. There the gateway does not start without this, or `LOCALCLOUD_WITHOUT_ISOLATION=1`.
    """

    state: Path
    port: int = field(default_factory=free_port)
    accelerated: bool = False
    without_isolation: bool = False

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down(purge=True)

    def up(self) -> None:
        """Start the gateway and wait until it is ready; do nothing when it already runs.

        Raises:
            LocalCloudError: It did not start.
        """
        options = ["--clock", "accelerated"] if self.accelerated else []
        options += ["--without-isolation"] if self.without_isolation else []
        self._checked(self.run("up", *options))

    def down(self, *, purge: bool = False) -> None:
        """Stop the gateway and every process that it started.

        Args:
            purge: Also delete the state folder.

        Raises:
            LocalCloudError: The state folder is not one of the local cloud.
        """
        self._checked(self.run("down", *(["--purge"] if purge else [])))

    def run(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of `localcloud` for this cloud; return its exit code and output, whatever they are.

        Raises:
            subprocess.TimeoutExpired: The command did not end within four minutes.
        """
        words = [sys.executable, "-m", "localcloud", command, *arguments]
        words += ["--port", str(self.port), "--state", str(self.state)]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return subprocess.run(
            words, env=inherited, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False
        )

    def clock(self, action: Literal["status", "advance"], *arguments: str) -> dict[str, Any]:
        """Run `localcloud clock` and return its JSON answer.

        Args:
            action: `status`, or `advance`.
            arguments: The options of `advance`, e.g. `"--by", "1d"`.

        Raises:
            LocalCloudError: The clock is not accelerated, or an open approval holds it.
        """
        return dict(json.loads(self._checked(self.run("clock", action, *arguments))))

    @property
    def url(self) -> str:
        """The endpoint URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """This process's environment, with the AWS variables that point a subprocess to this cloud."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return inherited | {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": ROOT_KEY,
            "AWS_SECRET_ACCESS_KEY": root_secret(self.state),
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            **loopback.no_proxy(os.environ),
        }

    @property
    def pid(self) -> int:
        """The gateway's process id.

        Raises:
            FileNotFoundError: It does not run.
        """
        return int(json.loads((self.state / "gateway.json").read_text())["pid"])

    def client(
        self,
        service: str,
        access_key: str = ROOT_KEY,
        secret_key: str | None = None,
        session_token: str | None = None,
    ) -> Any:
        """Return a boto3 client of this cloud, by default with the account root's credentials."""
        return _client(self.url, service, access_key, secret_key or root_secret(self.state), session_token)

    def client_as(self, service: str, role_arn: str) -> Any:
        """Return a boto3 client with a role's temporary credentials.

        Raises:
            botocore.exceptions.ClientError: The account may not assume the role.
        """
        made = self.client("sts").assume_role(RoleArn=role_arn, RoleSessionName="test")["Credentials"]
        return self.client(service, made["AccessKeyId"], made["SecretAccessKey"], made["SessionToken"])

    def create_role(self, statements: Sequence[Mapping[str, Any]], service: str | None = None) -> str:
        """Create a role and return its ARN.

        Args:
            statements: The statements of its inline policy.
            service: The service principal that may assume it, e.g. `lambda.amazonaws.com`; None for the account.
        """
        name = f"role-{uuid.uuid4().hex[:8]}"
        principal = {"Service": service} if service else {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
        trust = {"Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal}]}
        iam = self.client("iam")
        arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
        if statements:
            document = json.dumps({"Version": "2012-10-17", "Statement": statements})
            iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=document)
        return str(arn)

    def deploy_stack(self, name: str, template: Mapping[str, Any], **parameters: str) -> dict[str, Any]:
        """Create or update a CloudFormation stack and wait for it.

        Returns:
            The stack as `DescribeStacks` shows it. The deployment may have failed: look at `StackStatus`.
        """
        cloudformation = self.client("cloudformation")
        request: dict[str, Any] = {
            "StackName": name,
            "TemplateBody": json.dumps(template),
            "Capabilities": ["CAPABILITY_NAMED_IAM"],
            "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        }
        known = {stack["StackName"] for stack in cloudformation.describe_stacks()["Stacks"]}
        (cloudformation.update_stack if name in known else cloudformation.create_stack)(**request)
        return self.wait_for_stack(name)

    def wait_for_stack(self, name: str, seconds: float = 30) -> dict[str, Any]:
        """Wait until no operation on a stack is in progress and return the stack.

        Raises:
            TimeoutError: An operation was still in progress after `seconds`.
        """

        def finished() -> dict[str, Any] | None:
            stack: dict[str, Any] = self.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
            return None if stack["StackStatus"].endswith("_IN_PROGRESS") else stack

        stack: dict[str, Any] = wait_until(finished, seconds)
        return stack

    def create_queue(self, *, open_to_events: bool = True) -> tuple[str, str]:
        """Create an SQS queue and return its URL and ARN.

        Args:
            open_to_events: Let EventBridge send messages to it.
        """
        sqs = self.client("sqs")
        name = f"queue-{uuid.uuid4().hex[:8]}"
        arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"
        allow = {
            "Effect": "Allow",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
        attributes = {"Policy": policy} if open_to_events else {}
        return str(sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]), arn

    def receive_message(self, queue_url: str, seconds: float = 15) -> dict[str, Any]:
        """Wait for a queue's next message, delete it and return it.

        Raises:
            TimeoutError: None came within `seconds`.
        """
        sqs = self.client("sqs")

        def first() -> dict[str, Any] | None:
            found = sqs.receive_message(QueueUrl=queue_url, MessageAttributeNames=["All"]).get("Messages", [])
            return found[0] if found else None

        message: dict[str, Any] = wait_until(first, seconds)
        sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
        return message

    def create_rule(self, pattern: Mapping[str, Any], target: Mapping[str, Any]) -> str:
        """Create a rule on the default event bus and return its ARN.

        Args:
            pattern: The event pattern.
            target: The members of its one target, without `Id`.
        """
        events = self.client("events")
        name = f"rule-{uuid.uuid4().hex[:8]}"
        arn = str(events.put_rule(Name=name, EventPattern=json.dumps(pattern))["RuleArn"])
        events.put_targets(Rule=name, Targets=[{"Id": "1", **target}])
        return arn

    def create_function(self, code: str, role_arn: str, **settings: Any) -> str:
        """Create a Lambda function that EventBridge may invoke and return its ARN.

        Args:
            code: The source of `index.py`, which defines `handler(event, context)`.
            role_arn: The function's role.
            settings: Further members of `CreateFunction`.
        """
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

    @staticmethod
    def _checked(done: subprocess.CompletedProcess[str]) -> str:
        if done.returncode:
            raise LocalCloudError(f"exit code {done.returncode}: {done.stdout}{done.stderr}".strip())
        return done.stdout
