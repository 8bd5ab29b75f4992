"""A proof under way: its account, its state, and what steps need to act and to tell."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.config import Config

from evergreen import cdk
from evergreen.ledger import Ledger
from evergreen.names import Names
from evergreen.prove import rows
from evergreen.prove.state import Lock, State, Store
from evergreen.prove.waiting import Waits, elapsed
from evergreen.release import Release, read_release

if TYPE_CHECKING:
    import boto3


class Proof:
    """Hold what each step receives.

    Args:
        session: Whose clients act in the account.
        store: Where the state is written.
        state: The state.
        lock: Held by this process, and by the CDK CLI for as long as it runs.
        waits: Waiting and telling.
    """

    def __init__(self, session: boto3.Session, store: Store, state: State, lock: Lock, waits: Waits) -> None:
        self.session, self.store, self.state, self.waits = session, store, state, waits
        self._lock = lock
        self._clients: dict[str, Any] = {}

    @property
    def names(self) -> Names:
        """The names of the model's parts."""
        return self.state.names

    @property
    def facts(self) -> dict[str, Any]:
        """Return what earlier steps found."""
        return self.state.facts

    @cached_property
    def folder(self) -> Path:
        """The proof's folder on this machine."""
        return self.store.folder(self.state)

    def client(self, service: str) -> Any:
        """Return the client of a service."""
        if service not in self._clients:
            create: Any = self.session.client  # its overloads want a literal service name
            config = Config(retries={"mode": "standard", "max_attempts": 8})
            self._clients[service] = create(service, config=config)
        return self._clients[service]

    def say(self, text: str) -> None:
        """Print a line of progress."""
        self.waits.say(f"  {text}")

    def remember(self, **facts: Any) -> None:
        """Write facts into the state file."""
        self.state.facts.update(facts)
        self.store.save(self.state)

    def see(self, assumption: str, seen: str, *, held: bool) -> None:
        """Enter what AWS answered about an assumption, and print it."""
        verdict = rows.record(self.state.rows, assumption, seen, held=held)
        self.store.save(self.state)
        self.say(f"{verdict}: {assumption}: {self.state.rows[assumption]['seen']}")

    def knows(self, assumption: str) -> bool:
        """Say whether an assumption was settled before."""
        return assumption in self.state.rows

    def cdk(self, *arguments: str) -> None:
        """Run the CDK CLI with this proof's credentials.

        Raises:
            CdkError: It failed.
        """
        cdk.run(
            arguments,
            log=self.folder / f"cdk-{arguments[0]}.log",
            environment=os.environ
            | cdk.QUIET
            | {"AWS_REGION": self.state.region, "AWS_DEFAULT_REGION": self.state.region},
            say=lambda seconds, line: self.say(f"{elapsed(seconds):>6}  {line}"),
            inherited=[self._lock.descriptor],
        )

    @property
    def assembly(self) -> Path:
        """The cloud assembly."""
        return self.folder / "cdk.out"

    def outputs(self, stack: str) -> dict[str, str]:
        """Return a stack's outputs."""
        (found,) = self.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}

    def resources(self, stack: str, kind: str) -> list[str]:
        """Return the physical ids of a type's resources in a stack."""
        pages = self.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack)
        return [
            resource["PhysicalResourceId"]
            for page in pages
            for resource in page["StackResourceSummaries"]
            if resource["ResourceType"] == kind and resource.get("PhysicalResourceId")
        ]

    @cached_property
    def platform(self) -> dict[str, str]:
        """The outputs of the platform stack."""
        return self.outputs(self.names.platform_stack)

    @cached_property
    def ledger(self) -> Ledger:
        """The model's rows."""
        table = self.platform["LedgerTableName"]
        return Ledger(self.client("dynamodb"), table, model=self.names.name, stage=self.names.stage)

    def release(self) -> Release:
        """Return the model's release as it is now."""
        return read_release(self.client, self.names)

    def describe_endpoint(self) -> dict[str, Any]:
        """Return the endpoint as it is now."""
        return dict(self.client("sagemaker").describe_endpoint(EndpointName=self.names.endpoint))
