"""`evergreen.yaml`, `delivery`: the source of the code, and the commands that test and synthesise it."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from configuration.base import Mistakes, Spec


def _connection(value: str) -> str:
    if not re.fullmatch(
        r"arn:aws[a-z-]*:(codeconnections|codestar-connections):[a-z0-9-]+:[0-9]{12}:connection/.+", value
    ):
        raise ValueError("a connection's ARN, such as arn:aws:codeconnections:us-east-1:123456789012:connection/…")
    return value


def _hosted(value: str) -> str:
    if not re.fullmatch(r"[^/\s]+(/[^/\s]+)+", value):
        raise ValueError("owner/name, as at the provider")
    return value


def _repository(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", value) or value.endswith(".git"):
        raise ValueError("a CodeCommit repository's name: letters, digits, dots, hyphens; not ending in .git")
    return value


def _branch(value: str) -> str:
    # CodePipeline would read these characters as a pattern; git allows none of them in a branch.
    if not re.fullmatch(r"[^\s*?\[\]{}~^:\\]+", value):
        raise ValueError("one branch, such as main")
    return value


def _command(value: str) -> str:
    if not value.strip() or "\n" in value:
        raise ValueError("one command in one line")
    return value


class Source(Spec):
    """The repository: behind a connection (GitHub, GitLab, Bitbucket), or in CodeCommit."""

    connection_arn: Annotated[str, AfterValidator(_connection)] | None = None
    """ARN of a CodeConnections connection that is available (its handshake is complete)."""
    repository: Annotated[str, AfterValidator(_hosted)] | None = None
    """Repository behind the connection, as owner/name."""
    codecommit: Annotated[str, AfterValidator(_repository)] | None = None
    """Name of the CodeCommit repository, which the Delivery stack creates."""
    branch: Annotated[str, AfterValidator(_branch)] = "main"
    """The branch that is delivered."""

    @model_validator(mode="after")
    def _one_place(self) -> Source:
        mistakes = Mistakes(self)
        if self.codecommit is None:
            for key in ("connection_arn", "repository"):
                if getattr(self, key) is None:
                    mistakes.add(key, should="given, together with the other of connection_arn and repository; or "
                                 "codecommit instead of both")  # fmt: skip
        else:
            for key in ("connection_arn", "repository"):
                if getattr(self, key) is not None:
                    mistakes.add(key, should="left out: codecommit says where the code is")
        mistakes.raise_if_any()
        return self


class Paths(Spec):
    """Filters for the paths of a push, as patterns such as `docs/**`."""

    # CodePipeline takes up to eight patterns of each kind.
    include: Annotated[tuple[str, ...], Field(max_length=8)] = ()
    """Deliver only a push that changes one of these paths."""
    exclude: Annotated[tuple[str, ...], Field(max_length=8)] = ()
    """Do not deliver a push that changes only these paths."""


class Delivery(Spec):
    """Delivery by CodePipeline."""

    source: Source
    paths: Paths = Paths()
    test: Annotated[str, AfterValidator(_command)] = "make check"
    """Command that tests the code; if it fails, nothing is deployed. `ARGS` holds pytest's option for its report."""
    synth: Annotated[str, AfterValidator(_command)] = "make synth"
    """Command that writes cdk.out. `ARGS` holds options for the CDK CLI."""

    @model_validator(mode="after")
    def _can_be_filtered(self) -> Delivery:
        mistakes = Mistakes(self)
        if self.source.codecommit is not None and (self.paths.include or self.paths.exclude):
            mistakes.add(
                "paths", should="left out: CodePipeline can filter by path only with a connection, not with CodeCommit"
            )
        mistakes.raise_if_any()
        return self
